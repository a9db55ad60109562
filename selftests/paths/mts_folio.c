// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios, whose pages become tagged at once: 64 KiB and 2 MiB. A folio
 * needs its tag blocks all or not at all.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "mts_paths.h"

#define ROUNDS	20
#define KEY(i)	(0x666f6c690000UL + (i) * 8 + ((i) & 3))
#define DATA(i)	(0x666f6c690001UL + (i) * 2)

static void set(char *p, size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++) {
		mts_page_tag(p + i * mts_page_size, KEY(i));
		mts_page_fill(p + i * mts_page_size, DATA(i));
	}
}

static long wrong(const char *what, char *p, size_t first, size_t n)
{
	long bad = 0;
	size_t i;

	for (i = first; i < first + n && bad < 4; i++) {
		bad += !mts_tags_ok(what, p + i * mts_page_size, KEY(i));
		bad += !mts_data_ok(what, p + i * mts_page_size, DATA(i));
	}
	return bad;
}

static void test(const char *what, size_t folio, size_t nr)
{
	size_t len = folio * nr, pages = len / mts_page_size, got, i;
	long bad, untaggable;
	char *p;

	p = mts_map(len, PROT_TAGGED, 0, folio);
	madvise(p, len, MADV_HUGEPAGE);
	/* One granule of each folio: everything behind it reads as zero. */
	for (i = 0; i < nr; i++)
		mte_stg(mte_ptr(p + i * folio, 5));
	got = mts_folios(p, len, folio);
	bad = 0;
	for (i = 0; i < pages && bad < 4; i++) {
		char *page = p + i * mts_page_size;

		if (i % (folio / mts_page_size))
			bad += !mts_tags_ok("rest of the folio", page, 0);
		else
			bad += mte_ldg(page) != 5 || mte_ldg(page + 16) != 0;
		bad += !mts_data_ok("rest of the folio", page, 0);
	}
	set(p, 0, pages);
	bad += wrong(what, p, 0, pages);
	untaggable = mts_pages_untaggable(what, p, pages);
	/* Memory is free: a folio less is one that moved just now */
	ktap_result(!bad && untaggable <= 0 && got + nr / 10 >= nr,
		    "%s: touched, %zu of %zu are large folios%s", what, got, nr,
		    untaggable > 0 ? ", not taggable" : "");

	/* The middle of each goes away, the rest stays. */
	for (i = 0; i < nr; i++)
		munmap(p + i * folio + folio / 4, folio / 2);
	for (i = 0; i < nr; i++) {
		size_t first = i * (folio / mts_page_size);
		size_t quarter = folio / 4 / mts_page_size;

		bad += wrong("before the hole", p, first, quarter);
		bad += wrong("behind the hole", p, first + 3 * quarter,
			     quarter);
	}
	ktap_result(!bad, "%s: holes", what);
	munmap(p, len);
}

static void test_collapse(void)
{
	size_t pages = mts_huge_size / mts_page_size;
	char *p = mts_map(mts_huge_size, PROT_TAGGED, 0, mts_huge_size);
	long bad, untaggable;
	bool huge;

	if (!mts_huge_is_pmd()) {
		ktap_skip("memory is too small for huge pages", "collapse of tagged pages");
		goto out;
	}
	madvise(p, mts_huge_size, MADV_NOHUGEPAGE);
	set(p, 0, pages);
	madvise(p, mts_huge_size, MADV_HUGEPAGE);
	if (collapse(p))
		ktap_note("MADV_COLLAPSE: %s", strerror(errno));
	huge = mts_is_thp(p) && mts_folios(p, mts_huge_size, mts_huge_size) == 1;
	bad = wrong("collapse", p, 0, pages);
	untaggable = mts_pages_untaggable("collapse", p, pages);
	ktap_result(!bad && untaggable <= 0 && huge, "collapse of tagged pages: %s",
		    huge ? "a huge page" : "no huge page");
out:
	munmap(p, mts_huge_size);
}

int main(void)
{
	long long before, after;
	int round, rounds = 0;

	mts_need_mte();
	mts_load_regions();
	ktap_begin(7);
	mts_thp_enable();
	if (mts_online())
		mts_release();
	before = mts_stat("blocks_reserved");
	test("huge pages", mts_huge_size, 4);
	mts_khugepaged_rest();
	if (mts_mthp_enable(64)) {
		/* Too few to be a huge page instead */
		test("64 KiB", 65536, 24);
	} else {
		ktap_skip("not supported", "64 KiB: touched");
		ktap_skip("not supported", "64 KiB: holes");
	}
	test_collapse();
	/* Tails tagged, heads not: their blocks have to come back, too. */
	for (round = 0; round < ROUNDS; round++) {
		size_t half = mts_huge_size / 2;
		bool huge;
		char *p = mts_map_thp(PROT_RW, &huge);

		if (mprotect(p + half, half, PROT_TAGGED))
			mts_die("mprotect");
		set(p, half / mts_page_size, half / mts_page_size);
		rounds += huge || mts_folios(p, mts_huge_size, mts_huge_size) == 1;
		munmap(p, mts_huge_size);
	}
	ktap_result(rounds == ROUNDS, "tags in the second half of %d huge pages", rounds);
	if (!mts_online()) {
		ktap_skip("module not online", "blocks come back");
		return ktap_end();
	}
	mts_release();
	after = mts_stat("blocks_reserved");
	ktap_result(after - before <= 24,
		    "blocks come back: %lld before, %lld after", before, after);
	return ktap_end();
}
