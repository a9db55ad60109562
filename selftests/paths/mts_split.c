// SPDX-License-Identifier: GPL-2.0
/*
 * A huge page of which only a part is tagged, split afterwards: every page
 * keeps its own tags. The unmodified 6.12 kernel gives all pages the flags of
 * the first one (__split_huge_page_tail). If that one isn't tagged, the tags
 * of the others are lost; if it is, the others show whatever tags their memory
 * had before. Both are expected there, and shown as a skip.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

#define KEY(i)	(0x73706c690000UL + (i) * 8 + ((i) & 3))
#define DATA(i)	(0x73706c690001UL + (i) * 2)
#define SPLIT	"/sys/kernel/debug/split_huge_pages"

static int split(char *p, size_t len)
{
	char text[96];

	snprintf(text, sizeof(text), "%d,%#llx,%#llx,0", getpid(),
		 (unsigned long long)p, (unsigned long long)p + len);
	return mts_write_file(SPLIT, text);
}

static bool lost(char *p, size_t first, size_t n)
{
	size_t i;

	for (i = 0; i < mts_huge_size / mts_page_size; i++)
		if (mts_page_bad_granule(p + i * mts_page_size,
					 i >= first && i < first + n ?
					 KEY(i) : 0) >= 0)
			return true;
	return false;
}

static void test(const char *what, size_t first, size_t n)
{
	size_t pages = mts_huge_size / mts_page_size, i;
	long bad = 0, untaggable;
	bool huge;
	char *p = mts_map_thp(PROT_RW, &huge);

	if (!huge) {
		ktap_skip("no huge page", "%s", what);
		goto out;
	}
	for (i = 0; i < pages; i++)
		mts_page_fill(p + i * mts_page_size, DATA(i));
	if (mprotect(p + first * mts_page_size, n * mts_page_size,
		     PROT_TAGGED))
		mts_die("mprotect");
	for (i = first; i < first + n; i++)
		mts_page_tag(p + i * mts_page_size, KEY(i));
	bad += mts_folios(p, mts_huge_size, mts_huge_size) != 1;
	if (split(p, mts_huge_size)) {
		ktap_skip("no " SPLIT, "%s", what);
		goto out;
	}
	bad += mts_pages_with(p, pages, KPF_COMPOUND_HEAD) > 0;
	if (bad)
		ktap_note("%s: it was not split", what);
	/* The others become tagged now: nothing stale may show up. */
	if (mprotect(p, mts_huge_size, PROT_TAGGED))
		mts_die("mprotect");
	if (!mts_kernel_patched() && lost(p, first, n)) {
		ktap_skip("wrong tags, as known of the unmodified kernel",
			  "%s", what);
		goto out;
	}
	for (i = 0; i < pages && bad < 4; i++) {
		char *page = p + i * mts_page_size;
		bool in = i >= first && i < first + n;

		bad += !mts_tags_ok(what, page, in ? KEY(i) : 0);
		bad += !mts_data_ok(what, page,
				    in && KEY(i) & 2 ? 0 : DATA(i));
	}
	untaggable = mts_pages_untaggable(what, p, pages);
	ktap_result(!bad && untaggable <= 0, "%s%s", what,
		    untaggable > 0 ? ": not taggable" : "");
out:
	munmap(p, mts_huge_size);
}

/* Free memory whose tags are not zero, as on any machine that runs a while. */
static void dirty(void)
{
	size_t len = ALIGN_UP(24 * SZ_2M, mts_huge_size), i;
	char *p;

	mts_thp_enable();
	p = mts_map(len, PROT_TAGGED, 0, mts_huge_size);
	madvise(p, len, MADV_HUGEPAGE);
	for (i = 0; i < len; i += mts_page_size)
		mts_page_tag(p + i, 0x64697274UL + i / 64);
	munmap(p, len);
}

int main(void)
{
	size_t pages;

	mts_need_mte();
	mts_load_regions();
	pages = mts_huge_size / mts_page_size;
	ktap_begin(5);
	dirty();
	test("lower half tagged", 0, pages / 2);
	test("upper half tagged", pages / 2, pages / 2);
	test("the first page tagged", 0, 1);
	test("the last page tagged", pages - 1, 1);
	test("all tagged", 0, pages);
	return ktap_end();
}
