// SPDX-License-Identifier: GPL-2.0
/*
 * Moving pages: out of tag storage, to where they can have tags, and tagged ones
 * together.
 */
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-flags.h>

#include "mts.h"

/**
 * mts_isolate() - isolate pages in order to move them
 * @pfn:	the first page
 * @nr_pages:	how many to look at
 * @which:	which of them; large folios only if it is all
 * @folios:	where to add their folios, for mts_migrate()
 *
 * What is in an LRU batch of another CPU is not found.
 *
 * Context: Process context.
 * Return: the number of folios added.
 */
unsigned int mts_isolate(unsigned long pfn, unsigned long nr_pages,
			 enum mts_which which, struct list_head *folios)
{
	unsigned long end = pfn + nr_pages;
	bool any = which == MTS_ANY;
	unsigned int nr = 0;

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);
		struct folio *folio;

		if (!page || PageReserved(page))
			continue;
		if (which == MTS_TAGGED && !mts_page_is_tagged(page))
			continue;
		if (which == MTS_UNTAGGED && mts_page_is_tagged(page))
			continue;
		folio = page_folio(page);
		if (!folio_try_get(folio))
			continue;
		/* It may have been split or freed until the reference was taken */
		if (folio == page_folio(page) && (any || !folio_test_large(folio)))
			nr += tag_storage_isolate(folio, folios);
		folio_put(folio);
	}
	return nr;
}

/* Places to look at for a target that can have tags */
#define TARGET_TRIES	8

static bool is_taggable(struct folio *folio)
{
	guard(rcu)();
	return mts_taggable(folio_pfn(folio), folio_nr_pages(folio)) > 0;
}

/*
 * As alloc_migration_target() of the kernel; @private is a gfp mask. A target that
 * will have tags must be one that can, or nothing is gained.
 */
static struct folio *alloc_target(struct folio *src, unsigned long private)
{
	unsigned int order = folio_order(src), tries = TARGET_TRIES;
	struct folio *dst, *next;
	gfp_t gfp = (__force gfp_t)private;
	LIST_HEAD(refused);

	if (folio_test_hugetlb(src))
		return NULL;
	/* In compaction, or reclaim, it must not begin once more */
	if (order)
		gfp = gfp & __GFP_DIRECT_RECLAIM ?
			(gfp & ~__GFP_RECLAIM) | GFP_TRANSHUGE : gfp | GFP_TRANSHUGE_LIGHT;
	for (;;) {
		/* Accounted to the kernel's line: it can be in use longer than the module */
		dst = __folio_alloc_noprof(gfp, order, folio_nid(src), NULL);
		if (!dst || !(gfp & __GFP_ZEROTAGS) || is_taggable(dst) ||
		    !mts_prepare(folio_pfn(dst), 1UL << order, MTS_RATIO, _THIS_IP_))
			break;
		/* Held, so that the next one is another */
		list_add(&dst->lru, &refused);
		dst = NULL;
		if (!--tries)
			break;
	}
	while (!list_empty(&refused)) {
		next = list_first_entry(&refused, struct folio, lru);
		list_del(&next->lru);
		folio_put(next);
	}
	return dst;
}

/**
 * mts_migrate() - move isolated folios elsewhere
 * @folios:	what mts_isolate() found; empty on return
 * @gfp:	flags for the allocation of the targets; with __GFP_ZEROTAGS they are
 *		taggable
 * @mode:	how hard to try
 *
 * Context: Process context, no folio locks. Sleeps.
 * Return: the number of folios moved. Large ones are split if there is no target.
 */
unsigned int mts_migrate(struct list_head *folios, gfp_t gfp,
			 enum migrate_mode mode)
{
	return tag_storage_migrate(folios, alloc_target, (__force unsigned long)gfp,
				   mode);
}
