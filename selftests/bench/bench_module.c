// SPDX-License-Identifier: GPL-2.0
/* Loading the module, going offline, and what is gained. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define STATE	MTS_DEBUGFS "/state"

static double change_state(const char *state)
{
	u64 start = bench_ns();

	if (mts_write_file(STATE, state))
		mts_die(state);
	return (bench_ns() - start) / 1000.0;
}

/* KiB on the per-CPU lists, which MemFree leaves out */
static long long on_cpu_lists(void)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	long long pages, sum = 0;
	char line[128];

	if (!f)
		mts_die("/proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %lld", &pages) == 1)
			sum += pages;
	fclose(f);
	return sum * mts_page_size / 1024;
}

/* Free memory, without what lies around in caches */
static long long quiet_free(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		bench_write("/proc/sys/vm/drop_caches", "3");
		bench_msleep(300);
	}
	return mts_meminfo("MemFree") + on_cpu_lists();
}

/*
 * module FILE MIB: load it; offline and online, without and with MIB of tagged
 * memory. In us.
 */
int module_main(int argc, char **argv)
{
	long long free_before, total_before, grown, reserved;
	size_t bytes;
	u64 start;
	char *p;
	int fd;

	if (argc < 2)
		mts_die("module FILE MIB");
	bytes = MIB(bench_number(argv[1]));
	fd = open(argv[0], O_RDONLY);
	if (fd < 0)
		mts_die(argv[0]);
	free_before = quiet_free();
	total_before = mts_meminfo("MemTotal");
	start = bench_ns();
	if (syscall(SYS_finit_module, fd, "", 0))
		mts_die("finit_module");
	bench_say("insmod_us", (bench_ns() - start) / 1000.0);
	close(fd);
	/* All that is there but neither free nor in use for tags */
	reserved = mts_stat("reserved_bytes") / 1024;
	grown = mts_meminfo("MemTotal") - total_before;
	bench_say("held_kib", grown - reserved - (quiet_free() - free_before));
	bench_say("total_kib", total_before);
	bench_say("offline_us", change_state("offline"));
	bench_say("online_us", change_state("online"));

	p = bench_map(bytes, PROT_TAGGED);
	madvise(p, bytes, MADV_NOHUGEPAGE);
	bench_touch(p, bytes);
	bench_say("offline_tagged_us", change_state("offline"));
	bench_say("online_tagged_us", change_state("online"));
	munmap(p, bytes);
	mts_release();
	return 0;
}

/* gain: what is released with no tagged page */
int gain_main(int argc, char **argv)
{
	long long carveout, fixed, released;

	(void)argc;
	(void)argv;
	if (!mts_online()) {
		bench_cannot("all tag storage is kept for tags");
		return 0;
	}
	mts_release();
	carveout = mts_stat("carveout_bytes");
	fixed = mts_stat("static_bytes");
	released = mts_stat("released_bytes");
	bench_say("released_share", 1.0 * released / (carveout - fixed));
	bench_say("carveout_share", 1.0 * released / carveout);
	bench_say("released_kib", released / 1024);
	return 0;
}
