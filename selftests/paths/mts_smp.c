// SPDX-License-Identifier: GPL-2.0
/*
 * Several CPUs that fault the same page, the same tag block and neighbouring
 * blocks at the same moment.
 *
 * Arguments: seconds for each part (2); the percentage of rounds in which huge pages
 * have to stay huge (50): some may be on their way somewhere else, and more are split
 * where reservations fail on purpose.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

#define MAX_THREADS	16
#define PAGES		512UL
/* However slow the host is: in a few, chance can have it that no page stays huge */
#define ROUNDS_MIN	12

enum how { SAME_PAGES, NEIGHBOURS, OWN_MAPPINGS, MPROTECT_RACE };

static pthread_barrier_t barrier;
static int nr_threads;
static char *volatile area;
static enum how how;
static volatile bool quit;
static int huge_percent = 50;
static long bad[MAX_THREADS];

static unsigned int own_tag(int thread, size_t page)
{
	return 1 + (thread + page) % 15;
}

/* Thread t owns granule t of each page. */
static void touch_granule(int t, size_t page)
{
	char *p = area + page * mts_page_size + t * MTE_GRANULE;

	mte_stg(mte_ptr(p, own_tag(t, page)));
	*(volatile u64 *)p = page * 100 + t;
}

static long check_granule(int t, size_t page)
{
	char *p = area + page * mts_page_size + t * MTE_GRANULE;
	unsigned int tag = mte_ldg(p);

	if (tag == own_tag(t, page) && *(volatile u64 *)p == page * 100 + t)
		return 0;
	ktap_note("thread %d page %zu pfn %#llx: tag %u expected %u, data %llu expected %zu",
		  t, page, (unsigned long long)mts_pfn(p), tag,
		  own_tag(t, page), (unsigned long long)*(volatile u64 *)p,
		  page * 100 + t);
	return 1;
}

static void round_of(int t, u64 *seed)
{
	size_t first = mts_below(seed, PAGES), i, n;
	char *p;

	switch (how) {
	case SAME_PAGES:
	case MPROTECT_RACE:
		if (how == MPROTECT_RACE && t == 0) {
			if (mprotect(area, PAGES * mts_page_size, PROT_TAGGED))
				mts_die("mprotect");
			first = 0;
		} else if (how == MPROTECT_RACE) {
			/* Data only: no tag instruction works before it. */
			for (i = 0; i < PAGES; i++)
				*(volatile u64 *)(area + i * mts_page_size +
						  t * MTE_GRANULE) = i;
			pthread_barrier_wait(&barrier);
			for (i = 0; i < PAGES; i++)
				touch_granule(t, (first + i) % PAGES);
			return;
		}
		if (how == MPROTECT_RACE)
			pthread_barrier_wait(&barrier);
		/* The same order for some, so that they meet at each page. */
		if (*seed & 1)
			first = 0;
		for (i = 0; i < PAGES; i++)
			touch_granule(t, (first + i) % PAGES);
		break;
	case NEIGHBOURS:
		/* Interleaved: 32 pages of a block belong to all threads. */
		for (i = t; i < PAGES; i += nr_threads)
			touch_granule(t, i);
		break;
	case OWN_MAPPINGS:
		n = 40 + mts_below(seed, 60);
		p = mts_map(n * mts_page_size, PROT_TAGGED, 0, 0);
		for (i = 0; i < n; i++)
			mts_page_tag(p + i * mts_page_size, *seed + i * 8 + 4);
		for (i = 0; i < n; i++)
			bad[t] += !mts_tags_ok("own mapping",
					       p + i * mts_page_size,
					       *seed + i * 8 + 4);
		munmap(p, n * mts_page_size);
		break;
	}
}

static void *thread_main(void *arg)
{
	int t = (int)(long)arg;
	u64 seed = t + 1;
	size_t i;

	mts_pin(t);
	for (;;) {
		pthread_barrier_wait(&barrier);	/* the area is there */
		if (quit)
			return NULL;
		round_of(t, &seed);
		pthread_barrier_wait(&barrier);	/* all is tagged */
		for (i = 0; i < PAGES && bad[t] < 4; i++) {
			if (how == OWN_MAPPINGS)
				break;
			if (how == NEIGHBOURS && i % nr_threads != (size_t)t)
				continue;
			bad[t] += check_granule(t, i);
		}
		pthread_barrier_wait(&barrier);	/* all is checked */
	}
}

static void run(enum how h, const char *what, double seconds, bool huge)
{
	double end = mts_now() + seconds;
	long rounds = 0, wrong = 0, untaggable = 0, folios = 0;
	size_t len = PAGES * mts_page_size;
	int t;

	how = h;
	while ((mts_now() < end || rounds < ROUNDS_MIN) && !wrong) {
		area = mts_map(len, h == MPROTECT_RACE ? PROT_RW : PROT_TAGGED,
			       0, huge ? mts_huge_size : 0);
		madvise(area, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		pthread_barrier_wait(&barrier);
		if (h == MPROTECT_RACE)
			pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		folios += huge && mts_folios(area, len, mts_huge_size) == len / mts_huge_size;
		if (rounds % 16 == 0 && h != OWN_MAPPINGS)
			untaggable += mts_pages_untaggable(what, area,
							   PAGES) > 0;
		munmap(area, len);
		rounds++;
		for (t = 0; t < nr_threads; t++)
			wrong += bad[t];
	}
	if (huge) {
		ktap_note("%s: huge pages in %ld rounds of %ld", what, folios, rounds);
		wrong += folios * 100 <= rounds * huge_percent;
	}
	ktap_result(!wrong && !untaggable, "%s: %d threads, %ld rounds%s", what,
		    nr_threads, rounds, untaggable ? ", not taggable" : "");
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	pthread_t threads[MAX_THREADS];
	long t;

	if (argc > 2)
		huge_percent = atoi(argv[2]);
	mts_need_mte();
	mts_load_regions();
	mts_thp_enable();
	ktap_begin(6);
	nr_threads = mts_cpus() * 2;
	if (nr_threads > MAX_THREADS)
		nr_threads = MAX_THREADS;
	pthread_barrier_init(&barrier, NULL, nr_threads + 1);
	for (t = 0; t < nr_threads; t++)
		if (pthread_create(&threads[t], NULL, thread_main, (void *)t))
			mts_die("pthread_create");
	run(SAME_PAGES, "the same pages", seconds, false);
	run(SAME_PAGES, "the same huge page", seconds, true);
	run(NEIGHBOURS, "neighbours in a block", seconds, false);
	run(OWN_MAPPINGS, "mappings of their own", seconds, false);
	run(MPROTECT_RACE, "mprotect against faults", seconds, false);
	run(MPROTECT_RACE, "mprotect of a huge page against faults", seconds,
	    true);
	quit = true;
	pthread_barrier_wait(&barrier);
	for (t = 0; t < nr_threads; t++)
		pthread_join(threads[t], NULL);
	return ktap_end();
}
