// SPDX-License-Identifier: GPL-2.0
/*
 * Placement: tagged pages in few, full blocks.
 *
 * Pages for tags are taken from blocks that have some already (pool.c). What is
 * freed leaves holes, so blocks that have become sparse are emptied into others
 * here.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched.h>

#include "mts.h"
#include "trace.h"

/* Passes that a block is left alone for after it was to be emptied */
#define MTS_SPARSE_BACKOFF	4

/*
 * At most as many tagged pages are moved in a pass, and as many others to make
 * room for them.
 */
#define MTS_EVACUATE_BATCH	256

/* Don't allocate more blocks than that at a time to move them to */
#define MTS_READY_BATCH		256

/* Nor migrate more pages */
#define MTS_MIGRATE_BATCH	256

/* Is it worth it to move pages, to get the share of tagged ones up? */
static bool survey_is_sparse(const struct mts_survey *s)
{
	return s->tagged_pages * 100 <
		s->data_pages * READ_ONCE(mts_policy.evacuate_percent);
}

/* By fill: blocks that have been sparse for long enough, and their free pages */
static unsigned long nr_sparse(const unsigned long sum[MTS_SPARSE_PASSES][MTS_FILL_MAX + 1],
			       unsigned int fill, bool hurry)
{
	unsigned int passes = hurry ? 1 : MTS_SPARSE_PASSES;
	unsigned long n = 0;

	for (; passes <= MTS_SPARSE_PASSES; passes++)
		n += sum[passes - 1][fill];
	return n;
}

/*
 * Choose the emptiest blocks: those with a fill of at most *@limit, and of these
 * that have just that at most *@last. @holes pages are free between tagged ones.
 * False when it doesn't pay to evacuate them, or takes new blocks in a @hurry. There
 * are blocks, they are sparse.
 */
static bool choose_sparse(const struct mts_survey *s, unsigned long holes, bool hurry,
			  unsigned int *limit, unsigned long *last)
{
	unsigned long batch = MTS_EVACUATE_BATCH;
	unsigned long per_block, pages = 0, blocks = 0;
	unsigned int fill;

	*limit = 0;
	per_block = s->data_pages / s->blocks;
	for (fill = 1; fill <= MTS_FILL_MAX && pages < batch; fill++) {
		unsigned long each = DIV_ROUND_UP(fill * per_block, MTS_FILL_MAX);
		unsigned long there = nr_sparse(s->sparse, fill, hurry);
		unsigned long nr = min(there, DIV_ROUND_UP(batch - pages, each));

		if (!nr)
			continue;
		pages += nr * each;
		blocks += nr;
		holes -= min(holes, nr_sparse(s->sparse_free, fill, hurry) * nr / there);
		*last = nr;
		*limit = fill;
	}
	/* Not all holes elsewhere can be used; for the rest it takes new blocks */
	holes /= 2;
	return pages <= holes ||
		(!hurry && DIV_ROUND_UP(pages - holes, per_block) < blocks);
}

/* What has become free is on per-CPU lists: to take a page of it drains them */
static void drain_chunk(unsigned long pfn)
{
	unsigned long end = pfn + MTS_RATIO;
	LIST_HEAD(pages);

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_page(pfn);

		if (page_count(page) || PageBuddy(page) || PageTail(page))
			continue;
		if (tag_storage_take_free(page_zone(page), pfn, 1, true, &pages))
			__free_page(page);
		break;
	}
}

/*
 * Isolate pages without tags in blocks with a fill from @from to below @to. @chunk
 * becomes one that some are from.
 */
static unsigned long isolate_untagged(unsigned int from, unsigned int to,
				      unsigned long max, struct list_head *folios,
				      unsigned long *chunk)
{
	unsigned long block, pages = 0;
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i) {
		for_each_in_set(&r->held, block) {
			unsigned int fill = mts_block_fill(r, block);
			unsigned long pfn, nr, found;

			if (pages >= max)
				break;
			if (READ_ONCE(r->state[block]) != MTS_RESERVED ||
			    r->sparse[block] == MTS_KEPT || fill < from || fill >= to)
				continue;
			pfn = mts_block_data_pfn(&r->geo, block);
			nr = mts_block_data_pages(&r->geo);
			found = mts_isolate(pfn, nr, MTS_UNTAGGED, folios);
			if (found) {
				mts_pool_note_range(pfn, nr);
				mts_set_add(&r->look, block);
				*chunk = pfn;
			}
			pages += found;
			cond_resched();
		}
	}
	return pages;
}

/*
 * When memory is full there are no holes between tagged pages, but pages without
 * tags. Move those out of the blocks that are not to be emptied, those that are
 * fuller than the average first, to wherever there is room; more of that comes
 * from the blocks that are emptied.
 */
static unsigned long make_holes(const struct mts_survey *s, unsigned int limit)
{
	unsigned long batch = MTS_EVACUATE_BATCH;
	unsigned int average = DIV_ROUND_UP(s->tagged_pages * MTS_FILL_MAX,
					    s->data_pages);
	unsigned long pages, chunk;
	LIST_HEAD(folios);

	if (s->blocks < 2 || s->free_pages >= min(batch, s->tagged_pages))
		return 0;
	pages = isolate_untagged(average, MTS_FILL_MAX, batch, &folios, &chunk);
	if (pages < batch)
		pages += isolate_untagged(limit + 1, average, batch - pages,
					  &folios, &chunk);
	if (!pages)
		return 0;
	/* What somebody has locked stays: who waits for him waits with the mutex */
	pages = mts_migrate(&folios, GFP_HIGHUSER_MOVABLE | __GFP_THISNODE |
				    __GFP_NORETRY | __GFP_NOWARN, MIGRATE_ASYNC);
	/* Tagged pages go there next */
	drain_chunk(chunk);
	mts_count_add(MTS_STAT_CLEARED, pages);
	return pages;
}

/*
 * Not more than migrate_pages() allocates targets for before it frees pages. These
 * come from what is taggable on the free lists, not from where they, or others,
 * have just come from.
 */
static unsigned long migrate_tagged(struct list_head *folios)
{
	unsigned long n, pages = 0;

	while (!list_empty(folios)) {
		struct list_head *pos = folios;
		LIST_HEAD(batch);

		for (n = 0; n < MTS_MIGRATE_BATCH && pos->next != folios; n++)
			pos = pos->next;
		list_cut_position(&batch, folios, pos);
		mts_pool_drain(NULL);
		pages += mts_migrate(&batch, GFP_HIGHUSER_MOVABLE | __GFP_THISNODE |
					     __GFP_ZEROTAGS | __GFP_NORETRY |
					     __GFP_NOWARN, MIGRATE_ASYNC);
	}
	return pages;
}

/**
 * mts_evacuate() - move tagged pages out of sparse blocks
 * @hurry:	others wait for memory
 *
 * Makes room in others for that when there is none, or has new blocks reserved
 * if that leaves fewer; but not when @hurry is set.
 *
 * The blocks are closing then, for the release that follows in the same pass:
 * it releases those that are empty, and makes the rest reserved again.
 *
 * Context: Holds mts_state_mutex. Sleeps.
 * Return: the number of blocks that are closing now.
 */
unsigned long mts_evacuate(bool hurry)
{
	unsigned long block, last = 0, closed = 0, pages = 0, holes, per_block;
	const struct mts_survey *s = &mts_survey;
	static unsigned int in_vain;
	struct mts_region *r;
	LIST_HEAD(folios);
	unsigned int i, limit;
	bool pays;

	lockdep_assert_held(&mts_state_mutex);
	if (!survey_is_sparse(s))
		return 0;
	holes = s->free_pages;
	per_block = s->data_pages / s->blocks;
	pays = choose_sparse(s, holes, hurry, &limit, &last);
	if (!limit)
		return 0;
	/* Counted as in vain until tagged pages have moved */
	if (in_vain) {
		in_vain--;
	} else if (!hurry) {
		pages = make_holes(s, limit);
		if (pages) {
			in_vain = MTS_SPARSE_BACKOFF;
			holes += pages;
			pays = choose_sparse(s, holes, hurry, &limit, &last);
		}
	}
	if (!pays)
		return 0;

	pages = 0;
	for_each_mts_region(r, i) {
		for_each_in_set(&r->loose, block) {
			unsigned int fill = mts_block_fill(r, block);

			if (!hurry && r->sparse[block] < MTS_SPARSE_PASSES)
				continue;
			if (fill > limit || (fill == limit && !last))
				continue;
			/* What is allocated from now on goes elsewhere */
			if (!mts_block_close(r, block))
				continue;
			if (fill == limit)
				last--;
			closed++;
			r->sparse[block] = -MTS_SPARSE_BACKOFF;
			pages += mts_isolate(mts_block_data_pfn(&r->geo, block),
					     mts_block_data_pages(&r->geo),
					     MTS_TAGGED, &folios);
			cond_resched();
		}
	}
	if (!pages)
		return closed;

	/* Where they go must be taggable. Half of the holes are still there. */
	if (pages > holes / 2)
		mts_make_ready(DIV_ROUND_UP(pages - holes / 2, per_block));
	mts_count_add(MTS_STAT_EVACUATE_TRIED, pages);
	trace_evacuate_start(closed, pages);
	pages = migrate_tagged(&folios);
	mts_count_add(MTS_STAT_EVACUATED, pages);
	WRITE_ONCE(mts_survey.evacuated, hurry ? 0 : pages);
	if (pages)
		in_vain = 0;
	trace_evacuate_finish(pages);
	return closed;
}

/* A free data block; NULL when the page allocator has none */
static struct page *alloc_data_block(unsigned int order)
{
	if (order > MAX_PAGE_ORDER)
		return NULL;
	return alloc_pages(GFP_HIGHUSER_MOVABLE | __GFP_ZEROTAGS | __GFP_NORETRY |
			   __GFP_NOWARN, order);
}

/**
 * mts_make_ready() - have free data blocks with their tag storage reserved
 * @nr:		how many
 *
 * They stay with the page allocator: nothing keeps other data from being
 * allocated there.
 *
 * Context: Process context, sleeps. No folio locks.
 * Return: how many there are now, up to @nr.
 */
unsigned long mts_make_ready(unsigned long nr)
{
	struct page *page, *next;
	unsigned long ready = 0;
	struct mts_region *r;
	unsigned int order;
	LIST_HEAD(pages);

	if (!mts_nr_regions || !mts_have_tags)
		return 0;
	r = mts_regions[0];
	order = r->geo.block_order + MTS_RATIO_SHIFT;
	/* All that are found have to be held, or the same is found again */
	for (nr = min(nr, MTS_READY_BATCH); ready < nr; ready++) {
		page = alloc_data_block(order);
		if (!page)
			break;
		list_add_tail(&page->lru, &pages);
		if (mts_reserve(page_to_pfn(page), 1UL << order, MTS_TAKE_WAIT,
				mts_site_get(_THIS_IP_)))
			break;
	}
	mts_count_add(MTS_STAT_MADE_READY, ready);
	list_for_each_entry_safe(page, next, &pages, lru) {
		list_del(&page->lru);
		__free_pages(page, order);
		mts_pool_note_range(page_to_pfn(page), 1UL << order);
	}
	return ready;
}

/* Chunks to look at for some that are to be emptied, and to empty at a time */
#define ROOM_LOOKS	4096
#define ROOM_CHUNKS	8

/* Chunks whose storage can be had, and the pages without tags in them */
static unsigned int isolate_room(unsigned long *chunks, struct list_head *folios)
{
	/* Where to look next; races are harmless */
	static unsigned long room_pfn;
	unsigned long from = READ_ONCE(room_pfn), pfn = 0, end = 0;
	unsigned int looks = ROOM_LOOKS, nr = 0, i;
	struct mts_region *r;

	for_each_mts_region(r, i) {
		end = r->geo.data_pfn + mts_data_pages(&r->geo);
		for (pfn = max(r->geo.data_pfn, from);
		     pfn < end && looks && nr < ROOM_CHUNKS; pfn += MTS_RATIO) {
			looks--;
			if (!mts_chunk_is_memory(pfn) || mts_chunk_is_hopeless(pfn))
				continue;
			if (mts_isolate(pfn, MTS_RATIO, MTS_UNTAGGED, folios))
				chunks[nr++] = pfn;
			cond_resched();
		}
		if (pfn < end)
			break;
	}
	/* From the start the next time */
	WRITE_ONCE(room_pfn, pfn < end ? pfn : 0);
	return nr;
}

/**
 * mts_make_room() - make room for tags where their storage can be had
 *
 * All memory that is free may be served by storage that somebody holds. Pages
 * without tags can live there, and leave theirs.
 *
 * Context: Process context, sleeps. No folio locks.
 * Return: whether there is some now.
 */
bool mts_make_room(void)
{
	unsigned int site = mts_site_get(_THIS_IP_), nr;
	unsigned long chunks[ROOM_CHUNKS];
	bool made = false;
	LIST_HEAD(folios);

	nr = isolate_room(chunks, &folios);
	if (!nr || !mts_migrate(&folios, (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) |
				__GFP_THISNODE | __GFP_NOWARN, MIGRATE_ASYNC))
		return false;
	while (nr--) {
		drain_chunk(chunks[nr]);
		if (mts_reserve(chunks[nr], MTS_RATIO, MTS_TAKE_WAIT, site))
			continue;
		mts_pool_note_free(chunks[nr]);
		made = true;
	}
	return made;
}
