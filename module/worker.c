// SPDX-License-Identifier: GPL-2.0
/*
 * When there is a pass: the background worker, and memory pressure that hurries it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/limits.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
#include <linux/workqueue.h>

#include "mts.h"

/* The interval is doubled so often when there is nothing to do */
#define MTS_MAX_BACKOFF		2

/* So much shorter is the interval while tagged pages can be moved together */
#define MTS_EVACUATE_SPEED	4

/*
 * From one pass to the next that the shrinker can ask for: at least this, and at
 * least so many times what the last one took.
 */
#define MTS_PRESSURE_INTERVAL_MS	20
#define MTS_PRESSURE_SHARE		16

/* Pages in the pool that are worth it to drain it under pressure */
#define POOL_WORTH		MTS_RATIO

static struct workqueue_struct *mts_wq;
static struct shrinker *mts_shrinker;
/* The shrinker was called; its next call that counts comes after this */
static bool pressure;
static unsigned long next_pressure;

static void mts_pass_work(struct work_struct *work);
/* A CPU that sleeps needs no pass, */
static DECLARE_DEFERRABLE_WORK(mts_work, mts_pass_work);
/* unless there is something to gain. */
static DECLARE_DELAYED_WORK(mts_soon, mts_pass_work);

static unsigned long pass_interval(void)
{
	return msecs_to_jiffies(READ_ONCE(mts_policy.pass_interval_ms));
}

static void queue_next(void)
{
	if (mts_pass_moves())
		queue_delayed_work(mts_wq, &mts_soon,
				   max(pass_interval() / MTS_EVACUATE_SPEED, 1UL));
	else
		queue_delayed_work(mts_wq, &mts_work, pass_interval() <<
				   min(mts_pass_idle(), MTS_MAX_BACKOFF));
}

/*
 * Is there still need to hurry? What has no tags now may have some again soon,
 * if a program has just freed it there is room for the moment.
 */
static bool memory_is_scarce(void)
{
	unsigned long high, free;
	struct mts_region *r;
	struct zone *zone;
	unsigned int i;

	for_each_mts_region(r, i) {
		high = 0;
		free = 0;
		mts_for_each_zone(zone, pfn_to_nid(r->geo.tag_pfn)) {
			high += high_wmark_pages(zone);
			free += zone_page_state(zone, NR_FREE_PAGES);
		}
		if (free < 2 * high)
			return true;
	}
	return false;
}

/* After going online, a batch at a time. Changed under mts_state_mutex. */
static bool releasing;

/**
 * mts_worker_release() - release all that has no tags, after going online
 *
 * The first batch now, the rest in the background.
 *
 * Context: Holds mts_state_mutex. Sleeps.
 */
void mts_worker_release(void)
{
	lockdep_assert_held(&mts_state_mutex);
	mts_release_begin();
	releasing = mts_release_more();
	mts_offline_reset(releasing);
	if (releasing) {
		mod_delayed_work(mts_wq, &mts_work, 0);
	} else {
		mts_online_report();
		mts_worker_kick();
	}
}

/* Return: whether there is another batch */
static bool release_batch(void)
{
	if (!releasing || !mutex_trylock(&mts_state_mutex))
		return releasing;
	if (releasing && mts_is_online()) {
		releasing = mts_release_more();
		if (!releasing) {
			mts_offline_reset(false);
			mts_online_report();
		}
	}
	mutex_unlock(&mts_state_mutex);
	return releasing;
}

static void mts_pass_work(struct work_struct *work)
{
	bool hurry = READ_ONCE(pressure) && memory_is_scarce();
	unsigned long start = jiffies, pause;
	unsigned int noio;

	if (release_batch()) {
		queue_delayed_work(mts_wq, &mts_soon, 1);
		return;
	}
	/* Going offline and back takes long, and waits for this work */
	if (mutex_trylock(&mts_state_mutex)) {
		/* Swap on a loop device may wait for a worker that this one keeps */
		noio = memalloc_noio_save();
		if (mts_is_online()) {
			mts_pass(MTS_PASS_EVACUATE |
				 (hurry ? MTS_PASS_ALL_IDLE | MTS_PASS_HURRY : 0));
			mts_reserve_pass();
		}
		memalloc_noio_restore(noio);
		mutex_unlock(&mts_state_mutex);
	}
	pause = max(msecs_to_jiffies(MTS_PRESSURE_INTERVAL_MS),
		    (jiffies - start) * MTS_PRESSURE_SHARE);
	WRITE_ONCE(next_pressure, jiffies + pause);
	WRITE_ONCE(pressure, false);
	if (mts_is_online() && mts_pass_has_work())
		queue_next();
}

/**
 * mts_worker_kick() - have a pass soon
 *
 * Context: Any.
 */
void mts_worker_kick(void)
{
	if (mts_pass_idle()) {
		mts_pass_wake();
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
	mts_pass_look_at_all();
	mod_delayed_work(mts_wq, &mts_work, pass_interval());
}

/*
 * The pages that a pass could give back. They are not objects of ours. When the
 * last pass is some time ago it may be all.
 */
static unsigned long shrink_count(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	bool all = time_after_eq(jiffies, READ_ONCE(next_pressure));

	return mts_pass_excess(all) + mts_pool_pages() + mts_pin_kept() ?: SHRINK_EMPTY;
}

/*
 * A pass takes locks that are held while memory is allocated, and waits for a
 * grace period: leave it to the worker, now.
 */
static unsigned long shrink_scan(struct shrinker *shrinker,
				 struct shrink_control *sc)
{
	unsigned long next = READ_ONCE(next_pressure), pool = mts_pool_pages();

	mts_pin_put();
	if (time_after_eq(jiffies, next)) {
		WRITE_ONCE(next_pressure, jiffies +
			   msecs_to_jiffies(MTS_PRESSURE_INTERVAL_MS));
		WRITE_ONCE(pressure, true);
		mod_delayed_work(mts_wq, &mts_work, 0);
	}
	if (!mts_is_online() || pool < POOL_WORTH)
		return SHRINK_STOP;
	mts_pool_drain(NULL);
	return pool;
}

/**
 * mts_worker_stop() - end the passes until the next mts_worker_kick()
 *
 * Context: Process context, sleeps.
 */
void mts_worker_stop(void)
{
	releasing = false;
	disable_delayed_work_sync(&mts_work);
	disable_delayed_work_sync(&mts_soon);
	enable_delayed_work(&mts_soon);
	enable_delayed_work(&mts_work);
}

/**
 * mts_worker_init() - have passes done, and be told of pressure
 *
 * Context: Process context, sleeps.
 * Return: 0 or -ENOMEM.
 */
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

/**
 * mts_worker_exit() - end that
 *
 * Context: Process context, sleeps. No function of it runs on return.
 */
void mts_worker_exit(void)
{
	shrinker_free(mts_shrinker);
	mts_worker_stop();
	destroy_workqueue(mts_wq);
}
