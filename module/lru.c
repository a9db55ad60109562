// SPDX-License-Identifier: GPL-2.0
/*
 * LRU batches. What a CPU has touched last, or madvise() has looked at there, isn't on
 * the LRU, or has one more reference, until that CPU has a batch full or drains it. It
 * can't be moved meanwhile, and a CPU that touches nothing new drains nothing.
 */
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>

#include "mts.h"

/* All CPUs are asked at most as often */
#define LRU_INTERVAL	(HZ / 20)

static DEFINE_PER_CPU(struct work_struct, lru_works);
/* A page that is on no LRU */
static struct folio *lru_probe;

static void drain_here(struct work_struct *work)
{
	LIST_HEAD(folios);

	/* Isolated it can't be, but what may make it so is done before */
	tag_storage_isolate(lru_probe, &folios);
}

/**
 * mts_lru_drain() - have all CPUs drain their LRU batches
 *
 * Soon, and not more often than makes sense. Waits for none: there are CPUs on which
 * nothing else comes to run.
 *
 * Context: Any in which work can be queued.
 */
void mts_lru_drain(void)
{
	static unsigned long last;
	unsigned long then = READ_ONCE(last);
	int cpu;

	if (time_in_range(jiffies, then, then + LRU_INTERVAL) ||
	    cmpxchg(&last, then, jiffies) != then)
		return;
	for_each_online_cpu(cpu)
		queue_work_on(cpu, system_wq, per_cpu_ptr(&lru_works, cpu));
}

/**
 * mts_lru_init() - get ready for mts_lru_drain()
 *
 * Context: Process context, sleeps. When the module is loaded.
 * Return: 0 or -ENOMEM.
 */
int mts_lru_init(void)
{
	int cpu;

	lru_probe = folio_alloc(GFP_KERNEL, 0);
	if (!lru_probe)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		INIT_WORK(per_cpu_ptr(&lru_works, cpu), drain_here);
	return 0;
}

/**
 * mts_lru_exit() - undo mts_lru_init()
 *
 * Context: Process context, sleeps. Nobody asks any more.
 */
void mts_lru_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		cancel_work_sync(per_cpu_ptr(&lru_works, cpu));
	folio_put(lru_probe);
}
