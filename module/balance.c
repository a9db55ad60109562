// SPDX-License-Identifier: GPL-2.0
/*
 * Balance: free tag storage is of no use to those who wait for memory that isn't
 * movable. Under pressure, where there is little other free memory, pages without
 * tags move to free tag storage, and leave theirs.
 *
 * Pages that get tags leave tag storage all the time, so that what was balanced
 * when it was allocated does not stay so.
 *
 * The targets are taken off the free lists one by one. The page allocator would
 * give others: those at hand on the list of a CPU, that just were left, or of
 * whatever CMA area. Then pages move without end, reclaim takes that for progress,
 * and who waits for memory waits for ever.
 */
#include <linux/align.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/shrinker.h>
#include <linux/sizes.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "mts.h"

/* Pages to move at a time, and chunks to look at for them */
#define BALANCE_BATCH	64
#define BALANCE_CHUNKS	16
/* Pages of tag storage to look at for free ones */
#define BALANCE_LOOKS	8192

static struct shrinker *balance_shrinker;
/* Where to look next for pages to move, and for free ones; races are harmless */
static unsigned long balance_pfn;
static unsigned long balance_free_pfn;

/**
 * mts_free_pages() - what is free in a zone besides CMA areas
 * @zone:	the zone
 *
 * Context: Any.
 * Return: the number of pages.
 */
unsigned long mts_free_pages(struct zone *zone)
{
	unsigned long free = zone_page_state(zone, NR_FREE_PAGES);

	return free - min(zone_page_state(zone, NR_FREE_CMA_PAGES), free);
}

/*
 * What taking back leaves to others above the high watermark, as hibernation leaves
 * it to drivers (PAGES_FOR_IO): what starts and ends in those seconds needs memory
 */
#define BALANCE_SPARE	(SZ_4M >> PAGE_SHIFT)

/**
 * mts_memory_is_low() - would memory be low with some pages less?
 * @nr_pages:	how many
 *
 * What is free in CMA areas doesn't count, as it can be what is to be taken.
 *
 * Context: Any.
 * Return: true if no zone had 4 MiB more than its high watermark free then.
 */
bool mts_memory_is_low(unsigned long nr_pages)
{
	struct zone *zone;
	int nid;

	for_each_online_node(nid) {
		mts_for_each_zone(zone, nid) {
			if (mts_free_pages(zone) >
			    nr_pages + high_wmark_pages(zone) + BALANCE_SPARE +
			    zone->lowmem_reserve[ZONE_MOVABLE])
				return false;
		}
	}
	return true;
}

/* How many pages of a node had better be in tag storage? */
static unsigned long pages_to_move(int nid)
{
	unsigned long n = 0;
	struct zone *zone;

	mts_for_each_zone(zone, nid) {
		unsigned long cma = zone_page_state(zone, NR_FREE_CMA_PAGES);
		unsigned long other = mts_free_pages(zone);
		unsigned long wanted = 2 * high_wmark_pages(zone);

		if (other < wanted && cma > BALANCE_BATCH)
			n += min(cma, wanted - other);
	}
	return n;
}

/* The next region of a node, by address, or its first one; NULL if it has none */
static struct mts_region *next_region(int nid, unsigned long pfn)
{
	struct mts_region *r, *next = NULL, *first = NULL;
	unsigned int i;

	for_each_mts_region(r, i) {
		unsigned long start = r->geo.data_pfn;

		if (!pfn_valid(start) || pfn_to_nid(start) != nid)
			continue;
		if (!first || start < first->geo.data_pfn)
			first = r;
		if (start > pfn && (!next || start < next->geo.data_pfn))
			next = r;
	}
	return next ?: first;
}

/* Isolate some pages without tags that are not in tag storage */
static unsigned int isolate_some(int nid, struct list_head *folios)
{
	unsigned long pfn = READ_ONCE(balance_pfn);
	unsigned int nr = 0, chunks;
	struct mts_region *r;

	for (chunks = 0; chunks < BALANCE_CHUNKS && nr < BALANCE_BATCH; chunks++) {
		r = mts_region_of_data(pfn);
		if (r && !pfn_valid(pfn)) {
			/* A hole */
			pfn = ALIGN(pfn + 1, PAGES_PER_SECTION);
			continue;
		}
		if (!r || pfn_to_nid(pfn) != nid) {
			r = next_region(nid, pfn);
			if (!r)
				break;
			pfn = r->geo.data_pfn;
		}
		if (!mts_is_storage(pfn))
			nr += mts_isolate(pfn, MTS_RATIO, MTS_UNTAGGED, folios);
		pfn += MTS_RATIO;
	}
	WRITE_ONCE(balance_pfn, pfn);
	return nr;
}

/* The area of a node that a page is in, or else the next one, or its first one */
static const struct mts_area *next_area(int nid, unsigned long pfn)
{
	const struct mts_area *area, *next = NULL, *first = NULL;
	struct mts_region *r;
	unsigned int i, j;

	for_each_mts_region(r, i) {
		for (j = 0; j < r->nr_areas; j++) {
			area = &r->areas[j];
			if (!READ_ONCE(area->cma) || pfn_to_nid(area->pfn) != nid)
				continue;
			if (!first || area->pfn < first->pfn)
				first = area;
			if (area->pfn + area->nr_pages > pfn &&
			    (!next || area->pfn < next->pfn))
				next = area;
		}
	}
	return next ?: first;
}

/* Take some free pages of tag storage */
static unsigned int take_some(int nid, struct list_head *targets)
{
	unsigned long pfn = READ_ONCE(balance_free_pfn), end;
	unsigned int nr = 0, looks = BALANCE_LOOKS;
	const struct mts_area *area;
	LIST_HEAD(pages);

	while (looks && nr < BALANCE_BATCH) {
		area = next_area(nid, pfn);
		if (!area)
			break;
		end = area->pfn + area->nr_pages;
		if (pfn < area->pfn || pfn >= end)
			pfn = area->pfn;
		for (; pfn < end && looks && nr < BALANCE_BATCH; pfn++, looks--) {
			struct page *page = pfn_to_page(pfn);

			/* The rest of a free block begins with the next page then */
			if (!PageBuddy(page) ||
			    !tag_storage_take_free(page_zone(page), pfn, 1, true, &pages))
				continue;
			list_add(&page->lru, targets);
			nr++;
		}
	}
	WRITE_ONCE(balance_free_pfn, pfn);
	return nr;
}

static struct folio *next_target(struct folio *src, unsigned long private)
{
	struct list_head *targets = (struct list_head *)private;
	struct page *page;

	page = list_first_entry_or_null(targets, struct page, lru);
	if (!page || folio_test_large(src))
		return NULL;
	list_del(&page->lru);
	return page_folio(page);
}

static unsigned long balance_count(struct shrinker *shrinker,
				   struct shrink_control *sc)
{
	if (!mts_is_online() || READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF)
		return SHRINK_EMPTY;
	return pages_to_move(sc->nid) ?: SHRINK_EMPTY;
}

/* Light migration, to what is free: as reclaim does it for demotion */
static unsigned long balance_scan(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	struct page *page, *next;
	unsigned long moved = 0;
	LIST_HEAD(targets);
	LIST_HEAD(folios);

	if (!mts_is_online() || !(sc->gfp_mask & __GFP_FS) ||
	    !pages_to_move(sc->nid) || !take_some(sc->nid, &targets))
		return SHRINK_STOP;
	if (isolate_some(sc->nid, &folios))
		moved = tag_storage_migrate(&folios, next_target,
					    (unsigned long)&targets, MIGRATE_ASYNC);
	list_for_each_entry_safe(page, next, &targets, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
	mts_count_add(MTS_STAT_BALANCED, moved);
	/*
	 * What the pages left is free for those who can't use tag storage, but on
	 * per-CPU lists, where no watermark sees it. As it is progress, reclaim
	 * drains them. That ends: each page that moves takes one of those above.
	 */
	mm_account_reclaimed_pages(moved);
	sc->nr_scanned = BALANCE_BATCH;
	return moved ?: SHRINK_STOP;
}

/**
 * mts_balance_init() - be told of pressure
 *
 * Context: Process context, when the module is loaded.
 * Return: 0 or -ENOMEM.
 */
int mts_balance_init(void)
{
	balance_shrinker = shrinker_alloc(SHRINKER_NUMA_AWARE,
					  KBUILD_MODNAME "-balance");
	if (!balance_shrinker)
		return -ENOMEM;
	balance_shrinker->count_objects = balance_count;
	balance_shrinker->scan_objects = balance_scan;
	balance_shrinker->seeks = 0;
	balance_shrinker->batch = 1;
	shrinker_register(balance_shrinker);
	return 0;
}

/**
 * mts_balance_exit() - hear nothing of pressure any more
 *
 * Context: Process context, sleeps. On return no function of it runs.
 */
void mts_balance_exit(void)
{
	shrinker_free(balance_shrinker);
}
