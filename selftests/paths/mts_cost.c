// SPDX-License-Identifier: GPL-2.0
/*
 * Only what has tags pays for them, whatever folio it is in: to copy a page of a huge
 * page on write costs as much as to copy a small page. Counts instructions: wants one
 * CPU and a clock that does.
 */
#define _GNU_SOURCE
#include "mts_contract.h"

#define PASSES		4

/* Each page of the memory is written to in a child, over and over. Ns per page. */
static double copy_on_write(char *p, size_t pages)
{
	double *sum = shared_memory(mts_page_size), seconds;
	size_t pass, i;

	memset(p, 1, pages * mts_page_size);
	for (pass = 0; pass <= PASSES; pass++) {
		pid_t pid = mts_fork();

		if (!pid) {
			double start = mts_now();

			for (i = 0; i < pages; i++)
				*(volatile char *)(p + i * mts_page_size) = 2;
			/* The first time is another one */
			*sum += pass ? mts_now() - start : 0;
			_exit(0);
		}
		if (!child_ok(pid))
			mts_die("child");
	}
	seconds = *sum;
	munmap(sum, mts_page_size);
	return seconds * 1e9 / pages / PASSES;
}

static void test_cow(const char *what, int prot)
{
	size_t pages = mts_huge_size / mts_page_size;
	double small, huge;
	struct mts_buf b;
	char *p;
	bool ok;

	p = mts_map_thp(prot, &ok);
	if (!ok) {
		ktap_skip("no huge page", "copy-on-write of a huge page, %s", what);
		munmap(p, mts_huge_size);
		return;
	}
	huge = copy_on_write(p, pages);
	munmap(p, mts_huge_size);
	buf_map(&b, pages, prot, 0);
	small = copy_on_write(b.p, pages);
	buf_unmap(&b);
	ktap_result(huge <= 1.3 * small,
		    "copy-on-write of a huge page, %s: %.0f ns a page, of small pages %.0f",
		    what, huge, small);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	ktap_begin(2);
	test_cow("without tags", PROT_RW);
	test_cow("with tags", PROT_TAGGED);
	return ktap_end();
}
