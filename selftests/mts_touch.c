// SPDX-License-Identifier: GPL-2.0
/*
 * First touch of PROT_MTE memory: fresh pages have zero data and zero tags,
 * tags read back as written, the blocks that hold them are reserved while
 * the pages live, and come back when they are gone.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

#define PAGES	2048UL

static long bad_pages(char *p, size_t pages, u64 key, u64 data)
{
	long bad = 0;
	size_t i;

	for (i = 0; i < pages && bad < 4; i++) {
		char *page = p + i * mts_page_size;

		bad += !mts_tags_ok("touch", page, key ? key + i * 8 + (i & 3) : 0);
		bad += !mts_data_ok("touch", page, data ? data + i * 2 : 0);
	}
	return bad;
}

/*
 * Are there as many blocks reserved as the pages need? Not while the worker
 * evacuates some, or has just moved pages: look again then.
 */
static bool blocks_counted(const char *p, long *blocks, long long *reserved)
{
	int tries;

	for (tries = 0; tries < 20; tries++) {
		*reserved = mts_stat("blocks_reserved");
		*blocks = mts_blocks_of(p, PAGES);
		if (*reserved < 0)
			return false;
		if (*blocks > 0 &&
		    *reserved + mts_stat("blocks_static") >= *blocks)
			return true;
		usleep(50000);
	}
	return false;
}

int main(void)
{
	const u64 key = 0x7461677300, data = 0x6461746101;
	long long before, during, after;
	long untaggable, blocks;
	bool counted;
	size_t i;
	char *p;

	mts_need_mte();
	mts_load_regions();
	ktap_begin(9);
	if (mts_online())
		mts_release();
	before = mts_stat("blocks_reserved");

	/* Reads first: whatever is mapped then must have zero tags. */
	p = mts_map(PAGES * mts_page_size, PROT_TAGGED, 0, 0);
	madvise(p, PAGES * mts_page_size, MADV_NOHUGEPAGE);
	ktap_result(!bad_pages(p, PAGES, 0, 0), "untouched pages read as zero");

	for (i = 0; i < PAGES; i++) {
		char *page = p + i * mts_page_size;

		mts_page_tag(page, key + i * 8 + (i & 3));
		mts_page_fill(page, data + i * 2);
	}
	ktap_result(!bad_pages(p, PAGES, key, data),
		    "%lu pages keep their tags and data", PAGES);
	ktap_result(mts_checked_load(p + 32, mts_tag_of(key, 2)) == 0 &&
		    mts_checked_load(p + 32, mts_tag_of(key, 2) ^ 5) ==
		    SEGV_MTESERR, "the processor checks the tags");

	untaggable = mts_pages_untaggable("touch", p, PAGES);
	if (untaggable < 0)
		ktap_skip("module not loaded", "tagged pages are taggable");
	else
		ktap_result(!untaggable, "tagged pages are taggable");

	counted = blocks_counted(p, &blocks, &during);
	if (during < 0)
		ktap_skip("module not loaded", "their blocks are counted");
	else
		ktap_result(counted, "their blocks are counted: %ld needed, %lld reserved (%lld before)",
			    blocks, during, before);

	munmap(p, PAGES * mts_page_size);
	if (!mts_online()) {
		ktap_skip("module not online", "a release pass runs");
		ktap_skip("module not online", "munmap gives the blocks back");
		ktap_skip("module not online", "blocks add up");
	} else {
		ktap_result(!mts_release(), "a release pass runs");
		after = mts_stat("blocks_reserved");
		/* Some may share their data block with unmovable pages. */
		ktap_result(during <= before ||
			    after - before <= (during - before) / 8 + 2,
			    "munmap gives the blocks back: %lld before, %lld used, %lld left",
			    before, during, after);
		ktap_result(mts_blocks_add_up(), "blocks add up");
	}

	/* What was freed must not come back with its old tags. */
	p = mts_map(PAGES * mts_page_size, PROT_TAGGED, 0, 0);
	madvise(p, PAGES * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES; i++)
		*(volatile char *)(p + i * mts_page_size) = 0;
	ktap_result(!bad_pages(p, PAGES, 0, 0), "reused pages read as zero");
	munmap(p, PAGES * mts_page_size);
	return ktap_end();
}
