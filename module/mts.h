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
 *   region         a tag-storage range with its tagged memory, as far as the map
 *                  is linear: what firmware describes, or a bank's part of it
 *   area           the part of a region's tag storage in whole pageblocks of
 *                  one zone: a CMA area
 *
 * States of a tag block (enum mts_state) and who changes them
 *
 *   static    always; outside of all areas.
 *   reserved  the module owns the pages, they hold tags. The taggable bits of
 *             the data block are set, unless that is nothing but tag storage.
 *   closing   as reserved, but the bits are clear: no page of the data block
 *             gets tags any more once an RCU grace period is over.
 *   changing  on its way between the two. The bits are clear. Who made it so, and
 *             nobody else, takes the pages from the page allocator, or gives them
 *             to it, and ends this state.
 *   released  the page allocator owns the pages. The bits are clear.
 *   spare     as released, but serves nothing that can have tags: never
 *             reserved while the module is online.
 *   bad       a page is poisoned. The bits are clear, and stay so. The module owns
 *             the pages if it owned them when that was found.
 *
 *   reserved --release pass: no tagged page--> closing
 *   closing  --release pass: tagged page found, or reserve--> reserved
 *   closing  --release pass: grace period--> changing --scrub, free--> released, spare
 *   released --reserve--> changing --take the pages, scrub--> reserved
 *                         changing --they can't be had now--> released
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
 *   region->lock      spinlock; protects state[], taggable, sites, nr[], nr_lost.
 *                     Holding it guarantees that state and taggable bits agree.
 *   mts_pool.lock     spinlock, see pool.c; zone->lock nests inside.
 *   mts_site_lock     spinlock; additions to the tables of sites.
 *   pin_lock          spinlock; what is kept, see pin.c.
 *   drain_lock        spinlock, see offline.c.
 *   mts_policy_lock   spinlock; changes of the knobs.
 *   lock              spinlock, of the line sizes, see scrub.c: nothing nests inside.
 *
 * No lock is held while pages are taken: a changing block is the lock. Faults
 * that find one changing wait for it, killably and for a bounded time, or go
 * elsewhere.
 */
#ifndef MTS_H
#define MTS_H

#include <linux/bitmap.h>
#include <linux/migrate_mode.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/mutex.h>
#include <linux/page-flags.h>
#include <linux/spinlock.h>
#include <linux/tag_storage.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "geometry.h"

#define MTS_MAX_REGIONS		16
/* Zones that a region's tag storage can be in: DMA, DMA32, NORMAL, MOVABLE */
#define MTS_MAX_AREAS		4
/* Sites that are told apart; there are a handful in the kernel */
#define MTS_SITE_BITS		6
#define MTS_MAX_SITES		64U

struct cma;
struct dentry;
struct kobject;

struct mts_area {
	struct cma *cma;
	unsigned long pfn;
	unsigned long nr_pages;
};

/**
 * struct mts_set - a set of numbers, see set.c
 * @nr:		all are below this
 * @bits:	a bit for each of them
 * @groups:	a bit for MTS_SET_GROUP of them: some may be there
 */
struct mts_set {
	unsigned long nr;
	unsigned long *bits;
	unsigned long *groups;
};

#define MTS_SET_GROUP		4096UL

int mts_set_init(struct mts_set *s, unsigned long nr);
void mts_set_free(struct mts_set *s);
void mts_set_add(struct mts_set *s, unsigned long n);
unsigned long mts_set_next(struct mts_set *s, unsigned long n);

static inline void mts_set_del(struct mts_set *s, unsigned long n)
{
	if (test_bit(n, s->bits))
		clear_bit(n, s->bits);
}

/* Numbers can come and go meanwhile. Holds mts_state_mutex. */
#define for_each_in_set(s, n)						\
	for ((n) = mts_set_next(s, 0); (n) < (s)->nr;			\
	     (n) = mts_set_next(s, (n) + 1))

/**
 * struct mts_region - a tag-storage range
 * @geo:	where it is and what it serves
 * @index:	number of the region, in names
 * @nr_areas:	number of @areas
 * @areas:	what can be given away
 * @changed:	woken when a block is changing no more
 * @lock:	see above
 * @taggable:	a bit for each MTS_RATIO data pages, read by the kernel's hooks
 *		without a lock
 * @refill:	a bit for each MTS_RATIO data pages: some may be free, and
 *		allocations for tags look there; mts_hint_note()
 * @refill_from: where to begin to look in @refill, for each zone of each node
 * @requests:	a bit for each block: somebody waits for it, see reserve.c
 * @idle:	for how long passes have found each block without tags, in units
 *		that pass.c knows, up to U8_MAX; 0 is not at all
 * @tagged:	how many pages of the data block of each reserved block had tags
 *		when it was looked at; of others 0. Passes only, as the next two
 * @free:	how many were free
 * @sparse:	how many passes in a row have found it sparse, up to
 *		MTS_SPARSE_PASSES; negative after an attempt to empty it; MTS_KEPT
 *		for what always has tags
 * @loose:	blocks with a positive @sparse
 * @look:	reserved blocks for the next pass to look at. Any context
 * @held:	reserved blocks
 * @closing:	closing blocks
 * @state:	state of each block; mts_block_set_state()
 * @site:	for whom each block is reserved; NULL where page flags have it
 * @nr:		number of blocks in each state
 * @changes:	grows with each change of a state
 * @nr_site:	number of blocks held for each site; 0 for all others
 * @nr_lost:	number of bad blocks
 * @lost:	one of them
 */
struct mts_region {
	struct mts_geometry geo;
	unsigned int index;
	unsigned int nr_areas;
	struct mts_area areas[MTS_MAX_AREAS];
	wait_queue_head_t changed;
	/* protects what follows */
	spinlock_t lock;
	unsigned long *taggable;
	unsigned long *refill;
	unsigned long refill_from[MAX_NUMNODES * MAX_NR_ZONES];
	unsigned long *requests;
	u8 *idle;
	u16 *tagged;
	u16 *free;
	s8 *sparse;
	struct mts_set loose;
	struct mts_set look;
	struct mts_set held;
	struct mts_set closing;
	u8 *state;
	u8 *site;
	unsigned long nr[MTS_NR_STATES];
	unsigned long changes;
	unsigned long nr_site[MTS_MAX_SITES];
	unsigned long nr_lost;
	unsigned long lost;
};

extern struct mts_region *mts_regions[MTS_MAX_REGIONS];
extern unsigned int mts_nr_regions;
extern const char * const mts_state_names[MTS_NR_STATES];

#define for_each_mts_region(r, i)					\
	for ((i) = 0; (i) < mts_nr_regions && ((r) = mts_regions[i]); (i)++)

/* The zones of a node that have memory. for_each_populated_zone() isn't for modules. */
#define mts_for_each_zone(zone, nid)					\
	for ((zone) = NODE_DATA(nid)->node_zones;			\
	     (zone) < NODE_DATA(nid)->node_zones + MAX_NR_ZONES; (zone)++) \
		if (populated_zone(zone))

/* main.c */
extern struct mutex mts_state_mutex;
bool mts_is_online(void);
int mts_online(void);
int mts_offline(void);
const char *mts_state_text(void);
int mts_set_state(const char *word);

/*
 * Can memory have tags? Not without MTE, or where it is switched off. The kernel's
 * hooks are not used then, and all tag storage is spare.
 */
extern bool mts_have_tags;

/* firmware.c */
int mts_firmware_probe(void);
void mts_firmware_exit(void);
bool mts_is_foreign_memory(unsigned long pfn, unsigned long nr_pages);

/* region.c */
struct mts_region *mts_region_create(const struct mts_geometry *geo);
void mts_regions_destroy(void);
int mts_regions_register(void);
void mts_regions_unregister(void);

/* lookup.c */
struct mts_region *mts_region_of_data(unsigned long pfn);
struct mts_region *mts_region_of_storage(unsigned long pfn);
int mts_taggable(unsigned long pfn, unsigned long nr_pages);
void mts_hint_note(struct mts_region *r, unsigned int zone, unsigned long pfn);
unsigned long mts_hint_next(struct mts_region *r, unsigned int zone,
			    unsigned long start, unsigned long end);

static inline bool mts_is_storage(unsigned long pfn)
{
	return mts_region_of_storage(pfn);
}

/* Is there memory at this chunk, given by its first page, and no tag storage? */
static inline bool mts_chunk_is_memory(unsigned long pfn)
{
	return pfn_valid(pfn) && !mts_is_storage(pfn) &&
		!mts_is_storage(pfn + MTS_RATIO - 1);
}

static inline bool mts_state_is_free(enum mts_state state)
{
	/* The page allocator owns the pages */
	return state == MTS_RELEASED || state == MTS_SPARE;
}

/* block.c */
int mts_block_change(struct mts_region *r, unsigned long first,
		     unsigned long nr, bool spare);
void mts_block_changed(struct mts_region *r, unsigned long first,
		       unsigned long nr, bool taken, unsigned int site);
bool mts_block_reopen(struct mts_region *r, unsigned long block,
		      unsigned int site);
bool mts_block_close(struct mts_region *r, unsigned long block);
bool mts_block_release(struct mts_region *r, unsigned long block);
bool mts_block_is_spare(const struct mts_region *r, unsigned long block);
void mts_clear_spare(void);

/* look.c */

/**
 * struct mts_look - what is in a data block
 * @tagged:	pages that have tags, or are getting them
 * @free:	free pages
 * @hole:	one of these
 * @kept:	others write tags there, or its tags can't be told
 */
struct mts_look {
	unsigned int tagged;
	unsigned int free;
	unsigned long hole;
	bool kept;
};

bool mts_block_is_tagged(const struct mts_region *r, unsigned long block);
void mts_block_look(const struct mts_region *r, unsigned long block,
		    struct mts_look *look);

/**
 * mts_page_is_tagged() - does a page have tags, or is it getting them?
 * @page:	the page
 *
 * PG_mte_lock is set before the first tag is written and cleared when the page
 * is freed.
 */
static inline bool mts_page_is_tagged(const struct page *page)
{
	return test_bit(PG_mte_lock, &page->flags) ||
		test_bit(PG_mte_tagged, &page->flags);
}

/* pool.c */
#ifdef TAG_STORAGE_POOL
struct page *mts_pool_alloc(struct zone *zone);
bool mts_pool_free(struct page *page);
int mts_pool_drain(struct zone *zone);
void mts_pool_trim(void);
void mts_pool_note_free(unsigned long pfn);
void mts_pool_note_range(unsigned long pfn, unsigned long nr_pages);
void mts_pool_forget(unsigned long pfn);
bool mts_chunk_is_hopeless(unsigned long pfn);
unsigned long mts_pool_pages(void);
int mts_pool_init(void);
void mts_pool_exit(void);
#else
/* A kernel without the optional hooks: pages for tags come from anywhere */
static inline int mts_pool_drain(struct zone *zone)
{
	return 0;
}

static inline unsigned long mts_pool_pages(void)
{
	return 0;
}

static inline int mts_pool_init(void)
{
	return 0;
}

static inline void mts_pool_trim(void) { }
static inline void mts_pool_note_free(unsigned long pfn) { }
static inline void mts_pool_note_range(unsigned long pfn, unsigned long nr_pages) { }
static inline void mts_pool_forget(unsigned long pfn) { }
static inline bool mts_chunk_is_hopeless(unsigned long pfn) { return false; }
static inline void mts_pool_exit(void) { }
#endif

/* migrate.c */

/* Pages to move */
enum mts_which {
	MTS_ANY,
	MTS_TAGGED,
	MTS_UNTAGGED,
};

unsigned int mts_isolate(unsigned long pfn, unsigned long nr_pages,
			 enum mts_which which, struct list_head *folios);
unsigned int mts_migrate(struct list_head *folios, gfp_t gfp,
			 enum migrate_mode mode);

/* balance.c */
unsigned long mts_free_pages(struct zone *zone);
bool mts_memory_is_low(unsigned long nr_pages);
int mts_balance_init(void);
void mts_balance_exit(void);

/* scrub.c */
int mts_scrub_init(void);
void mts_scrub_exit(void);
bool mts_page_is_ours(unsigned long pfn);
bool mts_block_can_be_cleaned(const struct mts_region *r, unsigned long block);
void mts_scrub_for_tags(unsigned long tag_pfn, unsigned long nr_pages);
void mts_scrub_for_data(unsigned long tag_pfn, unsigned long nr_pages,
			unsigned long data_pfn, unsigned long nr_data_pages);

/* policy.c */

/* How the page allocator uses tag storage for data */
enum mts_data_use {
	MTS_DATA_LAST_RESORT,	/* when there is nothing else */
	MTS_DATA_BALANCED,	/* as other memory */
	MTS_DATA_FIRST,		/* before other memory */
	MTS_DATA_OFF,		/* not at all */
};

/* When tag storage is reserved */
enum mts_reserve_when {
	MTS_RESERVE_ON_DEMAND,	/* a block when a page of it gets tags */
	MTS_RESERVE_AT_FIRST_USE, /* all of it when the first page gets tags */
};

/* When a reserved block without tags is released */
enum mts_release_when {
	MTS_RELEASE_LAZY,	/* after release_delay_ms */
	MTS_RELEASE_NEVER,	/* by trigger/release only */
};

/**
 * struct mts_policy - the knobs
 * @data_use:	enum mts_data_use
 * @reserve:	enum mts_reserve_when
 * @release:	enum mts_release_when
 * @release_delay_ms: a block is released when it has been without tags for so
 *		long: what programs free and allocate again at once stays reserved
 * @pass_interval_ms: time between two passes of the worker
 * @evacuate_percent: a reserved block with a smaller share of its pages tagged
 *		may be emptied into others; 0 is never
 * @take_back_timeout_ms: how long going offline waits for one page that can't be
 *		moved
 * @fault_wait_ms: how long a fault waits, at most, before it tries again to have
 *		tag storage
 * @mprotect_inplace_pages: a data block with at least as many pages to be
 *		tagged is reserved in place; fewer pages are moved
 *
 * Read with READ_ONCE(): knobs change at any time.
 */
struct mts_policy {
	unsigned int data_use;
	unsigned int reserve;
	unsigned int release;
	unsigned int release_delay_ms;
	unsigned int pass_interval_ms;
	unsigned int evacuate_percent;
	unsigned int take_back_timeout_ms;
	unsigned int fault_wait_ms;
	unsigned int mprotect_inplace_pages;
};

extern struct mts_policy mts_policy;
extern struct tag_storage_ops mts_ops;
void mts_policy_apply(void);
void mts_policy_debugfs(struct dentry *parent);
int mts_policy_sysfs(struct kobject *kobj);

/* worker.c */
void mts_policy_changed(void);
int mts_worker_init(void);
void mts_worker_exit(void);
void mts_worker_kick(void);
void mts_worker_stop(void);
void mts_worker_release(void);
void mts_online_report(void);

/* What a pass does */
#define MTS_PASS_ALL_IDLE	BIT(0)	/* release also what is kept for later */
#define MTS_PASS_EVACUATE	BIT(1)	/* empty sparse blocks */
#define MTS_PASS_HURRY		BIT(2)	/* also those that were not sparse so far */
#define MTS_PASS_ORDER		BIT(3)	/* whatever the policy says */

/* pass.c */
unsigned long mts_pass(unsigned int flags);
void mts_reserve_pass(void);
bool mts_pass_has_work(void);
bool mts_pass_moves(void);
unsigned int mts_pass_idle(void);
void mts_pass_wake(void);
unsigned long mts_pass_excess(bool all);
extern unsigned int mts_look_round;
void mts_pass_look_at_all(void);
void mts_release_begin(void);
bool mts_release_more(void);

/* survey.c */

/* Passes that find a block sparse before it is emptied */
#define MTS_SPARSE_PASSES	2

/* As the number of such passes: it always has tags */
#define MTS_KEPT		S8_MIN

/* The resolution of a block's fill with tagged pages */
#define MTS_FILL_MAX		MTS_RATIO

/**
 * struct mts_survey - what is in the data blocks of all reserved blocks
 * @blocks:	blocks with tagged pages, without @kept_pages
 * @data_pages:	the pages of their data blocks
 * @tagged_pages: how many of these have tags
 * @free_pages:	how many of these are free
 * @sparse:	how many of these blocks are sparse, by the number of passes that have
 *		found them so, less one, and by fill
 * @sparse_free: free pages of these
 * @kept_pages:	tag storage always reserved: of the zero page, a crash kernel
 * @all_tagged_pages: pages with tags, also where the storage is kept
 * @waiting:	blocks without tags that are not released yet, but may be; of the
 *		last pass, as the next one
 * @evacuated:	tagged pages that were moved, without hurry
 *
 * As the blocks were when they were looked at. Changed under mts_state_mutex, read
 * at any time.
 */
struct mts_survey {
	unsigned long blocks;
	unsigned long data_pages;
	unsigned long tagged_pages;
	unsigned long free_pages;
	unsigned long sparse[MTS_SPARSE_PASSES][MTS_FILL_MAX + 1];
	unsigned long sparse_free[MTS_SPARSE_PASSES][MTS_FILL_MAX + 1];
	unsigned long kept_pages;
	unsigned long all_tagged_pages;
	unsigned long waiting;
	unsigned long evacuated;
};

extern struct mts_survey mts_survey;
void mts_block_set_state(struct mts_region *r, unsigned long block,
			 enum mts_state state);
int mts_survey_init(struct mts_region *r);
void mts_survey_free(struct mts_region *r);
void mts_survey_note(unsigned long pfn);
unsigned int mts_block_fill(const struct mts_region *r, unsigned long block);
void mts_survey_forget(struct mts_region *r, unsigned long block);
bool mts_survey_block(struct mts_region *r, unsigned long block);
void mts_survey_turn(unsigned long nr);
const char *mts_survey_audit(void);

/* placement.c */
unsigned long mts_evacuate(bool hurry);
unsigned long mts_make_ready(unsigned long nr);
bool mts_make_room(void);

/* site.c */
unsigned int mts_site_get(unsigned long ip);
unsigned int mts_site_of(const struct mts_region *r, unsigned long block);
void mts_site_hold(struct mts_region *r, unsigned long block,
		   unsigned int site);
int mts_site_region_init(struct mts_region *r);
struct seq_file;
void mts_site_show(struct seq_file *m, unsigned int site);
unsigned int mts_site_nr(void);
void mts_site_calls_show(struct seq_file *m);

/* stats.c */
#define MTS_STATS(X)							\
	X(RESERVE_CALLS, "reserve_calls")	/* of mts_reserve() */	\
	X(RESERVE_FAST, "reserve_fast")		/* storage was free */	\
	X(RESERVE_MOVED, "reserve_moved")	/* data was moved out */ \
	X(RESERVE_SLOW, "reserve_slow")		/* the whole way */	\
	X(RESERVE_REOPEN, "reserve_reopened")	/* storage was closing */ \
	X(RESERVE_FAILED_BUSY, "reserve_failed_busy")			\
	/* it takes migration, the caller is reclaim */			\
	X(RESERVE_FAILED_RECLAIM, "reserve_failed_reclaim")		\
	X(RESERVE_FAILED_NOMEM, "reserve_failed_nomem")			\
	X(RESERVE_FAILED_KILLED, "reserve_failed_killed")		\
	X(RESERVE_BAD, "reserve_refused_bad")	/* spare or bad block */ \
	X(RESERVE_FEW, "reserve_few")		/* better to move the pages */ \
	X(RESERVE_REFUSED, "reserve_refused")	/* can't have tags */	\
	X(MIGRATED_PAGES, "migrated_pages")	/* made room for tags */ \
	/* on access, which found no storage; moved; told to wait */	\
	X(FAULTS, "faults_on_access")					\
	X(FAULTS_MOVED, "faults_moved")					\
	X(FAULTS_RETRIED, "faults_retried")				\
	X(RELEASED, "released")						\
	X(RELEASE_UNDONE, "release_undone")	/* tagged meanwhile */	\
	X(RELEASE_PASSES, "release_passes")				\
	X(TAKEN_BACK, "taken_back")		/* offline, policies */	\
	X(POISONED, "poisoned")						\
	X(SCRUB_CHECKED, "scrub_checked")				\
	X(SCRUB_FAILED, "scrub_failed")					\
	X(EVACUATE_TRIED, "evacuate_tried_pages")			\
	X(EVACUATED, "evacuated_pages")					\
	X(CLEARED, "cleared_pages")					\
	X(BALANCED, "balanced_pages")		/* to free storage */	\
	X(MADE_READY, "made_ready")		/* for evacuation */

#define MTS_STAT_ID(id, name)	MTS_STAT_##id,
enum mts_stat {
	MTS_STATS(MTS_STAT_ID)
	MTS_NR_STATS
};

#undef MTS_STAT_ID

/* What is timed */
#define MTS_OPS(X)							\
	X(RESERVE_FAST, "reserve_fast")		/* a block */		\
	X(RESERVE_MOVED, "reserve_moved")	/* a block */		\
	X(RESERVE_SLOW, "reserve_slow")		/* a block */		\
	X(RELEASE, "release")			/* a block */		\
	X(TAKE_BACK, "take_back")		/* a run of blocks */

#define MTS_OP_ID(id, name)	MTS_OP_##id,
enum mts_op {
	MTS_OPS(MTS_OP_ID)
	MTS_NR_OPS
};

#undef MTS_OP_ID

void mts_count_add(enum mts_stat stat, unsigned long n);
void mts_latency(enum mts_op op, u64 ns);
void mts_latency_show(struct seq_file *m);
void mts_stats_show(struct seq_file *m);
void mts_stats_pages(unsigned long pages[MTS_NR_STATES]);
unsigned long mts_stats_free_pages(void);
u64 mts_stats_count(enum mts_stat stat);
u64 mts_stats_reserve_failed(void);

static inline void mts_count(enum mts_stat stat)
{
	mts_count_add(stat, 1);
}

/* reserve.c */

/* What to do when tag storage isn't free */
enum mts_effort {
	MTS_TAKE_FREE,		/* give up */
	MTS_TAKE_LIGHT,		/* move what moves without waiting */
	MTS_TAKE_WAIT,		/* all that can be done */
	MTS_TAKE_BACK,		/* the same, but nobody is killed for it */
};

int mts_prepare(unsigned long pfn, unsigned long nr_pages, unsigned int wanted,
		unsigned long ip);
int mts_move(unsigned long pfn, unsigned long ip);
int mts_wait(void);
bool mts_wait_for_takers(unsigned int shift);
int mts_take_pages(unsigned long pfn, unsigned long nr, enum mts_effort effort,
		   enum mts_op *op);
int mts_block_reserve(struct mts_region *r, unsigned long block,
		      enum mts_effort effort, unsigned int site);
int mts_reserve(unsigned long pfn, unsigned long nr_pages,
		enum mts_effort effort, unsigned int site);
void mts_requests_flush(void);
int mts_requests_init(void);
void mts_requests_exit(void);

/* pin.c */
bool mts_pin_refuse(struct page *target, unsigned int site);
unsigned long mts_pin_kept(void);
void mts_pin_put(void);
void mts_pin_release(struct page *page);
void mts_pin_flush(void);

/* lru.c */
void mts_lru_drain(void);
int mts_lru_init(void);
void mts_lru_exit(void);

/* repeat.c */
void mts_repeat_note(unsigned long pfn);
unsigned int mts_repeated_max(void);
unsigned int mts_waits_in_vain(void);
void mts_waits_note(unsigned int nr);

/* offline.c */
int mts_take_all(void);
bool mts_take_some(void);
const char *mts_page_reason(struct page *page);
void mts_offline_start(void);
void mts_offline_finish(int ret);
void mts_offline_reset(bool releasing);
void mts_offline_show(struct seq_file *m);
u64 mts_drain_blocks_left(void);
const char *mts_drain_state(const char **reason);

/* scrub_check.c */
int mts_scrub_check(unsigned long nr);

/* audit.c */
int mts_audit(void);

/* inject.c */
enum mts_fault_id {
	MTS_FAIL_RESERVE,	/* take storage, free or in use */
	MTS_FAIL_MIGRATE,	/* empty storage that is in use */
	MTS_FAIL_SCRUB,		/* scrub, in the check of it */
	MTS_NR_FAULTS
};

#if IS_ENABLED(CONFIG_FAULT_INJECTION_DEBUG_FS)
bool mts_should_fail(enum mts_fault_id fault);
void mts_inject_debugfs(struct dentry *parent);
#else
static inline bool mts_should_fail(enum mts_fault_id fault)
{
	return false;
}

static inline void mts_inject_debugfs(struct dentry *parent)
{
}
#endif

/* pm.c */
bool mts_is_crash_memory(unsigned long pfn, unsigned long nr_pages);

/* Do others, who don't ask us, write tags there? Then storage for them is kept. */
static inline bool mts_is_kept_memory(unsigned long pfn, unsigned long nr_pages)
{
	return mts_is_crash_memory(pfn, nr_pages) ||
		mts_is_foreign_memory(pfn, nr_pages);
}

int mts_pm_init(void);
void mts_pm_exit(void);

/* sysfs.c, debugfs.c, regionfs.c, trigger.c, proc.c */
#define MTS_WORD_SIZE		32
int mts_copy_word(char buf[MTS_WORD_SIZE], const char *text, size_t len);
int mts_get_word(char buf[MTS_WORD_SIZE], const char __user *ubuf, size_t len,
		 const loff_t *pos);
void mts_region_debugfs(struct dentry *parent);
void mts_trigger_debugfs(struct dentry *parent);
void mts_debugfs_init(void);
void mts_debugfs_exit(void);
void mts_sysfs_init(void);
void mts_sysfs_exit(void);
int mts_proc_init(void);
void mts_proc_exit(void);

#endif /* MTS_H */
