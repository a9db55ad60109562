// SPDX-License-Identifier: GPL-2.0
/* How many blocks tagged pages need, and when these are given back. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* What the processes do in their next turn */
enum step { STEP_TOUCH, STEP_MARK, STEP_FREE, STEP_FILL };

struct control {
	u8 *blocks;		/* one for each block of 32 page frames */
	size_t nr_blocks;
	size_t pages;		/* tagged pages per process */
	size_t untagged;	/* untagged faults per tagged one */
	int procs;
	enum step *step;	/* shared */
	pid_t pids[BENCH_MAX_PROCS];
};

static struct control control;

static void mark_blocks(const char *p)
{
	u64 pfn;
	size_t i;

	for (i = 0; i < control.pages; i++) {
		pfn = mts_pfn(p + i * mts_page_size);
		if (pfn && pfn / 32 < control.nr_blocks)
			control.blocks[pfn / 32] = 1;
	}
}

static void free_half(char *p, u64 *seed)
{
	size_t i;

	for (i = 0; i < control.pages; i++)
		if (mts_rand(seed) & 1)
			madvise(p + i * mts_page_size, mts_page_size, MADV_DONTNEED);
}

/* What it allocates is on the node of its CPU */
static void stay(int who)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(who % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void pack_child(int who)
{
	size_t i = 0, j, untagged = control.pages * control.untagged;
	char *tagged = bench_map(control.pages * mts_page_size, PROT_TAGGED);
	char *other = bench_map((untagged + 1) * mts_page_size, PROT_RW);
	u64 seed = 1000 + who;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stay(who);
	madvise(tagged, control.pages * mts_page_size, MADV_NOHUGEPAGE);
	madvise(other, (untagged + 1) * mts_page_size, MADV_NOHUGEPAGE);
	for (;;) {
		bench_token_wait(who);
		switch (*(volatile enum step *)control.step) {
		case STEP_TOUCH:
			tagged[i * mts_page_size] = 1;
			for (j = 0; j < control.untagged; j++)
				other[(i * control.untagged + j) * mts_page_size] = 1;
			i++;
			break;
		case STEP_MARK:
			mark_blocks(tagged);
			break;
		case STEP_FREE:
			free_half(tagged, &seed);
			break;
		case STEP_FILL:
			/* Those that are there don't fault */
			for (i = 0; i < control.pages; i++)
				tagged[i * mts_page_size] = 1;
			break;
		}
		bench_token_pass(who + 1);
	}
}

static void turn(enum step step)
{
	*control.step = step;
	bench_token_pass(0);
	bench_token_wait(control.procs);
}

/* Blocks with a tagged page, by page frames; and the module's own count */
static void say_blocks(const char *when, double ideal, long long before)
{
	char key[64];
	size_t i, n = 0;

	memset(control.blocks, 0, control.nr_blocks);
	turn(STEP_MARK);
	for (i = 0; i < control.nr_blocks; i++)
		n += control.blocks[i];
	snprintf(key, sizeof(key), "%s_spread", when);
	bench_say(key, n / ideal);
	if (before < 0)
		return;
	snprintf(key, sizeof(key), "%s_reserved", when);
	bench_say(key, (mts_stat("blocks_reserved") - before) / ideal);
}

/*
 * Start PROCS processes, which touch PAGES tagged pages in all, in turns, and N others
 * for each. Return: how many there are.
 */
static size_t pack_start(char **argv)
{
	size_t total, i;
	int who;

	control.procs = bench_number(argv[0]);
	total = bench_number(argv[1]);
	control.untagged = bench_number(argv[2]);
	if (control.procs < 1 || control.procs > BENCH_MAX_PROCS)
		mts_die("PROCS");
	control.pages = total / control.procs;
	/* Frames below 32 GiB, from 0 */
	control.nr_blocks = (32UL << 30) / mts_page_size / 32;
	control.blocks = bench_shared(control.nr_blocks);
	control.step = bench_shared(sizeof(*control.step));
	memset(control.blocks, 0, control.nr_blocks);

	bench_ring_init(control.procs);
	for (who = 0; who < control.procs; who++) {
		control.pids[who] = bench_fork();
		if (!control.pids[who]) {
			pack_child(who);
			_exit(0);
		}
	}
	for (i = 0; i < control.pages; i++)
		turn(STEP_TOUCH);
	return total;
}

/* Blocks that are reserved without us, or -1. False where nothing is lent: no pageblock */
static bool blocks_before(long long *before)
{
	*before = -1;
	if (!mts_online())
		return true;
	mts_release();
	*before = mts_stat("blocks_reserved");
	if (mts_stat("released_bytes"))
		return true;
	bench_cannot("no tag storage can be lent");
	return false;
}

/* pack PROCS PAGES N */
int pack_main(int argc, char **argv)
{
	long long before;
	size_t total, i;
	char key[32];

	if (argc < 3)
		mts_die("pack PROCS PAGES N");
	if (!blocks_before(&before))
		return 0;
	total = pack_start(argv);
	say_blocks("full", total / 32.0, before);
	turn(STEP_FREE);
	say_blocks("half_0s", total / 64.0, before);
	for (i = 1; i <= 5; i++) {
		bench_msleep(1000);
		if (i != 1 && i != 5)
			continue;
		snprintf(key, sizeof(key), "half_%zus", i);
		say_blocks(key, total / 64.0, before);
	}
	bench_end(control.pids, control.procs);
	return 0;
}

/*
 * repack PROCS PAGES N FILL CYCLES [quiet]: so often a random half of the tagged pages
 * is freed, and as many are touched again. FILL MiB are used before, so that the
 * pages are in more than one zone. Quiet: no passes, and short lists of free pages, so
 * that only what allocations do counts.
 */
int repack_main(int argc, char **argv)
{
	long long before;
	size_t total;
	char key[32];
	long i;

	if (argc < 5)
		mts_die("repack PROCS PAGES N FILL CYCLES [quiet]");
	if (argc > 5) {
		bench_write("/proc/sys/vm/percpu_pagelist_high_fraction", "2000");
		if (mts_online()) {
			bench_write(MTS_DEBUGFS "/policy/evacuate_percent", "0");
			bench_write(MTS_DEBUGFS "/policy/pass_interval_ms", "60000");
		}
	}
	if (!blocks_before(&before))
		return 0;
	total = MIB(bench_number(argv[3]));
	if (total) {
		char *p = bench_map(total, PROT_RW);

		madvise(p, total, MADV_NOHUGEPAGE);
		bench_touch(p, total);
	}
	total = pack_start(argv);
	say_blocks("again_0", total / 32.0, before);
	for (i = 1; i <= bench_number(argv[4]); i++) {
		turn(STEP_FREE);
		turn(STEP_FILL);
		snprintf(key, sizeof(key), "again_%ld", i);
		say_blocks(key, total / 32.0, before);
	}
	bench_end(control.pids, control.procs);
	return 0;
}

static double released_share(long long goal)
{
	return 1.0 * mts_stat("released_bytes") / goal;
}

#define PRESSURE_FILE	MIB(96)

/* Less free memory than that makes the kernel reclaim some */
static long long low_watermarks_kib(void)
{
	char buf[16384], *line, *save;
	long long pages = 0, low;

	if (mts_read_file("/proc/zoneinfo", buf, sizeof(buf)) < 0)
		mts_die("zoneinfo");
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		if (sscanf(line, " low %lld", &low) == 1)
			pages += low;
	return pages * mts_page_size / 1024;
}

static void fill_until_scarce(void)
{
	long long total = mts_meminfo("MemTotal") * 1024, low = low_watermarks_kib();
	size_t done, step = KIB(128);
	char *p = bench_map(total, PROT_RW);

	madvise(p, total, MADV_NOHUGEPAGE);
	for (done = 0; mts_meminfo("MemFree") > low; done += step)
		bench_populate(p + done, step);
	bench_say("filled_mib", done / 1048576.0);
	bench_say("low_kib", low);
}

/* Until the tag storage is released, or the file ends */
static void read_until_released(const char *name, long long goal)
{
	static char buf[64 << 10];
	int fd = open(name, O_RDONLY);

	if (fd < 0)
		mts_die(name);
	while (released_share(goal) < 0.99 &&
	       read(fd, buf, sizeof(buf)) == (ssize_t)sizeof(buf))
		;
	close(fd);
}

#define TAGGED_PROCS	4

/* Programs that together have so many bytes of tagged memory come and go */
static void tagged_programs(size_t bytes)
{
	int i, status, touched[2], go[2];
	char byte;

	if (pipe(touched) || pipe(go))
		mts_die("pipe");
	for (i = 0; i < TAGGED_PROCS; i++) {
		pid_t pid = bench_fork();
		char *p;

		if (pid)
			continue;
		close(go[1]);
		p = bench_map(bytes / TAGGED_PROCS, PROT_TAGGED);
		madvise(p, bytes / TAGGED_PROCS, MADV_NOHUGEPAGE);
		bench_touch(p, bytes / TAGGED_PROCS);
		/* Stays until the parent closes the pipe */
		_exit(write(touched[1], "", 1) != 1 || read(go[0], &byte, 1));
	}
	for (i = 0; i < TAGGED_PROCS; i++)
		if (read(touched[0], &byte, 1) != 1)
			mts_die("read");
	bench_say("released_before_exit", 1.0 * mts_stat("released_bytes") /
		  (mts_stat("carveout_bytes") - mts_stat("static_bytes")));
	close(go[1]);
	for (i = 0; i < TAGGED_PROCS; i++)
		if (wait(&status) < 0 || status)
			mts_die("child");
	close(go[0]);
	close(touched[0]);
	close(touched[1]);
}

/*
 * exit idle MIB | pressure MIB FILE: tagged programs end; ms until 99 % of what
 * was released before them is released again. Under pressure another program
 * uses memory at once until the kernel begins to reclaim some, then it reads a
 * file; what counts is the time from there on.
 */
int exit_main(int argc, char **argv)
{
	long long goal;
	bool pressure;
	size_t bytes;
	u64 start;

	pressure = argc && !strcmp(argv[0], "pressure");
	if (argc < (pressure ? 3 : 2))
		mts_die("exit idle MIB | pressure MIB FILE");
	bytes = MIB(bench_number(argv[1]));
	if (!mts_online()) {
		bench_cannot("nothing to give back without the module");
		return 0;
	}
	if (pressure) {
		/*
		 * A list of a CPU is filled with up to 2,016 pages at once; below
		 * the min watermark these can't be had, and the program is killed.
		 */
		bench_write("/proc/sys/vm/percpu_pagelist_high_fraction", "1000");
		/* Nor above a min watermark that is raised for some time */
		bench_write("/proc/sys/vm/watermark_boost_factor", "0");
		bench_make_file(argv[2], PRESSURE_FILE);
		bench_write("/proc/sys/vm/drop_caches", "3");
		/* Nothing else releases */
		bench_write(MTS_DEBUGFS "/policy/release_delay_ms", "60000");
	}
	mts_release();
	goal = mts_stat("released_bytes");
	tagged_programs(bytes);
	start = bench_ns();
	bench_say("released_at_exit", released_share(goal));
	if (pressure) {
		fill_until_scarce();
		start = bench_ns();
		bench_say("released_when_scarce", released_share(goal));
		read_until_released(argv[2], goal);
	}
	while (released_share(goal) < 0.99) {
		if (bench_ns() - start > 60 * NSEC_PER_SEC) {
			bench_cannot("not released within a minute");
			return 0;
		}
		bench_msleep(10);
	}
	bench_say("released_ms", 1.0 * (bench_ns() - start) / NSEC_PER_MSEC);
	return 0;
}
