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
/* By a page of tag storage */
#define SERVED	32

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

/* Is it the last one of those that a block of tag storage serves? */
static bool is_last_page(u64 pfn)
{
	u64 addr = pfn * mts_page_size, in_block;
	int i;

	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];

		if (addr < r->data_start || addr >= r->data_end)
			continue;
		in_block = r->block_pages * SERVED * mts_page_size;
		return (addr - r->data_start) % in_block ==
		       in_block - mts_page_size;
	}
	return false;
}

/* All others are freed: what the block's last page has must not get lost */
static void test_last_pages(char *p, u64 key, u64 data)
{
	size_t i, kept = 0;
	long bad = 0;

	for (i = 0; i < PAGES; i++) {
		char *page = p + i * mts_page_size;

		if (!is_last_page(mts_pfn(page)))
			madvise(page, mts_page_size, MADV_DONTNEED);
	}
	bad += !!mts_release();
	for (i = 0; i < PAGES && bad < 4; i++) {
		char *page = p + i * mts_page_size;

		if (!mts_pfn(page))
			continue;
		kept++;
		bad += !mts_tags_ok("last page", page, key + i * 8 + (i & 3));
		bad += !mts_data_ok("last page", page, data + i * 2);
		bad += mts_pages_untaggable("last page", page, 1) > 0;
	}
	ktap_result(!bad && kept, "the last page of a block keeps it: %zu of them",
		    kept);
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
	ktap_begin(10);
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

	if (mts_online())
		test_last_pages(p, key, data);
	else
		ktap_skip("module not online", "the last page of a block keeps it");

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
