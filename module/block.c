// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks: reserving, closing and releasing them. The states are in mts.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>

#include <asm/mte.h>

#include "mts.h"

/* How often alloc_contig_range() is tried before a fault looks elsewhere */
#define RESERVE_TRIES		3

/* How long to wait for a page that can't be moved when going offline */
#define TAKE_BACK_TRIES		200
#define TAKE_BACK_DELAY_MS	20

/* The page allocator owns the pages */
static bool is_free_state(enum mts_state state)
{
	return state == MTS_RELEASED || state == MTS_SPARE;
}

static struct mutex *block_transition(struct mts_region *r, unsigned long block)
{
	unsigned long pageblock = mts_block_tag_pfn(&r->geo, block) >>
				  pageblock_order;

	return &r->transition[pageblock % MTS_NR_TRANSITION_LOCKS];
}

static void __block_set_state(struct mts_region *r, unsigned long block,
			      enum mts_state state)
{
	lockdep_assert_held(&r->lock);
	r->nr[r->state[block]]--;
	r->nr[state]++;
	r->state[block] = state;
}

/* Tags may be written from now on. Pairs with the test in the kernel's hooks. */
static void __block_publish(struct mts_region *r, unsigned long block)
{
	lockdep_assert_held(&r->lock);
	__block_set_state(r, block, MTS_RESERVED);
	__clear_bit(block, r->idle);
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

/* Who the reserved block is for; 0 ends it */
static void __block_set_site(struct mts_region *r, unsigned long block,
			     unsigned int site)
{
	lockdep_assert_held(&r->lock);
	mts_site_hold(r->site[block], -(long)mts_block_pages(&r->geo));
	mts_site_hold(site, mts_block_pages(&r->geo));
	r->site[block] = site;
}

static bool block_is_taggable(const struct mts_region *r, unsigned long block)
{
	return test_bit(block << r->geo.block_order, r->taggable);
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
 * mts_block_is_tagged() - does a page of the data block have tags?
 * @r:		the region
 * @block:	the block
 *
 * Or is it getting tags: PG_mte_lock is set before the first tag is written
 * and cleared when the page is freed.
 *
 * Context: Any. Final only while the block is closing, after a grace period.
 */
bool mts_block_is_tagged(const struct mts_region *r, unsigned long block)
{
	unsigned long first = mts_block_data_pfn(&r->geo, block);
	unsigned long i;

	/* Nobody sees what that does */
	if (mts_is_crash_memory(first, mts_block_data_pages(&r->geo)))
		return true;
	for (i = 0; i < mts_block_data_pages(&r->geo); i++) {
		struct page *page = pfn_to_online_page(first + i);

		if (!page)
			continue;
		if (test_bit(PG_mte_lock, &page->flags) ||
		    test_bit(PG_mte_tagged, &page->flags))
			return true;
		/* Mapped Tagged everywhere, with tags cleared at boot, unflagged */
		if (is_zero_pfn(first + i))
			return true;
	}
	return false;
}

/* Get the pages of a released block from the page allocator, in use or not */
static int block_take_pages(struct mts_region *r, unsigned long block)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	int tries, ret = -EBUSY;

	if (IS_ENABLED(MTS_BREAK_RESERVATION))
		return 0;

	if (alloc_free_range(pfn, r->geo.block_order)) {
		mts_count(MTS_STAT_RESERVE_FAST);
		return 0;
	}
	/* Reclaim can't wait for the locks that migration takes */
	if (current->flags & PF_MEMALLOC)
		return -EBUSY;

	for (tries = 0; ret == -EBUSY && tries < RESERVE_TRIES; tries++)
		ret = alloc_contig_range(pfn, pfn + mts_block_pages(&r->geo),
					 MIGRATE_CMA, GFP_KERNEL | __GFP_NOWARN);
	if (!ret)
		mts_count(MTS_STAT_RESERVE_SLOW);
	return ret;
}

/*
 * A page of a released block is poisoned: it can't hold tags any more. Its
 * other pages stay with the page allocator.
 */
static void block_give_up(struct mts_region *r, unsigned long block)
{
	lockdep_assert_held(block_transition(r, block));
	spin_lock(&r->lock);
	__block_set_state(r, block, MTS_BAD);
	r->nr_lost++;
	spin_unlock(&r->lock);
	mts_count(MTS_STAT_POISONED);
}

static int block_reserve(struct mts_region *r, unsigned long block,
			 unsigned int site)
{
	struct mutex *transition = block_transition(r, block);
	enum mts_state state;
	int ret;

	if (block_is_taggable(r, block))
		return 0;

	if (mutex_lock_killable(transition))
		return -EINTR;

	spin_lock(&r->lock);
	state = r->state[block];
	if (state == MTS_CLOSING) {
		/* No grace period is over: the pages still hold tags */
		__block_publish(r, block);
		__block_set_site(r, block, site);
		mts_count(MTS_STAT_RESERVE_REOPEN);
	}
	spin_unlock(&r->lock);

	ret = 0;
	if (state != MTS_RELEASED) {
		if (state == MTS_SPARE || state == MTS_BAD)
			ret = -EXDEV;
		goto unlock;
	}

	if (block_is_poisoned(r, block)) {
		block_give_up(r, block);
		ret = -EXDEV;
		goto unlock;
	}

	ret = block_take_pages(r, block);
	if (ret) {
		mts_count(MTS_STAT_RESERVE_FAILED);
		goto unlock;
	}

	if (!IS_ENABLED(MTS_BREAK_RESERVATION))
		mts_scrub_for_tags(mts_block_tag_pfn(&r->geo, block),
				   mts_block_pages(&r->geo));
	spin_lock(&r->lock);
	__block_publish(r, block);
	__block_set_site(r, block, site);
	spin_unlock(&r->lock);
unlock:
	mutex_unlock(transition);
	return ret;
}

/**
 * mts_reserve() - have the tag storage of some pages
 * @pfn:	the first page
 * @nr_pages:	how many
 * @site:	who asks
 *
 * The owner's part of &struct tag_storage_ops.
 *
 * Context: Process context, sleeps: migrates and reclaims. No folio locks.
 * Return: 0, and then the pages are taggable, unless they have no tags and
 * a release pass comes in between; -EXDEV if they can never be; -EINTR on a
 * fatal signal; -EBUSY or -ENOMEM.
 */
int mts_reserve(unsigned long pfn, unsigned long nr_pages,
		const struct tag_storage_site *site)
{
	unsigned int site_id = mts_site_get(site);
	struct mts_region *r;
	unsigned long block, last;
	int ret = 0;

	if (mts_is_storage(pfn) || mts_is_storage(pfn + nr_pages - 1)) {
		mts_count(MTS_STAT_RESERVE_REFUSED);
		return -EXDEV;
	}
	r = mts_region_of_data(pfn);
	if (!r)
		return 0;

	last = mts_data_pfn_to_block(&r->geo, pfn + nr_pages - 1);
	block = mts_data_pfn_to_block(&r->geo, pfn);
	for (; !ret && block <= last; block++)
		ret = block_reserve(r, block, site_id);
	mts_worker_kick();
	return ret;
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
		__block_set_state(r, block, MTS_CLOSING);
		closing = true;
	}
	spin_unlock(&r->lock);
	return closing;
}

/* Nothing that can have tags is served */
static bool block_is_spare(const struct mts_region *r, unsigned long block)
{
	struct mts_region *other;
	unsigned int i;

	for_each_mts_region(other, i)
		if (mts_block_serves_storage(&r->geo, block, &other->geo))
			return true;
	return false;
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
	struct mutex *transition = block_transition(r, block);
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	enum mts_state state;

	lockdep_assert_held(&mts_state_mutex);
	/* The books are set before the pages are free, under this lock */
	mutex_lock(transition);
	state = READ_ONCE(r->state[block]);
	if (state != MTS_CLOSING)
		goto unlock;

	/* Who makes it reserved again holds the mutex: it stays closing here */
	if (mts_block_is_tagged(r, block))
		state = MTS_RESERVED;
	else if (block_is_poisoned(r, block))
		state = MTS_BAD;
	else if (block_is_spare(r, block))
		state = MTS_SPARE;
	else
		state = MTS_RELEASED;

	spin_lock(&r->lock);
	if (state == MTS_RESERVED) {
		__block_publish(r, block);
	} else {
		__block_set_state(r, block, state);
		__block_set_site(r, block, 0);
	}
	spin_unlock(&r->lock);

	if (state == MTS_RESERVED)
		mts_count(MTS_STAT_RELEASE_UNDONE);
	else if (state == MTS_BAD)
		mts_count(MTS_STAT_POISONED);
	if (is_free_state(state)) {
		mts_scrub_for_data(pfn, mts_block_pages(&r->geo),
				   mts_block_data_pfn(&r->geo, block),
				   mts_block_data_pages(&r->geo));
		free_contig_range(pfn, mts_block_pages(&r->geo));
		mts_count(MTS_STAT_RELEASED);
	}
unlock:
	mutex_unlock(transition);
	return is_free_state(state);
}

/**
 * mts_block_hold_data() - keep the free memory of a bad block out of use
 * @r:		the region
 * @block:	the block
 *
 * Who needs memory for tags would be given these pages again and again. Takes
 * what is free now.
 *
 * Context: Holds mts_state_mutex. Sleeps.
 */
void mts_block_hold_data(struct mts_region *r, unsigned long block)
{
	unsigned long pfn = mts_block_data_pfn(&r->geo, block);
	unsigned long end = pfn + mts_block_data_pages(&r->geo);

	lockdep_assert_held(&mts_state_mutex);
	for (; pfn < end; pfn++)
		if (pfn_to_online_page(pfn) && !mts_is_storage(pfn) &&
		    alloc_free_range(pfn, 0))
			list_add(&pfn_to_page(pfn)->lru, &r->held);
}

/* Give back what mts_block_hold_data() took */
static void free_held_data(struct mts_region *r)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &r->held, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

/* How many blocks from @first on are free, in the same pageblock */
static unsigned long free_run(struct mts_region *r, unsigned long first)
{
	unsigned long block, end = mts_nr_blocks(&r->geo);

	for (block = first; block < end; block++)
		if (!is_free_state(READ_ONCE(r->state[block])) ||
		    block_transition(r, block) != block_transition(r, first))
			break;
	return block - first;
}

/*
 * Reserve a run of free blocks of one pageblock for good.
 * Return: 0, or why the pages can't be had now. Blocks that are not free, or
 * poisoned, are left alone.
 */
static int blocks_take_back(struct mts_region *r, unsigned long first,
			    unsigned long nr)
{
	struct mutex *transition = block_transition(r, first);
	unsigned long pfn = mts_block_tag_pfn(&r->geo, first);
	unsigned long block;
	int ret = 0;

	if (mutex_lock_interruptible(transition))
		return -EINTR;
	for (block = first; block < first + nr; block++) {
		/* A fault may have reserved it since the caller looked */
		if (!is_free_state(READ_ONCE(r->state[block]))) {
			ret = nr > 1 ? -EAGAIN : 0;
			goto unlock;
		}
		if (block_is_poisoned(r, block)) {
			block_give_up(r, block);
			ret = nr > 1 ? -EAGAIN : 0;
			goto unlock;
		}
	}

	if (nr == 1)
		ret = block_take_pages(r, first);
	else
		ret = alloc_contig_range(pfn, pfn + nr * mts_block_pages(&r->geo),
					 MIGRATE_CMA, GFP_KERNEL | __GFP_NOWARN);
	if (ret)
		goto unlock;

	mts_scrub_for_tags(pfn, nr * mts_block_pages(&r->geo));
	spin_lock(&r->lock);
	for (block = first; block < first + nr; block++)
		__block_publish(r, block);
	spin_unlock(&r->lock);
unlock:
	mutex_unlock(transition);
	return ret;
}

/* Wait for one block that can't be had now */
static int block_take_back_wait(struct mts_region *r, unsigned long block)
{
	int ret, tries;

	for (tries = 0; ; tries++) {
		ret = blocks_take_back(r, block, 1);
		if (!ret)
			return 0;
		if (ret == -EINTR || signal_pending(current))
			return -EINTR;
		if (tries == TAKE_BACK_TRIES)
			return ret;
		msleep(TAKE_BACK_DELAY_MS);
	}
}

/**
 * mts_take_back() - reserve all released blocks, for good
 *
 * Waits for pages that can't be moved now.
 *
 * Context: Holds mts_state_mutex: no block is released meanwhile. Sleeps.
 * Return: 0, -EINTR on a signal, -EBUSY when a page can't be moved, -ENOMEM,
 * -EHWPOISON when a page is poisoned that the module doesn't own. What has been
 * taken until then stays reserved, for the next release pass.
 */
int mts_take_back(void)
{
	unsigned long block, next, nr;
	struct mts_region *r;
	unsigned int i;
	int ret;

	lockdep_assert_held(&mts_state_mutex);
	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block = next) {
			nr = free_run(r, block);
			next = block + max(nr, 1UL);
			if (nr <= 1 || blocks_take_back(r, block, nr))
				for (; block < next; block++) {
					ret = block_take_back_wait(r, block);
					if (ret)
						return ret;
				}
			if (signal_pending(current))
				return -EINTR;
			cond_resched();
		}
		if (r->nr_lost)
			return -EHWPOISON;
	}
	for_each_mts_region(r, i)
		free_held_data(r);
	return 0;
}
