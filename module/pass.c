// SPDX-License-Identifier: GPL-2.0
/*
 * A pass: looks at the reserved blocks that have changed, gives back those whose
 * pages have no tags any more, and empties those that have few. When there is one is
 * up to worker.c.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/limits.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/time64.h>
#include <linux/timekeeping.h>

#include "mts.h"

/*
 * Reserved blocks to look at though nobody says that they have changed: 512 MiB of
 * memory with blocks of 4 KiB, and more when others wait for memory.
 */
#define MTS_LOOK_TURN		4096UL
#define MTS_LOOK_HURRY		(16 * MTS_LOOK_TURN)

/*
 * Units that release_delay_ms is counted in. r->idle[] is 1 after the pass that
 * found a block without tags, and grows by what has passed since the last pass.
 */
#define MTS_IDLE_UNITS		64

/* Passes that had nothing to do, since one that had; read without a lock */
static unsigned int idle_passes;
/* Pages of reserved tag storage beyond what the tagged pages need; likewise */
static unsigned long excess_pages;

/* All reserved blocks have to be looked at: what is done with them has changed */
static bool look_at_all;
/* How often a block has been looked at: what was noted before must be noted again */
unsigned int mts_look_round;
/* Blocks are being reserved for the policy, batch by batch */
static bool reserving;

/* Does the policy keep blocks without tags reserved? */
static bool policy_keeps(void)
{
	if (!mts_have_tags)
		return false;
	return READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF ||
		READ_ONCE(mts_policy.release) == MTS_RELEASE_NEVER ||
		(READ_ONCE(mts_policy.reserve) == MTS_RESERVE_AT_FIRST_USE &&
		 READ_ONCE(mts_survey.blocks));
}

/* May blocks without tags be released? Pressure is no order. */
static bool may_release(unsigned int flags)
{
	if (!mts_have_tags || !(flags & MTS_PASS_ORDER))
		return !policy_keeps();
	return READ_ONCE(mts_policy.data_use) != MTS_DATA_OFF;
}

/* What has passed of the delay since the last pass, in its units */
static unsigned int idle_units(unsigned int delay_ms)
{
	static unsigned int last_delay_ms;
	static u64 last;
	u64 units, now;

	lockdep_assert_held(&mts_state_mutex);
	if (!delay_ms)
		return 0;
	now = div_u64(ktime_get_coarse_ns(), NSEC_PER_MSEC) * MTS_IDLE_UNITS;
	now = div_u64(now, delay_ms);
	units = delay_ms == last_delay_ms ? now - last : 0;
	last = now;
	last_delay_ms = delay_ms;
	return min_t(u64, units, U8_MAX);
}

/* Another pass found no tags: for how long is it so? */
static bool is_idle(struct mts_region *r, unsigned long block,
		    unsigned int units, unsigned int delay_ms)
{
	unsigned int idle = READ_ONCE(r->idle[block]);

	idle = idle ? min_t(unsigned int, idle + units, U8_MAX) : 1;
	WRITE_ONCE(r->idle[block], idle);
	return !delay_ms || idle > MTS_IDLE_UNITS;
}

/* Look at a reserved block. Return: whether it is closing now */
static bool look_at(struct mts_region *r, unsigned long block, unsigned int flags,
		    unsigned int units, bool may)
{
	bool spare = mts_block_is_spare(r, block);

	if (!spare && mts_survey_block(r, block)) {
		WRITE_ONCE(r->idle[block], 0);
		return false;
	}
	/* Without MTE: kept for somebody else */
	if (!may || (spare && mts_block_is_tagged(r, block)))
		return false;
	if (!spare && !(flags & MTS_PASS_ALL_IDLE) &&
	    !is_idle(r, block, units, READ_ONCE(mts_policy.release_delay_ms))) {
		mts_survey.waiting++;
		/* It has no tags: again in the next pass */
		mts_set_add(&r->look, block);
		return false;
	}
	return mts_block_close(r, block);
}

/* Look at what has changed, and some more; close what is to be released */
static unsigned long close_idle(unsigned int flags)
{
	unsigned int units = idle_units(READ_ONCE(mts_policy.release_delay_ms));
	bool all = flags & MTS_PASS_ORDER, may;
	unsigned long block, closing = 0;
	static bool may_before;
	struct mts_region *r;
	unsigned int i;

	/* An order to empty blocks is none to release others */
	may = may_release(flags & MTS_PASS_ALL_IDLE ? flags : 0);
	all |= may && !may_before;
	may_before = may;
	all |= xchg(&look_at_all, false);
	mts_survey_turn(all ? ULONG_MAX : flags & MTS_PASS_HURRY ?
			MTS_LOOK_HURRY : MTS_LOOK_TURN);
	mts_survey.waiting = 0;
	mts_survey.evacuated = 0;
	for_each_mts_region(r, i) {
		for_each_in_set(&r->look, block) {
			cond_resched();
			mts_set_del(&r->look, block);
			WRITE_ONCE(mts_look_round, mts_look_round + 1);
			/* What changes from now on is noted again */
			smp_mb__after_atomic();
			if (READ_ONCE(r->state[block]) == MTS_RESERVED)
				closing += look_at(r, block, flags, units, may);
		}
	}
	return closing;
}

/* Release the blocks that are closing for a grace period */
static unsigned long release_closed(struct mts_region *r)
{
	unsigned long block, released = 0;

	for_each_in_set(&r->closing, block) {
		cond_resched();
		released += mts_block_release(r, block);
	}
	return released;
}

static unsigned long release_closing(unsigned int flags)
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
		released += release_closed(r);
	return released;
}

static unsigned long count_excess(void)
{
	unsigned long needed = DIV_ROUND_UP(mts_survey.tagged_pages, MTS_RATIO);
	unsigned long pages[MTS_NR_STATES];

	mts_stats_pages(pages);
	return pages[MTS_RESERVED] - min(pages[MTS_RESERVED], needed);
}

/**
 * mts_pass() - release blocks that have no tagged page, and what goes with it
 * @flags:	MTS_PASS_*
 *
 * Context: Holds mts_state_mutex. Sleeps.
 * Return: number of blocks released.
 */
unsigned long mts_pass(unsigned int flags)
{
	unsigned long tagged = mts_survey.tagged_pages, closing, released = 0;

	lockdep_assert_held(&mts_state_mutex);
	mts_count(MTS_STAT_RELEASE_PASSES);
	closing = close_idle(flags);
	if (flags & MTS_PASS_EVACUATE && may_release(flags))
		closing += mts_evacuate(flags & MTS_PASS_HURRY);
	if (closing)
		released = release_closing(flags);
	/* Pages that are not taggable any more had better be whole chunks again */
	if (released)
		mts_pool_drain(NULL);
	else
		mts_pool_trim();

	if (closing || mts_survey.waiting || mts_survey.tagged_pages != tagged)
		WRITE_ONCE(idle_passes, 0);
	else
		WRITE_ONCE(idle_passes, idle_passes + 1);
	WRITE_ONCE(excess_pages, count_excess());
	return released;
}

/**
 * mts_pass_look_at_all() - have the next pass look at all reserved blocks
 *
 * Context: Any.
 */
void mts_pass_look_at_all(void)
{
	WRITE_ONCE(look_at_all, true);
}

/**
 * mts_reserve_pass() - do what is left to do for the reserving policies
 *
 * Context: Holds mts_state_mutex. Sleeps.
 */
void mts_reserve_pass(void)
{
	bool more = false;

	lockdep_assert_held(&mts_state_mutex);
	if (READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF ||
	    (READ_ONCE(mts_policy.reserve) == MTS_RESERVE_AT_FIRST_USE &&
	     mts_survey.blocks))
		more = mts_take_some();
	WRITE_ONCE(reserving, more);
}

/* Pages of tag storage held for tags, but for those that are always kept */
static unsigned long reserved_pages(void)
{
	unsigned long pages[MTS_NR_STATES], kept;

	mts_stats_pages(pages);
	kept = READ_ONCE(mts_survey.kept_pages);
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
	return READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF ||
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

/**
 * mts_pass_wake() - tell that there is something to do again
 *
 * Context: Any.
 */
void mts_pass_wake(void)
{
	WRITE_ONCE(idle_passes, 0);
}

/**
 * mts_pass_moves() - is there more to do for the next pass soon?
 *
 * The last one has moved tagged pages together, or reserved blocks that the policy
 * wants reserved.
 *
 * Context: Any.
 */
bool mts_pass_moves(void)
{
	return READ_ONCE(mts_survey.evacuated) || READ_ONCE(reserving);
}

/**
 * mts_pass_excess() - how many pages a pass could give back
 * @all:	if none needs to be kept for later
 *
 * Context: Any.
 */
unsigned long mts_pass_excess(bool all)
{
	if (policy_keeps())
		return 0;
	return all ? reserved_pages() : READ_ONCE(excess_pages);
}

/*
 * Blocks released at once after going online: 17 million instructions with the
 * smallest lines of tags that there are.
 */
#define MTS_ONLINE_BATCH	512

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
	unsigned long block, end, looked = 0;
	bool closing = false;
	struct mts_region *r;

	lockdep_assert_held(&mts_state_mutex);
	if (!may_release(MTS_PASS_ORDER) || release_region == mts_nr_regions)
		return false;
	r = mts_regions[release_region];
	end = mts_nr_blocks(&r->geo);
	for (block = release_block; block < end && looked < MTS_ONLINE_BATCH; block++) {
		cond_resched();
		if (READ_ONCE(r->state[block]) != MTS_RESERVED)
			continue;
		looked++;
		if (!mts_block_is_tagged(r, block))
			closing |= mts_block_close(r, block);
	}
	if (closing) {
		/* Wait for those who have seen the taggable bits set */
		synchronize_rcu();
		release_closed(r);
	}
	release_block = block;
	if (block == end) {
		release_region++;
		release_block = 0;
	}
	return release_region < mts_nr_regions;
}
