// SPDX-License-Identifier: GPL-2.0
/*
 * Read faults in PROT_MTE mappings: the zero page and the huge zero page read
 * as zero tags and zero data, without a livelock, and a write gives a page
 * of one's own.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

#define KEY(i)	(0x7a65726f0000UL + (i) * 8 + ((i) & 3))

static void on_alarm(int sig)
{
	static const char text[] = "Bail out! livelock: a read fault never ends\n";
	ssize_t n = write(STDOUT_FILENO, text, sizeof(text) - 1);

	(void)sig;
	(void)n;
	_exit(1);
}

static void test(const char *what, int advice, bool populate_first)
{
	size_t pages = mts_huge_size / mts_page_size, i, zero;
	long bad = 0;
	char *p;

	if (advice == MADV_HUGEPAGE && !mts_huge_is_pmd()) {
		ktap_skip("no huge page", "%s", what);
		return;
	}
	alarm(60);
	p = mts_map(mts_huge_size, populate_first ? PROT_RW : PROT_TAGGED, 0, mts_huge_size);
	madvise(p, mts_huge_size, advice);
	if (populate_first) {
		for (i = 0; i < pages; i++)
			bad += *(volatile char *)(p + i * mts_page_size);
		if (mprotect(p, mts_huge_size, PROT_TAGGED))
			mts_die("mprotect");
	}
	for (i = 0; i < pages && bad < 4; i++) {
		bad += !mts_tags_ok(what, p + i * mts_page_size, 0);
		bad += !mts_data_ok(what, p + i * mts_page_size, 0);
	}
	zero = mts_pages_with(p, pages, KPF_ZERO_PAGE | (advice == MADV_HUGEPAGE ? KPF_THP : 0));
	if (zero != pages) {
		ktap_note("%s: %zu of %zu pages are it", what, zero, pages);
		bad++;
	}
	for (i = 0; i < pages; i += 3)
		mts_page_tag(p + i * mts_page_size, KEY(i));
	for (i = 0; i < pages && bad < 4; i++)
		bad += !mts_tags_ok(what, p + i * mts_page_size,
				    i % 3 ? 0 : KEY(i));
	ktap_result(!bad, "%s", what);
	munmap(p, mts_huge_size);
	alarm(0);
}

int main(void)
{
	long long before, after;
	char *p;
	int i;

	mts_need_mte();
	mts_load_regions();
	mts_thp_enable();
	signal(SIGALRM, on_alarm);
	ktap_begin(6);
	test("zero page", MADV_NOHUGEPAGE, false);
	test("huge zero page", MADV_HUGEPAGE, false);
	test("zero page, mprotect", MADV_NOHUGEPAGE, true);
	test("huge zero page, mprotect", MADV_HUGEPAGE, true);

	/* Nobody else may see a tag in a page that all share. */
	p = mts_map(mts_page_size, PROT_READ | PROT_MTE, 0, 0);
	ktap_result(mts_tags_ok("shared zero page", p, 0) &&
		    mts_data_ok("shared zero page", p, 0),
		    "the zero page has kept its zero tags");
	munmap(p, mts_page_size);

	if (!mts_online()) {
		ktap_skip("module not online", "reading costs no blocks");
		return ktap_end();
	}
	mts_release();
	before = mts_stat("blocks_reserved");
	for (i = 0; i < 16; i++) {
		size_t at;

		p = mts_map(mts_huge_size, PROT_TAGGED, 0, mts_huge_size);
		madvise(p, mts_huge_size, MADV_HUGEPAGE);
		for (at = 0; at < mts_huge_size; at += mts_page_size)
			mte_ldg(p + at);
		/* Left mapped on purpose. */
	}
	after = mts_stat("blocks_reserved");
	ktap_result(after - before <= 32,
		    "reading %zu MiB costs no blocks: %lld before, %lld after",
		    16 * mts_huge_size >> 20, before, after);
	return ktap_end();
}
