// SPDX-License-Identifier: GPL-2.0
/*
 * KSM: pages of equal data with different tags stay different pages; what was
 * merged, also into a page in tag storage, can get tags; tags that are only
 * saved, in swap, count too; what was merged, swapped out, and tagged by one of
 * its users when it came back, comes back to the others.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "mts_paths.h"

#ifndef MADV_MERGEABLE
#define MADV_MERGEABLE	12
#endif
#define KSM		"/sys/kernel/mm/ksm/"
#define PAGES		64UL
#define MERGED		512UL
#define DATA		0x6b736d00UL
/* Besides what may be in tag storage, which goes first */
#define SWAP_BYTES	(32UL << 20)

static long long ksm_value(const char *name)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), KSM "%s", name);
	if (mts_read_file(path, text, sizeof(text)) < 0)
		mts_die(path);
	return atoll(text);
}

/* Until everything has been looked at often enough to be merged. */
static void ksm_scan(void)
{
	long long scans = ksm_value("full_scans");
	double end = mts_now() + 30;

	mts_write_file(KSM "pages_to_scan", "5000");
	mts_write_file(KSM "sleep_millisecs", "1");
	mts_write_file(KSM "run", "1");
	while (ksm_value("full_scans") < scans + 4 && mts_now() < end)
		usleep(5000);
	mts_write_file(KSM "run", "0");
}

/* All pages with the same data, and tags of their own if `tagged`. */
static void fill(struct mts_buf *b, bool tagged)
{
	size_t i;

	b->tagged = tagged;
	for (i = 0; i < b->pages; i++) {
		if (tagged)
			mts_page_tag(buf_page(b, i), buf_key(b, i));
		mts_page_fill(buf_page(b, i), DATA);
	}
}

static size_t check(const char *what, const struct mts_buf *b)
{
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i++) {
		bad += !mts_data_ok(what, buf_page(b, i), DATA);
		if (b->mte)
			bad += !mts_tags_ok(what, buf_page(b, i),
					    b->tagged ? buf_key(b, i) : 0);
	}
	return bad;
}

static size_t frames(const struct mts_buf *b)
{
	u64 pfns[PAGES];
	size_t i, j, nr = 0;

	mts_pfns(b->p, b->pages, pfns);
	for (i = 0; i < b->pages; i++) {
		/* One that is being moved shows no frame, and is not merged */
		for (j = 0; j < i && (!pfns[i] || pfns[j] != pfns[i]); j++)
			;
		nr += j == i;
	}
	return nr;
}

static void mergeable(const struct mts_buf *b)
{
	if (madvise(b->p, b->pages * mts_page_size, MADV_MERGEABLE))
		mts_die("MADV_MERGEABLE");
}

static void test_tagged(void)
{
	struct mts_buf b, untouched;
	size_t bad;

	buf_map(&b, PAGES, PROT_TAGGED, 0);
	b.seed = 1;
	fill(&b, true);
	buf_map(&untouched, PAGES, PROT_TAGGED, 0);
	untouched.seed = 2;
	fill(&untouched, false);
	mergeable(&b);
	mergeable(&untouched);
	ksm_scan();
	bad = check("tagged", &b) + check("not tagged", &untouched);
	if (frames(&b) != PAGES) {
		ktap_note("tagged pages were merged: %zu frames", frames(&b));
		bad++;
	}
	fill(&untouched, true);
	bad += check("tagged now", &untouched) + check("tagged", &b);
	buf_unmap(&b);
	buf_unmap(&untouched);
	ktap_result(!bad, "pages of an MTE mapping");
}

/* Merged without tags, then tagged. `where` is for the messages. */
static void merged_then_tagged(struct mts_buf *b, const char *where, bool storage)
{
	size_t bad, nr, in = 0, i;
	pid_t pid;

	mergeable(b);
	ksm_scan();
	nr = frames(b);
	ktap_note("%s: %zu pages in %zu frames", where, b->pages, nr);
	bad = check(where, b) + (nr > b->pages / 2);
	for (i = 0; i < b->pages; i++)
		in += mts_pfn_in_storage(mts_pfn(buf_page(b, i)));
	if (storage && !in) {
		ktap_note("%s: no page of %zu", where, b->pages);
		bad++;
	}
	if (mprotect(b->p, b->pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	b->mte = true;
	pid = fork();
	if (!pid) {
		bad = check("child", b);
		fill(b, true);
		_exit(!!(bad + check("child, tagged", b)));
	}
	bad += check(where, b);
	fill(b, true);
	bad += check(where, b);
	bad += !buf_taggable(where, b);
	bad += !child_ok(pid);
	ktap_result(!bad, "merged, then tagged: %s", where);
}

static void test_merged(void)
{
	struct mts_buf b;

	buf_map(&b, PAGES, PROT_RW, 0);
	b.seed = 3;
	fill(&b, false);
	merged_then_tagged(&b, "anywhere", false);
	buf_unmap(&b);
}

/* Pages in tag storage, so that the page that stays is there too. */
static void test_storage(void)
{
	struct mts_buf b = { .pages = PAGES, .seed = 4 };
	struct mts_grab grab;
	size_t i, n = 0;
	u64 *pfns;
	char *p;

	if (!mts_online()) {
		ktap_skip("module not online", "merged, then tagged: in tag storage");
		return;
	}
	grab_storage(&grab);
	pfns = calloc(grab.pages, sizeof(*pfns));
	if (!pfns)
		mts_die("calloc");
	mts_pfns(grab.base, grab.pages, pfns);
	p = mts_map(PAGES * mts_page_size, PROT_NONE, 0, 0);
	/* Next to each other; mremap() leaves the frames as they are */
	for (i = 0; i < grab.pages && n < PAGES; i++) {
		char *to = p + n * mts_page_size;

		if (!mts_pfn_in_storage(pfns[i]))
			continue;
		if (mremap(grab.base + i * mts_page_size, mts_page_size,
			   mts_page_size, MREMAP_MAYMOVE | MREMAP_FIXED, to) !=
		    to)
			mts_die("mremap");
		n++;
	}
	free(pfns);
	munmap(grab.base, grab.pages * mts_page_size);
	b.p = p;
	b.pages = n;
	/* Mappings of their own each: one VMA for madvise() and mprotect() */
	fill(&b, false);
	for (i = 0; i < n; i++)
		madvise(buf_page(&b, i), mts_page_size, MADV_MERGEABLE);
	merged_then_tagged(&b, "in tag storage", true);
	munmap(p, PAGES * mts_page_size);
}

static bool swap_begin(void)
{
	mts_write_file("/sys/block/zram0/reset", "1");
	return !zram_make(SWAP_BYTES + mts_meminfo("CmaTotal") * 1024) && !swapon(ZRAM, 0);
}

static void swap_end(void)
{
	if (swapoff(ZRAM))
		mts_die("swapoff");
	mts_write_file("/sys/block/zram0/reset", "1");
}

/* Swapped out with tags, in again for reading: still of one's own. */
static void test_swap(void)
{
	struct mts_buf b;
	size_t bad, i, out;
	int round;

	if (!swap_begin()) {
		ktap_skip("no zram", "tags in swap");
		return;
	}
	buf_map(&b, PAGES, PROT_TAGGED, 0);
	mergeable(&b);
	for (bad = 0, round = 0; round < 3; round++) {
		b.seed = 5 + round;
		fill(&b, true);
		madvise(b.p, PAGES * mts_page_size, MADV_PAGEOUT);
		out = buf_swapped(&b);
		ktap_note("%zu of %lu pages swapped out", out, PAGES);
		bad += out < PAGES / 2;
		/* Some come back by being read, the others while it scans */
		for (i = 0; i < PAGES; i += 2)
			(void)*(volatile char *)buf_page(&b, i);
		ksm_scan();
		bad += check("tags in swap", &b);
		if (frames(&b) != PAGES) {
			ktap_note("merged: %zu frames", frames(&b));
			bad++;
		}
	}
	buf_unmap(&b);
	swap_end();
	ktap_result(!bad, "tags in swap");
}

/*
 * Two mappings share entries of swap because KSM had merged their pages. One
 * takes the pages back and makes them tagged, then the other needs copies of
 * them, with their tags, in a mapping that has none. `off`: by swapoff.
 */
static void test_swap_merged(bool off)
{
	const char *what = off ? "merged, swapped out, tagged: swapoff" :
				 "merged, swapped out, tagged: read";
	size_t len = MERGED * mts_page_size, bad = 0, out;
	double end;
	struct mts_grab grab = { 0 };
	struct mts_buf x, y;

	if (!swap_begin()) {
		ktap_skip("no zram", "%s", what);
		return;
	}
	if (mts_online())
		grab_storage(&grab);
	if (!memcg_enter("ksm", "memory.swap.max", "max"))
		mts_die("memory cgroup");
	buf_map(&x, MERGED, PROT_RW, 0);
	buf_map(&y, MERGED, PROT_RW, 0);
	buf_fill(&x, 8 + off, false);
	buf_fill(&y, 8 + off, false);
	mergeable(&x);
	mergeable(&y);
	ksm_scan();
	end = mts_now() + 10;
	/* Pages age as old statistics say, which are up to 2 s old */
	do {
		mts_write_file(CGROUPS "/ksm/memory.reclaim", "16M");
		usleep(50000);
		out = buf_swapped(&x) + buf_swapped(&y);
	} while (out < 2 * MERGED && mts_now() < end);
	ktap_note("%zu of %lu pages swapped out", out, 2 * MERGED);
	bad += buf_bad(what, &x);
	if (mprotect(x.p, len, PROT_TAGGED))
		mts_die("mprotect");
	x.mte = true;
	bad += buf_bad(what, &x);
	/* It would be for ever */
	alarm(45);
	if (off)
		swap_end();
	bad += buf_bad(what, &y);
	alarm(0);
	if (mprotect(y.p, len, PROT_TAGGED))
		mts_die("mprotect");
	y.mte = true;
	bad += buf_bad(what, &y);
	buf_unmap(&x);
	buf_unmap(&y);
	if (grab.base)
		munmap(grab.base, grab.pages * mts_page_size);
	if (!off)
		swap_end();
	ktap_result(!bad && out > MERGED, "%s", what);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	if (access(KSM "run", W_OK)) {
		printf("KTAP version 1\n1..0 # SKIP no KSM\n");
		return KSFT_SKIP;
	}
	ktap_begin(6);
	mts_write_file(KSM "use_zero_pages", "0");
	test_tagged();
	test_merged();
	test_storage();
	test_swap();
	test_swap_merged(false);
	test_swap_merged(true);
	mts_write_file(KSM "run", "2");
	mts_write_file(KSM "run", "0");
	return ktap_end();
}
