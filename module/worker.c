// SPDX-License-Identifier: GPL-2.0
/*
 * The background worker: gives back blocks whose pages have no tags any more,
 * empties those that have few, and keeps some ready. Memory pressure hurries it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/limits.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/workqueue.h>

#include "mts.h"

/* The interval is doubled so often when there is nothing to do */
#define MTS_MAX_BACKOFF		2

/* So much shorter is the interval while tagged pages can be moved together */
#define MTS_EVACUATE_SPEED	4

/* Passes in a row that find a block sparse before it is emptied */
#define MTS_SPARSE_PASSES	2

/*
 * From one pass to the next that the shrinker can ask for: at least this, and at
 * least so many times what the last one took.
 */
#define MTS_PRESSURE_INTERVAL_MS	20
#define MTS_PRESSURE_SHARE		16

static struct workqueue_struct *mts_wq;
static struct shrinker *mts_shrinker;
static atomic_t __maybe_unused broken_passes;

/* What the last pass has found. Holds mts_state_mutex. */
static struct mts_survey survey;
/* Reservations by faults in a pass, halved with each pass that has fewer */
static unsigned int demand_rate;

/* Read without a lock: how often the interval is doubled now */
static unsigned int backoff;
/* Pages of reserved tag storage beyond what the tagged pages need */
static unsigned long excess_pages;
/* The shrinker was called; its next call that counts comes after this */
static bool pressure;
static unsigned long next_pressure;

static void mts_pass_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(mts_work, mts_pass_work);

/* May blocks without tags be released, as far as the policy is concerned? */
static bool may_release(unsigned int flags)
{
	lockdep_assert_held(&mts_state_mutex);
	if (READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF)
		return false;
	if (flags & MTS_PASS_ALL_IDLE)
		return true;
	if (READ_ONCE(mts_policy.reserve) == MTS_RESERVE_AT_FIRST_USE &&
	    survey.blocks)
		return false;
	return READ_ONCE(mts_policy.release) != MTS_RELEASE_NEVER;
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

/* What bad blocks serve becomes free now and then */
static void hold_bad(void)
{
	struct mts_region *r;
	unsigned long block;
	unsigned int i;

	for_each_mts_region(r, i) {
		if (!READ_ONCE(r->nr[MTS_BAD]))
			continue;
		for (block = 0; block < mts_nr_blocks(&r->geo); block++)
			if (READ_ONCE(r->state[block]) == MTS_BAD)
				mts_block_hold_data(r, block);
	}
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

static unsigned long release_closing(unsigned long nr, unsigned int flags)
{
	unsigned long block, released = 0;
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

	for_each_mts_region(r, i) {
		for (block = 0; nr && block < mts_nr_blocks(&r->geo); block++) {
			if (READ_ONCE(r->state[block]) != MTS_CLOSING)
				continue;
			nr--;
			cond_resched();
			released += mts_block_release(r, block);
		}
	}
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
	/* A broken build doesn't own what it calls reserved later */
	if (IS_ENABLED(MTS_BREAK_RESERVATION) &&
	    atomic_inc_return(&broken_passes) > 1)
		return 0;

	mts_count(MTS_STAT_RELEASE_PASSES);
	keep = flags & MTS_PASS_ALL_IDLE ? 0 : ready_target();
	hold_bad();
	closing = close_idle(flags, keep);
	if (may_release(flags))
		closing += mts_close_spare();
	if (flags & MTS_PASS_EVACUATE)
		closing += mts_evacuate(&survey, flags & MTS_PASS_HURRY);
	if (closing)
		released = release_closing(closing, flags);
	/* Pages that are not taggable any more had better be whole chunks again */
	tag_storage_trim_lists(released > 0);
	if (survey.ready < keep)
		mts_make_ready(keep);

	if (closing || keep || survey.waiting || survey.tagged_pages != tagged)
		WRITE_ONCE(backoff, 0);
	else if (backoff < MTS_MAX_BACKOFF)
		WRITE_ONCE(backoff, backoff + 1);
	WRITE_ONCE(excess_pages, count_excess());
	return released;
}

/* Do what is left to do for the reserving policies */
static void reserve_pass(void)
{
	lockdep_assert_held(&mts_state_mutex);
	if (READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF)
		mts_take_free();
	else if (READ_ONCE(mts_policy.reserve) == MTS_RESERVE_AT_FIRST_USE &&
		 survey.blocks)
		mts_take_back(false);
}

/*
 * Blocks are reserved that can be released, memory of bad ones has to be taken
 * out of use, or the policy wants blocks reserved.
 */
static bool have_work(void)
{
	unsigned int i, low, high;
	struct mts_region *r;

	mts_policy_ready(&low, &high);
	if (low || READ_ONCE(mts_policy.data_use) == MTS_DATA_OFF)
		return true;
	for_each_mts_region(r, i)
		if (READ_ONCE(r->nr[MTS_RESERVED]) >
		    READ_ONCE(survey.kept_blocks) ||
		    READ_ONCE(r->nr[MTS_BAD]))
			return true;
	return false;
}

static unsigned long pass_interval(void)
{
	return msecs_to_jiffies(READ_ONCE(mts_policy.pass_interval_ms));
}

/* Until the next pass. What is good for something goes on soon. */
static unsigned long next_interval(void)
{
	if (READ_ONCE(survey.evacuated))
		return max(pass_interval() / MTS_EVACUATE_SPEED, 1UL);
	return pass_interval() << READ_ONCE(backoff);
}

/*
 * Is there still need to hurry? What has no tags now may have some again soon,
 * if a program has just freed it there is room for the moment.
 */
static bool memory_is_scarce(void)
{
	unsigned long high, free;
	struct mts_region *r;
	unsigned int i, z;

	for_each_mts_region(r, i) {
		struct zone *zones =
			NODE_DATA(pfn_to_nid(r->geo.tag_pfn))->node_zones;

		high = 0;
		free = 0;
		for (z = 0; z < MAX_NR_ZONES; z++) {
			if (!populated_zone(&zones[z]))
				continue;
			high += high_wmark_pages(&zones[z]);
			free += zone_page_state(&zones[z], NR_FREE_PAGES);
		}
		if (free < 2 * high)
			return true;
	}
	return false;
}

static void mts_pass_work(struct work_struct *work)
{
	bool hurry = READ_ONCE(pressure) && memory_is_scarce();
	unsigned long start = jiffies, pause;

	/* Going offline and back takes long, and waits for this work */
	if (mutex_trylock(&mts_state_mutex)) {
		if (mts_is_online()) {
			mts_pass(MTS_PASS_EVACUATE |
				 (hurry ? MTS_PASS_ALL_IDLE | MTS_PASS_HURRY : 0));
			reserve_pass();
		}
		mutex_unlock(&mts_state_mutex);
	}
	pause = max(msecs_to_jiffies(MTS_PRESSURE_INTERVAL_MS),
		    (jiffies - start) * MTS_PRESSURE_SHARE);
	WRITE_ONCE(next_pressure, jiffies + pause);
	WRITE_ONCE(pressure, false);
	if (mts_is_online() && have_work())
		queue_delayed_work(mts_wq, &mts_work, next_interval());
}

/**
 * mts_worker_kick() - have a pass soon
 *
 * Context: Any.
 */
void mts_worker_kick(void)
{
	if (READ_ONCE(backoff)) {
		WRITE_ONCE(backoff, 0);
		mod_delayed_work(mts_wq, &mts_work, pass_interval());
	} else {
		queue_delayed_work(mts_wq, &mts_work, pass_interval());
	}
}

/**
 * mts_policy_changed() - act on the policy as it is now
 *
 * Context: Any. The module is loaded.
 */
void mts_policy_changed(void)
{
	if (mts_is_online())
		mts_policy_apply();
	mod_delayed_work(mts_wq, &mts_work, pass_interval());
}

/* Pages of tag storage held for tags, except for good */
static unsigned long reserved_pages(void)
{
	struct mts_region *r;
	unsigned long pages = 0;
	unsigned int i;

	for_each_mts_region(r, i)
		pages += READ_ONCE(r->nr[MTS_RESERVED]) << r->geo.block_order;
	return pages - min(pages, READ_ONCE(survey.kept_blocks) <<
				  mts_regions[0]->geo.block_order);
}

/*
 * The pages that a pass could give back. They are not objects of ours. When the
 * last pass is some time ago it may be all.
 */
static unsigned long shrink_count(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	unsigned long pages = READ_ONCE(excess_pages);

	if (time_after_eq(jiffies, READ_ONCE(next_pressure)))
		pages = reserved_pages();
	return pages ?: SHRINK_EMPTY;
}

/*
 * A pass takes locks that are held while memory is allocated, and waits for a
 * grace period: leave it to the worker, now.
 */
static unsigned long shrink_scan(struct shrinker *shrinker,
				 struct shrink_control *sc)
{
	unsigned long next = READ_ONCE(next_pressure);

	if (time_after_eq(jiffies, next)) {
		WRITE_ONCE(next_pressure, jiffies +
			   msecs_to_jiffies(MTS_PRESSURE_INTERVAL_MS));
		WRITE_ONCE(pressure, true);
		mod_delayed_work(mts_wq, &mts_work, 0);
	}
	return SHRINK_STOP;
}

/**
 * mts_worker_stop() - end the passes until the next mts_worker_kick()
 *
 * Context: Process context, sleeps.
 */
void mts_worker_stop(void)
{
	disable_delayed_work_sync(&mts_work);
	enable_delayed_work(&mts_work);
}

int mts_worker_init(void)
{
	mts_wq = alloc_workqueue(KBUILD_MODNAME,
				 WQ_UNBOUND | WQ_FREEZABLE | WQ_MEM_RECLAIM, 1);
	if (!mts_wq)
		return -ENOMEM;
	mts_shrinker = shrinker_alloc(0, KBUILD_MODNAME);
	if (!mts_shrinker) {
		destroy_workqueue(mts_wq);
		return -ENOMEM;
	}
	mts_shrinker->count_objects = shrink_count;
	mts_shrinker->scan_objects = shrink_scan;
	/* Nothing has to be read again: ask also when there is little pressure */
	mts_shrinker->seeks = 0;
	mts_shrinker->batch = 1;
	next_pressure = jiffies;
	shrinker_register(mts_shrinker);
	return 0;
}

void mts_worker_exit(void)
{
	shrinker_free(mts_shrinker);
	mts_worker_stop();
	destroy_workqueue(mts_wq);
}
