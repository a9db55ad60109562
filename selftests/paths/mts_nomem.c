// SPDX-License-Identifier: GPL-2.0
/*
 * Page allocations that fail, in every step of what a program does with tagged
 * memory: system calls may fail then, page faults go on or are taken again,
 * nothing is lost, nothing hangs. Needs a kernel with fault injection.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "mts_paths.h"

#define FAULTS		"/sys/kernel/debug/fail_page_alloc/"
#define SLAB		"/sys/kernel/debug/failslab/"
#define GRAB_SEED	0x6e6f6d65UL
#define PAGES		384UL
#define OFFLINE_AT	10	/* percent */
#define SWAP_MB		32

static bool swapping;

/* Opening a file fails, too */
static void must_write(const char *path, const char *text)
{
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (!mts_write_file(path, text))
			return;
		/* /proc says so when it has no memory for an inode */
		if (errno != ENOMEM && errno != ENOENT)
			break;
	}
	mts_die(path);
}

static void inject(const char *dir, const char *name, unsigned long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s%s", dir, name);
	snprintf(text, sizeof(text), "%lu", value);
	must_write(path, text);
}

/* Of 100 allocations of this process and its children, so many fail */
static void set_faults(unsigned int percent)
{
	if (percent) {
		inject(FAULTS, "probability", percent);
		inject(SLAB, "probability", percent / 4);
	}
	must_write("/proc/self/make-it-fail", percent ? "1" : "0");
}

static void setup_faults(void)
{
	static const char * const dirs[] = { FAULTS, SLAB };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		inject(dirs[i], "probability", 0);
		inject(dirs[i], "interval", 1);
		inject(dirs[i], "verbose", 0);
		inject(dirs[i], "space", 0);
		inject(dirs[i], "ignore-gfp-wait", 0);
		inject(dirs[i], "task-filter", 1);
		mts_write_file(dirs[i] == dirs[0] ? FAULTS "times" : SLAB "times",
			       "-1");
	}
	inject(FAULTS, "min-order", 0);
	inject(FAULTS, "ignore-gfp-highmem", 0);
}

static void setup_swap(void)
{
	swapping = !zram_make((u64)SWAP_MB << 20) && !swapon(ZRAM, 0);
}

/* Until it works; a system call may fail meanwhile, with ENOMEM or EAGAIN. */
static bool must_mprotect(const struct mts_buf *b, int prot)
{
	int tries;

	for (tries = 0; tries < 10000; tries++) {
		if (!mprotect(b->p, b->pages * mts_page_size, prot))
			return true;
		if (errno != ENOMEM && errno != EAGAIN)
			break;
	}
	ktap_note("mprotect: %s", strerror(errno));
	return false;
}

static size_t round_of(unsigned int percent)
{
	struct mts_buf touched, changed;
	size_t bad = 0, forks = 0, i, out = 0;
	int tries;

	buf_map(&touched, PAGES, PROT_TAGGED, 0);
	buf_map(&changed, PAGES, PROT_RW, 0);
	buf_fill(&changed, 10 + percent, false);

	set_faults(percent);
	/* First touch, then memory that has data and must be made taggable */
	buf_fill(&touched, 20 + percent, true);
	bad += !must_mprotect(&changed, PROT_TAGGED);
	changed.mte = true;
	for (i = 0; i < PAGES; i += 2)
		mte_stg(mte_ptr(buf_page(&changed, i), 0));
	/* Copies */
	for (tries = 0; tries < 200 && forks < 2; tries++) {
		pid_t pid = fork();
		size_t wrong;

		if (pid < 0)
			continue;
		if (!pid) {
			for (i = 0; i < PAGES; i++)
				*(volatile u64 *)buf_page(&touched, i) =
					*(u64 *)buf_page(&touched, i);
			set_faults(0);
			wrong = buf_bad("child", &touched);
			_exit(wrong || buf_bad("child", &changed));
		}
		bad += !child_ok(pid);
		forks++;
	}
	/* Migration, collapse, swap */
	mts_write_file("/proc/sys/vm/compact_memory", "1");
	madvise(touched.p, PAGES * mts_page_size, MADV_COLLAPSE);
	if (swapping) {
		madvise(touched.p, PAGES * mts_page_size, MADV_PAGEOUT);
		madvise(changed.p, PAGES * mts_page_size, MADV_PAGEOUT);
		set_faults(0);
		out = buf_swapped(&touched) + buf_swapped(&changed);
		set_faults(percent);
	}
	for (i = 0; i < PAGES; i++)
		*(volatile u64 *)buf_page(&touched, i) =
			*(u64 *)buf_page(&touched, i);
	/* Once, it takes long: what is in tag storage has to be moved */
	if (percent == OFFLINE_AT &&
	    !mts_write_file(MTS_DEBUGFS "/state", "offline"))
		ktap_note("went offline with %u %% of allocations failing",
			  percent);
	for (tries = 0; tries < 1000 && !mts_online(); tries++)
		mts_write_file(MTS_DEBUGFS "/state", "online");
	set_faults(0);

	ktap_note("%u %%: %zu forks, %zu pages swapped out", percent, forks,
		  out);
	bad += buf_bad("touched", &touched);
	bad += buf_bad("changed", &changed);
	bad += !buf_taggable("touched", &touched);
	buf_fill(&changed, 30 + percent, true);
	bad += buf_bad("tagged", &changed);
	bad += !buf_taggable("tagged", &changed);
	bad += !mts_online();
	buf_unmap(&touched);
	buf_unmap(&changed);
	return bad;
}

int main(void)
{
	const unsigned int percents[] = { 2, 10 };
	struct mts_grab grab;
	size_t i;

	mts_need_mte();
	mts_load_regions();
	if (!mts_online() || access(FAULTS "probability", W_OK)) {
		printf("KTAP version 1\n1..0 # SKIP %s\n", mts_online() ?
		       "no fault injection in this kernel" :
		       "the module is not online");
		return KSFT_SKIP;
	}
	ktap_begin(ARRAY_SIZE(percents) + 2);
	setup_faults();
	setup_swap();
	grab_storage(&grab);
	grab_fill(&grab, GRAB_SEED);
	ktap_note("%zu pages of data in tag storage", grab.nr);
	for (i = 0; i < ARRAY_SIZE(percents); i++)
		ktap_result(!round_of(percents[i]),
			    "%u %% of page allocations fail", percents[i]);
	ktap_result(!grab_bad("data in tag storage", &grab, GRAB_SEED),
		    "the data in tag storage");
	munmap(grab.base, grab.pages * mts_page_size);
	if (swapping && swapoff(ZRAM))
		mts_die("swapoff");
	ktap_result(!mts_release() && mts_blocks_add_up(), "the blocks add up");
	return ktap_end();
}
