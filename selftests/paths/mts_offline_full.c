// SPDX-License-Identifier: GPL-2.0
/*
 * Going offline while memory is full, and data lies in tag storage that has nowhere
 * to go: it fails, says so, and releases what it took. Nobody is killed, and no data
 * is lost. Once there is memory it succeeds.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "mts_contract.h"

#define SEED		0x66756c6cUL
/*
 * Populated at a time, and what is left, KiB, of all memory: some of it is moved to.
 * With 64K pages the counters of two CPUs are as much as 16 MiB behind.
 */
#define STEP		64UL
#define LEFT_KIB	(mts_page_size < 65536 ? 16384 : 65536)
/* So much less is free than lies in tag storage, KiB */
#define TOO_LITTLE_KIB	1024
#define STATE		MTS_DEBUGFS "/state"

static volatile u64 *filled;

/* Fills memory, and holds that until it is told to look at it */
static int fill(int told)
{
	size_t max = mts_meminfo("MemTotal") * 1024 / mts_page_size, i;
	struct mts_buf b;
	char c;

	buf_map(&b, max, PROT_RW, MAP_NORESERVE);
	madvise(b.p, max * mts_page_size, MADV_NOHUGEPAGE);
	b.seed = SEED;
	for (b.pages = 0; b.pages + STEP <= max; b.pages += STEP) {
		if (mts_meminfo("MemFree") < LEFT_KIB + min_free_kib())
			break;
		for (i = 0; i < STEP; i++)
			buf_write(&b, b.pages + i);
	}
	*filled = b.pages;
	if (read(told, &c, 1) != 1)
		return 1;
	return buf_bad("memory", &b) ? 2 : 0;
}

int main(void)
{
	long long kills, used, left, lent, taken;
	int told[2], status = -1, ret;
	struct mts_fill begun;
	char reason[32] = "";
	pid_t pid;

	if (!mts_online()) {
		printf("KTAP version 1\n1..0 # SKIP module not online\n");
		return KSFT_SKIP;
	}
	ktap_begin(6);
	mts_need_mte();
	filled = shared_memory(mts_page_size);
	if (pipe(told))
		mts_die("pipe");
	kills = mts_vmstat("oom_kill");
	mts_release();
	mts_fill_begin(&begun);
	pid = mts_fork();
	if (!pid) {
		/* The first one to be killed */
		mts_write_file("/proc/self/oom_score_adj", "1000");
		_exit(fill(told[0]));
	}
	while (!*filled && !waitpid(pid, &status, WNOHANG))
		usleep(10000);
	left = mts_meminfo("MemFree");
	used = mts_stat("released_used_bytes") >> 10;
	ktap_result(*filled && used > left + TOO_LITTLE_KIB,
		    "%lld KiB are in tag storage, %lld KiB are free", used, left);

	lent = mts_stat("released_bytes");
	taken = mts_stat("taken_back");
	ret = mts_write_file(STATE, "offline");
	lent -= mts_stat("released_bytes");
	taken = mts_stat("taken_back") - taken;
	mts_read_file("/sys/kernel/mm/mte_tag_storage/drain_reason", reason,
		      sizeof(reason));
	reason[strcspn(reason, "\n")] = '\0';
	ktap_result(ret && !strcmp(reason, "no-memory"),
		    "going offline fails: %d, %s", ret, reason);
	ktap_result(taken && !lent, "it took %lld blocks; not released again: %lld bytes",
		    taken, lent);
	kills = mts_vmstat("oom_kill") - kills;
	ktap_result(!kills && !waitpid(pid, &status, WNOHANG),
		    "nobody is killed: %lld", kills);
	if (write(told[1], "", 1) != 1)
		mts_die("write");
	waitpid(pid, &status, 0);
	ktap_result(!status, "all data is there: status %#x", status);
	mts_fill_end(&begun);
	ktap_result(!mts_write_file(STATE, "offline") &&
		    !mts_write_file(STATE, "online"), "it succeeds then");
	return ktap_end();
}
