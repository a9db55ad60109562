// SPDX-License-Identifier: GPL-2.0
/* What programs without tags do: fork, read files, compile. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static void wait_ok(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		mts_die("child");
}

/* fork PROT MIB PASSES [2m|64k]: fork, write to each page in the child, exit. */
int fork_main(int argc, char **argv)
{
	size_t bytes, pages, passes, pass;
	u64 forked = 0, cow = 0, gone = 0;
	struct shared {
		u64 start, forked, copied;
	} *t;
	char *map, *p;

	if (argc < 3)
		mts_die("fork PROT MIB PASSES [2m|64k]");
	bytes = MIB(bench_number(argv[1]));
	passes = bench_number(argv[2]);
	pages = bytes / mts_page_size;
	t = bench_shared(sizeof(*t));
	map = bench_map(bytes + MIB(2), bench_prot(argv[0]));
	p = bench_align(map);
	if (argc > 3)
		bench_folios(argv[3]);
	madvise(map, bytes + MIB(2), argc > 3 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	bench_touch(p, bytes);
	if (argc > 3)
		bench_folios(NULL);

	for (pass = 0; pass < passes; pass++) {
		u64 end;
		pid_t pid;

		t->start = bench_ns();
		pid = bench_fork();
		if (!pid) {
			t->forked = bench_ns();
			bench_touch(p, bytes);
			t->copied = bench_ns();
			_exit(0);
		}
		wait_ok(pid);
		end = bench_ns();
		if (!pass)
			continue;
		forked += t->forked - t->start;
		cow += t->copied - t->forked;
		gone += end - t->copied;
	}
	pages *= passes - 1;
	bench_say("fork", 1.0 * forked / pages);
	bench_say("cow", 1.0 * cow / pages);
	bench_say("exit", 1.0 * gone / pages);
	return 0;
}

/*
 * cache FILE MIB PASSES: make a file, read it from its device and from the
 * page cache.
 */
int cache_main(int argc, char **argv)
{
	size_t bytes, pages, passes, pass;
	u64 cold = 0, warm = 0;

	if (argc < 3)
		mts_die("cache FILE MIB PASSES");
	bytes = MIB(bench_number(argv[1]));
	passes = bench_number(argv[2]);
	pages = bytes / mts_page_size;
	bench_make_file(argv[0], bytes);

	for (pass = 0; pass < passes; pass++) {
		u64 t;

		bench_write("/proc/sys/vm/drop_caches", "1");
		t = bench_read_file(argv[0], bytes);
		cold += pass ? t : 0;
		t = bench_read_file(argv[0], bytes);
		warm += pass ? t : 0;
	}
	unlink(argv[0]);
	pages *= passes - 1;
	bench_say("read_cold", 1.0 * cold / pages);
	bench_say("read_warm", 1.0 * warm / pages);
	return 0;
}

/* One "compiler": reads sources, builds trees, writes an object, exits. */
int mix_job_main(int argc, char **argv)
{
	size_t arena = MIB(3), i, used = 0;
	static char buf[16 << 10];
	u64 seed = argc > 1 ? bench_number(argv[1]) : 1;
	char name[64], *p;
	int fd;

	if (argc < 2)
		mts_die("mix-job FILE N");
	p = bench_map(arena, PROT_RW);
	fd = open(argv[0], O_RDONLY);
	if (fd < 0)
		mts_die(argv[0]);
	for (i = 0; i < KIB(256); i += sizeof(buf)) {
		ssize_t n = pread(fd, buf, sizeof(buf),
				  mts_below(&seed, MIB(1) / sizeof(buf)) * sizeof(buf));
		size_t j;

		if (n != sizeof(buf))
			mts_die("pread");
		/* Nodes of a tree, for what was read */
		for (j = 0; j < sizeof(buf) && used + 256 < arena; j += 256) {
			memcpy(p + used, buf + j, 128);
			used += 64 + mts_below(&seed, 192) / 16 * 16;
		}
	}
	close(fd);
	while (used + 512 < arena) {
		p[used] = 1;
		used += 512;
	}
	snprintf(name, sizeof(name), "/tmp/mix.%s", argv[1]);
	fd = open(name, O_CREAT | O_WRONLY, 0600);
	if (fd < 0 || write(fd, p, KIB(128)) != (ssize_t)KIB(128))
		mts_die(name);
	close(fd);
	return 0;
}

static void run_job(const char *source, const char *name)
{
	pid_t pid = vfork();

	if (pid < 0)
		mts_die("vfork");
	if (!pid) {
		execl("/proc/self/exe", "mts_bench", bench_row, "mix-job",
		      source, name, NULL);
		_exit(127);
	}
	wait_ok(pid);
}

/* mix N: N such compilers, then a "linker" reads what they wrote. Us per job. */
int mix_main(int argc, char **argv)
{
	static const char source[] = "/tmp/mix.source";
	size_t n, i, pass;
	u64 start = 0;
	char name[64];

	if (argc < 1)
		mts_die("mix N");
	n = bench_number(argv[0]);
	bench_make_file(source, MIB(1));
	for (pass = 0; pass < 2; pass++) {
		start = bench_ns();
		for (i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "%zu", i);
			run_job(source, name);
		}
		for (i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "/tmp/mix.%zu", i);
			bench_read_file(name, KIB(128));
			unlink(name);
		}
	}
	bench_say("job_us", (bench_ns() - start) / 1000.0 / n);
	unlink(source);
	return 0;
}
