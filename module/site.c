// SPDX-License-Identifier: GPL-2.0
/*
 * Who holds tag storage: an account per function of the kernel that asked for it.
 *
 * A reserved block refers to its site in bits of page->flags of its first page
 * that no field of this kernel's uses. The module owns the page and clears them
 * before it frees it. Where there are too few, a table has the references.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
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
 */
#define SITE_IN_FLAGS							\
	(!IS_ENABLED(MTS_SITE_TABLE) && !SITE_BITS_TAKEN &&		\
	 SITE_FREE_BITS >= MTS_SITE_BITS)

static_assert(BIT(MTS_SITE_BITS) == MTS_MAX_SITES);

/* Places in the code that are told apart, before their functions are known */
#define MTS_MAX_IPS	(2 * MTS_MAX_SITES)

struct mts_site {
	char func[KSYM_NAME_LEN];
	bool ours;
	atomic64_t calls;
};

struct mts_ip {
	unsigned long ip;
	unsigned int site;
};

/* Protects additions; lookups pair with smp_store_release() in site_add() */
static DEFINE_SPINLOCK(mts_site_lock);
static struct mts_site mts_sites[MTS_MAX_SITES];
static unsigned int mts_nr_sites = 1;	/* 0 is nobody */
static struct mts_ip mts_ips[MTS_MAX_IPS];
static unsigned int mts_nr_ips;

static unsigned int site_find(unsigned long ip, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (mts_ips[i].ip == ip)
			return mts_ips[i].site;
	return 0;
}

/* The site of a place that is new. What doesn't fit counts as the last one. */
static unsigned int site_add(unsigned long ip)
{
	char name[KSYM_SYMBOL_LEN] = "do_fault_on_access";
	unsigned int i;
	char *module;

	lockdep_assert_held(&mts_site_lock);
	if (ip)
		sprint_symbol_no_offset(name, ip);
	module = strchr(name, ' ');
	if (module)
		*module = '\0';

	for (i = 1; i < mts_nr_sites; i++)
		if (!strcmp(mts_sites[i].func, name))
			break;
	if (i == MTS_MAX_SITES)
		pr_warn_once("more than %u functions ask for tag storage; %s and others count as %s\n",
			     MTS_MAX_SITES - 1, name, mts_sites[i - 1].func);
	i = min(i, MTS_MAX_SITES - 1U);
	if (i == mts_nr_sites) {
		strscpy(mts_sites[i].func, name);
		mts_sites[i].ours = module;
		/* Pairs with smp_load_acquire() in mts_site_nr() */
		smp_store_release(&mts_nr_sites, i + 1);
	}
	if (mts_nr_ips < MTS_MAX_IPS) {
		mts_ips[mts_nr_ips] = (struct mts_ip){ .ip = ip, .site = i };
		/* Pairs with smp_load_acquire() in mts_site_get() */
		smp_store_release(&mts_nr_ips, mts_nr_ips + 1);
	}
	return i;
}

/**
 * mts_site_get() - count a call of a site
 * @ip:		where the call comes from; 0 for a fault on access
 *
 * Context: Any.
 * Return: the number of the function it is in.
 */
unsigned int mts_site_get(unsigned long ip)
{
	/* Pairs with smp_store_release() in site_add() */
	unsigned int id = site_find(ip, smp_load_acquire(&mts_nr_ips));

	if (!id) {
		spin_lock(&mts_site_lock);
		id = site_find(ip, mts_nr_ips) ?: site_add(ip);
		spin_unlock(&mts_site_lock);
	}
	atomic64_inc(&mts_sites[id].calls);
	return id;
}

static struct page *site_page(const struct mts_region *r, unsigned long block)
{
	return pfn_to_page(mts_block_tag_pfn(&r->geo, block));
}

/**
 * mts_site_of() - for whom is a block reserved?
 * @r:		the region
 * @block:	the block
 *
 * Context: Any; final with r->lock.
 * Return: number of the site, 0 if it isn't reserved.
 */
unsigned int mts_site_of(const struct mts_region *r, unsigned long block)
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
	/* Read without the lock in mts_site_show() */
	WRITE_ONCE(r->nr_site[mts_site_of(r, block)], r->nr_site[mts_site_of(r, block)] - 1);
	WRITE_ONCE(r->nr_site[site], r->nr_site[site] + 1);
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

/**
 * mts_site_nr() - how many sites are there?
 *
 * Context: Any.
 * Return: their number, with the one that is nobody.
 */
unsigned int mts_site_nr(void)
{
	/* Pairs with smp_store_release() in site_add() */
	return smp_load_acquire(&mts_nr_sites);
}

/**
 * mts_site_show() - show what a site holds now, and in how many blocks
 * @m:	where to, a line in the format of /proc/allocinfo
 * @site:	its number
 *
 * Context: Process context, sleeps.
 */
void mts_site_show(struct seq_file *m, unsigned int site)
{
	const struct mts_site *s = &mts_sites[site];
	unsigned long blocks = 0, pages = 0;
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i) {
		unsigned long nr = READ_ONCE(r->nr_site[site]);

		blocks += nr;
		pages += nr << r->geo.block_order;
	}
	seq_printf(m, "%12lu %8lu %s:0 func:%s\n", pages << PAGE_SHIFT, blocks,
		   s->ours ? KBUILD_MODNAME : "vmlinux", s->func);
}

/**
 * mts_site_calls_show() - show how often each site has asked since the module was loaded
 * @m:	where to
 *
 * Context: Process context, sleeps.
 */
void mts_site_calls_show(struct seq_file *m)
{
	unsigned int i, nr = mts_site_nr();

	seq_puts(m, MTS_CALLS_HEADER "\n");
	for (i = 1; i < nr; i++)
		seq_printf(m, "%s %llu\n", mts_sites[i].func,
			   (u64)atomic64_read(&mts_sites[i].calls));
}
