// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks: their states and taggable bits, and how they change. The states are in
 * mts.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/wait.h>

#include "mts.h"
#include "trace.h"

/* A page of it is poisoned: it is lost for tags */
static void __block_set_bad(struct mts_region *r, unsigned long block)
{
	mts_block_set_state(r, block, MTS_BAD);
	r->nr_lost++;
	r->lost = block;
	mts_count(MTS_STAT_POISONED);
}

/**
 * mts_block_is_spare() - does a block serve nothing that can have tags?
 * @r:		the region
 * @block:	the block
 *
 * Context: Any.
 */
bool mts_block_is_spare(const struct mts_region *r, unsigned long block)
{
	struct mts_region *other;
	unsigned int i;

	if (!mts_have_tags)
		return true;
	for_each_mts_region(other, i)
		if (mts_block_serves_storage(&r->geo, block, &other->geo))
			return true;
	return false;
}

/* Tags may be written from now on. Pairs with the test in mts_taggable(). */
static void __block_publish(struct mts_region *r, unsigned long block,
			    unsigned int site)
{
	lockdep_assert_held(&r->lock);
	mts_block_set_state(r, block, MTS_RESERVED);
	mts_site_hold(r, block, site);
	WRITE_ONCE(r->idle[block], 0);
	if (mts_have_tags && mts_block_is_spare(r, block))
		return;
	/* The storage is scrubbed before the bits are seen */
	smp_wmb();
	bitmap_set(r->taggable, block << r->geo.block_order,
		   mts_block_pages(&r->geo));
}

static void __block_unpublish(struct mts_region *r, unsigned long block)
{
	lockdep_assert_held(&r->lock);
	bitmap_clear(r->taggable, block << r->geo.block_order,
		     mts_block_pages(&r->geo));
}

static bool block_is_poisoned(const struct mts_region *r, unsigned long block)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	unsigned long i;

	for (i = 0; i < mts_block_pages(&r->geo); i++)
		if (PageHWPoison(pfn_to_page(pfn + i)))
			return true;
	return false;
}

/**
 * mts_block_change() - begin to take pages from the page allocator
 * @r:		the region
 * @first:	the first block
 * @nr:		how many
 * @spare:	take also what never has tags, as when going offline
 *
 * Of released blocks, which are changing then: nobody else does anything to them
 * until mts_block_changed(). A poisoned block becomes bad: it can't hold tags any
 * more. Its other pages stay with the page allocator.
 *
 * Context: Any.
 * Return: 0; -EAGAIN if one of them isn't released, -EHWPOISON if one is bad now.
 */
int mts_block_change(struct mts_region *r, unsigned long first,
		     unsigned long nr, bool spare)
{
	unsigned long block;
	int ret = 0;

	spin_lock(&r->lock);
	for (block = first; !ret && block < first + nr; block++) {
		if (r->state[block] != MTS_RELEASED &&
		    !(spare && r->state[block] == MTS_SPARE)) {
			ret = -EAGAIN;
		} else if (block_is_poisoned(r, block)) {
			__block_set_bad(r, block);
			ret = -EHWPOISON;
		}
	}
	for (block = first; !ret && block < first + nr; block++)
		mts_block_set_state(r, block, MTS_CHANGING);
	spin_unlock(&r->lock);
	return ret;
}

/**
 * mts_block_changed() - end what mts_block_change() began
 * @r:		the region
 * @first:	the first block
 * @nr:		how many
 * @taken:	the module has their pages. It scrubs them, and the blocks are
 *		reserved then; else they are what they were
 * @site:	for whom
 *
 * Context: Process context.
 */
void mts_block_changed(struct mts_region *r, unsigned long first,
		       unsigned long nr, bool taken, unsigned int site)
{
	unsigned long block;

	if (taken)
		mts_scrub_for_tags(mts_block_tag_pfn(&r->geo, first),
				   nr * mts_block_pages(&r->geo));
	spin_lock(&r->lock);
	for (block = first; block < first + nr; block++) {
		if (taken)
			__block_publish(r, block, site);
		else
			mts_block_set_state(r, block, mts_block_is_spare(r, block) ?
					  MTS_SPARE : MTS_RELEASED);
	}
	spin_unlock(&r->lock);
	wake_up_all(&r->changed);
}

/**
 * mts_block_reopen() - make a closing block taggable again
 * @r:		the region
 * @block:	the block
 * @site:	for whom
 *
 * No grace period is over, or tagged pages have been found: the storage still
 * holds tags.
 *
 * Context: Any.
 * Return: false if it isn't closing.
 */
bool mts_block_reopen(struct mts_region *r, unsigned long block,
		      unsigned int site)
{
	bool closing;

	spin_lock(&r->lock);
	closing = r->state[block] == MTS_CLOSING;
	if (closing)
		__block_publish(r, block, site);
	spin_unlock(&r->lock);
	return closing;
}

/**
 * mts_block_close() - stop pages of a reserved block from getting tags
 * @r:		the region
 * @block:	the block
 *
 * Context: Holds mts_state_mutex. A grace period must pass before
 * mts_block_release().
 * Return: true if the block is closing now.
 */
bool mts_block_close(struct mts_region *r, unsigned long block)
{
	bool closing = false;

	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&r->lock);
	if (r->state[block] == MTS_RESERVED) {
		__block_unpublish(r, block);
		mts_block_set_state(r, block, MTS_CLOSING);
		closing = true;
	}
	spin_unlock(&r->lock);
	if (closing)
		mts_survey_forget(r, block);
	return closing;
}

/* What a closing block is to be after a grace period; it is changing then */
static enum mts_state block_next_state(struct mts_region *r, unsigned long block)
{
	enum mts_state next = MTS_RELEASED;

	spin_lock(&r->lock);
	if (r->state[block] != MTS_CLOSING) {
		next = r->state[block];
	} else if (mts_block_is_tagged(r, block) ||
		   !mts_block_can_be_cleaned(r, block)) {
		next = MTS_RESERVED;
		__block_publish(r, block, mts_site_of(r, block));
	} else if (block_is_poisoned(r, block)) {
		next = MTS_BAD;
		mts_site_hold(r, block, 0);
		__block_set_bad(r, block);
	} else {
		if (mts_block_is_spare(r, block))
			next = MTS_SPARE;
		mts_site_hold(r, block, 0);
		mts_block_set_state(r, block, MTS_CHANGING);
	}
	spin_unlock(&r->lock);
	return next;
}

/**
 * mts_block_release() - give a closing block to the page allocator
 * @r:		the region
 * @block:	the block, closing for a grace period
 *
 * Context: Holds mts_state_mutex.
 * Return: false if the block is reserved again, or bad.
 */
bool mts_block_release(struct mts_region *r, unsigned long block)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	u64 start = ktime_get_ns();
	enum mts_state state;
	bool released;

	lockdep_assert_held(&mts_state_mutex);
	trace_release_start(r->index, block, pfn);
	state = block_next_state(r, block);
	released = mts_state_is_free(state);
	if (released) {
		mts_scrub_for_data(pfn, mts_block_pages(&r->geo),
				   mts_block_data_pfn(&r->geo, block),
				   mts_block_data_pages(&r->geo));
		free_contig_range(pfn, mts_block_pages(&r->geo));
		/* Who finds it released finds its pages in the page allocator */
		mts_block_changed(r, block, 1, false, 0);
		mts_count(MTS_STAT_RELEASED);
		mts_latency(MTS_OP_RELEASE, ktime_get_ns() - start);
	} else if (state == MTS_RESERVED) {
		mts_count(MTS_STAT_RELEASE_UNDONE);
	}
	trace_release_finish(r->index, block, pfn, mts_state_names[state]);
	return released;
}

/**
 * mts_clear_spare() - make no block taggable that serves nothing but tag storage
 *
 * Context: All regions are known, none is online.
 */
void mts_clear_spare(void)
{
	struct mts_region *r, *other;
	unsigned long first, end;
	unsigned int i, j;

	for_each_mts_region(r, i) {
		for_each_mts_region(other, j) {
			mts_spare_blocks(&r->geo, &other->geo, &first, &end);
			bitmap_clear(r->taggable, first << r->geo.block_order,
				     (end - first) << r->geo.block_order);
		}
	}
}
