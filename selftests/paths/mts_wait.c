// SPDX-License-Identifier: GPL-2.0
/*
 * Write faults that have to copy tagged pages while no tag storage can be had:
 * they wait between their tries, can be killed, and succeed once there is some.
 * Needs fault injection.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>

#include "mts_paths.h"

/* Many more than have tag storage anyway, beside others of their blocks */
#define PAGES		2500UL
#define SEED		0x77616974UL
/* More than two a tick of a CPU that does nothing else, less than it could */
#define MAX_CALLS	1500

/* A copy for each page, in a mapping that doesn't tell of the tags. */
static void write_all(const struct mts_buf *copy)
{
	size_t i;

	for (i = 0; i < copy->pages; i++) {
		volatile char *page = buf_page(copy, i);

		*page = *page;
	}
}

/* `mapped`: the pages are mapped for reading before they are written */
static void test_copies(bool mapped)
{
	const char *what = mapped ? "writes to mapped pages" :
				    "first writes to pages";
	struct mts_buf shared = { .pages = PAGES, .mte = true }, copy;
	int fd = memfd_create("tagged", MFD_CLOEXEC), status[2];
	size_t len = PAGES * mts_page_size, bad = 0;
	long long calls;
	pid_t pid[2], ended[2];
	int i;

	if (fd < 0 || ftruncate(fd, len))
		mts_die("memfd");
	shared.p = mmap(NULL, len, PROT_TAGGED, MAP_SHARED, fd, 0);
	copy = shared;
	copy.p = mmap(NULL, len, PROT_RW, MAP_PRIVATE, fd, 0);
	if (shared.p == MAP_FAILED || copy.p == MAP_FAILED)
		mts_die("mmap");
	buf_fill(&shared, SEED, true);
	copy = (struct mts_buf){ .p = copy.p, .pages = PAGES,
				 .seed = shared.seed, .tagged = true };
	mts_release();
	inject_failures("fail_reserve", true);
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		if (mapped)
			bad += buf_bad(what, &copy);
		write_all(&copy);
		if (mprotect(copy.p, len, PROT_TAGGED))
			_exit(2);
		copy.mte = true;
		_exit(bad || buf_bad(what, &copy));
	}
	sleep(1);
	calls = mts_stat("reserve_calls");
	sleep(1);
	calls = mts_stat("reserve_calls") - calls;
	ktap_note("%s: %lld tries in 1 s", what, calls);
	bad += !calls || calls > MAX_CALLS;
	for (i = 0; i < 2; i++)
		ended[i] = waitpid(pid[i], &status[i], WNOHANG);
	/* One can be killed, the other one gets what it needs */
	if (!ended[0]) {
		kill(pid[0], SIGKILL);
		status[0] = wait_status(pid[0]);
	}
	inject_failures("fail_reserve", false);
	if (!ended[1])
		status[1] = wait_status(pid[1]);
	if (ended[0] || ended[1])
		ktap_note("%s: children didn't wait, %#x %#x", what, status[0],
			  status[1]);
	bad += ended[0] || ended[1] || !WIFSIGNALED(status[0]) || status[1];
	bad += buf_bad(what, &shared);
	ktap_result(!bad, "%s", what);
	munmap(copy.p, len);
	buf_unmap(&shared);
	close(fd);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	ktap_begin(2);
	test_copies(true);
	test_copies(false);
	return ktap_end();
}
