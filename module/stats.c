// SPDX-License-Identifier: GPL-2.0
/*
 * Statistics: counters and latencies, per CPU.
 */
#include <linux/build_bug.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/vmstat.h>

#include "mts.h"

#define MTS_NAME(id, name)	[MTS_##id] = name,
const char * const mts_state_names[MTS_NR_STATES] = { MTS_STATES(MTS_NAME) };

#define MTS_STAT_NAME(id, name)	[MTS_STAT_##id] = name,
static const char * const mts_stat_names[] = { MTS_STATS(MTS_STAT_NAME) };
static_assert(ARRAY_SIZE(mts_stat_names) == MTS_NR_STATS);

#define MTS_OP_NAME(id, name)	[MTS_OP_##id] = name,
static const char * const mts_op_names[] = { MTS_OPS(MTS_OP_NAME) };
static_assert(ARRAY_SIZE(mts_op_names) == MTS_NR_OPS);

/* Bucket i counts what took from 2^i ns on; the last one all that is longer */
#define MTS_LATENCY_BUCKETS	36

struct mts_latency {
	u64 count;
	u64 total_ns;
	u64 max_ns;
	u64 bucket[MTS_LATENCY_BUCKETS];
};

static DEFINE_PER_CPU(u64 [MTS_NR_STATS], mts_counters);
static DEFINE_PER_CPU(struct mts_latency [MTS_NR_OPS], mts_latencies);

/**
 * mts_count_add() - count events
 * @stat:	what
 * @n:		how many
 *
 * Context: Any.
 */
void mts_count_add(enum mts_stat stat, unsigned long n)
{
	this_cpu_add(mts_counters[stat], n);
}

/**
 * mts_stats_count() - how many events there were
 * @stat:	what
 *
 * Context: Any.
 */
u64 mts_stats_count(enum mts_stat stat)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu(mts_counters, cpu)[stat]);
	return sum;
}

/**
 * mts_latency() - note how long something took
 * @op:		what
 * @ns:		how long
 *
 * Context: Process context.
 */
void mts_latency(enum mts_op op, u64 ns)
{
	unsigned int bucket = min(ilog2(ns | 1), MTS_LATENCY_BUCKETS - 1);
	struct mts_latency *l = &(*get_cpu_ptr(&mts_latencies))[op];

	WRITE_ONCE(l->count, l->count + 1);
	WRITE_ONCE(l->total_ns, l->total_ns + ns);
	WRITE_ONCE(l->max_ns, max(l->max_ns, ns));
	WRITE_ONCE(l->bucket[bucket], l->bucket[bucket] + 1);
	put_cpu_ptr(&mts_latencies);
}

static void sum_latency(struct mts_latency *sum, enum mts_op op)
{
	unsigned int i;
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct mts_latency *l = &per_cpu(mts_latencies, cpu)[op];

		sum->count += READ_ONCE(l->count);
		sum->total_ns += READ_ONCE(l->total_ns);
		sum->max_ns = max(sum->max_ns, READ_ONCE(l->max_ns));
		for (i = 0; i < MTS_LATENCY_BUCKETS; i++)
			sum->bucket[i] += READ_ONCE(l->bucket[i]);
	}
}

/**
 * mts_latency_show() - print the histograms
 * @m:		where
 *
 * A format version, then "operation from_ns count" lines, for what took at
 * least from_ns and less than twice that.
 */
void mts_latency_show(struct seq_file *m)
{
	unsigned int op, i;

	seq_puts(m, MTS_LATENCY_HEADER "\n");
	for (op = 0; op < MTS_NR_OPS; op++) {
		struct mts_latency sum = {};

		sum_latency(&sum, op);
		for (i = 0; i < MTS_LATENCY_BUCKETS; i++)
			if (sum.bucket[i])
				seq_printf(m, "%s %llu %llu\n",
					   mts_op_names[op], 1ULL << i,
					   sum.bucket[i]);
	}
}

/* Blocks of each state, and their pages */
static void count_states(unsigned long blocks[MTS_NR_STATES],
			 unsigned long pages[MTS_NR_STATES])
{
	struct mts_region *r;
	unsigned int i, state;

	memset(blocks, 0, MTS_NR_STATES * sizeof(*blocks));
	memset(pages, 0, MTS_NR_STATES * sizeof(*pages));
	/* A region at a time, so that the sums are right at any moment */
	for_each_mts_region(r, i) {
		spin_lock(&r->lock);
		for (state = 0; state < MTS_NR_STATES; state++) {
			blocks[state] += r->nr[state];
			pages[state] += r->nr[state] << r->geo.block_order;
		}
		spin_unlock(&r->lock);
	}
}

/**
 * mts_stats_pages() - count pages of tag storage
 * @pages:	result: how many are in blocks of each state
 */
void mts_stats_pages(unsigned long pages[MTS_NR_STATES])
{
	unsigned long blocks[MTS_NR_STATES];

	count_states(blocks, pages);
}

/**
 * mts_stats_reserve_failed() - how many attempts to have the storage of a block have failed?
 *
 * Context: Any.
 * Return: attempts since the module was loaded, for whatever reason.
 */
u64 mts_stats_reserve_failed(void)
{
	return mts_stats_count(MTS_STAT_RESERVE_FAILED_BUSY) +
		mts_stats_count(MTS_STAT_RESERVE_FAILED_RECLAIM) +
		mts_stats_count(MTS_STAT_RESERVE_FAILED_NOMEM) +
		mts_stats_count(MTS_STAT_RESERVE_FAILED_KILLED);
}

/* Pages of a zone in our areas */
static unsigned long zone_lent_pages(const struct zone *zone)
{
	unsigned long nr = 0;
	struct mts_region *r;
	unsigned int i, j;

	for_each_mts_region(r, i)
		for (j = 0; j < r->nr_areas; j++)
			if (READ_ONCE(r->areas[j].cma) &&
			    page_zone(pfn_to_page(r->areas[j].pfn)) == zone)
				nr += r->areas[j].nr_pages;
	return nr;
}

/* Free pages of an area; what is on the free lists may change meanwhile */
static unsigned long area_free_pages(const struct mts_area *area)
{
	unsigned long pfn = area->pfn, end = pfn + area->nr_pages;
	unsigned long nr, n = 0;

	for (; pfn < end; pfn += nr) {
		struct page *page = pfn_to_page(pfn);
		unsigned long order;

		nr = 1;
		if (PageBuddy(page)) {
			order = READ_ONCE(page->private);
			if (order <= MAX_PAGE_ORDER)
				nr = min(1UL << order, end - pfn);
			n += nr;
		}
		cond_resched();
	}
	return n;
}

static unsigned long zone_free_pages(const struct zone *zone)
{
	unsigned long n = 0;
	struct mts_region *r;
	unsigned int i, j;

	for_each_mts_region(r, i)
		for (j = 0; j < r->nr_areas; j++)
			if (page_zone(pfn_to_page(r->areas[j].pfn)) == zone)
				n += area_free_pages(&r->areas[j]);
	return n;
}

/**
 * mts_stats_free_pages() - how much of the released storage is free?
 *
 * The kernel counts free pages of all CMA areas of a zone together. Only where
 * others have areas in the zone, too, it takes a look at the pages. Those on
 * per-CPU lists count as in use.
 *
 * Context: Process context, sleeps.
 */
unsigned long mts_stats_free_pages(void)
{
	unsigned long lent, n = 0;
	struct zone *zone;
	int nid;

	for_each_online_node(nid) {
		mts_for_each_zone(zone, nid) {
			lent = zone_lent_pages(zone);
			if (!lent)
				continue;
			if (lent == zone_cma_pages(zone))
				n += zone_page_state(zone, NR_FREE_CMA_PAGES);
			else
				n += zone_free_pages(zone);
		}
	}
	return n;
}

static void show_bytes(struct seq_file *m, const char *key,
		       unsigned long pages)
{
	seq_printf(m, "%s_bytes %lu\n", key, pages << PAGE_SHIFT);
}

/**
 * mts_stats_show() - show the statistics
 * @m:	where to: a format version, then "key value" lines
 *
 * Context: Process context, sleeps.
 */
void mts_stats_show(struct seq_file *m)
{
	unsigned long nr[MTS_NR_STATES], pages[MTS_NR_STATES];
	unsigned long nr_total = 0, pages_total = 0, free;
	unsigned long tagged = READ_ONCE(mts_survey.all_tagged_pages);
	struct mts_latency sum = {};
	struct mts_region *r;
	unsigned int i, state;

	count_states(nr, pages);
	for_each_mts_region(r, i) {
		nr_total += mts_nr_blocks(&r->geo);
		pages_total += r->geo.tag_pages;
	}

	seq_puts(m, MTS_STATS_HEADER "\n");
	seq_printf(m, "regions %u\n", mts_nr_regions);
	seq_printf(m, "blocks_total %lu\n", nr_total);
	for (state = 0; state < MTS_NR_STATES; state++)
		seq_printf(m, "blocks_%s %lu\n", mts_state_names[state],
			   nr[state]);
	show_bytes(m, "carveout", pages_total);
	show_bytes(m, "static", pages[MTS_STATIC]);
	show_bytes(m, "reserved", pages[MTS_RESERVED] + pages[MTS_CLOSING] +
		   pages[MTS_CHANGING]);
	pages[MTS_RELEASED] += pages[MTS_SPARE];
	free = min(mts_stats_free_pages(), pages[MTS_RELEASED]);
	show_bytes(m, "released", pages[MTS_RELEASED]);
	show_bytes(m, "released_used", pages[MTS_RELEASED] - free);
	show_bytes(m, "released_free", free);
	show_bytes(m, "bad", pages[MTS_BAD]);
	seq_printf(m, "tagged_pages %lu\n", tagged);
	show_bytes(m, "tagged", tagged);
	for (i = 0; i < MTS_NR_STATS; i++)
		seq_printf(m, "%s %llu\n", mts_stat_names[i], mts_stats_count(i));
	seq_printf(m, "faults_repeated_max %u\n", mts_repeated_max());
	seq_printf(m, "reserve_failed %llu\n", mts_stats_reserve_failed());
	sum_latency(&sum, MTS_OP_RESERVE_FAST);
	sum_latency(&sum, MTS_OP_RESERVE_MOVED);
	sum_latency(&sum, MTS_OP_RESERVE_SLOW);
	seq_printf(m, "reserve_total_ns %llu\n", sum.total_ns);
	seq_printf(m, "reserve_max_ns %llu\n", sum.max_ns);
}
