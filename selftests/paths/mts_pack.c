// SPDX-License-Identifier: GPL-2.0
/*
 * Placement: pages that have tags and are taken in turns with others need hardly more
 * tag storage than full blocks of them would, also where half of them has been freed
 * and as many are taken again. No pass helps: nothing is released, no sparse block is
 * emptied. What others take meanwhile can be such a hole: not here.
 */
#define _GNU_SOURCE
#include "mts_contract.h"

#define PCP_FRACTION	"/proc/sys/vm/percpu_pagelist_high_fraction"
#define SEED		0x7061636bUL
/* Pages with tags, or fewer where pages are large; others that are taken for each */
#define TAGGED		6144UL
#define OTHERS		3
#define CYCLES		2
/* Per cent of what full blocks would be */
#define PERCENT_MAX	105

static struct mts_buf tagged;
static char *others;
/* Blocks: what full ones would be, and reserved before */
static size_t ideal;
static long long before;

static void result(const char *when)
{
	size_t most = ideal * PERCENT_MAX / 100;
	long blocks = mts_blocks_of(tagged.p, tagged.pages);
	long long reserved;

	/* What is reserved and has no tags is the pool's, or was */
	mts_release();
	reserved = mts_stat("blocks_reserved") - before;
	ktap_result(blocks > 0 && blocks <= (long)most && reserved >= blocks / 2 &&
		    reserved <= (long long)most,
		    "%s: %zu pages in %ld blocks, %lld reserved, %zu at best, %zu at most",
		    when, tagged.pages, blocks, reserved, ideal, most);
}

static void free_and_take(u64 *seed)
{
	bool *gone = calloc(tagged.pages, sizeof(*gone));
	size_t i;

	if (!gone)
		mts_die("calloc");
	for (i = 0; i < tagged.pages; i++) {
		gone[i] = mts_rand(seed) & 1;
		if (gone[i])
			madvise(buf_page(&tagged, i), mts_page_size, MADV_DONTNEED);
	}
	for (i = 0; i < tagged.pages; i++)
		if (gone[i])
			buf_write(&tagged, i);
	free(gone);
}

int main(void)
{
	size_t pages = mts_meminfo("MemFree") * 1024 / mts_page_size, i, n;
	u64 seed = SEED;
	int cycle;

	mts_need_mte();
	mts_load_regions();
	if (!mts_online()) {
		printf("KTAP version 1\n1..0 # SKIP the module is not online\n");
		return KSFT_SKIP;
	}
	ktap_begin(3);
	/* With the others a half of what is free */
	pages = pages / 2 / (1 + OTHERS);
	if (pages > TAGGED)
		pages = TAGGED;
	mts_pin(0);
	knob("evacuate_percent", "0");
	knob("pass_interval_ms", "60000");
	knob("release", "never");
	/* What others leave on the lists of CPUs is nobody's placement */
	mts_write_file(PCP_FRACTION, "2000");
	mts_release();
	before = mts_stat("blocks_reserved");

	buf_map(&tagged, pages, PROT_TAGGED, 0);
	tagged.seed = SEED;
	tagged.tagged = true;
	others = mts_map(pages * OTHERS * mts_page_size, PROT_RW, 0, 0);
	madvise(others, pages * OTHERS * mts_page_size, MADV_NOHUGEPAGE);
	ideal = (pages + 32 * mts_regions[0].block_pages - 1) /
		(32 * mts_regions[0].block_pages);

	for (i = 0; i < pages; i++) {
		buf_write(&tagged, i);
		for (n = 0; n < OTHERS; n++)
			others[(i * OTHERS + n) * mts_page_size] = 1;
	}
	result("taken in turns");
	for (cycle = 0; cycle < CYCLES; cycle++)
		free_and_take(&seed);
	result("half freed and taken again, twice");
	ktap_result(!buf_bad("packed", &tagged) && buf_taggable("packed", &tagged),
		    "data and tags of %zu pages", pages);
	buf_unmap(&tagged);
	munmap(others, pages * OTHERS * mts_page_size);
	knob("evacuate_percent", "95");
	knob("pass_interval_ms", "250");
	knob("release", "lazy");
	mts_write_file(PCP_FRACTION, "0");
	return ktap_end();
}
