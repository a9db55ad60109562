/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MTE tag storage as memory: private definitions.
 *
 * Vocabulary
 *
 *   tag storage    the physical range that holds tags
 *   tagged memory  the physical range whose tags it holds
 *   tag block      the smallest unit of tag storage that can be reserved
 *   data block     the pages a tag block serves, MTS_RATIO as many
 *   region         a tag-storage range with its tagged memory: one node of the
 *                  device tree
 *   area           the part of a region's tag storage in whole pageblocks of
 *                  one zone: a CMA area
 *
 * States of a tag block (enum mts_state) and who changes them
 *
 *   static    for good; outside of all areas.
 *   reserved  the module owns the pages, they hold tags. The taggable bits of
 *             the data block are set.
 *   closing   as reserved, but the bits are clear: no page of the data block
 *             gets tags any more once an RCU grace period is over.
 *   released  the page allocator owns the pages. The bits are clear.
 *   spare     as released, but serves nothing that can have tags: never
 *             reserved while the module is online.
 *   bad       a page is poisoned. The bits are clear, for good. The module owns
 *             the pages if it owned them when that was found.
 *
 *   reserved --release pass: no tagged page--> closing
 *   closing  --release pass: tagged page found, or reserve--> reserved
 *   closing  --release pass: grace period, scrub, free--> released, spare
 *   released --reserve: take the pages, scrub--> reserved
 *   closing  --release pass: poison--> bad
 *   released --reserve: poison--> bad
 *
 * Why a block may go from reserved to released
 *
 *   Everything that gives a page tags tests the taggable bit and sets
 *   PG_mte_lock on the page in one RCU read-side section (tag_storage_taggable()
 *   in the kernel), and the page keeps PG_mte_lock until it is freed. A block
 *   without such a page that has been closing for a grace period has no tagged
 *   page, no user mapping through which tags can be written, and no writer of
 *   tags on its way. Other pages of the data block can be in use: no page needs
 *   to be owned or counted.
 *
 * Locks, in this order (after the mmap lock, which faults hold)
 *
 *   system_transition_mutex  of the kernel: held while going online, so that no
 *                     hibernation has begun.
 *   mts_state_mutex   going online and offline; release passes.
 *   region->transition[]  a mutex per pageblock (hashed): held over everything
 *                     that takes pages from the page allocator or gives them
 *                     to it. Holding it guarantees that no block of the
 *                     pageblock goes to or from released, spare or bad.
 *   region->lock      spinlock; protects state[], taggable, site[], nr[].
 *                     Holding it guarantees that state and taggable bits agree.
 */
#ifndef MTS_H
#define MTS_H

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/tag_storage.h>
#include <linux/types.h>

#include "geometry.h"

#define MTS_MAX_REGIONS		16
/* Zones that a region's tag storage can be in: DMA, DMA32, NORMAL, MOVABLE */
#define MTS_MAX_AREAS		4
#define MTS_NR_TRANSITION_LOCKS	64

struct cma;
struct dentry;

struct mts_area {
	struct cma *cma;
	unsigned long pfn;
	unsigned long nr_pages;
};

/**
 * struct mts_region - a tag-storage range
 * @geo:	where it is and what it serves
 * @index:	number of the region, in names
 * @nr_areas:	number of @areas
 * @areas:	what can be given away
 * @transition:	see above
 * @lock:	see above
 * @taggable:	a bit for each MTS_RATIO data pages, read by the kernel's hooks
 *		without a lock
 * @idle:	a bit for each block: the last release pass found no tags.
 *		Release passes only.
 * @state:	state of each block
 * @site:	for whom each block is reserved
 * @nr:		number of blocks in each state
 * @nr_lost:	number of bad blocks whose pages the module doesn't own
 * @held:	pages of data blocks whose tag block is bad
 */
struct mts_region {
	struct mts_geometry geo;
	unsigned int index;
	unsigned int nr_areas;
	struct mts_area areas[MTS_MAX_AREAS];
	/* held over what takes pages from the page allocator or gives them */
	struct mutex transition[MTS_NR_TRANSITION_LOCKS];
	/* protects what follows */
	spinlock_t lock;
	unsigned long *taggable;
	unsigned long *idle;
	u8 *state;
	u8 *site;
	unsigned long nr[MTS_NR_STATES];
	unsigned long nr_lost;
	struct list_head held;
};

extern struct mts_region *mts_regions[MTS_MAX_REGIONS];
extern unsigned int mts_nr_regions;
extern const char * const mts_state_names[MTS_NR_STATES];

#define for_each_mts_region(r, i)					\
	for ((i) = 0; (i) < mts_nr_regions && ((r) = mts_regions[i]); (i)++)

/* main.c */
extern struct mutex mts_state_mutex;
bool mts_is_online(void);
int mts_online(void);
int mts_offline(void);

/* firmware.c */
int mts_firmware_probe(void);

/* region.c */
struct mts_region *mts_region_create(const struct mts_geometry *geo);
void mts_regions_destroy(void);
int mts_regions_register(void);
void mts_regions_unregister(void);
struct mts_region *mts_region_of_data(unsigned long pfn);
bool mts_is_storage(unsigned long pfn);

/* block.c */
int mts_reserve(unsigned long pfn, unsigned long nr_pages,
		const struct tag_storage_site *site);
bool mts_block_close(struct mts_region *r, unsigned long block);
bool mts_block_release(struct mts_region *r, unsigned long block);
bool mts_block_is_tagged(const struct mts_region *r, unsigned long block);
void mts_block_hold_data(struct mts_region *r, unsigned long block);
int mts_take_back(void);

/* scrub.c */
void mts_scrub_init(void);
void mts_scrub_for_tags(unsigned long tag_pfn, unsigned long nr_pages);
void mts_scrub_for_data(unsigned long tag_pfn, unsigned long nr_pages,
			unsigned long data_pfn, unsigned long nr_data_pages);

/* worker.c */
int mts_worker_init(void);
void mts_worker_exit(void);
void mts_worker_kick(void);
void mts_worker_stop(void);
unsigned long mts_release_pass(bool at_once);

/* site.c */
unsigned int mts_site_get(const struct tag_storage_site *site);
void mts_site_hold(unsigned int site, long pages);
struct seq_file;
void mts_site_show(struct seq_file *m);

/* stats.c */
#define MTS_STATS(X)							\
	X(RESERVE_FAST, "reserve_fast")		/* storage was free */	\
	X(RESERVE_SLOW, "reserve_slow")		/* storage was in use */ \
	X(RESERVE_REOPEN, "reserve_reopened")	/* storage was closing */ \
	X(RESERVE_FAILED, "reserve_failed")	/* couldn't be had */	\
	X(RESERVE_REFUSED, "reserve_refused")	/* can't have tags */	\
	X(RELEASED, "released")						\
	X(RELEASE_UNDONE, "release_undone")	/* tagged meanwhile */	\
	X(RELEASE_PASSES, "release_passes")				\
	X(POISONED, "poisoned")

#define MTS_STAT_ID(id, name)	MTS_STAT_##id,
enum mts_stat {
	MTS_STATS(MTS_STAT_ID)
	MTS_NR_STATS
};

#undef MTS_STAT_ID

void mts_count(enum mts_stat stat);
void mts_stats_show(struct seq_file *m);
void mts_stats_pages(unsigned long pages[MTS_NR_STATES]);

/* pm.c */
bool mts_is_crash_memory(unsigned long pfn, unsigned long nr_pages);
int mts_pm_init(void);
void mts_pm_exit(void);

/* debugfs.c, proc.c */
void mts_debugfs_init(void);
void mts_debugfs_exit(void);
int mts_proc_init(void);
void mts_proc_exit(void);

#endif /* MTS_H */
