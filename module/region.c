// SPDX-License-Identifier: GPL-2.0
/*
 * Regions: their tables, and their areas in the page allocator.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/cma.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "mts.h"

/* Does firmware, and nobody else, have all of this memory? */
static bool range_is_reserved(unsigned long pfn, unsigned long nr)
{
	for (; nr; nr--, pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page || !PageReserved(page) || page_count(page) != 1)
			return false;
	}
	return true;
}

/* Cut the tag storage into runs of whole pageblocks (and blocks) of a zone */
static void find_areas(struct mts_region *r)
{
	unsigned long align = max_t(unsigned long, pageblock_nr_pages,
				    mts_block_pages(&r->geo));
	unsigned long pfn = ALIGN(r->geo.tag_pfn, align);
	unsigned long end = ALIGN_DOWN(r->geo.tag_pfn + r->geo.tag_pages, align);
	struct mts_area *area = NULL;

	for (; pfn < end; pfn += align) {
		struct zone *zone = page_zone(pfn_to_page(pfn));

		/* Zone limits are aligned to pageblocks, not to larger blocks */
		if (page_zone(pfn_to_page(pfn + align - 1)) != zone) {
			area = NULL;
			continue;
		}
		if (!area || page_zone(pfn_to_page(area->pfn)) != zone) {
			if (r->nr_areas == MTS_MAX_AREAS)
				return;
			area = &r->areas[r->nr_areas++];
			area->pfn = pfn;
		}
		area->nr_pages += align;
	}
}

static void region_free(struct mts_region *r)
{
	kvfree(r->taggable);
	kvfree(r->refill);
	kvfree(r->requests);
	kvfree(r->idle);
	mts_survey_free(r);
	kvfree(r->state);
	kvfree(r->site);
	kfree(r);
}

/**
 * mts_region_create() - make the tables of a region
 * @geo:	its geometry, checked
 *
 * All blocks are static to begin with, and taggable.
 *
 * Return: the region, also in mts_regions[], or -ENOMEM.
 */
struct mts_region *mts_region_create(const struct mts_geometry *geo)
{
	unsigned long nr_blocks = mts_nr_blocks(geo);
	struct mts_region *r;

	r = kzalloc(sizeof(*r), GFP_KERNEL);
	if (!r)
		return ERR_PTR(-ENOMEM);

	r->geo = *geo;
	spin_lock_init(&r->lock);
	init_waitqueue_head(&r->changed);
	r->taggable = kvcalloc(BITS_TO_LONGS(geo->tag_pages), sizeof(long),
			       GFP_KERNEL);
	r->refill = kvcalloc(BITS_TO_LONGS(geo->tag_pages), sizeof(long),
			     GFP_KERNEL);
	r->requests = kvcalloc(BITS_TO_LONGS(nr_blocks), sizeof(long),
			       GFP_KERNEL);
	r->idle = kvcalloc(nr_blocks, sizeof(*r->idle), GFP_KERNEL);
	r->state = kvcalloc(nr_blocks, sizeof(*r->state), GFP_KERNEL);
	if (!r->taggable || !r->refill || !r->requests || !r->idle || !r->state ||
	    mts_survey_init(r) || mts_site_region_init(r)) {
		region_free(r);
		return ERR_PTR(-ENOMEM);
	}
	bitmap_fill(r->taggable, geo->tag_pages);
	r->nr[MTS_STATIC] = nr_blocks;
	find_areas(r);

	r->index = mts_nr_regions;
	mts_regions[mts_nr_regions++] = r;
	return r;
}

/**
 * mts_regions_destroy() - forget all regions
 *
 * Context: Process context, sleeps. Offline, nothing refers to them.
 */
void mts_regions_destroy(void)
{
	while (mts_nr_regions)
		region_free(mts_regions[--mts_nr_regions]);
}

static void set_area_state(struct mts_region *r, const struct mts_area *area,
			   enum mts_state from, enum mts_state to,
			   unsigned int site)
{
	unsigned long block, first, nr;

	first = (area->pfn - r->geo.tag_pfn) >> r->geo.block_order;
	nr = area->nr_pages >> r->geo.block_order;

	for (block = first; block < first + nr; block++) {
		mts_survey_forget(r, block);
		spin_lock(&r->lock);
		if (r->state[block] == from) {
			mts_block_set_state(r, block, to);
			mts_site_hold(r, block, site);
		}
		spin_unlock(&r->lock);
		cond_resched();
	}
}

/**
 * mts_regions_register() - make the areas of all regions known to the page
 * allocator
 *
 * Their blocks are reserved then.
 *
 * Context: Holds mts_state_mutex.
 * Return: 0 or a negative error, and nothing is registered then.
 */
int mts_regions_register(void)
{
	unsigned int site = mts_site_get(_THIS_IP_);
	struct mts_region *r;
	unsigned int i, j, n = 0;

	lockdep_assert_held(&mts_state_mutex);
	for_each_mts_region(r, i) {
		for (j = 0; j < r->nr_areas; j++) {
			struct mts_area *area = &r->areas[j];
			struct cma *cma;
			char name[16];

			snprintf(name, sizeof(name), "mts-%u", n++);
			cma = ERR_PTR(-EBUSY);
			if (range_is_reserved(area->pfn, area->nr_pages))
				cma = cma_register_late(PFN_PHYS(area->pfn),
							area->nr_pages << PAGE_SHIFT,
							name);
			if (IS_ERR(cma)) {
				phys_addr_t base = PFN_PHYS(area->pfn);

				pr_err("can't register %lu KiB at %pa as a CMA area: %pe\n",
				       area->nr_pages << (PAGE_SHIFT - 10),
				       &base, cma);
				if (cma == ERR_PTR(-ENOSPC))
					pr_err("no CMA area is left: the kernel needs a larger CONFIG_CMA_AREAS\n");
				mts_regions_unregister();
				return PTR_ERR(cma);
			}
			area->cma = cma;
			set_area_state(r, area, MTS_STATIC, MTS_RESERVED, site);
		}
	}
	return 0;
}

/**
 * mts_regions_unregister() - undo mts_regions_register()
 *
 * All blocks of the areas are reserved or bad: the module owns them.
 *
 * Context: Holds mts_state_mutex.
 */
void mts_regions_unregister(void)
{
	struct mts_region *r;
	unsigned int i, j;

	lockdep_assert_held(&mts_state_mutex);
	for_each_mts_region(r, i) {
		for (j = 0; j < r->nr_areas; j++) {
			struct mts_area *area = &r->areas[j];

			if (!area->cma)
				continue;
			set_area_state(r, area, MTS_RESERVED, MTS_STATIC, 0);
			cma_unregister_late(area->cma);
			area->cma = NULL;
		}
	}
}
