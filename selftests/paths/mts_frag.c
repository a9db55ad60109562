// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: memory is full of holes between tagged pages, then somebody
 * wants huge pages. Compaction moves tagged pages as it moves others: as many
 * huge pages come as on the unmodified kernel, where it is nearly all that is
 * free. The same bound holds for both.
 *
 * mts_frag [PERCENT]: of the free memory, as huge pages
 */
#define _GNU_SOURCE
#include "mts_contract.h"

/* Of 2 MiB, whatever the size of pages: the default is 32 MiB with pages of 16K */
#define HUGETLB		"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define MIB_PAGES	((1UL << 20) / mts_page_size)
/* Left of memory for everything else, KiB, beside what the kernel keeps free */
#define MARGIN_KIB	(120 << 10)
/* Of eight pages so many stay */
#define STAY		3

static bool stays(size_t i)
{
	return mts_mix(i) % 8 < STAY;
}

static unsigned int tag_at(size_t i)
{
	return 1 + i % 15;
}

static u64 word_at(size_t i)
{
	return i * 2 + 1;
}

/* A word and two tags of each page: there are many */
static void put(char *page, size_t i)
{
	*(u64 *)page = word_at(i);
	mte_stg(mte_ptr(page, tag_at(i)));
	mte_stg(mte_ptr(page + mts_page_size - MTE_GRANULE, tag_at(i + 7)));
}

static bool page_ok(const char *page, size_t i)
{
	const char *last = page + mts_page_size - MTE_GRANULE;

	if (*(const u64 *)page == word_at(i) && mte_ldg(page) == tag_at(i) &&
	    mte_ldg(last) == tag_at(i + 7))
		return true;
	ktap_note("WRONG page %zu: word %#llx, tags %u and %u", i,
		  (unsigned long long)*(const u64 *)page, mte_ldg(page),
		  mte_ldg(last));
	return false;
}

static long long huge_pages(void)
{
	char text[32];

	if (mts_read_file(HUGETLB, text, sizeof(text)) <= 0)
		mts_die(HUGETLB);
	return atoll(text);
}

int main(int argc, char **argv)
{
	long long free_pages, got = 0, percent = argc > 1 ? atoi(argv[1]) : 90;
	size_t pages, i, kept = 0, bad = 0;
	char text[32], *p;
	int tries;

	mts_need_mte();
	mts_load_regions();
	ktap_begin(2);
	pages = (mts_meminfo("MemFree") - MARGIN_KIB - min_free_kib()) * 1024 /
		mts_page_size;
	p = mts_map(pages * mts_page_size, PROT_TAGGED, 0, mts_huge_size);
	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		put(p + i * mts_page_size, i);
	for (i = 0; i < pages; i++) {
		kept += stays(i);
		if (!stays(i))
			madvise(p + i * mts_page_size, mts_page_size,
				MADV_DONTNEED);
	}
	/* What the kernel keeps is for others, and what the mark for kswapd adds */
	free_pages = (mts_meminfo("MemFree") - 2 * min_free_kib()) >> 11;
	ktap_note("%zu MiB tagged, %zu MiB of them stay; blocks reserved %lld of %lld",
		  pages / MIB_PAGES, kept / MIB_PAGES, mts_stat("blocks_reserved"),
		  mts_stat("blocks_total"));
	snprintf(text, sizeof(text), "%lld", free_pages);
	/*
	 * Until no more come. Compaction is deferred after it failed; with large
	 * pageblocks that is soon, and has given from 38 to 73 % without the module.
	 */
	for (tries = 0; tries < 3; tries++) {
		long long before = huge_pages();

		if (mts_page_size > 4096)
			mts_write_file("/proc/sys/vm/compact_memory", "1");
		mts_write_file(HUGETLB, text);
		got = huge_pages();
		if (got != before)
			tries = 0;
	}
	ktap_note("compaction: %lld succeeded, %lld failed; migrations failed %lld",
		  mts_vmstat("compact_success"), mts_vmstat("compact_fail"),
		  mts_vmstat("pgmigrate_fail"));
	ktap_result(got * 100 >= free_pages * percent,
		    "%lld huge pages of %lld that are free, at least %lld %%",
		    got, free_pages, percent);
	for (i = 0; i < pages && bad < 4; i++)
		if (stays(i))
			bad += !page_ok(p + i * mts_page_size, i);
	if (mts_online())
		bad += mts_pages_untaggable("compacted", p, pages) > 0;
	mts_write_file(HUGETLB, "0");
	ktap_result(!bad, "data and tags of %zu pages", kept);
	return ktap_end();
}
