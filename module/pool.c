// SPDX-License-Identifier: GPL-2.0
/*
 * The pool: free pages for allocations that will have tags, so that few chunks
 * have tagged pages and those are full. A chunk is the 32 pages that one page of
 * tag storage serves.
 *
 * A list per CPU and zone, like the page allocator's own. It is filled with what
 * is free in one chunk, best in one that has tagged pages already: a bit per
 * chunk, "refill", tells where taggable pages have become free. Pages that had
 * tags are freed to it. What it holds is off the free lists, so it is short,
 * it is trimmed, and drained whenever per-CPU lists are.
 */
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "mts.h"

#ifdef TAG_STORAGE_POOL

/* What of a list survives when nobody needs it */
#define POOL_KEEP	(4 * MTS_RATIO)

/* How much longer than allowed a list has become makes it worth to shorten it */
#define POOL_BATCH	(2 * MTS_RATIO)

/* Chunks to look at for one, while the list is locked */
#define POOL_TRIES	8

/* The same where the storage of what is free first is not to be had */
#define POOL_LOOKS	1024

/* How long one doesn't look again then */
#define POOL_HOPELESS	(HZ / 10)

/**
 * struct mts_pool - free pages of a zone, for a CPU
 * @zone:	the zone, since the pool is in use
 * @lock:	protects all of it. Taken with trylock where an interrupt may have
 *		interrupted its holder; zone->lock nests inside
 * @pages:	the pages, by page->lru
 * @nr:		how many
 * @nr_min:	the least there were since the last mts_pool_trim()
 * @noted:	the first page of the chunk that pool_note() was for, or NULL
 * @round:	mts_look_round at that time
 * @from:	where to look next, see fill_from_rest()
 * @hopeless:	until when (jiffies) what is free is said to be of no use for tags
 */
struct mts_pool {
	struct zone *zone;
	/* Protects the list and its numbers */
	spinlock_t lock;
	struct list_head pages;
	unsigned int nr;
	unsigned int nr_min;
	unsigned int round;
	struct page *noted;
	unsigned long from;
	unsigned long hopeless;
};

/**
 * struct mts_pools - all pools of a CPU
 * @recent:	the one that was used last
 * @pool:	by node and zone
 */
struct mts_pools {
	struct mts_pool *recent;
	struct mts_pool pool[];
};

static struct mts_pools __percpu *pools;
static unsigned int nr_pools;

/* Of the zone, among those of all nodes */
static unsigned int pool_index(struct zone *zone)
{
	return zone_to_nid(zone) * MAX_NR_ZONES + zone_idx(zone);
}

static noinline struct mts_pool *pool_find(struct mts_pools *p, struct zone *zone)
{
	struct mts_pool *pool = p->pool + pool_index(zone);

	WRITE_ONCE(pool->zone, zone);
	WRITE_ONCE(p->recent, pool);
	return pool;
}

/*
 * The pool of this CPU; of another one if this task has been moved meanwhile, which
 * does no harm: it has a lock. With PREEMPT_RT zone->lock sleeps, so preemption must
 * stay on.
 */
static __always_inline struct mts_pool *pool_of(struct zone *zone)
{
	struct mts_pools *p = raw_cpu_ptr(pools);
	struct mts_pool *pool = READ_ONCE(p->recent);

	return likely(READ_ONCE(pool->zone) == zone) ? pool : pool_find(p, zone);
}

/* How long may a per-CPU list of the zone be? 0: somebody has disabled them. */
static int lists_max(struct zone *zone)
{
	return READ_ONCE(raw_cpu_ptr(zone->per_cpu_pageset)->high_max);
}

/**
 * mts_pool_note_free() - tell that pages of a chunk have become free
 * @pfn:	one of them
 *
 * Allocations for tags will look there if the chunk is taggable.
 *
 * Context: Any.
 */
void mts_pool_note_free(unsigned long pfn)
{
	struct mts_region *r = mts_region_of_data(pfn);

	if (r)
		mts_hint_note(r, pool_index(page_zone(pfn_to_page(pfn))), pfn);
}

/**
 * mts_pool_note_range() - mts_pool_note_free() for several chunks
 * @pfn:	the first page
 * @nr_pages:	how many
 *
 * Context: Any.
 */
void mts_pool_note_range(unsigned long pfn, unsigned long nr_pages)
{
	unsigned long end = pfn + nr_pages;

	for (; pfn < end; pfn += MTS_RATIO)
		mts_pool_note_free(pfn);
}

/*
 * The next chunk of a region and zone that has room for tags. 0: there is none, or
 * not near.
 */
static unsigned long next_chunk(struct mts_region *r, struct zone *zone)
{
	unsigned long pfn, start, end;

	start = max(zone->zone_start_pfn, r->geo.data_pfn);
	end = min(zone_end_pfn(zone), r->geo.data_pfn + mts_data_pages(&r->geo));
	if (start >= end)
		return 0;
	pfn = mts_hint_next(r, pool_index(zone), start, end);
	/* Nodes can interleave: not for this zone of the node */
	if (pfn && page_zone(pfn_to_page(pfn)) != zone) {
		mts_pool_note_free(pfn);
		return 0;
	}
	return pfn;
}

static bool chunk_has_tags(unsigned long pfn)
{
	unsigned int i;

	for (i = 0; i < MTS_RATIO; i++)
		if (mts_page_is_tagged(pfn_to_page(pfn + i)))
			return true;
	return false;
}

/* Take what is free in a chunk between tagged pages; else in a taggable one */
static unsigned int fill_from_taggable(struct zone *zone, struct list_head *pages)
{
	unsigned long pfn, ready[POOL_TRIES];
	unsigned int i, tries, nr_ready = 0, nr = 0;
	struct mts_region *r;

	for_each_mts_region(r, i) {
		for (tries = 0; !nr && tries < POOL_TRIES; tries++) {
			pfn = next_chunk(r, zone);
			if (!pfn)
				break;
			if (chunk_has_tags(pfn))
				nr = tag_storage_take_free(zone, pfn, MTS_RATIO,
							   false, pages);
			else if (nr_ready < POOL_TRIES)
				ready[nr_ready++] = pfn;
			else
				mts_pool_note_free(pfn);
		}
	}
	for (i = 0; i < nr_ready; i++) {
		if (nr)
			mts_pool_note_free(ready[i]);
		else
			nr = tag_storage_take_free(zone, ready[i], MTS_RATIO,
						   false, pages);
	}
	return nr;
}

/**
 * mts_chunk_is_hopeless() - is there little hope to have a chunk's storage soon?
 * @pfn:	a page of it
 *
 * As somebody waits for I/O of what is there, or holds it. A glance, without a lock.
 *
 * Context: Any.
 */
bool mts_chunk_is_hopeless(unsigned long pfn)
{
	struct mts_region *r = mts_region_of_data(pfn);
	unsigned long block, tag_pfn, i;

	if (!r)
		return false;
	block = mts_data_pfn_to_block(&r->geo, pfn);
	switch (READ_ONCE(r->state[block])) {
	case MTS_BAD:
		return true;
	case MTS_RELEASED:
		break;
	default:
		return false;
	}
	if (test_bit(block, r->requests))
		return true;
	tag_pfn = mts_block_tag_pfn(&r->geo, block);
	for (i = 0; i < mts_block_pages(&r->geo); i++)
		if (mts_page_reason(pfn_to_page(tag_pfn + i)))
			return true;
	return false;
}

/* Are pages of it free? A glance, too. */
static bool chunk_has_free(unsigned long pfn)
{
	unsigned int i;

	for (i = MTS_RATIO_SHIFT; i <= MAX_PAGE_ORDER; i++) {
		struct page *head = pfn_to_page(ALIGN_DOWN(pfn, 1UL << i));

		if (PageBuddy(head) && page_private(head) >= i)
			return true;
	}
	for (i = 0; i < MTS_RATIO; i++)
		if (PageBuddy(pfn_to_page(pfn + i)))
			return true;
	return false;
}

/*
 * Take what is free in a chunk whose storage can be had. The page allocator's lists
 * don't tell where that is, and what is put back to them is found again.
 */
static unsigned int fill_from_rest(struct mts_pool *pool)
{
	struct zone *zone = pool->zone;
	unsigned int looks = POOL_LOOKS, i, nr = 0;
	unsigned long from = pool->from, pfn, start, end;
	struct mts_region *r;

	for_each_mts_region(r, i) {
		start = max3(zone->zone_start_pfn, r->geo.data_pfn, from);
		end = min(zone_end_pfn(zone),
			  r->geo.data_pfn + mts_data_pages(&r->geo));
		for (pfn = ALIGN(start, MTS_RATIO); pfn < end && looks; pfn += MTS_RATIO) {
			looks--;
			if (!mts_chunk_is_memory(pfn) || !chunk_has_free(pfn) ||
			    mts_chunk_is_hopeless(pfn))
				continue;
			nr = tag_storage_take_free(zone, pfn, MTS_RATIO, false,
						   &pool->pages);
			if (nr)
				break;
		}
		if (pfn < end) {
			pool->from = pfn;
			return nr;
		}
	}
	/* From the start the next time */
	pool->from = 0;
	return nr;
}

static bool pool_is_hopeless(const struct mts_pool *pool)
{
	return time_before(jiffies, READ_ONCE(pool->hopeless));
}

/* Can an allocation that @zone is asked for come to this one later? */
static bool comes_later(struct zone *zone, struct zone *other)
{
	if (zone_to_nid(other) == zone_to_nid(zone))
		return zone_idx(other) < zone_idx(zone);
	return zone_idx(other) != ZONE_MOVABLE || !(current->flags & PF_MEMALLOC_PIN);
}

/*
 * Should other zones be asked first, as somebody holds the storage of what is free in
 * this one? Not if none of them has memory.
 */
static bool pool_elsewhere(const struct mts_pool *pool)
{
	struct mts_pools *p = raw_cpu_ptr(pools);
	struct zone *zone;
	int nid;

	for_each_online_node(nid) {
		mts_for_each_zone(zone, nid) {
			if (comes_later(pool->zone, zone) &&
			    !pool_is_hopeless(p->pool + pool_index(zone)) &&
			    mts_free_pages(zone) > high_wmark_pages(zone) + MTS_RATIO)
				return true;
		}
	}
	return false;
}

/*
 * Take what is free in a chunk that has no tags yet, of those that are found first.
 * @any: is anything free?
 */
static unsigned int fill_from_free(struct mts_pool *pool, bool *any)
{
	struct zone *zone = pool->zone;
	struct list_head *pages = &pool->pages;
	unsigned int nr, tries;
	struct page *page;

	for (tries = POOL_TRIES; tries; tries--) {
		nr = tag_storage_take_free(zone, 0, MTS_RATIO, false, pages);
		*any = nr;
		if (!nr)
			break;
		page = list_first_entry(pages, struct page, lru);
		if (!mts_chunk_is_hopeless(page_to_pfn(page)))
			return nr;
		/* To where it is found last */
		tag_storage_put_free(zone, pages);
	}
	return 0;
}

/* Return: false if other zones had better be asked first */
static bool pool_fill(struct mts_pool *pool)
{
	bool any = false;

	if (pool_is_hopeless(pool) && pool_elsewhere(pool))
		return false;
	pool->nr = fill_from_taggable(pool->zone, &pool->pages);
	if (!pool->nr)
		pool->nr = fill_from_free(pool, &any);
	if (pool->nr || !any)
		return true;
	pool->nr = fill_from_rest(pool);
	if (pool->nr)
		return true;
	WRITE_ONCE(pool->hopeless, jiffies + POOL_HOPELESS);
	if (pool_elsewhere(pool))
		return false;
	pool->nr = tag_storage_take_free(pool->zone, 0, MTS_RATIO, false, &pool->pages);
	return true;
}

/* mts_survey_note(), once for pages of a chunk that come or go together */
static __always_inline void pool_note(struct mts_pool *pool, struct page *page)
{
	unsigned int round = READ_ONCE(mts_look_round);
	unsigned long pfn;

	lockdep_assert_held(&pool->lock);
	/* Modulo 2^64, as for pages before it */
	if (likely((unsigned long)page - (unsigned long)pool->noted <
		   MTS_RATIO * sizeof(*page) && pool->round == round))
		return;
	pfn = page_to_pfn(page);
	pool->noted = pfn_to_page(ALIGN_DOWN(pfn, MTS_RATIO));
	pool->round = round;
	mts_survey_note(pfn);
}

/* Return: a page; NULL if none is free; -EAGAIN to ask other zones first */
static struct page *pool_take(struct mts_pool *pool)
{
	struct page *page;

	lockdep_assert_held(&pool->lock);
	if (list_empty(&pool->pages) && !pool_fill(pool))
		return ERR_PTR(-EAGAIN);
	page = list_first_entry_or_null(&pool->pages, struct page, lru);
	if (page) {
		list_del(&page->lru);
		pool->nr--;
		pool->nr_min = min(pool->nr_min, pool->nr);
		pool_note(pool, page);
	}
	return page;
}

/**
 * mts_pool_alloc() - allocate a page for tags
 * @zone:	from where
 *
 * The owner's part of &struct tag_storage_ops: from a chunk that is taggable and
 * has tagged pages; one that is taggable; one that is free; one that is free in
 * part.
 *
 * Context: Any, in an RCU read-side section.
 * Return: the page; NULL; -EAGAIN if other zones had better be asked first, as this
 * one has only memory whose tag storage somebody holds.
 */
struct page *mts_pool_alloc(struct zone *zone)
{
	struct page *page = NULL;
	struct mts_pool *pool;

	pool = pool_of(zone);
	if (spin_trylock(&pool->lock)) {
		/* Under the lock: who disables the lists drains this one then */
		if (lists_max(zone))
			page = pool_take(pool);
		spin_unlock(&pool->lock);
	}
	return page;
}

/* Put @nr pages, those that were used least recently, back to the free lists */
static void pool_shrink(struct mts_pool *pool, unsigned int nr)
{
	unsigned long last = -1UL;
	struct page *page;
	LIST_HEAD(pages);

	lockdep_assert_held(&pool->lock);
	nr = min(nr, pool->nr);
	pool->nr -= nr;
	pool->nr_min = min(pool->nr_min, pool->nr);
	while (nr--) {
		page = list_last_entry(&pool->pages, struct page, lru);
		list_move(&page->lru, &pages);
	}
	list_for_each_entry(page, &pages, lru) {
		unsigned long chunk = page_to_pfn(page) / MTS_RATIO;

		if (chunk != last)
			mts_pool_note_free(page_to_pfn(page));
		last = chunk;
	}
	tag_storage_put_free(pool->zone, &pages);
}

/**
 * mts_pool_free() - take a page that had tags
 * @page:	the page, free and on no list
 *
 * The owner's part of &struct tag_storage_ops.
 *
 * Context: Any, in an RCU read-side section.
 * Return: false if the page allocator has to take it.
 */
bool mts_pool_free(struct page *page)
{
	struct zone *zone = page_zone(page);
	struct mts_pool *pool;
	bool taken = false;
	int max;

	pool = pool_of(zone);
	if (spin_trylock(&pool->lock)) {
		pool_note(pool, page);
		/* Under the lock, as above */
		max = lists_max(zone);
		taken = max;
		/* As the page allocator does it when memory gets scarce */
		if (test_bit(ZONE_BELOW_HIGH, &pool->zone->flags))
			max = POOL_BATCH;
		if (taken) {
			list_add(&page->lru, &pool->pages);
			if (++pool->nr >= max + POOL_BATCH)
				pool_shrink(pool, POOL_BATCH);
		}
		spin_unlock(&pool->lock);
	} else {
		mts_survey_note(page_to_pfn(page));
	}
	return taken;
}

static void pool_for_each(struct zone *only, void (*fn)(struct mts_pool *pool))
{
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu) {
		for (i = 0; i < nr_pools; i++) {
			struct mts_pool *pool = per_cpu_ptr(pools, cpu)->pool + i;

			/* Of one zone all: their lists may have been disabled */
			if (only ? i != pool_index(only) : !READ_ONCE(pool->nr))
				continue;
			spin_lock(&pool->lock);
			if (pool->nr)
				fn(pool);
			spin_unlock(&pool->lock);
		}
	}
}

static void pool_drain(struct mts_pool *pool)
{
	pool_shrink(pool, pool->nr);
}

static void pool_trim(struct mts_pool *pool)
{
	if (pool->nr_min > POOL_KEEP)
		pool_shrink(pool, pool->nr_min - POOL_KEEP);
	pool->nr_min = pool->nr;
}

/**
 * mts_pool_drain() - put all pages of the pool back to the free lists
 * @zone:	those of a zone, or NULL
 *
 * The owner's part of &struct tag_storage_ops.
 *
 * Context: Process context.
 * Return: 0.
 */
int mts_pool_drain(struct zone *zone)
{
	pool_for_each(zone, pool_drain);
	return 0;
}

/**
 * mts_pool_trim() - put back what has not been used since the last call
 *
 * But for a few chunks. It is of no use to other allocations where it is, and
 * keeps free pages of its chunks from merging.
 *
 * Context: Process context.
 */
void mts_pool_trim(void)
{
	pool_for_each(NULL, pool_trim);
}

/**
 * mts_pool_pages() - how many free pages are in the pool
 */
unsigned long mts_pool_pages(void)
{
	unsigned long nr = 0;
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu)
		for (i = 0; i < nr_pools; i++)
			nr += READ_ONCE(per_cpu_ptr(pools, cpu)->pool[i].nr);
	return nr;
}

/**
 * mts_pool_forget() - don't allocate pages of a chunk next
 * @pfn:	a page of it: its tag storage can't be had now
 *
 * Context: Any.
 */
void mts_pool_forget(unsigned long pfn)
{
	struct zone *zone = page_zone(pfn_to_page(pfn));
	struct page *page, *next;
	struct mts_pool *pool;
	LIST_HEAD(pages);

	pool = pool_of(zone);
	if (spin_trylock(&pool->lock)) {
		list_for_each_entry_safe(page, next, &pool->pages, lru) {
			/* They were taken together */
			if (page_to_pfn(page) / MTS_RATIO != pfn / MTS_RATIO)
				break;
			list_move_tail(&page->lru, &pages);
			pool->nr--;
		}
		pool->nr_min = min(pool->nr_min, pool->nr);
		tag_storage_put_free(zone, &pages);
		spin_unlock(&pool->lock);
	}
}

/**
 * mts_pool_init() - make the lists, empty
 *
 * Context: Process context, sleeps. When the module is loaded.
 * Return: 0 or -ENOMEM.
 */
int mts_pool_init(void)
{
	unsigned int i;
	int cpu;

	nr_pools = nr_node_ids * MAX_NR_ZONES;
	pools = __alloc_percpu(struct_size_t(struct mts_pools, pool, nr_pools),
			       __alignof__(struct mts_pools));
	if (!pools)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct mts_pools *p = per_cpu_ptr(pools, cpu);

		p->recent = p->pool;
		for (i = 0; i < nr_pools; i++) {
			struct mts_pool *pool = p->pool + i;

			pool->zone = NULL;
			spin_lock_init(&pool->lock);
			INIT_LIST_HEAD(&pool->pages);
			pool->nr = 0;
			pool->nr_min = 0;
			pool->noted = NULL;
			pool->from = 0;
		}
	}
	return 0;
}

/**
 * mts_pool_exit() - free them
 *
 * Context: They are drained, and nobody asks any more, the shrinker neither.
 */
void mts_pool_exit(void)
{
	free_percpu(pools);
}

#endif /* TAG_STORAGE_POOL */
