// SPDX-License-Identifier: GPL-2.0
/*
 * Compaction while tagged memory is live: tags go where the data goes.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

#define ROUNDS	6
#define KEY(i)	(0x636f6d700000UL + (i) * 8 + ((i) & 3))
#define DATA(i)	(0x636f6d700001UL + (i) * 2)

static void set(char *p, size_t i)
{
	mts_page_tag(p + i * mts_page_size, KEY(i));
	mts_page_fill(p + i * mts_page_size, DATA(i));
}

int main(void)
{
	size_t pages, i, len, moved = 0, refilled;
	long bad = 0, untaggable = 0;
	u64 *pfns, seed = 99;
	bool *hole;
	char *p;
	int round;

	mts_need_mte();
	mts_load_regions();
	if (access("/proc/sys/vm/compact_memory", W_OK)) {
		printf("KTAP version 1\n1..0 # SKIP no compact_memory\n");
		return KSFT_SKIP;
	}
	ktap_begin(3);
	pages = mts_meminfo("MemAvailable") / 8 * 1024 / mts_page_size;
	if (pages > 24000)
		pages = 24000;
	len = pages * mts_page_size;
	pfns = calloc(pages, sizeof(*pfns));
	hole = calloc(pages, sizeof(*hole));
	if (!pfns || !hole)
		mts_die("calloc");
	p = mts_map(len, PROT_TAGGED, 0, 0);
	madvise(p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		set(p, i);
	for (round = 0; round < ROUNDS && !bad; round++) {
		/* Holes everywhere, so that there is something to do. */
		for (i = 0; i < pages; i++) {
			hole[i] = mts_below(&seed, 3);
			if (hole[i])
				madvise(p + i * mts_page_size, mts_page_size,
					MADV_DONTNEED);
		}
		mts_pfns(p, pages, pfns);
		if (mts_write_file("/proc/sys/vm/compact_memory", "1"))
			mts_die("compact_memory");
		refilled = 0;
		for (i = 0; i < pages && bad < 4; i++) {
			char *page = p + i * mts_page_size;

			if (hole[i])
				continue;
			/* A page on its way shows no frame */
			moved += pfns[i] && mts_pfn(page) != pfns[i];
			bad += !mts_tags_ok("compaction", page, KEY(i));
			bad += !mts_data_ok("compaction", page, DATA(i));
		}
		untaggable += mts_pages_untaggable("compaction", p, pages) > 0;
		for (i = 0; i < pages && bad < 4; i++) {
			char *page = p + i * mts_page_size;

			if (!hole[i])
				continue;
			bad += !mts_tags_ok("hole", page, 0);
			set(p, i);
			refilled++;
		}
	}
	ktap_result(!bad, "%d rounds, %zu pages", round, pages);
	if (moved)
		ktap_result(true, "compaction moved %zu tagged pages", moved);
	else
		ktap_skip("the kernel found nothing to move",
			  "compaction moved tagged pages");
	if (mts_online())
		ktap_result(!untaggable, "moved pages are taggable");
	else
		ktap_skip("module not online", "moved pages are taggable");
	munmap(p, len);
	return ktap_end();
}
