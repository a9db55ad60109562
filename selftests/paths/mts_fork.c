// SPDX-License-Identifier: GPL-2.0
/*
 * fork() and copy on write of tagged memory: both sides see what was there,
 * and nothing of what the other one does afterwards.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "mts_paths.h"

#define KEY(who, i)	(0x746167730000UL + ((u64)(who) << 40) + (i) * 8 + ((i) & 3))
#define DATA(who, i)	(0x646174610001UL + ((u64)(who) << 40) + (i) * 2)

static void set(char *p, size_t pages, size_t step, int who)
{
	size_t i;

	for (i = 0; i < pages; i += step) {
		mts_page_tag(p + i * mts_page_size, KEY(who, i));
		mts_page_fill(p + i * mts_page_size, DATA(who, i));
	}
}

/* Every step-th page was written by `who`, the others by 0. */
static long wrong(const char *what, char *p, size_t pages, size_t step, int who)
{
	long bad = 0;
	size_t i;

	for (i = 0; i < pages && bad < 4; i++) {
		int w = i % step ? 0 : who;

		bad += !mts_tags_ok(what, p + i * mts_page_size, KEY(w, i));
		bad += !mts_data_ok(what, p + i * mts_page_size, DATA(w, i));
	}
	return bad;
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* Of folios of that size, where it is not 0 */
static void test_cow(const char *what, char *p, size_t pages, size_t folio)
{
	size_t nr = folio ? pages * mts_page_size / folio : 0, got;
	int children = 4, c, failed = 0;
	pid_t pid[4];
	long bad;

	*(volatile char *)p = 0;
	if (folio)
		for (got = 0; got < nr; got++)
			*(volatile char *)(p + got * folio) = 0;
	/* As they are allocated: later one may be on its way somewhere else */
	got = folio ? mts_folios(p, pages * mts_page_size, folio) : 0;
	set(p, pages, 1, 0);
	for (c = 0; c < children; c++) {
		fflush(stdout);
		pid[c] = fork();
		if (pid[c] < 0)
			mts_die("fork");
		if (!pid[c]) {
			bad = wrong("child, inherited", p, pages, 1, 0);
			set(p, pages, c + 2, c + 2);
			bad += wrong("child, own", p, pages, c + 2, c + 2);
			_exit(!!bad);
		}
	}
	set(p, pages, 3, 1);
	bad = wrong("parent, running", p, pages, 3, 1);
	for (c = 0; c < children; c++)
		failed += !!reap(pid[c]);
	bad += wrong("parent, at the end", p, pages, 3, 1);
	if (got != nr)
		ktap_note("%s: %zu folios of %zu", what, got, nr);
	ktap_result(!bad && !failed && got == nr, "%s: %d children, %zu pages", what,
		    children, pages);
	munmap(p, pages * mts_page_size);
}

/* Populated, then tagged, not touched since: nothing is tagged at fork(). */
static void test_untouched(void)
{
	size_t pages = 200, i, len = pages * mts_page_size;
	char *p = mts_map(len, PROT_RW, 0, 0);
	struct late late;
	long bad = 0;
	pid_t pid;

	madvise(p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		mts_page_fill(p + i * mts_page_size, DATA(0, i));
	late = mprotect_late(p, len);
	if (late.must && (long)mts_pages_with(p, pages, KPF_MTE_TAGGED) > late.early) {
		ktap_note("pages have tags before the fork, of %ld that can", late.early);
		bad++;
	}
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		mts_die("fork");
	if (!pid) {
		for (bad = 0, i = 0; i < pages; i++) {
			char *page = p + i * mts_page_size;

			bad += !mts_tags_ok("child", page, 0);
			bad += !mts_data_ok("child", page, DATA(0, i));
		}
		set(p, pages, 1, 0);
		bad += wrong("child", p, pages, 1, 0);
		_exit(!!bad);
	}
	for (i = 0; i < pages && bad < 4; i++) {
		char *page = p + i * mts_page_size;

		bad += !mts_data_ok("parent", page, DATA(0, i));
		bad += !mts_tags_ok("parent", page, 0);
	}
	bad += reap(pid);
	for (i = 0; i < pages && bad < 4; i++)
		bad += !mts_tags_ok("parent, at the end",
				    p + i * mts_page_size, 0);
	bad += !faults_met("fork", &late);
	ktap_result(!bad, "fork between mprotect and touch");
	munmap(p, len);
}

/* Each one forks the next and leaves: pages change their owner. */
static void test_chain(void)
{
	size_t pages = 100, len = pages * mts_page_size;
	char *p = mts_map(len, PROT_TAGGED, 0, 0);
	int depth;
	pid_t pid;

	set(p, pages, 1, 0);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		mts_die("fork");
	if (!pid) {
		for (depth = 1; depth < 12; depth++) {
			long bad = wrong("chain", p, pages, 1, depth - 1);

			set(p, pages, 1, depth);
			if (bad)
				_exit(1);
			pid = fork();
			if (pid < 0)
				_exit(2);
			if (pid)
				_exit(!!reap(pid));
		}
		_exit(!!wrong("chain", p, pages, 1, depth - 1));
	}
	ktap_result(!reap(pid) && !wrong("chain, parent", p, pages, 1, 0),
		    "a chain of children");
	munmap(p, len);
}

int main(void)
{
	size_t huge;
	bool is_huge;
	char *p;

	mts_need_mte();
	mts_load_regions();
	huge = mts_huge_size / mts_page_size;
	ktap_begin(5);
	p = mts_map(500 * mts_page_size, PROT_TAGGED, 0, 0);
	madvise(p, 500 * mts_page_size, MADV_NOHUGEPAGE);
	test_cow("small pages", p, 500, 0);
	p = mts_map_thp(PROT_TAGGED, &is_huge);
	if (is_huge)
		test_cow("a huge page", p, huge, mts_huge_size);
	else
		ktap_skip("no huge page", "a huge page");
	mts_khugepaged_rest();
	if (mts_mthp_enable(64)) {
		p = mts_map(256 * mts_page_size, PROT_TAGGED, 0, 65536);
		madvise(p, 256 * mts_page_size, MADV_HUGEPAGE);
		test_cow("64 KiB folios", p, 256, 65536);
	} else {
		ktap_skip("no 64 KiB folios", "64 KiB folios");
	}
	test_untouched();
	test_chain();
	return ktap_end();
}
