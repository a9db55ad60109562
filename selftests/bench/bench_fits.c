// SPDX-License-Identifier: GPL-2.0
/*
 * What the user wins: a program that fits into memory when the tag storage is
 * part of it, and has to swap when it isn't.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "bench.h"

/* Faults that had to read a page */
static long major_faults(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		mts_die("getrusage");
	return usage.ru_majflt;
}

/* Half of a page doesn't compress */
static void fill_page(u64 *words, u64 *seed)
{
	size_t i;

	for (i = 0; i < mts_page_size / sizeof(u64); i++)
		words[i] = i & 1 ? mts_rand(seed) : i;
}

/*
 * fits ROUNDS: random accesses to a bit more memory than there is without the
 * tag storage. The size is the same in all configurations; swap is on. Ns per
 * access.
 */
int fits_main(int argc, char **argv)
{
	long long gained = 0, carveout = 0, kib, faults;
	size_t pages, rounds, i;
	int region;
	u64 seed = 1, start;
	char *base;

	if (argc < 1)
		mts_die("fits ROUNDS");
	rounds = bench_number(argv[0]);
	mts_load_regions();
	/* What others see, and half of the storage */
	if (mts_online())
		gained = mts_stat("released_bytes") / 1024;
	for (region = 0; region < mts_nr_regions; region++)
		carveout += (mts_regions[region].end -
			     mts_regions[region].start) / 1024;
	kib = mts_meminfo("MemAvailable") - gained + carveout / 2;
	/* A few KiB of difference between the configurations don't count */
	pages = kib / 2048 * MIB(2) / mts_page_size;
	bench_say("mib", pages * mts_page_size / MIB(1));

	base = bench_map(pages * mts_page_size, PROT_RW);
	madvise(base, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		fill_page((u64 *)(base + i * mts_page_size), &seed);
	/* Until what is swapped out is what it will be */
	for (i = 0; i < pages; i++)
		base[mts_below(&seed, pages) * mts_page_size]++;

	faults = major_faults();
	start = bench_ns();
	for (i = 0; i < rounds * pages; i++)
		base[mts_below(&seed, pages) * mts_page_size]++;
	bench_say("access", 1.0 * (bench_ns() - start) / (rounds * pages));
	bench_say("swapins", 1.0 * (major_faults() - faults) / (rounds * pages));
	munmap(base, pages * mts_page_size);
	return 0;
}
