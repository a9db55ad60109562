// SPDX-License-Identifier: GPL-2.0
/*
 * What is asked most: which region is a page of, may it have tags, and where are
 * free pages for tags? Costs the same however much memory there is.
 */
#include <linux/align.h>
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/minmax.h>

#include "mts.h"

/* Bits of hints to look at, at a time */
#define HINT_WINDOW	(64 * BITS_PER_LONG)

struct mts_region *mts_regions[MTS_MAX_REGIONS];
unsigned int mts_nr_regions;

/**
 * mts_region_of_data() - find the region that serves a page
 * @pfn:	the page
 *
 * Return: the region or NULL.
 */
struct mts_region *mts_region_of_data(unsigned long pfn)
{
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i)
		if (mts_serves_pfn(&r->geo, pfn))
			return r;
	return NULL;
}

/**
 * mts_region_of_storage() - find the region whose tag storage a page is part of
 * @pfn:	the page
 *
 * Return: the region or NULL.
 */
struct mts_region *mts_region_of_storage(unsigned long pfn)
{
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i)
		if (mts_stores_pfn(&r->geo, pfn))
			return r;
	return NULL;
}

static __always_inline int region_taggable(const struct mts_region *r, unsigned long pfn)
{
	/* Its bit can be set, if the block serves others too */
	if (unlikely(mts_stores_pfn(&r->geo, pfn)))
		return -1;
	if (unlikely(!mts_serves_pfn(&r->geo, pfn)))
		return 1;
	return test_bit((pfn - r->geo.data_pfn) / MTS_RATIO, r->taggable);
}

static noinline int chunk_taggable_by_all(unsigned long pfn)
{
	const struct mts_region *r;
	int taggable = 1, ret;
	unsigned int i;

	for_each_mts_region(r, i) {
		ret = region_taggable(r, pfn);
		if (ret < 0)
			return ret;
		taggable &= ret;
	}
	return taggable;
}

static __always_inline int chunk_taggable(unsigned long pfn)
{
	if (likely(mts_nr_regions == 1))
		return region_taggable(mts_regions[0], pfn);
	return chunk_taggable_by_all(pfn);
}

/*
 * Who asks for whole blocks is about to fill a large folio, and a collapse is not
 * done again if its copy fails: they had better not be released in between.
 */
static void keep_idle(unsigned long pfn, unsigned long nr_pages)
{
	unsigned long end = pfn + nr_pages;

	while (pfn < end) {
		struct mts_region *r = mts_region_of_data(pfn);
		unsigned long block;

		if (r) {
			block = mts_data_pfn_to_block(&r->geo, pfn);
			if (READ_ONCE(r->idle[block]))
				WRITE_ONCE(r->idle[block], 0);
		}
		pfn = ALIGN_DOWN(pfn, MTS_RATIO) + MTS_RATIO;
	}
}

static noinline int chunks_taggable(unsigned long pfn, unsigned long nr_pages)
{
	unsigned long next = pfn, end = pfn + nr_pages;
	int taggable = 1, ret;

	/* A chunk is taggable as a whole */
	do {
		ret = chunk_taggable(next);
		if (ret < 0)
			return ret;
		taggable &= ret;
		next = ALIGN_DOWN(next, MTS_RATIO) + MTS_RATIO;
	} while (next < end);
	if (taggable && nr_pages >= MTS_RATIO)
		keep_idle(pfn, nr_pages);
	return taggable;
}

/**
 * mts_taggable() - may pages have tags now?
 * @pfn:	the first page
 * @nr_pages:	how many
 *
 * The owner's part of &struct tag_storage_ops. Whole blocks that may are not released
 * before their delay is over once more.
 *
 * Context: Any, in an RCU read-side section.
 * Return: 1, 0, or -1 if one of them is tag storage.
 */
int mts_taggable(unsigned long pfn, unsigned long nr_pages)
{
	return likely(nr_pages == 1) ? chunk_taggable(pfn) : chunks_taggable(pfn, nr_pages);
}

/**
 * mts_hint_note() - note that pages of a chunk have become free
 * @r:		the region that serves it
 * @zone:	its zone, counted over all nodes
 * @pfn:	one of the pages
 *
 * Only of a chunk that is taggable.
 *
 * Context: Any.
 */
void mts_hint_note(struct mts_region *r, unsigned int zone, unsigned long pfn)
{
	unsigned long bit = (pfn - r->geo.data_pfn) / MTS_RATIO, from;

	if (!test_bit(bit, r->taggable) || test_bit(bit, r->refill))
		return;
	set_bit(bit, r->refill);
	/* Pairs with the cmpxchg() in mts_hint_next(): what is noted isn't lost */
	smp_mb__after_atomic();
	from = READ_ONCE(r->refill_from[zone]);
	while (bit < from && !try_cmpxchg(&r->refill_from[zone], &from, bit))
		;
}

/**
 * mts_hint_next() - the next chunk that has free pages for tags
 * @r:		the region
 * @zone:	the zone, counted over all nodes
 * @start:	first page of the zone in the region
 * @end:	the one after its last page there
 *
 * Lower ones first: like fullest first that keeps few in use, and costs less. The
 * chunk isn't returned again before it is noted again.
 *
 * Context: Any.
 * Return: its first page; 0 when there is none, or not near.
 */
unsigned long mts_hint_next(struct mts_region *r, unsigned int zone,
			    unsigned long start, unsigned long end)
{
	unsigned long from = READ_ONCE(r->refill_from[zone]), bit, stop;

	bit = max(from, (start - r->geo.data_pfn) / MTS_RATIO);
	stop = min(bit + HINT_WINDOW, (end - r->geo.data_pfn) / MTS_RATIO);
	for_each_set_bit_from(bit, r->refill, stop) {
		if (!test_and_clear_bit(bit, r->refill) ||
		    !test_bit(bit, r->taggable))
			continue;
		/* Unless a lower one has been noted meanwhile */
		cmpxchg(&r->refill_from[zone], from, bit);
		return r->geo.data_pfn + bit * MTS_RATIO;
	}
	cmpxchg(&r->refill_from[zone], from, stop);
	return 0;
}
