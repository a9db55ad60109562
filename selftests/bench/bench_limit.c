// SPDX-License-Identifier: GPL-2.0
/* How much of a kind of memory there is before somebody is killed. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "../lib/mts_unmovable.h"

#define HOLDERS		4

static struct shared {
	volatile u64 bytes;	/* what there was */
	volatile int ready;	/* programs that have their memory */
} *shared;

/* Memory in use before: a share of it in each of some programs */
static void hold(size_t bytes, int prot)
{
	char *p = bench_map(bytes + 1, prot);

	madvise(p, bytes, MADV_NOHUGEPAGE);
	bench_touch(p, bytes);
	__sync_fetch_and_add(&shared->ready, 1);
	for (;;)
		pause();
}

static void take_data(int advice)
{
	size_t all = mts_meminfo("MemTotal") * 1024, i;
	char *p = bench_map(all, PROT_RW);

	madvise(p, all, advice);
	for (i = 0; i < all; i += mts_page_size) {
		p[i] = 1;
		shared->bytes += mts_page_size;
	}
}

/*
 * limit unmovable|small|huge TAGGED_MIB DATA_MIB: beside so much memory with and
 * without tags. The program that takes is to be killed first.
 */
int limit_main(int argc, char **argv)
{
	pid_t pids[2 * HOLDERS], pid;
	int i, n = 0, others = 0, status;
	size_t bytes[2];

	if (argc < 3)
		mts_die("limit KIND TAGGED_MIB DATA_MIB");
	bytes[0] = MIB(bench_number(argv[1])) / HOLDERS;
	bytes[1] = MIB(bench_number(argv[2])) / HOLDERS;
	shared = bench_shared(sizeof(*shared));
	for (i = 0; i < 2 * HOLDERS; i++) {
		if (!bytes[i % 2])
			continue;
		pids[n] = bench_fork();
		if (!pids[n])
			hold(bytes[i % 2], i % 2 ? PROT_RW : PROT_TAGGED);
		n++;
	}
	while (shared->ready < n)
		bench_msleep(10);

	pid = bench_fork();
	if (!pid) {
		bench_write("/proc/self/oom_score_adj", "1000");
		if (!strcmp(argv[0], "unmovable"))
			mts_take_unmovable(&shared->bytes);
		else
			take_data(strcmp(argv[0], "huge") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid)
		mts_die("waitpid");
	bench_say("mib", shared->bytes / 1048576.0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		bench_cannot("the program was not killed");
	for (i = 0; i < n; i++)
		others += waitpid(pids[i], NULL, WNOHANG) == pids[i];
	bench_say("others_killed", others);
	bench_end(pids, n);
	return 0;
}
