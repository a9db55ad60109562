// SPDX-License-Identifier: GPL-2.0
/*
 * The background worker: gives back blocks whose pages have no tags any more.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/limits.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "mts.h"

static struct workqueue_struct *mts_wq;
static atomic_t __maybe_unused broken_passes;

static void mts_pass_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(mts_pass, mts_pass_work);

/* Another pass found no tags: has the policy had enough of them? */
static bool is_idle(struct mts_region *r, unsigned long block)
{
	u8 idle = READ_ONCE(r->idle[block]);

	if (idle < U8_MAX)
		WRITE_ONCE(r->idle[block], ++idle);
	switch (READ_ONCE(mts_policy.release)) {
	case MTS_RELEASE_EAGER:
		return true;
	case MTS_RELEASE_NEVER:
		return false;
	default:
		return idle >= READ_ONCE(mts_policy.idle_passes);
	}
}

/**
 * mts_release_pass() - release the blocks that have no tagged page
 * @at_once:	whatever the policy says
 *
 * Looks at one page of a block that is full of tagged pages, at all pages of a
 * block that has none.
 *
 * Context: Holds mts_state_mutex. Sleeps.
 * Return: number of blocks released.
 */
unsigned long mts_release_pass(bool at_once)
{
	unsigned long block, closing = 0, released = 0;
	struct mts_region *r;
	unsigned int i;

	lockdep_assert_held(&mts_state_mutex);
	/* A broken build doesn't own what it calls reserved later */
	if (IS_ENABLED(MTS_BREAK_RESERVATION) &&
	    atomic_inc_return(&broken_passes) > 1)
		return 0;

	mts_count(MTS_STAT_RELEASE_PASSES);
	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block++) {
			if (READ_ONCE(r->state[block]) == MTS_BAD)
				mts_block_hold_data(r, block);
			if (READ_ONCE(r->state[block]) != MTS_RESERVED)
				continue;
			cond_resched();
			if (mts_block_is_tagged(r, block)) {
				WRITE_ONCE(r->idle[block], 0);
				continue;
			}
			if (!is_idle(r, block) && !at_once)
				continue;
			closing += mts_block_close(r, block);
		}
	}
	if (!closing)
		return 0;

	/* Wait for those who have seen the taggable bits set */
	synchronize_rcu();

	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block++) {
			if (READ_ONCE(r->state[block]) != MTS_CLOSING)
				continue;
			cond_resched();
			released += mts_block_release(r, block);
		}
	}
	return released;
}

/* Reserved blocks can be released, memory of bad ones be taken out of use */
static bool have_work(void)
{
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i)
		if (READ_ONCE(r->nr[MTS_RESERVED]) || READ_ONCE(r->nr[MTS_BAD]))
			return true;
	return false;
}

static void mts_pass_work(struct work_struct *work)
{
	/* Going offline and back takes long, and waits for this work */
	if (mutex_trylock(&mts_state_mutex)) {
		if (mts_is_online())
			mts_release_pass(false);
		mutex_unlock(&mts_state_mutex);
	}
	if (have_work())
		mts_worker_kick();
}

static unsigned long pass_interval(void)
{
	return msecs_to_jiffies(READ_ONCE(mts_policy.pass_interval_ms));
}

/**
 * mts_worker_kick() - have a pass soon
 *
 * Context: Any.
 */
void mts_worker_kick(void)
{
	queue_delayed_work(mts_wq, &mts_pass, pass_interval());
}

/**
 * mts_policy_changed() - act on the policy as it is now
 *
 * Context: Any. The module is loaded.
 */
void mts_policy_changed(void)
{
	mod_delayed_work(mts_wq, &mts_pass, pass_interval());
}

/**
 * mts_worker_stop() - end the passes until the next mts_worker_kick()
 *
 * Context: Process context, sleeps.
 */
void mts_worker_stop(void)
{
	disable_delayed_work_sync(&mts_pass);
	enable_delayed_work(&mts_pass);
}

int mts_worker_init(void)
{
	mts_wq = alloc_workqueue(KBUILD_MODNAME,
				 WQ_UNBOUND | WQ_FREEZABLE | WQ_MEM_RECLAIM, 1);
	return mts_wq ? 0 : -ENOMEM;
}

void mts_worker_exit(void)
{
	mts_worker_stop();
	destroy_workqueue(mts_wq);
}
