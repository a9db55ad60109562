// SPDX-License-Identifier: GPL-2.0
/*
 * Memory failures in tag storage and in what it serves: the blocks become bad,
 * the memory they serve gets no tags any more, everything else lives on, also
 * over an offline and online.
 *
 * A tag block and its data are chosen by page frames: GRAB is data in tag
 * storage, WORK is a buffer without tags of pages that have their tag storage in
 * GRAB.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>

#include "mts_paths.h"

#define CORRUPT		"/sys/kernel/debug/hwpoison/corrupt-pfn"
#define GRAB_SEED	0x706f6973UL
#define WORK_PAGES	512UL
/* Of one tag block, so that WORK has many of them */
#define WORK_PER_BLOCK	8
/* What is left free while they are looked for, KiB */
#define WORK_SPARE	(mts_meminfo("MemTotal") / 8)

static struct mts_grab grab;
static struct mts_buf work;
static u64 *grab_pfns;
static bool *work_used;
/* Wrong pages of buffers that are gone */
static size_t lost;

static sigjmp_buf bus_env;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(bus_env, 1);
}

/* Does an access of the page end in SIGBUS? */
static bool is_dead(volatile char *p)
{
	struct sigaction sa = { .sa_handler = on_sigbus }, old;
	bool dead = true;

	sigaction(SIGBUS, &sa, &old);
	if (!sigsetjmp(bus_env, 1)) {
		(void)*p;
		dead = false;
	}
	sigaction(SIGBUS, &old, NULL);
	return dead;
}

/* The kernel sends SIGBUS at once to who asks for it. */
static int poison(char *p)
{
	struct sigaction sa = { .sa_handler = on_sigbus }, old;
	int ret = 0;

	sigaction(SIGBUS, &sa, &old);
	if (!sigsetjmp(bus_env, 1))
		ret = madvise(p, mts_page_size, MADV_HWPOISON);
	sigaction(SIGBUS, &old, NULL);
	return ret;
}

static int corrupt(u64 pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%#llx", (unsigned long long)pfn);
	return mts_write_file(CORRUPT, text);
}

/* Which block of all regions a page of tag storage is in, -1: in none. */
static long block_index(u64 pfn)
{
	long index = 0;
	int i;

	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];
		u64 first = r->start / mts_page_size;
		u64 end = r->end / mts_page_size;

		if (pfn >= first && pfn < end)
			return index + (pfn - first) / r->block_pages;
		index += (end - first) / r->block_pages;
	}
	return -1;
}

/*
 * Lots of pages, and those that have their tag storage in GRAB go to WORK. They
 * keep their frames.
 */
static void map_work(void)
{
	size_t pages = (mts_meminfo("MemFree") - WORK_SPARE) * 1024 /
		       mts_page_size;
	size_t size = (mts_meminfo("MemTotal") * 1024 / mts_page_size) / 16;
	int *left = calloc(size, sizeof(*left));
	size_t i, j, n;
	u64 pfns[256], nr;
	long block;
	char *p;

	if (!left)
		mts_die("calloc");
	mts_pfns(grab.base, grab.pages, grab_pfns);
	for (i = 0; i < grab.pages; i++) {
		block = block_index(grab_pfns[i]);
		if (block >= 0 && (size_t)block < size)
			left[block] = WORK_PER_BLOCK;
	}
	buf_map(&work, WORK_PAGES, PROT_RW, MAP_NORESERVE);
	p = mts_map(pages * mts_page_size, PROT_RW, MAP_NORESERVE, 0);
	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (work.pages = 0, i = 0;
	     i < pages && work.pages < WORK_PAGES; i += n) {
		n = pages - i < 256 ? pages - i : 256;
		if (madvise(p + i * mts_page_size, n * mts_page_size,
			    MADV_POPULATE_WRITE))
			break;
		mts_pfns(p + i * mts_page_size, n, pfns);
		for (j = 0; j < n && work.pages < WORK_PAGES; j++) {
			block = block_index(storage_of(pfns[j], &nr));
			if (block < 0 || (size_t)block >= size || !left[block])
				continue;
			left[block]--;
			if (mremap(p + (i + j) * mts_page_size, mts_page_size,
				   mts_page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
				   buf_page(&work, work.pages)) == MAP_FAILED)
				mts_die("mremap");
			work.pages++;
		}
	}
	munmap(p, pages * mts_page_size);
	free(left);
	ktap_note("%zu pages have their tag storage there", work.pages);
}

/*
 * A page of WORK whose tag block has a page in GRAB: that one's index in GRAB,
 * or -1. Each block is used once.
 */
static ssize_t look_for_pair(size_t *work_index)
{
	u64 pfns[64], first, nr;
	size_t i, j, k, l, n;

	mts_pfns(grab.base, grab.pages, grab_pfns);
	for (i = 0; i < work.pages; i += n) {
		n = work.pages - i < 64 ? work.pages - i : 64;
		mts_pfns(buf_page(&work, i), n, pfns);
		for (k = 0; k < n; k++) {
			first = storage_of(pfns[k], &nr);
			if (!first || work_used[i + k])
				continue;
			for (j = 0; j < grab.pages; j++)
				if (grab_pfns[j] >= first &&
				    grab_pfns[j] < first + nr)
					break;
			if (j == grab.pages)
				continue;
			/* Nobody else may try the same block */
			for (l = 0; l < work.pages; l++)
				if (storage_of(mts_pfn(buf_page(&work, l)),
					       &nr) == first)
					work_used[l] = true;
			*work_index = i + k;
			return j;
		}
	}
	return -1;
}

static size_t find_pair(size_t *work_index)
{
	ssize_t found = look_for_pair(work_index);

	if (found < 0) {
		/* Compaction has moved GRAB */
		lost += buf_bad("buffer", &work);
		munmap(work.p, WORK_PAGES * mts_page_size);
		map_work();
		buf_fill(&work, 70, false);
		memset(work_used, 0, WORK_PAGES * sizeof(*work_used));
		found = look_for_pair(work_index);
	}
	if (found >= 0)
		return found;
	printf("Bail out! no page of the buffer has its tag storage in use\n");
	exit(1);
}

/* A new page without tags in place of what is there. */
static void replace_page(char *p, u64 key)
{
	if (mmap(p, mts_page_size, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_FIXED, -1, 0) != p)
		mts_die("mmap");
	mts_page_fill(p, key);
}

/* The block's storage is gone. Its memory can't have tags, and nobody minds. */
static bool check_lost_block(const char *what, size_t w)
{
	u64 first, nr, pfn = mts_pfn(buf_page(&work, w));
	long long bad = mts_stat("blocks_bad");
	struct mts_buf b = {
		.p = buf_page(&work, w), .pages = 1, .mte = true,
		.tagged = true, .seed = 77,
	};
	size_t wrong = 0;
	const char *state;
	struct mts_blocks *blocks;

	first = storage_of(pfn, &nr);
	/* The data survives the move to memory that may have tags */
	if (mprotect(b.p, mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	wrong += !mts_tags_ok(what, b.p, 0);
	wrong += !mts_data_ok(what, b.p, buf_key(&work, w));
	buf_write(&b, 0);
	wrong += buf_bad(what, &b);
	wrong += !buf_taggable(what, &b);
	if (storage_of(mts_pfn(b.p), &nr) == first) {
		ktap_note("%s: the page is where it was", what);
		wrong++;
	}
	if (mts_stat("blocks_bad") != bad + 1) {
		ktap_note("%s: %lld bad blocks, then %lld", what, bad,
			  mts_stat("blocks_bad"));
		wrong++;
	}
	blocks = mts_blocks_read();
	state = blocks ? mts_block_state(blocks, pfn) : "unknown";
	if (!state || strcmp(state, "bad")) {
		ktap_note("%s: the block is %s", what, state);
		wrong++;
	}
	mts_blocks_free(blocks);
	/* No tags are left behind: blocks are to be idle later */
	replace_page(b.p, buf_key(&work, w));
	return !wrong;
}

static void test_soft(void)
{
	size_t w, g = find_pair(&w);
	char *p = grab.base + g * mts_page_size;
	bool ok;

	if (madvise(p, mts_page_size, MADV_SOFT_OFFLINE)) {
		ktap_result(false, "MADV_SOFT_OFFLINE: %s", strerror(errno));
		return;
	}
	ok = mts_pfn(p) != grab_pfns[g] &&
	     mts_data_ok("soft offline", p, GRAB_SEED + g * 2);
	ok &= check_lost_block("soft offline", w);
	ktap_result(ok, "soft offline of data in tag storage");
}

static void test_hard(void)
{
	size_t w, g = find_pair(&w);
	char *p = grab.base + g * mts_page_size;
	bool ok;

	if (poison(p)) {
		ktap_result(false, "MADV_HWPOISON: %s", strerror(errno));
		return;
	}
	ok = is_dead(p);
	if (!ok)
		ktap_note("the poisoned page can be read");
	ok &= check_lost_block("hard", w);
	/* The rest of GRAB is checked at the end */
	replace_page(p, GRAB_SEED + g * 2);
	ktap_result(ok, "memory failure of data in tag storage");
}

/* Tag storage that is free memory at that moment. */
static void test_free(void)
{
	size_t w, g, tries;
	bool ok;
	u64 pfn;
	char *p;

	mts_write_file("/proc/sys/vm/compact_memory", "1");
	for (tries = 0; tries < 10; tries++) {
		g = find_pair(&w);
		p = grab.base + g * mts_page_size;
		pfn = mts_pfn(buf_page(&work, w));
		/* Not to the CPU's list. Compaction could put other data there. */
		madvise(p, mts_page_size, MADV_DONTNEED);
		if (mts_pfn(buf_page(&work, w)) == pfn &&
		    !corrupt(grab_pfns[g]))
			break;
		mts_page_fill(p, GRAB_SEED + g * 2);
	}
	ok = tries < 10;
	if (!ok)
		ktap_note("corrupt-pfn: %s", strerror(errno));
	ok &= check_lost_block("free", w);
	/* It isn't handed out to anybody */
	mts_page_fill(p, GRAB_SEED + g * 2);
	ok &= mts_pfn(p) != grab_pfns[g];
	ktap_result(ok, "memory failure of free tag storage");
}

/*
 * Touches pages one by one, as long as that makes progress: a signal ends a
 * fault that is taken over and over again.
 */
static sigjmp_buf alarm_env;

static void on_alarm(int sig)
{
	(void)sig;
	siglongjmp(alarm_env, 1);
}

static bool touch_all(const struct mts_buf *b)
{
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	volatile size_t i = 0;
	bool ok = true;

	sigaction(SIGALRM, &sa, &old);
	if (!sigsetjmp(alarm_env, 1)) {
		for (; i < b->pages; i++) {
			if (!(i % 64))
				alarm(45);
			*(volatile char *)buf_page(b, i) = 1;
		}
	} else {
		ktap_note("NO PROGRESS: page %zu, pfn %#llx", i,
			  (unsigned long long)mts_pfn(buf_page(b, i)));
		ok = false;
	}
	alarm(0);
	sigaction(SIGALRM, &old, NULL);
	return ok;
}

/* Tag storage that holds tags. */
static void test_reserved(void)
{
	long long bad = mts_stat("blocks_bad");
	struct mts_buf b;
	u64 nr, first;
	bool ok = true;

	buf_map(&b, 256, PROT_TAGGED, 0);
	buf_fill(&b, 90, true);
	first = storage_of(mts_pfn(buf_page(&b, 100)), &nr);
	/* Nothing that the kernel could do: it reports an error */
	corrupt(first + nr - 1);
	ok &= !buf_bad("poisoned tag storage", &b);
	buf_unmap(&b);
	ok &= !mts_release();
	if (mts_stat("blocks_bad") != bad + 1) {
		ktap_note("%lld bad blocks, then %lld", bad,
			  mts_stat("blocks_bad"));
		ok = false;
	}
	/* Lots of pages that get tags: none of that block */
	buf_map(&b, 4096, PROT_TAGGED, 0);
	ok &= touch_all(&b);
	ok &= buf_taggable("after", &b);
	buf_unmap(&b);
	ktap_result(ok, "memory failure of a page that holds tags");
}

/* A page that has tags, and neighbours that keep theirs. */
static void test_tagged(bool soft)
{
	struct mts_buf b, neighbours;
	size_t i, bad = 0;
	char *p;
	int ret;

	buf_map(&b, 64, PROT_TAGGED, 0);
	buf_fill(&b, 95, true);
	i = 40;
	p = buf_page(&b, i);
	ret = soft ? madvise(p, mts_page_size, MADV_SOFT_OFFLINE) : poison(p);
	if (ret) {
		ktap_note("madvise: %s", strerror(errno));
		bad++;
	}
	if (soft)
		bad += !buf_page_ok("soft offline", &b, i);
	else
		bad += !is_dead(p);
	neighbours = b;
	neighbours.pages = i;
	bad += buf_bad("neighbours", &neighbours);
	bad += !buf_taggable("neighbours", &neighbours);
	for (i++; i < b.pages; i++)
		bad += !buf_page_ok("neighbours", &b, i);
	if (!soft) {
		/* The place can be used again */
		madvise(p, mts_page_size, MADV_DONTNEED);
		bad += !mts_tags_ok("new page", p, 0);
		bad += !mts_data_ok("new page", p, 0);
	}
	buf_unmap(&b);
	ktap_result(!bad, "%s of a tagged page",
		    soft ? "soft offline" : "memory failure");
}

static void test_cycle(void)
{
	long long bad = mts_stat("blocks_bad"), again;
	bool off = false, ok = true;
	struct mts_buf b;
	int tries;

	buf_map(&b, 512, PROT_TAGGED, 0);
	buf_fill(&b, 98, true);
	for (tries = 0; tries < 3 && !off; tries++)
		off = !mts_write_file(MTS_DEBUGFS "/state", "offline");
	if (off) {
		ok &= !mts_online();
		ok &= !buf_bad("offline", &b);
		if (mts_write_file(MTS_DEBUGFS "/state", "online")) {
			ktap_note("online: %s", strerror(errno));
			ok = false;
		}
	} else {
		ktap_note("offline: %s", strerror(errno));
	}
	again = mts_stat("blocks_bad");
	if (again != bad) {
		ktap_note("%lld bad blocks, then %lld", bad, again);
		ok = false;
	}
	ok &= mts_online() && mts_blocks_add_up();
	ok &= !buf_bad("online again", &b);
	buf_unmap(&b);
	ktap_result(ok, "offline and online with bad blocks%s",
		    off ? "" : " (refused, cleanly)");
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	if (!mts_online()) {
		printf("KTAP version 1\n1..0 # SKIP the module is not online\n");
		return KSFT_SKIP;
	}
	if (access(CORRUPT, W_OK)) {
		printf("KTAP version 1\n1..0 # SKIP no " CORRUPT "\n");
		return KSFT_SKIP;
	}
	/* One page is enough to want its block: it isn't moved instead */
	if (mts_write_file(MTS_DEBUGFS "/policy/mprotect_inplace_pages", "0"))
		mts_die("mprotect_inplace_pages");
	ktap_begin(9);
	grab_storage(&grab);
	grab_fill(&grab, GRAB_SEED);
	ktap_note("%zu pages of data in tag storage", grab.nr);
	grab_pfns = calloc(grab.pages, sizeof(*grab_pfns));
	work_used = calloc(WORK_PAGES, sizeof(*work_used));
	if (!grab_pfns || !work_used)
		mts_die("calloc");
	map_work();
	buf_fill(&work, 70, false);
	test_soft();
	test_hard();
	test_free();
	test_reserved();
	test_tagged(true);
	test_tagged(false);
	ktap_result(!grab_bad("data in tag storage", &grab, GRAB_SEED) &&
		    !buf_bad("data", &work) && !lost, "all other data");
	munmap(grab.base, grab.pages * mts_page_size);
	test_cycle();
	buf_unmap(&work);
	mts_release();
	ktap_result(mts_blocks_add_up(), "the blocks add up, %lld are bad",
		    mts_stat("blocks_bad"));
	return ktap_end();
}
