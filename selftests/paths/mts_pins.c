// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: tagged pages that must move on purpose, do. Long-term pins
 * (io_uring's fixed buffers) take them out of ZONE_MOVABLE and of CMA areas, and
 * soft offline moves them to another page; data and tags survive. Pins do that also
 * where every other chunk can't have tags, as somebody holds its storage. Needs
 * movablecore= and cma= on the command line.
 */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "mts_contract.h"
#include "mts_uring.h"

#define AREA		"/sys/kernel/debug/cma/reserved/"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define PAGES		256UL
#define TRIES		5
#define SEED		0x70696eUL
#define PIPES		128UL
#define PIPE_PAGES	16UL

struct range {
	u64 first, end;		/* page frames */
};

static struct range movable, area;
static int pipes[PIPES][2];

static bool inside(const struct range *r, u64 pfn)
{
	return pfn >= r->first && pfn < r->end;
}

static size_t count_in(const struct range *r, const struct mts_buf *b)
{
	size_t i, n = 0;

	for (i = 0; i < b->pages; i++)
		n += inside(r, mts_pfn(buf_page(b, i)));
	return n;
}

static u64 number(const char *path)
{
	char text[64];

	return mts_read_file(path, text, sizeof(text)) > 0 ?
	       strtoull(text, NULL, 0) : 0;
}

/* One zone, from its start_pfn on as many pages as it spans */
static void find_movable(void)
{
	char line[256], zone[32] = "";
	unsigned long long value, spanned = 0;
	FILE *f = fopen("/proc/zoneinfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*d, zone %31s", zone) == 1)
			continue;
		if (strcmp(zone, "Movable"))
			continue;
		if (sscanf(line, " spanned %llu", &value) == 1)
			spanned = value;
		if (sscanf(line, " start_pfn: %llu", &value) == 1 && spanned) {
			movable.first = value;
			movable.end = value + spanned;
		}
	}
	if (f)
		fclose(f);
}

/*
 * PAGES ordinary pages that lie in the range: one mapping, whose other pages are
 * given back, from which they are moved together
 */
static bool take_pages(const struct range *r, struct mts_buf *b)
{
	size_t max = mts_meminfo("MemFree") * 1024 / mts_page_size * 9 / 10;
	size_t i, n = 0, page = mts_page_size;
	char *p = mts_map(max * page, PROT_RW, MAP_NORESERVE, 0);

	madvise(p, max * page, MADV_NOHUGEPAGE);
	buf_map(b, PAGES, PROT_RW, 0);
	for (i = 0; i < max && n < PAGES; i++) {
		*(volatile char *)(p + i * page) = 1;
		if (!inside(r, mts_pfn(p + i * page)))
			continue;
		if (mremap(p + i * page, page, page,
			   MREMAP_MAYMOVE | MREMAP_FIXED, b->p + n * page) !=
		    b->p + n * page)
			mts_die("mremap");
		n++;
	}
	munmap(p, max * page);
	return n == PAGES;
}

static void test_pin(const char *what, const struct range *r, bool huge)
{
	size_t len, before, bad = 0, i;
	struct mts_buf b = { 0 };
	struct iovec iov;
	struct ring ring;
	bool ok;
	int fd;

	if (r->first == r->end) {
		ktap_skip("there is none", "long-term pin of memory in %s", what);
		ktap_skip("there is none", "data and tags in %s", what);
		return;
	}
	if (huge) {
		/* ZONE_MOVABLE is used first */
		b.pages = mts_huge_size / mts_page_size;
		b.p = mts_map_thp(PROT_RW, &ok);
		/* With larger pages it can be elsewhere: there are few places for one */
		if (!ok || (mts_page_size > 4096 && !count_in(r, &b))) {
			ktap_skip("no huge page", "long-term pin of memory in %s", what);
			ktap_skip("no huge page", "data and tags in %s", what);
			munmap(b.p, mts_huge_size);
			return;
		}
	} else {
		ok = take_pages(r, &b);
	}
	fd = open("/tmp/pins", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || !ring_make(&ring))
		mts_die("io_uring");
	len = b.pages * mts_page_size;
	buf_fill(&b, SEED, false);
	/* Where tags come late pages may leave before they are pinned: not here */
	for (i = 0; i < b.pages; i++) {
		char text[32];

		snprintf(text, sizeof(text), "%llu",
			 (unsigned long long)mts_pfn(buf_page(&b, i)));
		mts_write_file(MTS_DEBUGFS "/trigger/reserve", text);
	}
	if (mprotect(b.p, len, PROT_TAGGED))
		mts_die("mprotect");
	b.mte = true;
	buf_fill(&b, SEED, true);
	before = count_in(r, &b);
	ok &= before >= b.pages * 3 / 4;
	iov = (struct iovec){ b.p, len };
	if (!ring_pin(&ring, &iov, 1)) {
		ktap_note("%s: IORING_REGISTER_BUFFERS: %s", what,
			  strerror(errno));
		ok = false;
	}
	ktap_result(ok && !count_in(r, &b),
		    "long-term pin of tagged memory in %s: %zu pages were there, %zu are",
		    what, before, count_in(r, &b));
	bad += buf_bad("pinned", &b);
	/* What is pinned is what the program sees */
	if (ok) {
		bad += ring_io(&ring, IORING_OP_WRITE_FIXED, fd, b.p, len, 0,
			       0) != (int)len;
		for (i = 0; i < b.pages; i++)
			memset(buf_page(&b, i), 0, mts_page_size);
		bad += ring_io(&ring, IORING_OP_READ_FIXED, fd, b.p, len, 0,
			       0) != (int)len;
		bad += buf_bad("read into pinned memory", &b);
	}
	bad += !buf_taggable(what, &b);
	ktap_result(ok && !bad, "data and tags in %s", what);
	ring_close(&ring);
	close(fd);
	buf_unmap(&b);
}

/*
 * Hold the tag storage, in pipes, of each second run of so many pages. What serves the
 * ranges stays free: pages are to have tags there, before they leave.
 */
static void hold_storage(size_t run, size_t max)
{
	struct rlimit files = { 4 * PIPES, 4 * PIPES };
	size_t i, held = 0, fd = 0;
	struct at_hand at;
	struct mts_buf b;

	setrlimit(RLIMIT_NOFILE, &files);
	storage_first(&at);
	buf_map(&b, 2 * PIPES * PIPE_PAGES, PROT_RW, 0);
	buf_fill(&b, SEED + 2, false);
	for (i = 0; i < b.pages && held < max; i++) {
		u64 pfn = mts_pfn(buf_page(&b, i));
		u64 data = served_by(pfn);

		if (!data || !(data / run & 1) || inside(&movable, data) ||
		    inside(&area, data))
			continue;
		if (held % PIPE_PAGES == 0)
			make_pipe(pipes[fd++]);
		splice_in(pipes[fd - 1][1], buf_page(&b, i), mts_page_size);
		held++;
	}
	buf_unmap(&b);
	storage_as_usual(&at);
	ktap_note("%zu pages of tag storage are held", held);
	if (mts_online() && held < max / 4)
		mts_die("pages in tag storage");
}

static void give_storage_up(void)
{
	size_t i;

	for (i = 0; i < PIPES && pipes[i][1]; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
		pipes[i][1] = 0;
	}
}

static void unpoison(const u64 *pfns, size_t nr)
{
	char text[32];
	size_t i;

	for (i = 0; i < nr; i++) {
		snprintf(text, sizeof(text), "%#llx",
			 (unsigned long long)pfns[i]);
		mts_write_file(UNPOISON, text);
	}
}

static void test_offline(const char *what, bool huge)
{
	size_t step = huge ? 64 : 2, n = 0, refused = 0, stayed = 0, bad = 0, i;
	static u64 pfns[PAGES];
	struct mts_buf b;
	bool is_huge;

	if (huge && !mts_huge_is_pmd()) {
		ktap_skip("no huge page", "soft offline of pages of one");
		return;
	}
	memset(&b, 0, sizeof(b));
	if (huge) {
		b.pages = mts_huge_size / mts_page_size;
		b.mte = true;
		/* Those before have left holes, and one compaction can fail */
		for (i = 0; i < TRIES; i++) {
			b.p = mts_map_thp(PROT_TAGGED, &is_huge);
			if (is_huge || i == TRIES - 1)
				break;
			munmap(b.p, mts_huge_size);
			mts_write_file("/proc/sys/vm/compact_memory", "1");
		}
		bad += !is_huge || mts_folios(b.p, mts_huge_size, mts_huge_size) != 1;
		if (bad)
			ktap_note("no huge page");
	} else {
		buf_map(&b, PAGES, PROT_TAGGED, 0);
	}
	buf_fill(&b, SEED + 1, true);
	for (i = 0; i < b.pages; i += step) {
		char *page = buf_page(&b, i);

		pfns[n] = mts_pfn(page);
		if (madvise(page, mts_page_size, MADV_SOFT_OFFLINE)) {
			if (!refused++)
				ktap_note("%s, page %zu: %s", what, i,
					  strerror(errno));
			continue;
		}
		stayed += mts_pfn(page) == pfns[n];
		n++;
	}
	bad += buf_bad("soft offline", &b) + !buf_taggable("soft offline", &b);
	ktap_result(!refused && !stayed && !bad,
		    "soft offline of %zu pages of %s: %zu refused, %zu not moved",
		    n + refused, what, refused, stayed);
	munmap(b.p, b.pages * mts_page_size);
	unpoison(pfns, n);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	ktap_begin(12);
	find_movable();
	area.first = number(AREA "base_pfn");
	area.end = area.first + number(AREA "count");
	ktap_note("ZONE_MOVABLE %#llx to %#llx, CMA %#llx to %#llx",
		  (unsigned long long)movable.first,
		  (unsigned long long)movable.end,
		  (unsigned long long)area.first, (unsigned long long)area.end);
	test_pin("ZONE_MOVABLE", &movable, false);
	test_pin("ZONE_MOVABLE, a huge page", &movable, true);
	test_pin("a CMA area", &area, false);
	test_offline("small pages", false);
	test_offline("a huge page", true);
	/*
	 * What finds a target then depends on how much memory there is besides. With 16K
	 * pages 37 % are held of as many pages, and a huge page is one of 64: they fail.
	 */
	if (mts_page_size > 4096) {
		ktap_skip("for 4K pages", "long-term pin in a CMA area, storage held");
		ktap_skip("for 4K pages", "its data and tags");
		ktap_skip("for 4K pages", "long-term pin of a huge page, storage held");
		ktap_skip("for 4K pages", "its data and tags");
		return ktap_end();
	}
	hold_storage(32, PIPES * PIPE_PAGES);
	test_pin("a CMA area, storage held", &area, false);
	give_storage_up();
	/* Of no more than an eighth of memory, which is as much as may be refused */
	hold_storage(mts_huge_size / mts_page_size,
		     mts_meminfo("MemTotal") * 1024 / mts_page_size / 32 / 9);
	test_pin("ZONE_MOVABLE, a huge page, storage held", &movable, true);
	return ktap_end();
}
