// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that use tagged and untagged memory come and go for long: how much
 * tag storage is released after that?
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PROCS		8
/* Pages are allocated and freed in runs of up to that many */
#define MAX_RUN		8
#define RUN_AVERAGE	4
#define OPS_PER_TURN	8
#define FILE_BYTES	MIB(64)

struct result {
	u64 tagged;		/* present pages of PROT_MTE memory */
	size_t nr_blocks;
	u8 *blocks;		/* with such a page, one for each 32 page frames */
};

static struct result *result;

struct half {
	int prot;
	size_t target;		/* pages */
	size_t held;
	size_t slots;
	struct {
		char *p;
		size_t pages;
	} *slot;
};

static void half_init(struct half *h, int prot, size_t target)
{
	h->prot = prot;
	h->target = target;
	h->held = 0;
	h->slots = target / RUN_AVERAGE + 4;
	h->slot = calloc(h->slots, sizeof(*h->slot));
	if (!h->slot)
		mts_die("calloc");
}

/* A slot of random number becomes another run of pages */
static void half_step(struct half *h, u64 *seed)
{
	size_t i = mts_below(seed, h->slots), pages, j, k;
	char *p;

	if (h->slot[i].p) {
		munmap(h->slot[i].p, h->slot[i].pages * mts_page_size);
		h->held -= h->slot[i].pages;
		h->slot[i].p = NULL;
	}
	pages = 1 + mts_below(seed, MAX_RUN);
	if (h->held + pages > h->target)
		return;
	p = bench_map(pages * mts_page_size, h->prot);
	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (j = 0; j < pages; j++) {
		u64 *word = (u64 *)(p + j * mts_page_size);

		/* A quarter of it doesn't compress */
		for (k = 0; k < mts_page_size / 32; k++)
			word[k] = mts_rand(seed);
	}
	h->slot[i].p = p;
	h->slot[i].pages = pages;
	h->held += pages;
}

static void half_count(const struct half *h)
{
	u64 pfns[MAX_RUN];
	size_t i, j;

	for (i = 0; i < h->slots; i++) {
		if (!h->slot[i].p ||
		    mts_pfns(h->slot[i].p, h->slot[i].pages, pfns))
			continue;
		for (j = 0; j < h->slot[i].pages; j++) {
			if (!pfns[j])
				continue;
			result->tagged++;
			if (pfns[j] / 32 < result->nr_blocks)
				result->blocks[pfns[j] / 32] = 1;
		}
	}
}

static void churn_child(int who, size_t tagged, size_t untagged, size_t turns)
{
	struct half halves[2];
	u64 seed = 77 + who;
	size_t i, j, both;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	half_init(&halves[0], PROT_TAGGED, tagged);
	half_init(&halves[1], PROT_RW, untagged);
	both = halves[0].slots + halves[1].slots;
	for (i = 0; i < turns; i++) {
		bench_token_wait(who);
		for (j = 0; j < OPS_PER_TURN; j++)
			half_step(&halves[mts_below(&seed, both) >= halves[0].slots],
				  &seed);
		bench_token_pass(who + 1);
	}
	for (;;) {
		bench_token_wait(who);
		half_count(&halves[0]);
		bench_token_pass(who + 1);
	}
}

static void read_some(int fd, u64 *seed)
{
	static char buf[64 << 10];

	if (fd >= 0 && pread(fd, buf, sizeof(buf),
			     mts_below(seed, FILE_BYTES / sizeof(buf)) *
			     sizeof(buf)) != sizeof(buf))
		mts_die("pread");
}

/*
 * churn TAGGED UNTAGGED ROUNDS FILE: shares of memory in percent that are
 * tagged and untagged; how often all of it is replaced; a file to read, or -.
 */
int churn_main(int argc, char **argv)
{
	size_t total, tagged, untagged, turns, i, n = 0;
	double share;
	pid_t pids[PROCS];
	u64 seed = 1, start;
	int fd = -1, who;

	if (argc < 4)
		mts_die("churn TAGGED UNTAGGED ROUNDS FILE");
	total = mts_meminfo("MemTotal") * 1024 / mts_page_size;
	tagged = total * bench_number(argv[0]) / 100 / PROCS;
	untagged = total * bench_number(argv[1]) / 100 / PROCS;
	turns = (tagged + untagged) / RUN_AVERAGE * bench_number(argv[2]) / OPS_PER_TURN;
	if (strcmp(argv[3], "-")) {
		bench_make_file(argv[3], FILE_BYTES);
		fd = open(argv[3], O_RDONLY);
		if (fd < 0)
			mts_die(argv[3]);
	}
	result = bench_shared(sizeof(*result));
	result->nr_blocks = (16UL << 30) / mts_page_size / 32;
	result->blocks = bench_shared(result->nr_blocks);

	bench_ring_init(PROCS);
	for (who = 0; who < PROCS; who++) {
		pids[who] = bench_fork();
		if (!pids[who]) {
			churn_child(who, tagged, untagged, turns);
			_exit(0);
		}
	}
	start = bench_ns();
	for (i = 0; i < turns; i++) {
		read_some(fd, &seed);
		bench_token_pass(0);
		bench_token_wait(PROCS);
	}
	bench_say("step", (bench_ns() - start) / (1000.0 * turns * PROCS * OPS_PER_TURN));
	bench_say("free_kib", mts_meminfo("MemFree"));
	bench_msleep(5000);
	bench_token_pass(0);
	bench_token_wait(PROCS);
	for (i = 0; i < result->nr_blocks; i++)
		n += result->blocks[i];
	share = 1.0 * result->tagged / total;
	bench_say("tagged_share", share);
	bench_say("untouched_share", 1 - 32.0 * n / total);
	/* What could be released if tagged pages shared their blocks */
	share = 1 - share;
	if (mts_online())
		bench_say("of_possible", 1.0 * mts_stat("released_bytes") / share /
			  (mts_stat("carveout_bytes") - mts_stat("static_bytes")));
	else
		bench_say("of_possible", (1 - 32.0 * n / total) / share);
	bench_end(pids, PROCS);
	if (fd >= 0) {
		close(fd);
		unlink(argv[3]);
	}
	return 0;
}
