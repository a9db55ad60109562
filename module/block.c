// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks: reserving, closing and releasing them. The states are in mts.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>

#include <asm/mte.h>

#include "mts.h"
#include "trace.h"

/* Between two looks at a page that can't be moved when going offline */
#define TAKE_BACK_DELAY_MS	20

/**
 * mts_block_transition() - find the mutex of a block's pageblock
 * @r:		the region
 * @block:	the block
 *
 * Return: the mutex, see mts.h.
 */
struct mutex *mts_block_transition(struct mts_region *r, unsigned long block)
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

/*
 * Block reservations by faults since the worker last asked. Not exact: that
 * would cost more than it is worth.
 */
static unsigned int demand;

/* Nothing that can have tags is served */
static bool block_is_spare(const struct mts_region *r, unsigned long block)
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

/* Tags may be written from now on. Pairs with the test in the kernel's hooks. */
static void __block_publish(struct mts_region *r, unsigned long block)
{
	lockdep_assert_held(&r->lock);
	__block_set_state(r, block, MTS_RESERVED);
	WRITE_ONCE(r->idle[block], 0);
	if (mts_have_tags && block_is_spare(r, block))
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
 * Or is it getting them, see mts_page_is_tagged().
 *
 * Context: Any. Final only while the block is closing, after a grace period.
 */
bool mts_block_is_tagged(const struct mts_region *r, unsigned long block)
{
	unsigned long first = mts_block_data_pfn(&r->geo, block);
	unsigned long i;

	/* Nobody sees what that does */
	if (mts_is_kept_memory(first, mts_block_data_pages(&r->geo)))
		return true;
	if (!mts_have_tags)
		return false;
	for (i = 0; i < mts_block_data_pages(&r->geo); i++) {
		struct page *page = pfn_to_online_page(first + i);

		if (!page)
			continue;
		if (mts_page_is_tagged(page))
			return true;
		/* Mapped Tagged everywhere, with tags cleared at boot, unflagged */
		if (is_zero_pfn(first + i))
			return true;
	}
	return false;
}

/* How many pages are not free; a page may come or go meanwhile */
static unsigned long pages_in_use(unsigned long pfn, unsigned long nr)
{
	unsigned long i, n = 0;

	for (i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(pfn + i);

		n += page_ref_count(page) || PageTail(page);
	}
	return n;
}

/* Empty a released block and get its pages; most often they just move */
static bool move_pages(unsigned long pfn, unsigned int order)
{
	unsigned long in_use = pages_in_use(pfn, 1UL << order);
	LIST_HEAD(folios);
	bool moved;

	if (mts_should_fail(MTS_FAIL_MIGRATE))
		return false;
	moved = (!order && tag_storage_take(pfn)) ||
		(tag_storage_isolate(pfn, 1UL << order, TAG_STORAGE_ANY,
				     &folios) &&
		 tag_storage_migrate(&folios, GFP_HIGHUSER_MOVABLE | __GFP_NOWARN,
				     MIGRATE_SYNC) &&
		 alloc_free_range(pfn, order));
	if (moved)
		mts_count_add(MTS_STAT_MIGRATED_PAGES, in_use);
	return moved;
}

/* Empty a range of released blocks and get its pages, whatever they are */
static int take_range(unsigned long pfn, unsigned long nr)
{
	unsigned long in_use = pages_in_use(pfn, nr);
	int ret;

	if (mts_should_fail(MTS_FAIL_MIGRATE))
		return -EBUSY;
	ret = alloc_contig_range(pfn, pfn + nr, MIGRATE_CMA,
				 GFP_KERNEL | __GFP_NOWARN);
	if (!ret)
		mts_count_add(MTS_STAT_MIGRATED_PAGES, in_use);
	return ret;
}

/*
 * Get the pages of a released block from the page allocator, in use or not.
 * *op tells what it took.
 */
static int block_take_pages(struct mts_region *r, unsigned long block,
			    enum mts_op *op)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	unsigned int tries = READ_ONCE(mts_policy.reserve_tries);
	int ret = -EBUSY;

	*op = MTS_OP_RESERVE_FAST;
	if (IS_ENABLED(MTS_BREAK_RESERVATION))
		return 0;
	if (mts_should_fail(MTS_FAIL_RESERVE))
		return -EBUSY;
	if (alloc_free_range(pfn, r->geo.block_order))
		return 0;

	*op = MTS_OP_RESERVE_SLOW;
	/* Reclaim can't wait for the locks that migration takes */
	if (current->flags & PF_MEMALLOC)
		return -EBUSY;

	trace_evict_start(r->index, block, pfn);
	if (move_pages(pfn, r->geo.block_order)) {
		*op = MTS_OP_RESERVE_MOVED;
		ret = 0;
	}
	for (; ret == -EBUSY && tries; tries--)
		ret = take_range(pfn, mts_block_pages(&r->geo));
	trace_evict_finish(r->index, block, pfn, ret);
	return ret;
}

static void count_reserve_failed(int ret)
{
	if (ret == -ENOMEM)
		mts_count(MTS_STAT_RESERVE_FAILED_NOMEM);
	else if (ret == -EINTR)
		mts_count(MTS_STAT_RESERVE_FAILED_KILLED);
	else if (current->flags & PF_MEMALLOC)
		mts_count(MTS_STAT_RESERVE_FAILED_RECLAIM);
	else
		mts_count(MTS_STAT_RESERVE_FAILED_BUSY);
}

/*
 * A page of a released block is poisoned: it can't hold tags any more. Its
 * other pages stay with the page allocator.
 */
static void block_give_up(struct mts_region *r, unsigned long block)
{
	lockdep_assert_held(mts_block_transition(r, block));
	spin_lock(&r->lock);
	__block_set_state(r, block, MTS_BAD);
	r->nr_lost++;
	r->lost = block;
	spin_unlock(&r->lock);
	mts_count(MTS_STAT_POISONED);
}

/*
 * The part of block_reserve() that is paired trace events. *how tells what has
 * been done.
 */
static int __block_reserve(struct mts_region *r, unsigned long block,
			   unsigned int site, const char **how)
{
	struct mutex *transition = mts_block_transition(r, block);
	u64 start = ktime_get_ns();
	enum mts_state state;
	enum mts_op op;
	int ret;

	if (mutex_lock_killable(transition)) {
		count_reserve_failed(-EINTR);
		return -EINTR;
	}

	spin_lock(&r->lock);
	state = r->state[block];
	if (state == MTS_CLOSING) {
		/* No grace period is over: the pages still hold tags */
		__block_publish(r, block);
		mts_site_hold(r, block, site);
		mts_count(MTS_STAT_RESERVE_REOPEN);
		*how = "reopened";
	}
	spin_unlock(&r->lock);

	ret = 0;
	if (state != MTS_RELEASED) {
		if (state == MTS_SPARE || state == MTS_BAD) {
			mts_count(MTS_STAT_RESERVE_BAD);
			ret = -EXDEV;
		}
		goto unlock;
	}

	if (block_is_poisoned(r, block)) {
		block_give_up(r, block);
		mts_count(MTS_STAT_RESERVE_BAD);
		ret = -EXDEV;
		goto unlock;
	}

	ret = block_take_pages(r, block, &op);
	if (ret) {
		count_reserve_failed(ret);
		goto unlock;
	}

	if (!IS_ENABLED(MTS_BREAK_RESERVATION))
		mts_scrub_for_tags(mts_block_tag_pfn(&r->geo, block),
				   mts_block_pages(&r->geo));
	spin_lock(&r->lock);
	__block_publish(r, block);
	mts_site_hold(r, block, site);
	spin_unlock(&r->lock);

	switch (op) {
	case MTS_OP_RESERVE_FAST:
		*how = "fast";
		mts_count(MTS_STAT_RESERVE_FAST);
		break;
	case MTS_OP_RESERVE_MOVED:
		*how = "moved";
		mts_count(MTS_STAT_RESERVE_MOVED);
		break;
	default:
		*how = "slow";
		mts_count(MTS_STAT_RESERVE_SLOW);
	}
	mts_latency(op, ktime_get_ns() - start);
unlock:
	mutex_unlock(transition);
	return ret;
}

static int block_reserve(struct mts_region *r, unsigned long block,
			 unsigned int site)
{
	unsigned long tag_pfn = mts_block_tag_pfn(&r->geo, block);
	const char *how = "none";
	int ret;

	if (block_is_taggable(r, block))
		return 0;
	trace_reserve_start(r->index, block, tag_pfn);
	ret = __block_reserve(r, block, site, &how);
	trace_reserve_finish(r->index, block, tag_pfn, how, ret);
	return ret;
}

/* Reserve a released block if that takes no more than its free pages */
static bool block_take_free(struct mts_region *r, unsigned long block,
			    unsigned int site)
{
	struct mutex *transition = mts_block_transition(r, block);
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	bool taken;

	mutex_lock(transition);
	taken = READ_ONCE(r->state[block]) == MTS_RELEASED &&
		!block_is_poisoned(r, block) &&
		alloc_free_range(pfn, r->geo.block_order);
	if (taken) {
		mts_scrub_for_tags(pfn, mts_block_pages(&r->geo));
		spin_lock(&r->lock);
		__block_publish(r, block);
		mts_site_hold(r, block, site);
		spin_unlock(&r->lock);
	}
	mutex_unlock(transition);
	return taken;
}

/* A folio can go beyond the end of a region, into another one or into none */
static int reserve_range(unsigned long pfn, unsigned long nr_pages,
			 unsigned int site)
{
	unsigned long block, end = pfn + nr_pages;
	struct mts_region *r;
	int ret = 0;

	while (!ret && pfn < end) {
		r = mts_region_of_data(pfn);
		if (!r) {
			pfn = ALIGN(pfn + 1, MTS_RATIO);
			continue;
		}
		block = mts_data_pfn_to_block(&r->geo, pfn);
		ret = block_reserve(r, block, site);
		pfn = mts_block_data_pfn(&r->geo, block + 1);
	}
	return ret;
}

/**
 * mts_reserve() - have the tag storage of some pages
 * @pfn:	the first page
 * @nr_pages:	how many
 * @wanted:	how many pages of its data block will have tags, at least
 * @site:	who asks
 *
 * The owner's part of &struct tag_storage_ops.
 *
 * Context: Process context, sleeps: migrates and reclaims. No folio locks.
 * Return: 0, and then the pages are taggable, unless they have no tags and
 * a release pass comes in between; -EXDEV if they can never be; -EAGAIN if they
 * had better be moved; -EINTR on a fatal signal; -EBUSY or -ENOMEM.
 */
int mts_reserve(unsigned long pfn, unsigned long nr_pages, unsigned int wanted,
		const struct tag_storage_site *site)
{
	int ret;

	mts_count(MTS_STAT_RESERVE_CALLS);
	trace_request(pfn, nr_pages, site->func, site->line);
	if (mts_is_storage(pfn) || mts_is_storage(pfn + nr_pages - 1)) {
		mts_count(MTS_STAT_RESERVE_REFUSED);
		return -EXDEV;
	}
	if (!mts_region_of_data(pfn) && !mts_region_of_data(pfn + nr_pages - 1))
		return 0;
	if (wanted < READ_ONCE(mts_policy.mprotect_inplace_pages)) {
		mts_count(MTS_STAT_RESERVE_FEW);
		return -EAGAIN;
	}

	ret = reserve_range(pfn, nr_pages, mts_site_get(site));
	WRITE_ONCE(demand, READ_ONCE(demand) + 1);
	mts_worker_kick();
	return ret;
}

/**
 * mts_reserve_ready() - have the tag storage of pages that may have tags later
 * @pfn:	the first page
 * @nr_pages:	how many
 *
 * Context: As mts_reserve().
 * Return: As mts_reserve().
 */
int mts_reserve_ready(unsigned long pfn, unsigned long nr_pages)
{
	return reserve_range(pfn, nr_pages, mts_site_get(MTS_SITE()));
}

/* Reservations by faults since the last call */
unsigned int mts_take_demand(void)
{
	return xchg(&demand, 0);
}

/**
 * mts_clear_spare() - make no block taggable that serves nothing but tag storage
 *
 * Context: All regions are known, none is online.
 * Return: false if a block serves tag storage and other memory.
 */
bool mts_clear_spare(void)
{
	struct mts_region *r, *other;
	unsigned long first, end;
	unsigned int i, j;
	bool whole = true;

	for_each_mts_region(r, i) {
		for_each_mts_region(other, j) {
			whole &= mts_spare_blocks(&r->geo, &other->geo, &first,
						  &end);
			bitmap_clear(r->taggable, first << r->geo.block_order,
				     (end - first) << r->geo.block_order);
		}
	}
	return whole;
}

/**
 * mts_close_spare() - close the reserved blocks that serve only tag storage
 *
 * Context: Holds mts_state_mutex.
 * Return: how many there were.
 */
unsigned long mts_close_spare(void)
{
	unsigned long first, end, closing = 0;
	struct mts_region *r, *other;
	unsigned int i, j;

	for_each_mts_region(r, i) {
		for_each_mts_region(other, j) {
			mts_spare_blocks(&r->geo, &other->geo, &first, &end);
			for (; first < end; first++)
				if (READ_ONCE(r->state[first]) == MTS_RESERVED)
					closing += mts_block_close(r, first);
		}
	}
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
		__block_set_state(r, block, MTS_CLOSING);
		closing = true;
	}
	spin_unlock(&r->lock);
	return closing;
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
	struct mutex *transition = mts_block_transition(r, block);
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	u64 start = ktime_get_ns();
	enum mts_state state;

	lockdep_assert_held(&mts_state_mutex);
	trace_release_start(r->index, block, pfn);
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
		mts_site_hold(r, block, 0);
	}
	spin_unlock(&r->lock);

	if (state == MTS_RESERVED)
		mts_count(MTS_STAT_RELEASE_UNDONE);
	else if (state == MTS_BAD)
		mts_count(MTS_STAT_POISONED);
	if (mts_state_is_free(state)) {
		mts_scrub_for_data(pfn, mts_block_pages(&r->geo),
				   mts_block_data_pfn(&r->geo, block),
				   mts_block_data_pages(&r->geo));
		free_contig_range(pfn, mts_block_pages(&r->geo));
		mts_count(MTS_STAT_RELEASED);
		mts_latency(MTS_OP_RELEASE, ktime_get_ns() - start);
	}
unlock:
	mutex_unlock(transition);
	trace_release_finish(r->index, block, pfn, mts_state_names[state]);
	return mts_state_is_free(state);
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

/**
 * mts_take_free() - reserve the released blocks that are free now
 *
 * Context: Holds mts_state_mutex: no block is released meanwhile. Sleeps.
 * Return: the number of blocks reserved.
 */
unsigned long mts_take_free(void)
{
	unsigned int site = mts_site_get(MTS_SITE());
	unsigned long block, taken = 0;
	struct mts_region *r;
	unsigned int i;

	lockdep_assert_held(&mts_state_mutex);
	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block++) {
			if (READ_ONCE(r->state[block]) != MTS_RELEASED ||
			    page_count(pfn_to_page(mts_block_tag_pfn(&r->geo, block))))
				continue;
			cond_resched();
			taken += block_take_free(r, block, site);
		}
	}
	return taken;
}

/* How many blocks from @first on are free, in the same pageblock */
static unsigned long free_run(struct mts_region *r, unsigned long first)
{
	unsigned long block, end = mts_nr_blocks(&r->geo);

	for (block = first; block < end; block++)
		if (!mts_state_is_free(READ_ONCE(r->state[block])) ||
		    mts_block_transition(r, block) != mts_block_transition(r, first))
			break;
	return block - first;
}

/*
 * Reserve a run of free blocks of one pageblock for good.
 * Return: 0, or why the pages can't be had now. Blocks that are not free, or
 * poisoned, are left alone.
 */
static int blocks_take_back(struct mts_region *r, unsigned long first,
			    unsigned long nr, unsigned int site)
{
	struct mutex *transition = mts_block_transition(r, first);
	unsigned long pfn = mts_block_tag_pfn(&r->geo, first);
	u64 start = ktime_get_ns();
	unsigned long block;
	enum mts_op op;
	int ret = 0;

	if (mutex_lock_interruptible(transition))
		return -EINTR;
	for (block = first; block < first + nr; block++) {
		/* A fault may have reserved it since the caller looked */
		if (!mts_state_is_free(READ_ONCE(r->state[block]))) {
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
		ret = block_take_pages(r, first, &op);
	else
		ret = take_range(pfn, nr * mts_block_pages(&r->geo));
	if (ret)
		goto unlock;

	mts_scrub_for_tags(pfn, nr * mts_block_pages(&r->geo));
	spin_lock(&r->lock);
	for (block = first; block < first + nr; block++) {
		__block_publish(r, block);
		mts_site_hold(r, block, site);
	}
	spin_unlock(&r->lock);
	mts_count_add(MTS_STAT_TAKEN_BACK, nr);
	mts_latency(MTS_OP_TAKE_BACK, ktime_get_ns() - start);
unlock:
	mutex_unlock(transition);
	return ret;
}

/* Wait for one block that can't be had now */
static int block_take_back_wait(struct mts_region *r, unsigned long block,
				bool wait, unsigned int site)
{
	unsigned int ms = wait ? READ_ONCE(mts_policy.take_back_timeout_ms) : 0;
	unsigned long timeout = jiffies + msecs_to_jiffies(ms);
	int ret;

	for (;;) {
		ret = blocks_take_back(r, block, 1, site);
		if (!ret) {
			if (wait)
				mts_drain_go_on();
			return 0;
		}
		if (ret == -EINTR || signal_pending(current))
			return -EINTR;
		if (wait)
			mts_drain_wait(r, block, ret);
		if (time_after_eq(jiffies, timeout))
			return ret;
		msleep(TAKE_BACK_DELAY_MS);
	}
}

/**
 * mts_take_back() - reserve all released blocks, for good
 * @wait:	for pages that can't be moved now
 *
 * Context: Holds mts_state_mutex: no block is released meanwhile. Sleeps.
 * Return: 0, -EINTR on a signal; and if it waits -EBUSY when a page can't be moved, -ENOMEM,
 * -EHWPOISON when a page is poisoned that the module doesn't own. What has been
 * taken until then stays reserved, for the next release pass.
 */
int mts_take_back(bool wait)
{
	unsigned int site = mts_site_get(MTS_SITE());
	unsigned long block, next, nr;
	struct mts_region *r;
	unsigned int i;
	int ret;

	lockdep_assert_held(&mts_state_mutex);
	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block = next) {
			nr = free_run(r, block);
			next = block + max(nr, 1UL);
			if (nr <= 1 || blocks_take_back(r, block, nr, site))
				for (; block < next; block++) {
					ret = block_take_back_wait(r, block, wait,
								   site);
					if (ret && wait)
						return ret;
				}
			if (signal_pending(current))
				return -EINTR;
			cond_resched();
		}
		if (r->nr_lost && wait) {
			mts_drain_wait(r, r->lost, -EHWPOISON);
			return -EHWPOISON;
		}
	}
	if (!wait)
		return 0;
	for_each_mts_region(r, i)
		free_held_data(r);
	return 0;
}
