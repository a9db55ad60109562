// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a fault allocates for a PROT_MTE mapping is where it can have tags,
 * also where it is not this mapping's alone: shared memory, and what comes back from
 * swap for several processes. Else each page would fault once more, and be moved.
 */
#define _GNU_SOURCE
#include <signal.h>

#include "mts_contract.h"

#define PAGES		2048UL
#define ZERO_PAGES	16
#define SEED		0x666c7473UL
/* Some are: where a block's first page is allocated before its storage is there */
#define FAULTS_MAX	(PAGES / 4)

static void result(const char *what, const struct mts_buf *b, long long before,
		   size_t bad)
{
	bad += buf_bad(what, b) + !buf_taggable(what, b);
	long long faults = faults_on_access() - before;

	ktap_result(!bad && faults <= (long long)FAULTS_MAX,
		    "%s: %lld faults on access for %lu pages", what, faults,
		    PAGES);
}

static void test_shared(void)
{
	struct mts_buf b = { .pages = PAGES, .mte = true };
	long long before = faults_on_access();

	b.p = mmap(NULL, PAGES * mts_page_size, PROT_TAGGED,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b.p == MAP_FAILED)
		mts_die("mmap");
	buf_fill(&b, SEED, true);
	result("first touch of shared memory", &b, before, 0);
	buf_unmap(&b);
}

/* Another mapping of it, which has tags, of pages that are there already */
static void test_second(void)
{
	struct mts_buf b = { .pages = PAGES, .mte = true };
	int fd = memfd_create("second", MFD_CLOEXEC);
	long long before;

	if (fd < 0 || ftruncate(fd, PAGES * mts_page_size))
		mts_die("memfd");
	b.p = mmap(NULL, PAGES * mts_page_size, PROT_RW, MAP_SHARED, fd, 0);
	if (b.p == MAP_FAILED)
		mts_die("mmap");
	buf_fill(&b, SEED, false);
	munmap(b.p, PAGES * mts_page_size);
	/* What the other test has left is taggable */
	if (mts_online())
		mts_release();
	before = faults_on_access();
	b.p = mmap(NULL, PAGES * mts_page_size, PROT_TAGGED, MAP_SHARED, fd, 0);
	if (b.p == MAP_FAILED)
		mts_die("mmap");
	buf_fill(&b, SEED, true);
	result("a second mapping of shared memory", &b, before, 0);
	buf_unmap(&b);
	close(fd);
}

/* Swapped out without tags, and then PROT_MTE in two processes */
static void test_swap(void)
{
	struct mts_buf b;
	long long before;
	size_t swapped;
	pid_t pid;

	if (zram_make(2 * PAGES * mts_page_size) || swapon(ZRAM, 0)) {
		ktap_skip("no zram", "swapped in for two processes");
		return;
	}
	buf_map(&b, PAGES, PROT_RW, 0);
	buf_fill(&b, SEED + 1, false);
	madvise(b.p, PAGES * mts_page_size, MADV_PAGEOUT);
	if (mprotect(b.p, PAGES * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	b.mte = true;
	swapped = buf_swapped(&b);
	ktap_note("%zu pages in swap", swapped);
	pid = mts_fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	/* What the other test has left is taggable */
	if (mts_online())
		mts_release();
	before = faults_on_access();
	result("swapped in for two processes", &b, before, swapped < PAGES * 3 / 4);
	kill(pid, SIGKILL);
	wait_status(pid);
	buf_unmap(&b);
	swapoff(ZRAM);
}

/* Only read: the huge zero page, which has 16 blocks' tags wherever it is mapped */
static void test_zero(void)
{
	size_t size = mts_huge_size, i, sum = 0, zero = 0;
	long long before;
	char *p;

	if (!mts_huge_is_pmd() || mts_write_file(THP "use_zero_page", "1")) {
		ktap_skip("no huge page", "first read of huge pages");
		return;
	}
	mts_thp_enable();
	p = mts_map(ZERO_PAGES * size, PROT_TAGGED, 0, size);
	madvise(p, ZERO_PAGES * size, MADV_HUGEPAGE);
	/* It may be where another test had tags */
	if (mts_online())
		mts_release();
	before = faults_on_access();
	for (i = 0; i < ZERO_PAGES; i++)
		sum += *(volatile char *)(p + i * size);
	before = faults_on_access() - before;
	for (i = 0; i < ZERO_PAGES; i++)
		zero += mts_pages_with(p + i * size, 1, KPF_ZERO_PAGE | KPF_THP);
	if (zero < ZERO_PAGES)
		ktap_note("%zu huge zero pages of %d", zero, ZERO_PAGES);
	ktap_result(!sum && before <= 2 && zero == ZERO_PAGES, "first read of huge pages: %lld faults on access for %d",
		    before, ZERO_PAGES);
	munmap(p, ZERO_PAGES * size);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	ktap_begin(4);
	test_shared();
	test_second();
	test_swap();
	test_zero();
	return ktap_end();
}
