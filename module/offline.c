// SPDX-License-Identifier: GPL-2.0
/*
 * Going offline: taking all blocks back from the page allocator, how far that is
 * and what holds it up. The latter is for reading at any time, also while
 * mts_state_mutex is held for long.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>

#include "mts.h"
#include "trace.h"

/* Between two looks at a page that can't be moved */
#define RETRY_MS	20

enum drain_state {
	DRAIN_IDLE,
	DRAIN_RELEASING,
	DRAIN_DRAINING,
	DRAIN_WAITING,
	DRAIN_DONE,
	DRAIN_FAILED,
	DRAIN_INTERRUPTED,
};

static const char * const drain_state_names[] = {
	[DRAIN_IDLE] = "idle",
	[DRAIN_RELEASING] = "releasing",
	[DRAIN_DRAINING] = "draining",
	[DRAIN_WAITING] = "waiting",
	[DRAIN_DONE] = "done",
	[DRAIN_FAILED] = "failed",
	[DRAIN_INTERRUPTED] = "interrupted",
};

/* Changed under mts_state_mutex and this lock */
static DEFINE_SPINLOCK(drain_lock);
static struct drain {
	enum drain_state state;
	unsigned long total;
	unsigned long pfn;
	const char *reason;	/* NULL when nothing holds it up */
} drain;

/* Blocks that the page allocator has */
static unsigned long blocks_left(void)
{
	struct mts_region *r;
	unsigned long n = 0;
	unsigned int i;

	for_each_mts_region(r, i) {
		spin_lock(&r->lock);
		n += r->nr[MTS_RELEASED] + r->nr[MTS_SPARE];
		spin_unlock(&r->lock);
	}
	return n;
}

/**
 * mts_page_reason() - why can't this page be moved?
 * @page:	a page of tag storage
 *
 * A glance.
 *
 * Context: Any.
 * Return: a word, or NULL if it could be, or is free.
 */
const char *mts_page_reason(struct page *page)
{
	struct folio *folio = page_folio(page);
	const char *reason = NULL;
	int extra;

	if (PageHWPoison(page))
		return "poisoned";
	if (!folio_try_get(folio))
		return NULL;
	/* It may have been split or freed until the reference was taken */
	if (page_folio(page) != folio)
		goto put;

	if (!folio_test_lru(folio) && !__folio_test_movable(folio) &&
	    !folio_mapped(folio) && !folio_mapping(folio)) {
		reason = "unmovable";
		goto put;
	}
	/* References that the page tables and the page cache don't explain */
	extra = folio_ref_count(folio) - 1 - folio_mapcount(folio);
	if (folio_test_swapcache(folio) || folio_mapping(folio))
		extra -= folio_nr_pages(folio);
	extra -= folio_test_private(folio);
	if (extra > 0 || folio_maybe_dma_pinned(folio))
		reason = "pinned";
	else if (folio_test_writeback(folio))
		reason = "writeback";
	else if (folio_test_locked(folio) ||
		 (folio_test_lru(folio) && !folio_test_uptodate(folio)))
		reason = "busy";
put:
	folio_put(folio);
	return reason;
}

/**
 * mts_offline_start() - all blocks are about to be taken back
 *
 * Context: Holds mts_state_mutex.
 */
void mts_offline_start(void)
{
	unsigned long total = blocks_left();

	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&drain_lock);
	drain = (struct drain) { .state = DRAIN_DRAINING, .total = total };
	spin_unlock(&drain_lock);
	trace_take_back_start(total);
}

/* A block can't be had now, because of an error */
static void drain_wait(struct mts_region *r, unsigned long block, int ret)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	unsigned long i, nr = mts_block_pages(&r->geo);
	const char *reason = NULL;

	lockdep_assert_held(&mts_state_mutex);
	for (i = 0; i < nr && !reason; i++)
		reason = mts_page_reason(pfn_to_page(pfn + i));
	/* None to blame: what can be moved had nowhere to go, or is in motion */
	if (reason)
		pfn += i - 1;
	else
		reason = ret == -ENOMEM ? "no-memory" : "busy";

	spin_lock(&drain_lock);
	drain.state = DRAIN_WAITING;
	drain.pfn = pfn;
	drain.reason = reason;
	spin_unlock(&drain_lock);
}

/* It could be had after all */
static void drain_go_on(void)
{
	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&drain_lock);
	drain.state = DRAIN_DRAINING;
	drain.reason = NULL;
	spin_unlock(&drain_lock);
}

/**
 * mts_offline_finish() - tell what has come of it
 * @ret:	0 or an error
 *
 * Context: Holds mts_state_mutex.
 */
void mts_offline_finish(int ret)
{
	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&drain_lock);
	if (!ret)
		drain.state = DRAIN_DONE;
	else if (ret == -EINTR)
		drain.state = DRAIN_INTERRUPTED;
	else
		drain.state = DRAIN_FAILED;
	if (!ret)
		drain.reason = NULL;
	spin_unlock(&drain_lock);

	trace_take_back_finish(blocks_left(), ret,
			       drain.reason ? drain.pfn : 0,
			       drain.reason ?: "none");
	if (ret && drain.reason)
		pr_warn("still online: tag storage can't be taken back: pfn 0x%lx is %s: %pe\n",
			drain.pfn, drain.reason, ERR_PTR(ret));
	else if (ret)
		pr_warn("still online: tag storage can't be taken back: %pe\n",
			ERR_PTR(ret));
}

/**
 * mts_offline_reset() - online
 * @releasing:	what has no tags is still being released
 *
 * Context: Holds mts_state_mutex.
 */
void mts_offline_reset(bool releasing)
{
	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&drain_lock);
	drain = (struct drain) {
		.state = releasing ? DRAIN_RELEASING : DRAIN_IDLE,
	};
	spin_unlock(&drain_lock);
}

static struct drain drain_now(void)
{
	struct drain d;

	spin_lock(&drain_lock);
	d = drain;
	spin_unlock(&drain_lock);
	return d;
}

/**
 * mts_drain_state() - how far going offline is
 * @reason:	result: what holds it up, or NULL
 *
 * Context: Any.
 */
const char *mts_drain_state(const char **reason)
{
	struct drain d = drain_now();

	*reason = d.reason;
	return drain_state_names[d.state];
}

/**
 * mts_drain_blocks_left() - how many blocks are still to be taken back?
 *
 * Context: Any that may take spinlocks.
 * Return: blocks; 0 while nobody wants them.
 */
u64 mts_drain_blocks_left(void)
{
	return drain_now().total ? blocks_left() : 0;
}

/**
 * mts_offline_show() - show how far going offline is
 * @m:	where to, as "key value" lines
 *
 * Context: Process context, sleeps.
 */
void mts_offline_show(struct seq_file *m)
{
	struct drain d = drain_now();

	seq_printf(m, "state %s\n", drain_state_names[d.state]);
	seq_printf(m, "blocks_total %lu\n", d.total);
	seq_printf(m, "blocks_left %lu\n", d.total ? blocks_left() : 0);
	if (d.reason)
		seq_printf(m, "pfn 0x%lx\nreason %s\n", d.pfn, d.reason);
}

/*
 * How many blocks from @first on the page allocator has, in the same pageblock; only
 * released ones if nothing but tags is wanted there (!@spare)
 */
static unsigned long free_run(struct mts_region *r, unsigned long first, bool spare)
{
	unsigned long block, end = mts_nr_blocks(&r->geo);
	unsigned long pageblock = mts_block_tag_pfn(&r->geo, first) >> pageblock_order;

	for (block = first; block < end; block++) {
		enum mts_state state = READ_ONCE(r->state[block]);

		if ((state != MTS_RELEASED && !(spare && state == MTS_SPARE)) ||
		    mts_block_tag_pfn(&r->geo, block) >> pageblock_order != pageblock)
			break;
	}
	return block - first;
}

/*
 * Reserve a block that is free, or that was when the caller looked.
 * Return: 0, also if it is reserved by now, or bad; or why it can't be had now.
 */
static int take_block(struct mts_region *r, unsigned long block,
		      enum mts_effort effort, unsigned int site, bool spare)
{
	u64 start = ktime_get_ns();
	enum mts_state state;
	enum mts_op op;
	int ret;

	ret = mts_block_change(r, block, 1, spare);
	if (ret) {
		state = READ_ONCE(r->state[block]);
		/* Who had it may have failed meanwhile */
		return state == MTS_CHANGING || mts_state_is_free(state) ? -EBUSY : 0;
	}
	ret = mts_take_pages(mts_block_tag_pfn(&r->geo, block),
			     mts_block_pages(&r->geo), effort, &op);
	mts_block_changed(r, block, 1, !ret, site);
	if (!ret) {
		mts_count(MTS_STAT_TAKEN_BACK);
		mts_latency(MTS_OP_TAKE_BACK, ktime_get_ns() - start);
	}
	return ret;
}

/*
 * Move what is in a run of blocks, in one go; what can't be moved without waiting
 * stays
 */
static void empty_run(struct mts_region *r, unsigned long first, unsigned long nr,
		      gfp_t gfp)
{
	LIST_HEAD(folios);
	unsigned int n;

	if (mts_should_fail(MTS_FAIL_MIGRATE))
		return;
	if (!mts_isolate(mts_block_tag_pfn(&r->geo, first),
			 nr * mts_block_pages(&r->geo), MTS_ANY, &folios))
		return;
	n = mts_migrate(&folios, GFP_HIGHUSER_MOVABLE | __GFP_NOWARN | gfp,
			MIGRATE_ASYNC);
	mts_count_add(MTS_STAT_MIGRATED_PAGES, n);
}

/* Wait for one block that can't be had now */
static int take_block_wait(struct mts_region *r, unsigned long block,
			   unsigned int site)
{
	unsigned long timeout = jiffies +
		msecs_to_jiffies(READ_ONCE(mts_policy.take_back_timeout_ms));
	int ret;

	for (;;) {
		ret = take_block(r, block, MTS_TAKE_BACK, site, true);
		if (!ret) {
			drain_go_on();
			return 0;
		}
		if (ret == -EINTR || signal_pending(current))
			return -EINTR;
		drain_wait(r, block, ret);
		if (time_after_eq(jiffies, timeout))
			return ret;
		msleep(RETRY_MS);
	}
}

/**
 * mts_take_all() - reserve all blocks that the page allocator has
 *
 * Waits for pages that can't be moved now.
 *
 * Context: Holds mts_state_mutex: no block is released meanwhile. Sleeps.
 * Return: 0, -EINTR on a signal, -EBUSY when a page can't be moved, -ENOMEM,
 * -EHWPOISON when a block is bad. What has been taken until then is still reserved.
 */
int mts_take_all(void)
{
	unsigned int site = mts_site_get(_THIS_IP_);
	unsigned long block, next, nr;
	struct mts_region *r;
	unsigned int i;
	int ret;

	lockdep_assert_held(&mts_state_mutex);
	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block = next) {
			nr = free_run(r, block, true);
			next = block + max(nr, 1UL);
			if (nr > 1 && !mts_memory_is_low(nr * mts_block_pages(&r->geo)))
				empty_run(r, block, nr, __GFP_RETRY_MAYFAIL);
			for (; block < next; block++) {
				if (!take_block(r, block, MTS_TAKE_FREE, site, true))
					continue;
				ret = take_block_wait(r, block, site);
				if (ret)
					return ret;
			}
			if (signal_pending(current))
				return -EINTR;
			cond_resched();
		}
		if (r->nr_lost) {
			drain_wait(r, r->lost, -EHWPOISON);
			return -EHWPOISON;
		}
	}
	/* Tags would be written to what is in use */
	return WARN_ON_ONCE(blocks_left()) ? -EBUSY : 0;
}

/* For the policies, in a pass: blocks to look at, and to try to take */
#define TAKE_LOOK	65536
#define TAKE_BATCH	1024

/* Where to go on. Holds mts_state_mutex. */
static unsigned int take_region;
static unsigned long take_first;

static bool any_released(void)
{
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i)
		if (READ_ONCE(r->nr[MTS_RELEASED]))
			return true;
	return false;
}

/* Reserve released blocks that are free, or easily emptied */
static unsigned long take_some(void)
{
	unsigned int site = mts_site_get(_THIS_IP_), looks = TAKE_LOOK;
	unsigned long taken = 0, tries = TAKE_BATCH, nr;
	struct mts_region *r;

	while (looks && tries && any_released()) {
		r = mts_regions[take_region % mts_nr_regions];
		if (take_first >= mts_nr_blocks(&r->geo)) {
			take_region++;
			take_first = 0;
			continue;
		}
		looks--;
		cond_resched();
		nr = min(free_run(r, take_first, false), tries);
		if (!nr) {
			take_first++;
			continue;
		}
		/* To where tags can be, or it would move within tag storage */
		empty_run(r, take_first, nr, __GFP_ZEROTAGS | __GFP_NORETRY);
		for (; nr; nr--, tries--, take_first++)
			taken += !take_block(r, take_first, MTS_TAKE_FREE, site, false);
	}
	return taken;
}

/**
 * mts_take_some() - reserve blocks that nobody needs yet
 *
 * Those that are free, or can be emptied without waiting and without reclaim that
 * is any effort. A batch of them.
 *
 * Context: Holds mts_state_mutex: no block is released meanwhile. Sleeps.
 * Return: whether there are others worth a try soon.
 */
bool mts_take_some(void)
{
	lockdep_assert_held(&mts_state_mutex);
	return take_some() && any_released();
}
