// SPDX-License-Identifier: GPL-2.0
/*
 * The harness's canary: insmod causes one failure of the given kind, and the
 * host must report a run with it as failed, for exactly that reason. It breaks
 * the kernel on purpose; nothing but scripts/check/harness loads it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/panic.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *kind = "none";
module_param(kind, charp, 0400);
MODULE_PARM_DESC(kind, "the failure to cause; see the table in the source");

static unsigned int seconds = 10;
module_param(seconds, uint, 0400);
MODULE_PARM_DESC(seconds, "how long hung, softlockup and rcu_stall last");

static DEFINE_MUTEX(canary_a);
static DEFINE_MUTEX(canary_b);
static DEFINE_SPINLOCK(canary_spin);

static void canary_none(void)
{
}

static void canary_warn(void)
{
	WARN(1, "canary\n");
}

static void canary_bug(void)
{
	BUG();
}

static void canary_oops(void)
{
	volatile int *nowhere = (int *)8;

	OPTIMIZER_HIDE_VAR(nowhere);
	*nowhere = 1;
}

static void canary_panic(void)
{
	panic("canary");
}

/* A task in uninterruptible sleep. */
static void canary_hung(void)
{
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end)) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule_timeout(end - jiffies);
	}
	__set_current_state(TASK_RUNNING);
}

/* A CPU that doesn't schedule, but takes interrupts. */
static void canary_softlockup(void)
{
	unsigned long end = jiffies + seconds * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
}

/* A reader that is preempted, but never ends. */
static void canary_rcu_stall(void)
{
	unsigned long end = jiffies + seconds * HZ;

	/*
	 * A stall needs a grace period that began after the test changed the stall
	 * timeout, and after the reader: one that begins before doesn't wait for it.
	 */
	synchronize_rcu();
	rcu_read_lock();
	start_poll_synchronize_rcu();
	while (time_before(jiffies, end))
		cpu_relax();
	rcu_read_unlock();
}

/* A page freed while its reference count isn't what the allocator expects. */
static void canary_badpage(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return;
	page->mapping = (void *)0x100;
	__free_page(page);
}

static void canary_taint(void)
{
	add_taint(TAINT_USER, LOCKDEP_STILL_OK);
}

/* The rest need the debug kernel. */

static void canary_lockdep(void)
{
	mutex_lock(&canary_a);
	mutex_lock(&canary_b);
	mutex_unlock(&canary_b);
	mutex_unlock(&canary_a);

	mutex_lock(&canary_b);
	mutex_lock(&canary_a);
	mutex_unlock(&canary_a);
	mutex_unlock(&canary_b);
}

static void canary_atomic_sleep(void)
{
	spin_lock(&canary_spin);
	might_sleep();
	spin_unlock(&canary_spin);
}

static void canary_kasan(void)
{
	volatile char *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return;
	kfree((void *)p);
	OPTIMIZER_HIDE_VAR(p);
	p[8] = 1;
}

static void canary_leak(void)
{
	void *p = kmalloc(64, GFP_KERNEL);
	int i;

	/* Several, as a stray copy of one address hides that one. */
	for (i = 0; p && i < 8; i++)
		p = kmalloc(64, GFP_KERNEL);
	OPTIMIZER_HIDE_VAR(p);
}

static const struct {
	const char *name;
	void (*act)(void);
} canaries[] = {
	{ "none", canary_none },
	{ "warn", canary_warn },
	{ "bug", canary_bug },
	{ "oops", canary_oops },
	{ "panic", canary_panic },
	{ "hung", canary_hung },
	{ "softlockup", canary_softlockup },
	{ "rcu_stall", canary_rcu_stall },
	{ "badpage", canary_badpage },
	{ "taint", canary_taint },
	{ "lockdep", canary_lockdep },
	{ "atomic_sleep", canary_atomic_sleep },
	{ "kasan", canary_kasan },
	{ "leak", canary_leak },
};

static int __init canary_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(canaries); i++) {
		if (strcmp(kind, canaries[i].name))
			continue;
		canaries[i].act();
		return 0;
	}
	pr_err("unknown kind '%s'\n", kind);
	return -EINVAL;
}
module_init(canary_init);

static void __exit canary_exit(void)
{
}
module_exit(canary_exit);

MODULE_DESCRIPTION("Causes failures that the test harness must see");
MODULE_LICENSE("GPL");
