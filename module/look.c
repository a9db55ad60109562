// SPDX-License-Identifier: GPL-2.0
/*
 * A look at the pages of a data block: which have tags, which are free?
 */
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pgtable.h>

#include "mts.h"

/*
 * The page after @page, at @pfn; NULL if there is none. Memory comes and goes by
 * sections, and has a memory map by subsections.
 */
static __always_inline struct page *next_page(struct page *page, unsigned long pfn)
{
	if (page && pfn % PAGES_PER_SUBSECTION)
		return page + 1;
	return pfn_to_online_page(pfn);
}

/* Mapped Tagged everywhere, with tags cleared at boot, but without the flag */
static bool has_zero_page(unsigned long pfn, unsigned long nr)
{
	return mts_have_tags && my_zero_pfn(0) - pfn < nr;
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
	struct page *page = NULL;
	unsigned long i;

	/* Nobody sees what that does */
	if (mts_is_kept_memory(first, mts_block_data_pages(&r->geo)) ||
	    has_zero_page(first, mts_block_data_pages(&r->geo)))
		return true;
	if (!mts_have_tags)
		return false;
	for (i = 0; i < mts_block_data_pages(&r->geo); i++) {
		page = next_page(page, first + i);
		if (!page)
			continue;
		if (mts_page_is_tagged(page))
			return true;
	}
	return false;
}

/**
 * mts_block_look() - count the pages of the data block
 * @r:		the region
 * @block:	the block
 * @look:	result
 *
 * Context: Any; a snapshot.
 */
void mts_block_look(const struct mts_region *r, unsigned long block,
		    struct mts_look *look)
{
	unsigned long first = mts_block_data_pfn(&r->geo, block);
	unsigned long i, nr = mts_block_data_pages(&r->geo);
	struct page *page = NULL;

	*look = (struct mts_look) {
		.kept = mts_is_kept_memory(first, nr) || has_zero_page(first, nr),
	};
	for (i = 0; i < nr; i++) {
		page = next_page(page, first + i);
		if (!page)
			continue;
		if (mts_page_is_tagged(page)) {
			look->tagged++;
		} else if (!page_count(page)) {
			look->hole = first + i;
			look->free++;
		}
	}
}
