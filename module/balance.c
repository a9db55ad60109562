// SPDX-License-Identifier: GPL-2.0
/*
 * Balance: free tag storage is of no use to those who wait for memory that isn't
 * movable. Under pressure, where there is little other free memory, pages without
 * tags move to free tag storage, and leave theirs.
 *
 * Pages that get tags leave tag storage all the time, so that what was balanced
 * when it was allocated does not stay so.
 */
#include <linux/align.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/shrinker.h>
#include <linux/vmstat.h>

#include "mts.h"

/* Pages to move at a time, and chunks to look at for them */
#define BALANCE_BATCH	64
#define BALANCE_CHUNKS	16

static struct shrinker *balance_shrinker;
/* Where to look next for pages to move; races are harmless */
static unsigned long balance_pfn;

/* How many pages of a node had better be in tag storage? */
static unsigned long pages_to_move(int nid)
{
	unsigned long n = 0;
	unsigned int i;

	for (i = 0; i < MAX_NR_ZONES; i++) {
		struct zone *zone = &NODE_DATA(nid)->node_zones[i];
		unsigned long cma, other, wanted;

		if (!populated_zone(zone))
			continue;
		cma = zone_page_state(zone, NR_FREE_CMA_PAGES);
		other = zone_page_state(zone, NR_FREE_PAGES);
		other -= min(cma, other);
		wanted = 2 * high_wmark_pages(zone);
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

static unsigned long balance_count(struct shrinker *shrinker,
				   struct shrink_control *sc)
{
	if (!mts_is_online())
		return SHRINK_EMPTY;
	return pages_to_move(sc->nid) ?: SHRINK_EMPTY;
}

/* Light migration, to what is free: as reclaim does it for demotion */
static unsigned long balance_scan(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	unsigned long moved;
	LIST_HEAD(folios);

	if (!mts_is_online() || !(sc->gfp_mask & __GFP_FS) ||
	    !pages_to_move(sc->nid) || !isolate_some(sc->nid, &folios))
		return SHRINK_STOP;
	moved = mts_migrate(&folios, (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) |
			    __GFP_THISNODE | __GFP_NOWARN, MIGRATE_ASYNC);
	mts_count_add(MTS_STAT_BALANCED, moved);
	sc->nr_scanned = BALANCE_BATCH;
	return moved ?: SHRINK_STOP;
}

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

void mts_balance_exit(void)
{
	shrinker_free(balance_shrinker);
}
