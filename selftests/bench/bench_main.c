// SPDX-License-Identifier: GPL-2.0
/* mts_bench ROW COMMAND [ARG...]: one measure. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static const struct bench_command commands[] = {
	{ "touch", touch_main },
	{ "fork", fork_main },
	{ "kind", kind_main },
	{ "cache", cache_main },
	{ "mix", mix_main },
	{ "mix-job", mix_job_main },
	{ "mprotect", mprotect_main },
	{ "full", full_main },
	{ "cached", cached_main },
	{ "many", many_main },
	{ "storage", storage_main },
	{ "pack", pack_main },
	{ "repack", repack_main },
	{ "churn", churn_main },
	{ "fits", fits_main },
	{ "limit", limit_main },
	{ "exit", exit_main },
	{ "module", module_main },
	{ "gain", gain_main },
};

const char *bench_row;

u64 bench_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

void bench_say(const char *key, double value)
{
	printf("= %s.%s %.6g\n", bench_row, key, value);
}

void bench_cannot(const char *why)
{
	printf("! %s %s\n", bench_row, why);
}

int bench_prot(const char *word)
{
	return strcmp(word, "mte") ? PROT_RW : PROT_TAGGED;
}

void *bench_map(size_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		mts_die("mmap");
	return p;
}

char *bench_align(char *p)
{
	return (char *)(((u64)p + MIB(2) - 1) & ~(MIB(2) - 1));
}

void *bench_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		mts_die("mmap");
	return p;
}

void bench_populate(void *base, size_t bytes)
{
	if (madvise(base, bytes, MADV_POPULATE_WRITE))
		mts_die("populate");
}

void bench_touch(void *base, size_t bytes)
{
	volatile char *p = base;
	size_t i;

	for (i = 0; i < bytes; i += mts_page_size)
		p[i] = 1;
}

long bench_number(const char *word)
{
	char *end;
	long value = strtol(word, &end, 0);

	if (end == word || *end)
		mts_die(word);
	return value;
}

void bench_write(const char *path, const char *fmt, ...)
{
	char text[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (mts_write_file(path, text))
		mts_die(path);
}

void bench_folios(const char *size)
{
	bool small = size && strcmp(size, "2m");

	bench_write(THP_2M "/enabled", !size ? "inherit" : small ? "never" : "madvise");
	/* With 64K pages these are no folios */
	if (mts_page_size < KIB(64))
		bench_write(THP_64K "/enabled", small ? "madvise" : "never");
}

void bench_msleep(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * NSEC_PER_MSEC };

	nanosleep(&ts, NULL);
}

pid_t bench_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		mts_die("fork");
	return pid;
}

void bench_end(const pid_t *pids, int n)
{
	signal(SIGCHLD, SIG_DFL);
	while (n--)
		kill(pids[n], SIGKILL);
	while (wait(NULL) > 0)
		;
}

void bench_make_file(const char *name, size_t bytes)
{
	static const char zero[64 << 10];
	int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	size_t i, len;

	if (fd < 0)
		mts_die(name);
	for (i = 0; i < bytes; i += len) {
		len = bytes - i < sizeof(zero) ? bytes - i : sizeof(zero);
		if (write(fd, zero, len) != (ssize_t)len)
			mts_die("write");
	}
	if (fsync(fd))
		mts_die("fsync");
	close(fd);
}

u64 bench_read_file(const char *path, size_t bytes)
{
	static char buf[64 << 10];
	size_t done = 0;
	u64 start = bench_ns();
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		mts_die(path);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		done += n;
	close(fd);
	if (done != bytes)
		mts_die("short read");
	return bench_ns() - start;
}

static int ring[BENCH_MAX_PROCS + 1][2];

static void child_died(int sig)
{
	static const char text[] = "! a program that takes turns died\n";

	(void)sig;
	if (write(1, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(1);
}

void bench_ring_init(int procs)
{
	int i;

	/* The OOM killer's choice: its turn would never end */
	signal(SIGCHLD, child_died);
	for (i = 0; i <= procs; i++)
		if (pipe(ring[i]))
			mts_die("pipe");
}

void bench_token_wait(int who)
{
	char c;

	while (read(ring[who][0], &c, 1) != 1)
		if (errno != EINTR)
			mts_die("token");
}

void bench_token_pass(int who)
{
	if (write(ring[who][1], "t", 1) != 1)
		mts_die("token");
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 3) {
		fprintf(stderr, "usage: mts_bench ROW COMMAND [ARG...]\n");
		return 2;
	}
	bench_row = argv[1];
	/* What rows before this one have left is no part of it */
	if (mts_online())
		mts_release();
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[2], commands[i].name))
			return commands[i].run(argc - 3, argv + 3);
	fprintf(stderr, "mts_bench: no command %s\n", argv[2]);
	return 2;
}
