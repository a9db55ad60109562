// SPDX-License-Identifier: GPL-2.0
/*
 * Memory full to the brim, half of it tagged: nobody is killed who would not be
 * on an unmodified kernel, and what can't be moved still finds a place. The
 * same test runs on both.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/klog.h>
#include <sys/stat.h>

#include "mts_paths.h"

/* Left of MemAvailable for everything else, in KiB */
#define MARGIN_KIB	(20 << 10)
/* Unmovable memory that has to fit into it */
#define PIPE_KIB	64
#define PIPES		96
#define FILES		3000
#define ROUNDS		3

static long long oom_kills(void)
{
	long long kills = mts_vmstat("oom_kill");

	if (kills < 0)
		mts_die("oom_kill");
	return kills;
}

/* Order-0 allocations that failed tell so in the log */
static bool allocation_failed(void)
{
	static char log[1 << 20];
	int n = klogctl(3, log, sizeof(log) - 1);

	if (n < 0)
		mts_die("klogctl");
	log[n] = 0;
	return strstr(log, "page allocation failure");
}

/* Half of the pages are tagged, in runs, so that the two kinds mix */
static char *fill(size_t bytes)
{
	size_t run = 64 * mts_page_size, i;
	char *p = mts_map(bytes, PROT_RW,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 2 << 20);

	madvise(p, bytes, MADV_NOHUGEPAGE);
	for (i = 0; i + run <= bytes; i += run) {
		if (i / run % 2 &&
		    mprotect(p + i, run, PROT_TAGGED))
			mts_die("mprotect");
		if (madvise(p + i, run, MADV_POPULATE_WRITE))
			return NULL;
	}
	return p;
}

static int brim(void *arg)
{
	size_t bytes = (mts_meminfo("MemAvailable") - MARGIN_KIB) * 1024;
	size_t *filled = arg;
	char *p;

	*filled = bytes;
	p = fill(bytes);
	if (!p)
		return 1;
	munmap(p, bytes);
	return 0;
}

/* Buffers of pipes, which can't be moved, and inodes and names in slabs */
static int unmovable(void *arg)
{
	size_t bytes = (mts_meminfo("MemAvailable") - MARGIN_KIB) * 1024;
	static char buf[PIPE_KIB << 10];
	char *p = fill(bytes), path[64];
	int i, fds[PIPES][2];

	if (!p)
		return 1;
	for (i = 0; i < PIPES; i++) {
		if (pipe(fds[i]))
			return 2;
		if (write(fds[i][1], buf, sizeof(buf)) != (ssize_t)sizeof(buf))
			return 3;
	}
	mkdir(arg, 0700);
	for (i = 0; i < FILES; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%d", (char *)arg, i);
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			return 4;
		close(fd);
	}
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%d", (char *)arg, i);
		unlink(path);
	}
	rmdir(arg);
	return 0;
}

/* Status of a child that may be killed: what it returned, or minus the signal */
static int in_child(int (*run)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		mts_die("fork");
	if (!pid) {
		/* The first one to be killed */
		mts_write_file("/proc/self/oom_score_adj", "1000");
		_exit(run(arg));
	}
	if (waitpid(pid, &status, 0) != pid)
		mts_die("waitpid");
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int main(void)
{
	long long kills;
	size_t *filled;
	int i, ret = 0;

	ktap_begin(4);
	mts_need_mte();
	kills = oom_kills();
	filled = mmap(NULL, sizeof(*filled), PROT_RW,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (filled == MAP_FAILED)
		mts_die("mmap");
	for (i = 0; i < ROUNDS && !ret; i++)
		ret = in_child(brim, filled);
	ktap_result(!ret, "%zu MiB, half of it tagged, %d times: status %d",
		    *filled >> 20, i, ret);
	ret = in_child(unmovable, "/tmp/brim");
	ktap_result(!ret, "pipes and files while memory is full: status %d", ret);
	kills = oom_kills() - kills;
	ktap_result(!kills, "nobody was killed: %lld", kills);
	ktap_result(!allocation_failed(), "no allocation failed");
	return ktap_end();
}
