// SPDX-License-Identifier: GPL-2.0
/*
 * Who allocated the pages that have tags, by the allocation sites of
 * /proc/allocinfo: the second section of /proc/mte_tag_storage.
 */
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "mts.h"

/* Sites that are told apart; a few dozen places allocate user memory */
#define MTS_MAX_ALLOC_SITES	256

struct mts_alloc_sites {
	unsigned int nr;
	unsigned long unknown_pages;
	struct {
		struct tag_storage_site site;
		unsigned long pages;
	} of[MTS_MAX_ALLOC_SITES];
};

static void count_page(struct mts_alloc_sites *s, struct page *page)
{
	struct tag_storage_site site;
	unsigned int i;

	if (!tag_storage_alloc_site(page, &site)) {
		s->unknown_pages++;
		return;
	}
	for (i = 0; i < s->nr; i++)
		if (s->of[i].site.file == site.file &&
		    s->of[i].site.line == site.line)
			break;
	if (i == MTS_MAX_ALLOC_SITES) {
		s->unknown_pages++;
		return;
	}
	if (i == s->nr)
		s->of[s->nr++].site = site;
	s->of[i].pages++;
}

static void count_block(struct mts_alloc_sites *s, const struct mts_region *r,
			unsigned long block)
{
	unsigned long pfn = mts_block_data_pfn(&r->geo, block);
	unsigned long end = pfn + mts_block_data_pages(&r->geo);

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		/* The zero page was never allocated */
		if (page && mts_page_is_tagged(page) && !is_zero_page(page))
			count_page(s, page);
	}
}

/**
 * mts_alloc_show() - show who allocated the pages that have tags
 * @m:		the file
 *
 * Nothing when the kernel doesn't profile allocations. A walk over the pages of
 * all taggable blocks without a lock: pages that get tags, or lose them,
 * meanwhile may be counted or not.
 *
 * Context: Process context, sleeps.
 */
void mts_alloc_show(struct seq_file *m)
{
	struct mts_alloc_sites *s = kvzalloc(sizeof(*s), GFP_KERNEL);
	struct mts_region *r;
	unsigned long block;
	unsigned int i;

	if (!s)
		return;
	for_each_mts_region(r, i) {
		for_each_taggable_block(r, block) {
			count_block(s, r, block);
			cond_resched();
		}
	}
	for (i = 0; i < s->nr; i++)
		seq_printf(m, "%12lu %8lu %s:%u func:%s tagged\n",
			   s->of[i].pages << PAGE_SHIFT, s->of[i].pages,
			   s->of[i].site.file, s->of[i].site.line,
			   s->of[i].site.func);
	if (s->nr && s->unknown_pages)
		seq_printf(m, "%12lu %8lu <unknown> tagged\n",
			   s->unknown_pages << PAGE_SHIFT, s->unknown_pages);
	kvfree(s);
}
