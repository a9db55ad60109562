// SPDX-License-Identifier: GPL-2.0
/*
 * Who holds tag storage: an account per place in the code that asked for it.
 *
 * A reserved block refers to its site in bits of page->flags of its first page
 * that no field of this kernel's uses. The module owns the page and clears them
 * before it frees it. Where there are too few, a table has the references.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/version.h>

#include "mts.h"

/* Free bits are between the flags proper and the fields above them */
#define SITE_SHIFT	__NR_PAGEFLAGS
#define SITE_FREE_BITS	((int)LRU_REFS_PGOFF - (int)__NR_PAGEFLAGS)
#define SITE_MASK	((MTS_MAX_SITES - 1UL) << SITE_SHIFT)

/* Later kernels keep references of their own there when they profile */
#if IS_ENABLED(CONFIG_MEM_ALLOC_PROFILING) && \
	KERNEL_VERSION(6, 13, 0) <= LINUX_VERSION_CODE
#define SITE_BITS_TAKEN	true
#else
#define SITE_BITS_TAKEN	false
#endif

/*
 * MTS_SITE_TABLE: a build can do as if they didn't fit, to test the table.
 * MTS_BREAK_RESERVATION: it doesn't own the pages.
 */
#define SITE_IN_FLAGS							\
	(!IS_ENABLED(MTS_SITE_TABLE) &&					\
	 !IS_ENABLED(MTS_BREAK_RESERVATION) && !SITE_BITS_TAKEN &&	\
	 SITE_FREE_BITS >= MTS_SITE_BITS)

static_assert(BIT(MTS_SITE_BITS) == MTS_MAX_SITES);

struct mts_site {
	const struct tag_storage_site *site;
	atomic64_t calls;
};

/* Protects the addition of sites; lookups pair with the release below */
static DEFINE_SPINLOCK(mts_site_lock);
static struct mts_site mts_sites[MTS_MAX_SITES];
static unsigned int mts_nr_sites = 1;	/* 0 is nobody */

static unsigned int site_find(const struct tag_storage_site *site,
			      unsigned int nr)
{
	unsigned int i;

	for (i = 1; i < nr; i++)
		if (mts_sites[i].site == site)
			return i;
	return 0;
}

/**
 * mts_site_get() - count a call of a site
 * @site:	the site, static data of the kernel or this module
 *
 * Context: Any.
 * Return: its number. When there are too many sites the last one stands for
 * all that came later.
 */
unsigned int mts_site_get(const struct tag_storage_site *site)
{
	/* Pairs with smp_store_release() below */
	unsigned int id = site_find(site, smp_load_acquire(&mts_nr_sites));

	if (!id) {
		spin_lock(&mts_site_lock);
		id = site_find(site, mts_nr_sites);
		if (!id) {
			id = min(mts_nr_sites, MTS_MAX_SITES - 1U);
			if (id == mts_nr_sites) {
				mts_sites[id].site = site;
				/* Pairs with smp_load_acquire() in readers */
				smp_store_release(&mts_nr_sites, id + 1);
			}
		}
		spin_unlock(&mts_site_lock);
	}
	atomic64_inc(&mts_sites[id].calls);
	return id;
}

static struct page *site_page(const struct mts_region *r, unsigned long block)
{
	return pfn_to_page(mts_block_tag_pfn(&r->geo, block));
}

static unsigned int site_of(const struct mts_region *r, unsigned long block)
{
	if (!SITE_IN_FLAGS)
		return r->site[block];
	return (READ_ONCE(site_page(r, block)->flags) & SITE_MASK) >> SITE_SHIFT;
}

/**
 * mts_site_hold() - note for whom a block is reserved
 * @r:		the region
 * @block:	the block; the module owns its pages
 * @site:	number of the site, 0 when it's reserved no more
 *
 * Context: Holds r->lock.
 */
void mts_site_hold(struct mts_region *r, unsigned long block,
		   unsigned int site)
{
	lockdep_assert_held(&r->lock);
	r->nr_site[site_of(r, block)]--;
	r->nr_site[site]++;
	/* Memory failure and others may change other bits of the flags */
	if (SITE_IN_FLAGS)
		set_mask_bits(&site_page(r, block)->flags, SITE_MASK,
			      (unsigned long)site << SITE_SHIFT);
	else
		r->site[block] = site;
}

/**
 * mts_site_region_init() - have room for a region's references
 * @r:		the region
 *
 * Return: 0 or -ENOMEM.
 */
int mts_site_region_init(struct mts_region *r)
{
	unsigned long nr = mts_nr_blocks(&r->geo);

	r->nr_site[0] = nr;
	if (SITE_IN_FLAGS)
		return 0;
	pr_warn_once("references to %u sites don't fit into the %d free bits of page flags; keeping them in a table, a byte for each block\n",
		     MTS_MAX_SITES, max(SITE_FREE_BITS, 0));
	r->site = kvcalloc(nr, sizeof(*r->site), GFP_KERNEL);
	return r->site ? 0 : -ENOMEM;
}

/* The lines of /proc/mte_tag_storage, in the format of /proc/allocinfo */
void mts_site_show(struct seq_file *m)
{
	unsigned long pages[MTS_MAX_SITES] = {};
	struct mts_region *r;
	unsigned int i, nr;

	/* A region at a time, so that the sums are right at any moment */
	for_each_mts_region(r, i) {
		unsigned int site;

		spin_lock(&r->lock);
		for (site = 1; site < MTS_MAX_SITES; site++)
			pages[site] += r->nr_site[site] << r->geo.block_order;
		spin_unlock(&r->lock);
	}

	/* Pairs with smp_store_release() in mts_site_get() */
	nr = smp_load_acquire(&mts_nr_sites);
	for (i = 1; i < nr; i++) {
		const struct mts_site *s = &mts_sites[i];

		seq_printf(m, "%12lu %8llu %s:%u func:%s\n",
			   pages[i] << PAGE_SHIFT,
			   (u64)atomic64_read(&s->calls), s->site->file,
			   s->site->line, s->site->func);
	}
}
