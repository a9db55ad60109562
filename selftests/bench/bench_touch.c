// SPDX-License-Identifier: GPL-2.0
/* First touch, munmap, and mprotect of anonymous memory. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/*
 * Each pass has so many pages less: which of them finds the lists of free pages
 * full depends on the size, and shall not decide.
 */
#define PASS_STEP	61

static long huge_allocated(const char *dir)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/stats/anon_fault_alloc", dir);
	if (mts_read_file(path, text, sizeof(text)) < 0)
		return -1;
	return atol(text);
}

/*
 * touch PROT MIB PASSES [2m|64k]: the first pass, and the mean of all others.
 * Ns per (small) page.
 */
int touch_main(int argc, char **argv)
{
	size_t bytes, pages, passes, pass, all = 0, huge_bytes = 0;
	const char *huge_dir = NULL;
	u64 touch = 0, unmap = 0;
	long huge = 0;
	int prot;

	if (argc < 3)
		mts_die("touch PROT MIB PASSES [2m|64k]");
	prot = bench_prot(argv[0]);
	bytes = MIB(bench_number(argv[1]));
	passes = bench_number(argv[2]);
	pages = bytes / mts_page_size;
	if (argc > 3) {
		bool big = !strcmp(argv[3], "2m");

		huge_dir = big ? THP_2M : THP_64K;
		huge_bytes = big ? MIB(2) : KIB(64);
		bench_folios(argv[3]);
		huge = huge_allocated(huge_dir);
	}

	for (pass = 0; pass < passes; pass++) {
		char *map = bench_map(bytes + MIB(2), prot);
		char *p = bench_align(map);
		u64 start, touched, end;

		madvise(map, bytes + MIB(2),
			huge_dir ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		start = bench_ns();
		bench_touch(p, pages * mts_page_size);
		touched = bench_ns();
		munmap(p, bytes);
		end = bench_ns();
		munmap(map, bytes + MIB(2));
		if (!pass) {
			bench_say("touch_first", 1.0 * (touched - start) / pages);
			bench_say("munmap_first", 1.0 * (end - touched) / pages);
			continue;
		}
		touch += touched - start;
		unmap += end - touched;
		all += pages;
		if (!huge_dir)
			pages -= PASS_STEP;
	}
	if (passes > 1) {
		bench_say("touch", 1.0 * touch / all);
		bench_say("munmap", 1.0 * unmap / all);
	}
	if (huge_dir) {
		bench_say("huge_share", 1.0 * (huge_allocated(huge_dir) - huge) *
			  huge_bytes / bytes / passes);
		bench_folios(NULL);
	}
	return 0;
}

/* mprotect MIB PASSES: populated memory becomes PROT_MTE, then each page is touched. */
int mprotect_main(int argc, char **argv)
{
	size_t bytes, pages, passes, pass;
	u64 change = 0, touch = 0, start, changed, end;

	if (argc < 2)
		mts_die("mprotect MIB PASSES");
	bytes = MIB(bench_number(argv[0]));
	passes = bench_number(argv[1]);
	pages = bytes / mts_page_size;

	for (pass = 0; pass < passes; pass++) {
		char *p = bench_map(bytes, PROT_RW);

		madvise(p, bytes, MADV_NOHUGEPAGE);
		bench_touch(p, bytes);
		start = bench_ns();
		if (mprotect(p, bytes, PROT_TAGGED))
			mts_die("mprotect");
		changed = bench_ns();
		bench_touch(p, bytes);
		end = bench_ns();
		munmap(p, bytes);
		if (!pass) {
			bench_say("total_first", 1.0 * (end - start) / pages);
			bench_say("touch_first", 1.0 * (end - changed) / pages);
			continue;
		}
		change += changed - start;
		touch += end - changed;
	}
	if (passes > 1) {
		pages *= passes - 1;
		bench_say("mprotect", 1.0 * change / pages);
		bench_say("touch", 1.0 * touch / pages);
		bench_say("total", 1.0 * (change + touch) / pages);
	}
	return 0;
}

/*
 * many PROT MIB MS CPUS: a program on each CPU touches and unmaps memory for a
 * while. All their pages, per ms.
 */
int many_main(int argc, char **argv)
{
	struct shared {
		u64 start, end;
		double rate[64];
	} *s;
	double rate = 0;
	size_t bytes;
	int i, cpus;

	if (argc < 4)
		mts_die("many PROT MIB MS CPUS");
	bytes = MIB(bench_number(argv[1]));
	cpus = bench_number(argv[3]);
	if (cpus < 1 || cpus > (int)ARRAY_SIZE(s->rate))
		mts_die("CPUS");
	s = bench_shared(sizeof(*s));
	/* The first fifth of the time doesn't count */
	s->end = bench_ns() + bench_number(argv[2]) * NSEC_PER_MSEC;
	s->start = s->end - bench_number(argv[2]) * NSEC_PER_MSEC / 5 * 4;
	for (i = 0; i < cpus; i++) {
		u64 now, start = 0, pages = 0;
		cpu_set_t set;
		pid_t pid = fork();

		if (pid < 0)
			mts_die("fork");
		if (pid)
			continue;
		CPU_ZERO(&set);
		CPU_SET(i, &set);
		sched_setaffinity(0, sizeof(set), &set);
		while ((now = bench_ns()) < s->end) {
			char *p = bench_map(bytes, bench_prot(argv[0]));

			if (!start && now >= s->start)
				start = now;
			madvise(p, bytes, MADV_NOHUGEPAGE);
			bench_touch(p, bytes);
			munmap(p, bytes);
			if (start)
				pages += bytes / mts_page_size;
		}
		/* Of whole turns: the last one ends after the others' */
		s->rate[i] = 1.0 * pages * NSEC_PER_MSEC / (now - start);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	for (i = 0; i < cpus; i++)
		rate += s->rate[i];
	bench_say("pages_per_ms", rate);
	return 0;
}
