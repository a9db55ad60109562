// SPDX-License-Identifier: GPL-2.0
/*
 * Processes killed in the middle of tagging: what lives on keeps its tags,
 * and the blocks of the dead come back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mts_test.h"

#define ROUNDS	60
#define SECONDS	8
#define PAGES	256UL
#define KEY(i)	(0x6c6976650000UL + (i) * 8 + ((i) & 3))
#define DATA(i)	(0x6c6976650001UL + (i) * 2)

static void victim(u64 seed)
{
	size_t len = (64 + mts_below(&seed, 1500)) * mts_page_size, i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		u64 kind = mts_below(&seed, 4);
		char *p = mts_map(len, kind == 1 ? PROT_RW : PROT_TAGGED, 0,
				  kind == 2 ? mts_huge_size : 0);

		madvise(p, len, kind == 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		for (i = 0; i < len; i += mts_page_size) {
			if (kind == 1)
				mts_page_fill(p + i, i + 1);
			else
				mts_page_tag(p + i, i + 4);
		}
		if (kind == 1) {
			mprotect(p, len, PROT_TAGGED);
			for (i = 0; i < len; i += mts_page_size)
				mts_page_tag(p + i, i + 4);
		}
		munmap(p, len);
	}
}

int main(void)
{
	long long before, peak, v, after;
	double end = mts_now() + SECONDS;
	int cpus, round, c;
	u64 seed = 4711;
	pid_t pid[16];
	long bad = 0;
	size_t i;
	char *p;

	mts_need_mte();
	mts_load_regions();
	mts_thp_enable();
	ktap_begin(2);
	cpus = mts_cpus() * 2;
	if (cpus > (int)ARRAY_SIZE(pid))
		cpus = ARRAY_SIZE(pid);

	p = mts_map(PAGES * mts_page_size, PROT_TAGGED, 0, 0);
	for (i = 0; i < PAGES; i++) {
		mts_page_tag(p + i * mts_page_size, KEY(i));
		mts_page_fill(p + i * mts_page_size, DATA(i));
	}
	if (mts_online())
		mts_release();
	before = mts_stat("blocks_reserved");
	peak = before;
	for (round = 0; round < ROUNDS && mts_now() < end && !bad;
	     round++) {
		fflush(stdout);
		for (c = 0; c < cpus; c++) {
			pid[c] = fork();
			if (pid[c] < 0)
				mts_die("fork");
			if (!pid[c])
				victim(seed + c);
		}
		seed += cpus;
		usleep(1000 + mts_below(&seed, 60000));
		v = mts_stat("blocks_reserved");
		if (v > peak)
			peak = v;
		for (c = 0; c < cpus; c++)
			kill(pid[c], SIGKILL);
		for (c = 0; c < cpus; c++)
			while (waitpid(pid[c], NULL, 0) < 0 && errno == EINTR)
				;
		for (i = round % 4; i < PAGES; i += 4) {
			bad += !mts_tags_ok("the survivor",
					    p + i * mts_page_size, KEY(i));
			bad += !mts_data_ok("the survivor",
					    p + i * mts_page_size, DATA(i));
		}
	}
	ktap_result(!bad, "%d rounds of %d killed processes", round, cpus);
	if (!mts_online()) {
		ktap_skip("module not online", "the blocks of the dead come back");
		return ktap_end();
	}
	mts_release();
	after = mts_stat("blocks_reserved");
	ktap_result(peak > before && after - before <= (peak - before) / 8 + 4,
		    "the blocks of the dead come back: %lld before, %lld at the peak, %lld left",
		    before, peak, after);
	return ktap_end();
}
