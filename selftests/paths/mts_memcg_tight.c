// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: in a memory cgroup that is full to the last page, memory that
 * becomes PROT_MTE and has to move, copies after fork() and swapping kill
 * nobody who would live on the unmodified kernel.
 *
 * mts_memcg_tight v1	the same with memory cgroups of version 1, which count memory
 *			and swap together
 */
#define _GNU_SOURCE
#include "mts_contract.h"

#define BYTES		(8UL << 20)
#define PAGES		(BYTES / mts_page_size)
/* Of the cgroup: for these pages, a huge page, and what else it has */
#define LIMIT		(BYTES + 4 * mts_huge_size)
#define SWAP_LIMIT	(2 * BYTES)
#define SWAP_BYTES	(6 * SWAP_LIMIT)
#define SEED		0x746967UL
/* Variables that fork() has shared, pages */
#define SPARE		8
#define ROUNDS		2

enum what { LATE, COPY, SWAP };

struct step {
	volatile u64 pages;	/* that fit */
	volatile u64 in;	/* of those in tag storage */
	volatile u64 done;	/* that had tags written */
	volatile u64 full;
	volatile u64 go;
};

static struct step *step;
static bool v1;

/* Pages in memory.memsw that are left over by those in flight when a process ends */
#define SWAP_LEFT	16

static long long cgroup_value(const char *name, const char *key)
{
	char path[128], text[1024], *line, *save;

	snprintf(path, sizeof(path), CGROUPS "/%s", name);
	if (mts_read_file(path, text, sizeof(text)) < 0)
		return -1;
	if (!key)
		return atoll(text);
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, key, strlen(key)) &&
		    line[strlen(key)] == ' ')
			return atoll(line + strlen(key));
	return -1;
}

static void cgroup_set(const char *name, long long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), CGROUPS "/tight/%s", name);
	snprintf(text, sizeof(text), "%lld", value);
	if (mts_write_file(path, text))
		mts_die(path);
}

/* What may be used of memory, and of swap besides */
static void set_limits(long long max, long long swap)
{
	if (!v1) {
		cgroup_set("memory.max", max);
		cgroup_set("memory.swap.max", swap);
		return;
	}
	/* The sum may at no time be less than the first */
	cgroup_set("memory.memsw.limit_in_bytes", -1);
	cgroup_set("memory.limit_in_bytes", max);
	cgroup_set("memory.memsw.limit_in_bytes", max + swap);
}

static long long usage(void)
{
	return cgroup_value(v1 ? "tight/memory.usage_in_bytes" :
			    "tight/memory.current", NULL);
}

static long long oom_kills(void)
{
	return cgroup_value(v1 ? "tight/memory.oom_control" :
			    "tight/memory.events", "oom_kill");
}

static long long times_full(void)
{
	return v1 ? cgroup_value("tight/memory.failcnt", NULL) :
		cgroup_value("tight/memory.events", "max");
}

static void wait_for_go(u64 value)
{
	while (step->go != value)
		usleep(1000);
}

/* What is needed when no page is left any more is there before */
static void touch_stack(void)
{
	volatile char stack[32 << 10];
	size_t i;

	for (i = 0; i < sizeof(stack); i += 1024)
		stack[i] = 1;
}

static void warm_up(struct mts_buf *b)
{
	touch_stack();
	buf_write(b, 0);
	in_storage(b->p, 1);
	buf_page_ok("before", b, 0);
	usleep(1);
}

/* Ordinary pages, in tag storage as far as there is some */
static void fill(struct mts_buf *b)
{
	size_t i;

	buf_map(b, PAGES, PROT_RW, 0);
	b->seed = SEED;
	warm_up(b);
	for (i = 0; i < PAGES; i++)
		buf_write(b, i);
	step->in = in_storage(b->p, PAGES);
	step->pages = PAGES;
}

/* Small pages that could become a huge one */
static char *map_small(void)
{
	char *p = mts_map(mts_huge_size, PROT_RW, 0, mts_huge_size);
	size_t i;

	for (i = 0; i < mts_huge_size; i += mts_page_size)
		p[i] = 1;
	return p;
}

/*
 * Charges are made in batches, of which some is left over. A huge page that does
 * not fit gives that and all else back that could be reclaimed, and kills nobody.
 */
static void give_back_charges(char *huge)
{
	if (!madvise(huge, mts_huge_size, MADV_COLLAPSE))
		mts_die("a huge page fits");
}

static void make_tagged(struct mts_buf *b)
{
	if (mprotect(b->p, b->pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	b->mte = true;
}

/* Each page once: what it had is there, then it gets tags */
static size_t tag_all(struct mts_buf *b)
{
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i++) {
		bad += !buf_page_ok("in a full cgroup", b, i);
		mts_page_tag(buf_page(b, i), buf_key(b, i));
		mts_page_fill(buf_page(b, i), buf_key(b, i));
		step->done++;
	}
	b->tagged = true;
	return bad + buf_bad("tagged", b);
}

/* The parent takes the room away, in two steps; no charge is left over then */
static void make_tagged_when_full(char *huge, struct mts_buf *b)
{
	step->full = 1;
	wait_for_go(1);
	give_back_charges(huge);
	step->full = 2;
	wait_for_go(2);
	make_tagged(b);
}

static void late(void)
{
	char *huge = map_small();
	struct mts_buf b;

	fill(&b);
	make_tagged_when_full(huge, &b);
	_exit(!!tag_all(&b));
}

/*
 * Memory that becomes PROT_MTE has two owners; then one of them writes to all of
 * it. There is room for just the copies.
 */
static void copies(void)
{
	char *huge = map_small();
	struct mts_buf b;
	size_t i, bad;
	int end[2];
	pid_t pid;
	char c;

	fill(&b);
	make_pipe(end);
	pid = mts_fork();
	if (!pid) {
		close(end[1]);
		if (read(end[0], &c, 1))
			_exit(2);
		make_tagged(&b);
		for (i = bad = 0; i < b.pages && bad < 4; i++)
			bad += !buf_page_ok("the other owner", &b, i);
		_exit(!!bad);
	}
	touch_stack();
	make_tagged_when_full(huge, &b);
	bad = tag_all(&b);
	/* It has them to itself then, where tags may not be had any more */
	set_limits(4 * LIMIT, 0);
	close(end[1]);
	_exit(bad || !child_ok(pid));
}

/* Tagged memory of one and a half times the limit comes and goes */
static void swapping(void)
{
	struct mts_buf b;
	size_t i, bad = 0;
	int round;

	step->full = 1;
	wait_for_go(1);
	buf_map(&b, SWAP_LIMIT * 3 / 2 / mts_page_size, PROT_TAGGED, 0);
	b.tagged = true;
	step->pages = 2 * ROUNDS * b.pages;
	for (round = 0; round < ROUNDS && !bad; round++) {
		b.seed = SEED + round;
		for (i = 0; i < b.pages; i++, step->done++)
			buf_write(&b, i);
		for (i = 0; i < b.pages && bad < 4; i++, step->done++)
			bad += !buf_page_ok("swapped", &b, i);
	}
	_exit(!!bad);
}

static void (* const runs[])(void) = { late, copies, swapping };
static const char * const names[] = {
	"memory that becomes PROT_MTE", "copies after fork()", "swapping",
};

static void wait_until_full(pid_t pid, u64 stage)
{
	while (step->full != stage && process_state(pid) != 'Z')
		usleep(1000);
}

/* So many more pages may be charged than are now */
static void room_for(size_t pages)
{
	set_limits(usage() + pages * mts_page_size, 0);
}

static void test(enum what what)
{
	long long kills = oom_kills(), now;
	struct mts_grab grab;
	struct at_hand at;
	pid_t pid;
	bool ok;

	memset(step, 0, sizeof(*step));
	set_limits(what == SWAP ? SWAP_LIMIT : LIMIT,
		   what == SWAP ? SWAP_BYTES : 0);
	storage_first(&at);
	pid = mts_fork();
	if (!pid) {
		/* Pages of several CPUs would be charged in batches */
		mts_pin(0);
		if (mts_write_file(CGROUPS "/tight/cgroup.procs", "0"))
			mts_die("cgroup.procs");
		runs[what]();
	}
	wait_until_full(pid, 1);
	storage_as_usual(&at);
	if (what != SWAP) {
		room_for(0);
		step->go = 1;
		wait_until_full(pid, 2);
		/* Other CPUs give back later */
		usleep(200000);
		room_for(what == COPY ? PAGES + SPARE : 0);
	}
	memset(&grab, 0, sizeof(grab));
	/* When it has to move there is other data in the rest of tag storage */
	fill_storage(&grab, SEED << 8);
	step->go++;
	ok = watch_child(pid, &step->done, faults_allowed(step->pages));
	now = oom_kills();
	ok &= fill_ok(&grab, SEED << 8);
	if (mts_online() && what != SWAP && step->in < step->pages / 4) {
		ktap_note("too few pages in tag storage to show anything");
		ok = false;
	}
	ktap_result(ok && now == kills && step->done == step->pages,
		    "%s: %llu of %llu pages, %llu of them in tag storage; oom_kill %lld, max %lld",
		    names[what], (unsigned long long)step->done,
		    (unsigned long long)step->pages,
		    (unsigned long long)step->in, now - kills, times_full());
}

/* A swap-in that is done again charges nothing twice, and forgets nothing */
static void test_sum(void)
{
	long long left = cgroup_value("tight/memory.memsw.usage_in_bytes", NULL) -
		usage();

	left /= (long long)mts_page_size;
	ktap_result(left >= -SWAP_LEFT && left <= SWAP_LEFT,
		    "nothing is swapped, %lld pages are charged as that, at most %d",
		    left, SWAP_LEFT);
}

int main(int argc, char **argv)
{
	v1 = argc > 1 && !strcmp(argv[1], "v1");
	mts_need_mte();
	mts_load_regions();
	ktap_begin(3 + v1);
	mts_thp_enable();
	step = shared_memory(sizeof(*step));
	if (zram_make(SWAP_BYTES) || swapon(ZRAM, 0))
		mts_die(ZRAM);
	mkdir(CGROUPS, 0700);
	if (access(CGROUPS "/cgroup.procs", F_OK) &&
	    mount("none", CGROUPS, v1 ? "cgroup" : "cgroup2", 0,
		  v1 ? "memory" : NULL))
		mts_die(CGROUPS);
	if (!v1 && mts_write_file(CGROUPS "/cgroup.subtree_control", "+memory"))
		mts_die("memory controller");
	mkdir(CGROUPS "/tight", 0700);
	test(LATE);
	test(COPY);
	test(SWAP);
	if (v1)
		test_sum();
	swapoff(ZRAM);
	return ktap_end();
}
