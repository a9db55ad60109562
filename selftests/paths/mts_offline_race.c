// SPDX-License-Identifier: GPL-2.0
/*
 * To go offline fails while tag storage is held, also when somebody else fails to get
 * that very block at the same time. Wants delays, see tests.list.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/resource.h>

#include "mts_contract.h"
#include "mts_uring.h"

#define PAIRS		4
#define MAP_PAGES	((96UL << 20) / mts_page_size)
#define TRIES		4
#define STATE		"/sys/kernel/mm/mte_tag_storage/state"

/* A page of tag storage, and one that it serves */
static int pipes[PAIRS][2];
static struct iovec served[PAIRS];

static void *touch(void *p)
{
	return (void *)(long)*(volatile char *)p;
}

/* The place in memory of a page of the block that begins at a page frame */
static char *find_block(char *map, const u64 *pfns, u64 first)
{
	size_t i;

	for (i = 0; i < MAP_PAGES; i++)
		if (pfns[i] >= first && pfns[i] < first + 32)
			return map + i * mts_page_size;
	return NULL;
}

static size_t find_pairs(char *map)
{
	u64 *pfns = calloc(MAP_PAGES, sizeof(*pfns)), block;
	size_t i, n = 0;
	char *page;

	if (!pfns)
		mts_die("memory");
	for (i = 0; i < MAP_PAGES; i++)
		pfns[i] = mts_pfn(map + i * mts_page_size);
	for (i = 0; i < MAP_PAGES && n < PAIRS; i++) {
		block = served_by(pfns[i]);
		page = block ? find_block(map, pfns, block) : NULL;
		if (!page)
			continue;
		make_pipe(pipes[n]);
		splice_in(pipes[n][1], map + i * mts_page_size, mts_page_size);
		served[n++] = (struct iovec){ page, mts_page_size };
		/* Another pageblock */
		i += 200;
	}
	free(pfns);
	return n;
}

int main(void)
{
	struct rlimit locked = { RLIM_INFINITY, RLIM_INFINITY };
	size_t i, n, went = 0;
	struct at_hand at;
	struct ring ring;
	pthread_t thread;
	char *map;

	mts_need_mte();
	mts_load_regions();
	setrlimit(RLIMIT_MEMLOCK, &locked);
	ktap_begin(1);
	storage_first(&at);
	map = mts_map(MAP_PAGES * mts_page_size, PROT_RW, 0, 0);
	madvise(map, MAP_PAGES * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < MAP_PAGES; i++)
		map[i * mts_page_size] = 1;
	n = find_pairs(map);
	/* So that the data can't move instead */
	if (!n || !ring_make(&ring) ||
	    syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, served, n))
		mts_die("pairs");
	for (i = 0; i < n; i++) {
		if (mprotect(served[i].iov_base, mts_page_size, PROT_TAGGED) ||
		    pthread_create(&thread, NULL, touch, served[i].iov_base))
			mts_die("thread");
	}
	usleep(300000);
	knob("take_back_timeout_ms", "10000");
	for (i = 0; i < TRIES; i++)
		went += !mts_write_file(STATE, "offline");
	ktap_result(!went, "offline is refused while storage is held: %zu of %d went, %zu held",
		    went, TRIES, n);
	/* The threads wait */
	for (i = 0; i < n; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	exit(ktap_end());
}
