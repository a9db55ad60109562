// SPDX-License-Identifier: GPL-2.0
/*
 * Who holds tag storage: an account per place in the code that asked for it.
 */
#include <linux/atomic.h>
#include <linux/limits.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>

#include "mts.h"

/* Fits the u8 in mts_region.site; there are a handful of call sites */
#define MTS_MAX_SITES	64

struct mts_site {
	const struct tag_storage_site *site;
	atomic64_t calls;
	atomic_long_t pages;
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

/**
 * mts_site_hold() - change what a site holds
 * @site:	its number
 * @pages:	pages of tag storage, negative when it gives them up
 */
void mts_site_hold(unsigned int site, long pages)
{
	atomic_long_add(pages, &mts_sites[site].pages);
}

/* The lines of /proc/mte_tag_storage, in the format of /proc/allocinfo */
void mts_site_show(struct seq_file *m)
{
	/* Pairs with smp_store_release() in mts_site_get() */
	unsigned int i, nr = smp_load_acquire(&mts_nr_sites);

	for (i = 1; i < nr; i++) {
		const struct mts_site *s = &mts_sites[i];

		seq_printf(m, "%12lld %8llu %s:%u func:%s\n",
			   (s64)atomic_long_read(&s->pages) << PAGE_SHIFT,
			   (u64)atomic64_read(&s->calls), s->site->file,
			   s->site->line, s->site->func);
	}
}
