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
 * The page allocator gives a page of the first zone of its list that has one, and all
 * that is free there may be memory whose tag storage somebody holds. The zones below
 * that of @folio, then. Return: false if there is none.
 */
static bool below_zone(struct folio *folio, gfp_t *gfp)
{
	enum zone_type zone = folio_zonenum(folio);

	*gfp &= ~(__GFP_HIGHMEM | __GFP_DMA32 | __GFP_DMA);
	if (zone == ZONE_MOVABLE)
		return true;
#ifdef CONFIG_ZONE_DMA32
	if (zone > ZONE_DMA32) {
		*gfp |= __GFP_DMA32;
		return true;
	}
#endif
#ifdef CONFIG_ZONE_DMA
	if (zone > ZONE_DMA) {
		*gfp |= __GFP_DMA;
		return true;
	}
#endif
	return false;
}

/* One that can have tags, or NULL; the others are added to @refused */
static struct folio *try_place(gfp_t gfp, unsigned int order, int nid,
			       struct list_head *refused)
{
	unsigned int tries = TARGET_TRIES;
	struct folio *dst;

	while (tries--) {
		/* Accounted to the kernel's line: it can be in use longer than the module */
		dst = __folio_alloc_noprof(gfp, order, nid, NULL);
		if (!dst || !(gfp & __GFP_ZEROTAGS) || is_taggable(dst))
			return dst;
		/* Where the last one was in vain, not where it is clear that this one is, too */
		if ((list_empty(refused) || order || !mts_chunk_is_hopeless(folio_pfn(dst))) &&
		    !mts_prepare(folio_pfn(dst), 1UL << order, MTS_RATIO, _THIS_IP_))
			return dst;
		/* Held, so that the next one is another */
		list_add(&dst->lru, refused);
	}
	return NULL;
}

/* In the zones of a node, from the highest on; @refused has what was found there */
static struct folio *try_below(gfp_t gfp, unsigned int order, int nid,
			       struct list_head *refused)
{
	struct folio *dst = NULL, *last = NULL, *first;

	while (!dst) {
		first = list_first_entry_or_null(refused, struct folio, lru);
		if (!first || first == last || !below_zone(first, &gfp))
			break;
		last = first;
		dst = try_place(gfp, order, nid, refused);
	}
	return dst;
}

/* The same on other nodes, without any effort: there is free memory where we are */
static struct folio *try_elsewhere(gfp_t gfp, unsigned int order, int nid,
				   struct list_head *refused)
{
	struct folio *dst;
	int other;

	gfp = (gfp & ~__GFP_RECLAIM) | __GFP_THISNODE | __GFP_NOWARN;
	dst = try_below(gfp, order, nid, refused);
	for_each_online_node(other) {
		LIST_HEAD(there);

		if (dst)
			break;
		if (other == nid)
			continue;
		dst = try_place(gfp, order, other, &there) ?:
			try_below(gfp, order, other, &there);
		list_splice(&there, refused);
	}
	return dst;
}

/*
 * As alloc_migration_target() of the kernel; @private is a gfp mask. A target that
 * will have tags must be one that can, or nothing is gained.
 */
static struct folio *alloc_target(struct folio *src, unsigned long private)
{
	gfp_t gfp = (__force gfp_t)private;
	unsigned int order = folio_order(src);
	int nid = folio_nid(src);
	struct folio *dst, *next;
	LIST_HEAD(refused);

	if (folio_test_hugetlb(src))
		return NULL;
	/* In compaction, or reclaim, it must not begin once more */
	if (order)
		gfp = gfp & __GFP_DIRECT_RECLAIM ?
			(gfp & ~__GFP_RECLAIM) | GFP_TRANSHUGE : gfp | GFP_TRANSHUGE_LIGHT;
	dst = try_place(gfp, order, nid, &refused);
	/* Nobody waits for passes */
	if (!list_empty(&refused) && !dst && !(gfp & __GFP_NORETRY))
		dst = try_elsewhere(gfp, order, nid, &refused);
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
