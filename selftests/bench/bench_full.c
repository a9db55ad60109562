// SPDX-License-Identifier: GPL-2.0
/* Tagged memory while all memory, and all tag storage, is in use for data. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench.h"

#define MIN_FREE	"/proc/sys/vm/min_free_kbytes"
#define PCP_HIGH	"/proc/sys/vm/percpu_pagelist_high_fraction"
/* So low that what must stay free is no matter beside the tag storage */
#define MIN_FREE_KIB	1024

/* Times that memory full of page cache is taken for tagged pages */
#define CACHED_ROUNDS	8

/*
 * Untagged anonymous pages until spare_kib are free. Reads the counter before
 * each step, so that the last one doesn't call the OOM killer.
 */
void bench_fill(struct bench_full *full, size_t spare_kib)
{
	size_t max, step = KIB(256) / mts_page_size;

	mts_load_regions();
	bench_write(MIN_FREE, "%d", MIN_FREE_KIB);
	/* Per-CPU lists grow to megabytes while memory fills, and count as used */
	bench_write(PCP_HIGH, "2048");
	max = mts_meminfo("MemTotal") * 1024 / mts_page_size;
	full->base = bench_map(max * mts_page_size, PROT_RW);
	madvise(full->base, max * mts_page_size, MADV_NOHUGEPAGE);
	/* Before memory is full */
	full->pfns = bench_map(max * sizeof(u64), PROT_RW);
	bench_populate(full->pfns, max * sizeof(u64));
	for (full->pages = 0; full->pages + step <= max; full->pages += step) {
		if (mts_meminfo("MemFree") < (long long)spare_kib + 512)
			break;
		bench_populate(full->base + full->pages * mts_page_size,
			       step * mts_page_size);
	}
	bench_write(PCP_HIGH, "0");
	if (mts_pfns(full->base, full->pages, full->pfns))
		mts_die("pagemap");
}

static struct bench_full full;

static int by_pfn(const void *a, const void *b)
{
	u64 x = full.pfns[*(const u32 *)a], y = full.pfns[*(const u32 *)b];

	return x < y ? -1 : x > y;
}

static int by_value(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static void drop(u32 page)
{
	madvise(full.base + page * mts_page_size, mts_page_size, MADV_DONTNEED);
	full.pfns[page] = 0;
}

/* What is touched, page by page, and how long each took */
static void measure(int prot, size_t bytes, size_t passes)
{
	size_t pages = bytes / mts_page_size, pass, i, over = 0;
	u64 touch = 0, unmap = 0;
	u32 *took;

	took = bench_map(pages * sizeof(*took), PROT_RW);
	bench_populate(took, pages * sizeof(*took));
	for (pass = 0; pass < passes; pass++) {
		char *p = bench_map(bytes, prot);
		u64 start, last, now, touched, end;

		madvise(p, bytes, MADV_NOHUGEPAGE);
		start = bench_ns();
		last = start;
		for (i = 0; i < pages; i++) {
			((volatile char *)p)[i * mts_page_size] = 1;
			now = bench_ns();
			took[i] = now - last > UINT32_MAX ? UINT32_MAX : now - last;
			last = now;
		}
		touched = bench_ns();
		munmap(p, bytes);
		end = bench_ns();
		if (pass) {
			touch += touched - start;
			unmap += end - touched;
			continue;
		}
		bench_say("touch_first", 1.0 * (touched - start) / pages);
		bench_say("munmap_first", 1.0 * (end - touched) / pages);
		for (i = 0; i < pages; i++)
			over += took[i] > NSEC_PER_MSEC;
		qsort(took, pages, sizeof(*took), by_value);
		bench_say("over_1ms", over);
		bench_say("p50_us", took[pages / 2] / 1000.0);
		bench_say("p99_us", took[pages / 100 * 99] / 1000.0);
		bench_say("max_us", took[pages - 1] / 1000.0);
	}
	if (passes > 1) {
		bench_say("touch", 1.0 * touch / pages / (passes - 1));
		bench_say("munmap", 1.0 * unmap / pages / (passes - 1));
	}
}

/* Programs that only need the CPU. They die with us. */
static void start_hogs(int n)
{
	while (n--) {
		if (bench_fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			asm volatile("nop");
	}
}

/*
 * full PROT MIB PASSES contiguous|scattered [HOGS]: memory is full, then as
 * much as is needed is freed in a run of page frames or all over the place;
 * none of it tag storage.
 */
int full_main(int argc, char **argv)
{
	size_t bytes, pages, i, n = 0, want, order_bytes;
	u64 seed = 1;
	u32 *order;

	if (argc < 4)
		mts_die("full PROT MIB PASSES contiguous|scattered [HOGS]");
	bytes = MIB(bench_number(argv[1]));
	pages = bytes / mts_page_size;
	if (argc > 4)
		start_hogs(bench_number(argv[4]));

	order_bytes = mts_meminfo("MemTotal") * 1024 / mts_page_size *
		      sizeof(*order);
	order = bench_map(order_bytes, PROT_RW);
	bench_populate(order, order_bytes);
	bench_fill(&full, 2 * MIN_FREE_KIB);
	for (i = 0; i < full.pages; i++)
		if (full.pfns[i] && !mts_pfn_in_storage(full.pfns[i]))
			order[n++] = i;
	bench_say("storage_pages", full.pages - n);
	bench_say("storage_free_pages",
		  mts_meminfo("CmaFree") * 1024.0 / mts_page_size);
	qsort(order, n, sizeof(*order), by_pfn);
	/*
	 * The data in the tag storage of each page must find a place, too: one
	 * page per tagged page at worst. All configurations get the same.
	 */
	want = pages + mts_meminfo("MemTotal") * 1024 / mts_page_size / 32 +
	       MIB(4) / mts_page_size;
	if (!strcmp(argv[3], "scattered")) {
		for (i = 0; i < want; i++) {
			size_t j = i + mts_below(&seed, n - i);
			u32 page = order[j];

			order[j] = order[i];
			order[i] = page;
			drop(page);
		}
	} else {
		for (i = 0; i < want; i++)
			drop(order[n / 4 + i]);
	}
	measure(bench_prot(argv[0]), bytes, bench_number(argv[2]));
	return 0;
}

static double touch_once(int prot, size_t bytes)
{
	char *p = bench_map(bytes, prot);
	u64 start;
	size_t i;

	madvise(p, bytes, MADV_NOHUGEPAGE);
	start = bench_ns();
	for (i = 0; i < bytes; i += mts_page_size)
		((volatile char *)p)[i] = 1;
	start = bench_ns() - start;
	munmap(p, bytes);
	return 1.0 * start / (bytes / mts_page_size);
}

/*
 * cached PROT MIB PASSES FILE: memory is full of the page cache of a file
 * larger than memory. What reclaim costs depends on when it begins: the mean of
 * several times, with the file read again and no storage reserved in between.
 */
int cached_main(int argc, char **argv)
{
	double first = 0;
	size_t total, i;

	if (argc < 4)
		mts_die("cached PROT MIB PASSES FILE");
	total = mts_meminfo("MemTotal") * 1024 / 4 * 5;
	bench_make_file(argv[3], total);
	bench_read_file(argv[3], total);
	bench_say("cached_kib", mts_meminfo("Cached"));
	bench_say("free_kib", mts_meminfo("MemFree"));
	bench_say("storage_free_pages",
		  mts_meminfo("CmaFree") * 1024.0 / mts_page_size);
	for (i = 0; i < CACHED_ROUNDS; i++) {
		first += touch_once(bench_prot(argv[0]),
				    MIB(bench_number(argv[1])));
		if (mts_online())
			mts_release();
		bench_read_file(argv[3], total);
	}
	bench_say("touch_mean", first / CACHED_ROUNDS);
	measure(bench_prot(argv[0]), MIB(bench_number(argv[1])),
		bench_number(argv[2]));
	unlink(argv[3]);
	return 0;
}

/* storage N: pages that live in tag storage become PROT_MTE, one by one. */
int storage_main(int argc, char **argv)
{
	u64 change = 0, touch = 0, max = 0, over = 0;
	size_t want, i, n = 0;

	if (argc < 1)
		mts_die("storage N");
	want = bench_number(argv[0]);
	bench_fill(&full, 2 * MIN_FREE_KIB);
	/* Room to move to: pages that aren't storage */
	for (i = 0; i < full.pages && n < 2 * want; i++)
		if (full.pfns[i] && !mts_pfn_in_storage(full.pfns[i])) {
			drop(i);
			n++;
		}
	n = 0;
	for (i = 0; i < full.pages && n < want; i++) {
		char *p = full.base + i * mts_page_size;
		u64 start, changed, end;

		if (!mts_pfn_in_storage(full.pfns[i]))
			continue;
		start = bench_ns();
		if (mprotect(p, mts_page_size, PROT_TAGGED))
			mts_die("mprotect");
		changed = bench_ns();
		*(volatile char *)p = 1;
		end = bench_ns();
		change += changed - start;
		touch += end - changed;
		if (end - changed > max)
			max = end - changed;
		over += end - changed > 300000;
		n++;
	}
	if (!n) {
		bench_cannot("no page lives in tag storage");
		return 0;
	}
	bench_say("pages", n);
	bench_say("mprotect", 1.0 * change / n);
	bench_say("touch", 1.0 * touch / n);
	bench_say("max_us", max / 1000.0);
	bench_say("over_300us", over);
	return 0;
}
