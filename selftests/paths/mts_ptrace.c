// SPDX-License-Identifier: GPL-2.0
/*
 * PTRACE_PEEKMTETAGS and POKEMTETAGS on pages that were never touched, or
 * never since they became tagged: PEEK shows zeros and no other bytes, POKE
 * is seen by the tracee or refused, and hurts no data.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>

#include "mts_paths.h"

#ifndef PTRACE_PEEKMTETAGS
#define PTRACE_PEEKMTETAGS	33
#define PTRACE_POKEMTETAGS	34
#endif

#define PAGES	64UL
/* Others may have the memory that it takes; but some must be had */
#define MAY_REFUSE	(PAGES / 4)
#define DATA(i)	(0x707472610001UL + (i) * 2)

enum kind { NEVER, POPULATED, READ_ONLY_TOUCH, TOUCHED };

static const char * const kinds[] = {
	[NEVER] = "never touched",
	[POPULATED] = "populated before mprotect",
	[READ_ONLY_TOUCH] = "only read",
	[TOUCHED] = "tagged",
};

static unsigned int poked(size_t page, size_t granule)
{
	return 1 + (page * 7 + granule) % 15;
}

/* The tracee: stops twice, then looks at its memory. */
static void tracee(char *p, enum kind kind, const bool *expect_poke)
{
	long bad = 0;
	size_t i, g;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (i = 0; i < PAGES && bad < 4; i++) {
		char *page = p + i * mts_page_size;

		bad += !mts_data_ok("tracee", page,
				    kind == POPULATED ? DATA(i) : 0);
		for (g = 0; g < mts_page_granules; g++) {
			unsigned int tag = mte_ldg(page + g * MTE_GRANULE);
			unsigned int want = expect_poke[i] ? poked(i, g) :
					    kind == TOUCHED ? 9 : 0;

			if (tag == want)
				continue;
			bad++;
			ktap_note("tracee: page %zu granule %zu tag %u expected %u",
				  i, g, tag, want);
			break;
		}
	}
	_exit(!!bad);
}

static void test(enum kind kind)
{
	size_t len = PAGES * mts_page_size, i, g;
	long refused = 0, bad_peek = 0, peek_refused = 0;
	struct late late = { 0 };
	bool *expect;
	u8 tags[4096];
	char *p;
	int status;
	pid_t pid;

	expect = mmap(NULL, len, PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (expect == MAP_FAILED)
		mts_die("mmap");
	p = mts_map(len, kind == POPULATED ? PROT_RW : PROT_TAGGED, 0, 0);
	madvise(p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES; i++) {
		char *page = p + i * mts_page_size;

		if (kind == POPULATED)
			mts_page_fill(page, DATA(i));
		else if (kind == READ_ONLY_TOUCH)
			mte_ldg(page);
		else if (kind == TOUCHED)
			for (g = 0; g < mts_page_granules; g++)
				mte_stg(mte_ptr(page + g * MTE_GRANULE, 9));
	}
	if (kind == POPULATED)
		late = mprotect_late(p, len);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		mts_die("fork");
	if (!pid)
		tracee(p, kind, expect);
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		mts_die("the tracee did not stop");
	for (i = 0; i < PAGES; i++) {
		char *page = p + i * mts_page_size;
		struct iovec iov = { tags, mts_page_granules };

		memset(tags, 0xee, sizeof(tags));
		if (ptrace(PTRACE_PEEKMTETAGS, pid, page, &iov)) {
			peek_refused++;
		} else {
			for (g = 0; g < iov.iov_len; g++)
				if (tags[g] != (kind == TOUCHED ? 9 : 0))
					break;
			if (g < iov.iov_len) {
				bad_peek++;
				ktap_note("peek: page %zu granule %zu is %#x",
					  i, g, tags[g]);
			}
		}
		if (i % 2)
			continue;
		for (g = 0; g < mts_page_granules; g++)
			tags[g] = poked(i, g);
		iov.iov_len = mts_page_granules;
		if (ptrace(PTRACE_POKEMTETAGS, pid, page, &iov)) {
			refused++;
		} else {
			expect[i] = true;
			memset(tags, 0, sizeof(tags));
			iov.iov_len = mts_page_granules;
			if (ptrace(PTRACE_PEEKMTETAGS, pid, page, &iov) ||
			    tags[5] != poked(i, 5))
				bad_peek++;
		}
	}
	ktap_result(!bad_peek && faults_met(kinds[kind], &late) &&
		    peek_refused <= (kind == TOUCHED ? 0 : (long)MAY_REFUSE),
		    "%s: PEEKMTETAGS (%ld refused)", kinds[kind],
		    peek_refused);
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	if (waitpid(pid, &status, 0) != pid)
		mts_die("waitpid");
	ktap_result(WIFEXITED(status) && !WEXITSTATUS(status) &&
		    refused <= (kind == TOUCHED ? 0 : (long)MAY_REFUSE),
		    "%s: POKEMTETAGS (%ld refused), as the tracee sees it",
		    kinds[kind], refused);
	munmap(p, len);
	munmap(expect, len);
}

/*
 * Memory that nobody may access can be PROT_MTE and have no tags: what is where
 * they would be isn't tags. The unmodified kernel warns of it.
 */
static void test_no_access(void)
{
	size_t len = PAGES * mts_page_size, i;
	char *p = mts_map(len, PROT_RW, 0, 0);
	long bad = 0, copied = 0;
	u8 tags[4096] = { 0 };
	int status;
	pid_t pid;

	madvise(p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES; i++)
		mts_page_fill(p + i * mts_page_size, DATA(i));
	if (mprotect(p, len, PROT_MTE))
		mts_die("mprotect");
	pid = mts_fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		mts_die("the tracee did not stop");
	for (i = 0; i < PAGES; i++) {
		char *page = p + i * mts_page_size;
		struct iovec iov = { tags, mts_page_granules };

		copied += !ptrace(PTRACE_PEEKMTETAGS, pid, page, &iov);
		memset(tags, 5, sizeof(tags));
		iov.iov_len = mts_page_granules;
		if (i % 2)
			copied += !ptrace(PTRACE_POKEMTETAGS, pid, page, &iov);
	}
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	if (waitpid(pid, &status, 0) != pid)
		mts_die("waitpid");
	if (mprotect(p, len, PROT_TAGGED))
		mts_die("mprotect");
	for (i = 0; i < PAGES && bad < 4; i++) {
		bad += !mts_data_ok("no access", p + i * mts_page_size, DATA(i));
		bad += !mts_tags_ok("no access", p + i * mts_page_size, 0);
	}
	ktap_result(!bad && !copied,
		    "no access: tags that aren't there are refused (%ld were not)",
		    copied);
	munmap(p, len);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	ktap_begin(9);
	test(NEVER);
	test(POPULATED);
	test(READ_ONLY_TOUCH);
	test(TOUCHED);
	if (mts_kernel_patched())
		test_no_access();
	else
		ktap_skip("module not loaded, nor its patches",
			  "no access: tags that aren't there are refused");
	return ktap_end();
}
