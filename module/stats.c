// SPDX-License-Identifier: GPL-2.0
/*
 * Statistics.
 */
#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/mm.h>
#include <linux/seq_file.h>

#include "mts.h"

#define MTS_NAME(id, name)	[MTS_##id] = name,
const char * const mts_state_names[MTS_NR_STATES] = { MTS_STATES(MTS_NAME) };

#define MTS_STAT_NAME(id, name)	[MTS_STAT_##id] = name,
static const char * const mts_stat_names[] = { MTS_STATS(MTS_STAT_NAME) };
static_assert(ARRAY_SIZE(mts_stat_names) == MTS_NR_STATS);

static atomic64_t mts_counters[MTS_NR_STATS];

/**
 * mts_count_add() - count events
 * @stat:	what has happened
 * @nr:		how often
 *
 * Context: Any.
 */
void mts_count_add(enum mts_stat stat, unsigned long nr)
{
	atomic64_add(nr, &mts_counters[stat]);
}

/**
 * mts_stats_pages() - count pages of tag storage
 * @pages:	result: how many are in blocks of each state
 */
void mts_stats_pages(unsigned long pages[MTS_NR_STATES])
{
	struct mts_region *r;
	unsigned int i, state;

	memset(pages, 0, MTS_NR_STATES * sizeof(*pages));
	for_each_mts_region(r, i) {
		spin_lock(&r->lock);
		for (state = 0; state < MTS_NR_STATES; state++)
			pages[state] += r->nr[state] << r->geo.block_order;
		spin_unlock(&r->lock);
	}
}

static void show_bytes(struct seq_file *m, const char *key,
		       unsigned long pages)
{
	seq_printf(m, "%s_bytes %lu\n", key, pages << PAGE_SHIFT);
}

/* The statistics: a format version, then "key value" lines */
void mts_stats_show(struct seq_file *m)
{
	unsigned long nr[MTS_NR_STATES] = {}, pages[MTS_NR_STATES] = {};
	unsigned long nr_total = 0, pages_total = 0;
	struct mts_region *r;
	unsigned int i, state;

	/* A region at a time, so that the sums are right at any moment */
	for_each_mts_region(r, i) {
		spin_lock(&r->lock);
		for (state = 0; state < MTS_NR_STATES; state++) {
			nr[state] += r->nr[state];
			pages[state] += r->nr[state] << r->geo.block_order;
		}
		spin_unlock(&r->lock);
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
	show_bytes(m, "reserved", pages[MTS_RESERVED] + pages[MTS_CLOSING]);
	show_bytes(m, "released", pages[MTS_RELEASED] + pages[MTS_SPARE]);
	show_bytes(m, "bad", pages[MTS_BAD]);
	for (i = 0; i < MTS_NR_STATS; i++)
		seq_printf(m, "%s %llu\n", mts_stat_names[i],
			   (u64)atomic64_read(&mts_counters[i]));
}
