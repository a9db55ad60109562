// SPDX-License-Identifier: GPL-2.0
/*
 * Going offline: how far it is and what holds it up. For reading at any time,
 * also while mts_state_mutex is held for long.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>

#include "mts.h"
#include "trace.h"

enum drain_state {
	DRAIN_IDLE,
	DRAIN_DRAINING,
	DRAIN_WAITING,
	DRAIN_DONE,
	DRAIN_FAILED,
	DRAIN_INTERRUPTED,
};

static const char * const drain_state_names[] = {
	[DRAIN_IDLE] = "idle",
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

/* Why can't this page be moved? NULL: it could be, or is free. */
static const char *page_reason(struct page *page)
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
put:
	folio_put(folio);
	return reason;
}

/**
 * mts_drain_start() - all blocks are about to be taken back
 *
 * Context: Holds mts_state_mutex.
 */
void mts_drain_start(void)
{
	unsigned long total = blocks_left();

	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&drain_lock);
	drain = (struct drain) { .state = DRAIN_DRAINING, .total = total };
	spin_unlock(&drain_lock);
	trace_take_back_start(total);
}

/**
 * mts_drain_wait() - a block can't be had now
 * @r:		the region
 * @block:	the block
 * @ret:	the error
 *
 * Context: Holds mts_state_mutex.
 */
void mts_drain_wait(struct mts_region *r, unsigned long block, int ret)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	unsigned long i, nr = mts_block_pages(&r->geo);
	const char *reason = NULL;

	lockdep_assert_held(&mts_state_mutex);
	for (i = 0; i < nr && !reason; i++)
		reason = page_reason(pfn_to_page(pfn + i));
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

/**
 * mts_drain_go_on() - the block could be had after all
 *
 * Context: Holds mts_state_mutex.
 */
void mts_drain_go_on(void)
{
	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&drain_lock);
	drain.state = DRAIN_DRAINING;
	drain.reason = NULL;
	spin_unlock(&drain_lock);
}

/**
 * mts_drain_finish() - tell what has come of it
 * @ret:	0 or an error
 *
 * Context: Holds mts_state_mutex.
 */
void mts_drain_finish(int ret)
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
 * mts_drain_reset() - online again
 *
 * Context: Holds mts_state_mutex.
 */
void mts_drain_reset(void)
{
	lockdep_assert_held(&mts_state_mutex);
	spin_lock(&drain_lock);
	drain = (struct drain) { .state = DRAIN_IDLE };
	spin_unlock(&drain_lock);
}

/* "key value" lines */
void mts_drain_show(struct seq_file *m)
{
	struct drain d;

	spin_lock(&drain_lock);
	d = drain;
	spin_unlock(&drain_lock);
	seq_printf(m, "state %s\n", drain_state_names[d.state]);
	seq_printf(m, "blocks_total %lu\n", d.total);
	seq_printf(m, "blocks_left %lu\n", d.total ? blocks_left() : 0);
	if (d.reason)
		seq_printf(m, "pfn 0x%lx\nreason %s\n", d.pfn, d.reason);
}
