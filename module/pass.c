// SPDX-License-Identifier: GPL-2.0
/*
 * A pass: looks at all reserved blocks, gives back those whose pages have no tags
 * any more, empties those that have few, and keeps some ready. When there is one is
 * up to worker.c.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

#include "mts.h"

/* Passes in a row that find a block sparse before it is emptied */
#define MTS_SPARSE_PASSES	2

/* What the last pass has found. Holds mts_state_mutex. */
static struct mts_survey survey;
/* Reservations by faults in a pass, halved with each pass that has fewer */
static unsigned int demand_rate;
/* Passes that had nothing to do, since one that had; read without a lock */
static unsigned int idle_passes;
/* Pages of reserved tag storage beyond what the tagged pages need; likewise */
static unsigned long excess_pages;

/* May blocks without tags be released, as far as the policy is concerned? */
static bool may_release(unsigned int flags)
{
	lockdep_assert_held(&mts_state_mutex);
	if (!mts_have_tags)
		return true;
	if (READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF)
		return false;
	/* On demand; pressure asks for the same, but it's no order */
	if ((flags & MTS_PASS_ALL_IDLE) && !(flags & MTS_PASS_HURRY))
		return true;
	if (READ_ONCE(mts_policy.release) == MTS_RELEASE_NEVER)
		return false;
	if (flags & MTS_PASS_ALL_IDLE)
		return true;
	if (READ_ONCE(mts_policy.reserve) == MTS_RESERVE_AT_FIRST_USE &&
	    survey.blocks)
		return false;
	return true;
}

/* Another pass found no tags: has the policy had enough of them? */
static bool is_idle(struct mts_region *r, unsigned long block)
{
	u8 idle = READ_ONCE(r->idle[block]);

	if (idle < U8_MAX)
		WRITE_ONCE(r->idle[block], ++idle);
	return READ_ONCE(mts_policy.release) == MTS_RELEASE_EAGER ||
		idle >= READ_ONCE(mts_policy.idle_passes);
}

/* How many blocks to keep ready: as many as were needed in a pass of late */
static unsigned int ready_target(void)
{
	unsigned int low, high;

	mts_policy_ready(&low, &high);
	demand_rate = max(mts_take_demand(), demand_rate / 2);
	return clamp(demand_rate, low, high);
}

/* Look at all reserved blocks, close those that are to be released */
static unsigned long close_idle(unsigned int flags, unsigned int keep)
{
	struct mts_survey s = {
		.sparse_passes = flags & MTS_PASS_HURRY ? 1 : MTS_SPARSE_PASSES,
	};
	bool may = may_release(flags), all = flags & MTS_PASS_ALL_IDLE;
	unsigned long block, closing = 0;
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i) {
		for_each_taggable_block(r, block) {
			unsigned long ready = s.ready;

			if (READ_ONCE(r->state[block]) != MTS_RESERVED)
				continue;
			cond_resched();
			if (mts_block_survey(r, block, &s)) {
				WRITE_ONCE(r->idle[block], 0);
				continue;
			}
			if (!may || (s.ready > ready && s.ready <= keep))
				continue;
			if (all || is_idle(r, block))
				closing += mts_block_close(r, block);
			else
				s.waiting++;
		}
	}
	survey = s;
	return closing;
}

/* Release up to *@nr blocks of a range that are closing for a grace period */
static unsigned long release_range(struct mts_region *r, unsigned long block,
				   unsigned long end, unsigned long *nr)
{
	unsigned long released = 0;

	for (; *nr && block < end; block++) {
		if (READ_ONCE(r->state[block]) != MTS_CLOSING)
			continue;
		(*nr)--;
		cond_resched();
		released += mts_block_release(r, block);
	}
	return released;
}

static unsigned long release_closing(unsigned long nr, unsigned int flags)
{
	unsigned long released = 0;
	struct mts_region *r;
	unsigned int i;

	/*
	 * Wait for those who have seen the taggable bits set: for some ticks, or
	 * at the price of an interrupt to the CPUs that run kernel code
	 */
	if (flags & MTS_PASS_HURRY)
		synchronize_rcu_expedited();
	else
		synchronize_rcu();

	for_each_mts_region(r, i)
		released += release_range(r, 0, mts_nr_blocks(&r->geo), &nr);
	return released;
}

static unsigned long count_excess(void)
{
	unsigned long needed = DIV_ROUND_UP(survey.tagged_pages, MTS_RATIO);
	unsigned long pages[MTS_NR_STATES];

	mts_stats_pages(pages);
	return pages[MTS_RESERVED] - min(pages[MTS_RESERVED], needed);
}

/**
 * mts_pass() - release blocks that have no tagged page, and what goes with it
 * @flags:	MTS_PASS_*
 *
 * Without flags as the policy says, which includes to make blocks ready when
 * there is demand.
 *
 * Context: Holds mts_state_mutex. Sleeps.
 * Return: number of blocks released.
 */
unsigned long mts_pass(unsigned int flags)
{
	unsigned long tagged = survey.tagged_pages, closing, released = 0;
	unsigned int keep;

	lockdep_assert_held(&mts_state_mutex);
	mts_count(MTS_STAT_RELEASE_PASSES);
	keep = flags & MTS_PASS_ALL_IDLE ? 0 : ready_target();
	closing = close_idle(flags, keep);
	if (may_release(flags))
		closing += mts_close_spare();
	if (flags & MTS_PASS_EVACUATE)
		closing += mts_evacuate(&survey, flags & MTS_PASS_HURRY);
	if (closing)
		released = release_closing(closing, flags);
	/* Pages that are not taggable any more had better be whole chunks again */
	if (released)
		mts_pool_drain(NULL);
	else
		mts_pool_trim();
	if (survey.ready < keep)
		mts_make_ready(keep);

	if (closing || keep || survey.waiting || survey.tagged_pages != tagged)
		WRITE_ONCE(idle_passes, 0);
	else
		WRITE_ONCE(idle_passes, idle_passes + 1);
	WRITE_ONCE(excess_pages, count_excess());
	return released;
}

/**
 * mts_reserve_pass() - do what is left to do for the reserving policies
 *
 * Context: Holds mts_state_mutex. Sleeps.
 */
void mts_reserve_pass(void)
{
	lockdep_assert_held(&mts_state_mutex);
	if (READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF)
		mts_take_free();
	else if (READ_ONCE(mts_policy.reserve) == MTS_RESERVE_AT_FIRST_USE &&
		 survey.blocks)
		mts_take_all(false);
}

/* Pages of tag storage held for tags, but for those that are kept for good */
static unsigned long reserved_pages(void)
{
	unsigned long pages[MTS_NR_STATES], kept;

	mts_stats_pages(pages);
	kept = READ_ONCE(survey.kept_pages);
	return pages[MTS_RESERVED] - min(pages[MTS_RESERVED], kept);
}

/**
 * mts_pass_has_work() - is there anything to do for a pass?
 *
 * Blocks are reserved that can be released, or the policy wants blocks reserved.
 *
 * Context: Any.
 */
bool mts_pass_has_work(void)
{
	unsigned int low, high;

	mts_policy_ready(&low, &high);
	return low || READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF ||
		reserved_pages();
}

/**
 * mts_pass_idle() - how many passes in a row had nothing to do
 *
 * Context: Any.
 */
unsigned int mts_pass_idle(void)
{
	return READ_ONCE(idle_passes);
}

/* There is something to do again */
void mts_pass_wake(void)
{
	WRITE_ONCE(idle_passes, 0);
}

/**
 * mts_pass_moves() - has the last pass moved tagged pages together?
 *
 * Context: Any.
 */
bool mts_pass_moves(void)
{
	return READ_ONCE(survey.evacuated);
}

/**
 * mts_pass_excess() - how many pages a pass could give back
 * @all:	if none needs to be kept for later
 *
 * Context: Any.
 */
unsigned long mts_pass_excess(bool all)
{
	return all ? reserved_pages() : READ_ONCE(excess_pages);
}

/*
 * Blocks released at once after going online: 0.1 s for an emulated CPU with the
 * smallest cache lines that there are, and all of 512 MiB of memory.
 */
#define MTS_ONLINE_BATCH	4096

/* How far it is. Holds mts_state_mutex. */
static unsigned int release_region;
static unsigned long release_block;

/**
 * mts_release_begin() - all that has no tags is about to be released
 *
 * Context: Holds mts_state_mutex.
 */
void mts_release_begin(void)
{
	lockdep_assert_held(&mts_state_mutex);
	release_region = 0;
	release_block = 0;
}

/**
 * mts_release_more() - release some of it
 *
 * Context: Holds mts_state_mutex. Sleeps.
 * Return: false if that was all.
 */
bool mts_release_more(void)
{
	unsigned long block, end, looked = 0, closing = 0;
	struct mts_region *r;

	lockdep_assert_held(&mts_state_mutex);
	if (!may_release(MTS_PASS_ALL_IDLE) || release_region == mts_nr_regions)
		return false;
	r = mts_regions[release_region];
	end = mts_nr_blocks(&r->geo);
	for (block = release_block; block < end && looked < MTS_ONLINE_BATCH; block++) {
		cond_resched();
		if (READ_ONCE(r->state[block]) != MTS_RESERVED)
			continue;
		looked++;
		if (!mts_block_is_tagged(r, block))
			closing += mts_block_close(r, block);
	}
	if (closing) {
		/* Wait for those who have seen the taggable bits set */
		synchronize_rcu();
		release_range(r, release_block, block, &closing);
	}
	release_block = block;
	if (block == end) {
		release_region++;
		release_block = 0;
	}
	return release_region < mts_nr_regions;
}
