// SPDX-License-Identifier: GPL-2.0
/*
 * mprotect(PROT_MTE) on memory that is already populated: the data stays, the
 * tags start as zero, and neighbours that don't become tagged are not hurt.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

#define KEY(i)	(0x746167730000UL + (i) * 8 + ((i) & 3))
#define DATA(i)	(0x646174610001UL + (i) * 2)

/* Blocks that one call of mprotect() asks for, at most */
#define AHEAD_BLOCKS	1024UL

static bool has(size_t i, size_t every)
{
	return i % every == 0;
}

static void populate(char *p, size_t pages, size_t every)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (has(i, every))
			mts_page_fill(p + i * mts_page_size, DATA(i));
}

/* Pages [first, first + n) of the mapping are tagged from now on. */
static long verify(const char *what, char *p, size_t pages, size_t every,
		   size_t first, size_t n, bool tagged)
{
	long bad = 0;
	size_t i;

	for (i = 0; i < pages && bad < 4; i++) {
		char *page = p + i * mts_page_size;
		bool in = i >= first && i < first + n;

		bad += !mts_data_ok(what, page,
				    has(i, every) && !(in && tagged &&
						       KEY(i) & 2) ?
				    DATA(i) : 0);
		if (in)
			bad += !mts_tags_ok(what, page, tagged ? KEY(i) : 0);
	}
	return bad;
}

static void test(const char *what, char *p, size_t pages, size_t every,
		 size_t first, size_t n)
{
	long bad, untaggable;
	size_t i;

	populate(p, pages, every);
	if (mprotect(p + first * mts_page_size, n * mts_page_size,
		     PROT_TAGGED)) {
		ktap_result(false, "%s: mprotect", what);
		return;
	}
	bad = verify(what, p, pages, every, first, n, false);
	for (i = first; i < first + n; i++)
		mts_page_tag(p + i * mts_page_size, KEY(i));
	bad += verify(what, p, pages, every, first, n, true);
	untaggable = mts_pages_untaggable(what, p + first * mts_page_size, n);
	ktap_result(!bad && untaggable <= 0,
		    "%s: %zu of %zu pages%s%s", what, n, pages,
		    bad ? ", wrong contents" : "",
		    untaggable > 0 ? ", not taggable" : "");
}

static void test_anon(const char *what, size_t pages, size_t every,
		      size_t first, size_t n)
{
	char *p = mts_map(pages * mts_page_size, PROT_RW, 0, 0);

	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	test(what, p, pages, every, first, n);
	munmap(p, pages * mts_page_size);
}

static void test_thp(const char *what, size_t first, size_t n)
{
	size_t pages = mts_huge_size / mts_page_size;
	bool huge;
	char *p = mts_map_thp(PROT_RW, &huge);

	if (huge)
		test(what, p, pages, 1, first, n);
	else
		ktap_skip("no huge page", "%s", what);
	munmap(p, mts_huge_size);
}

/* One mapping tagged, the other not: the same pages. */
static void test_shared(void)
{
	size_t pages = 300, i, len = pages * mts_page_size;
	int fd = memfd_create("mts-mprotect", MFD_CLOEXEC);
	long bad = 0;
	char *a, *b;

	if (fd < 0 || ftruncate(fd, len))
		mts_die("memfd");
	a = mmap(NULL, len, PROT_RW, MAP_SHARED, fd, 0);
	b = mmap(NULL, len, PROT_RW, MAP_SHARED, fd, 0);
	if (a == MAP_FAILED || b == MAP_FAILED)
		mts_die("mmap");
	test("shared memfd", a, pages, 1, 0, pages);
	for (i = 0; i < pages && bad < 4; i++) {
		char *page = b + i * mts_page_size;

		bad += !mts_data_ok("the untagged mapping", page,
				    KEY(i) & 2 ? 0 : DATA(i));
		mts_page_fill(page, DATA(i + 7));
		bad += !mts_tags_ok("the tagged mapping",
				    a + i * mts_page_size, KEY(i));
		bad += !mts_data_ok("the tagged mapping",
				    a + i * mts_page_size, DATA(i + 7));
	}
	if (mprotect(b, len, PROT_TAGGED))
		bad++;
	for (i = 0; i < pages && bad < 4; i++)
		bad += !mts_tags_ok("the second mapping",
				    b + i * mts_page_size, KEY(i));
	ktap_result(!bad, "shared memfd: two mappings agree");
	munmap(a, len);
	munmap(b, len);
	close(fd);
}

/* Tags survive protections that take the access away and give it back. */
static void test_protections(void)
{
	static const int prot[] = { PROT_NONE, PROT_READ | PROT_MTE,
				    PROT_NONE, PROT_READ, PROT_RW };
	size_t pages = 64, i, j, len = pages * mts_page_size;
	char *p = mts_map(len, PROT_TAGGED, 0, 0);
	long bad = 0;

	populate(p, pages, 1);
	for (i = 0; i < pages; i++)
		mts_page_tag(p + i * mts_page_size, KEY(i));
	for (j = 0; j < ARRAY_SIZE(prot); j++) {
		if (mprotect(p, len, prot[j]) ||
		    mprotect(p, len, PROT_TAGGED)) {
			ktap_result(false, "protections: mprotect");
			return;
		}
		bad += verify("protections", p, pages, 1, 0, pages, true);
	}
	ktap_result(!bad, "tags survive changes of the protection");
	munmap(p, len);
}

/* Data pages in tag storage can't be tagged there: they have to move out. */
static void test_storage(void)
{
	size_t i, j, n, bad = 0, inside = 0;
	struct mts_grab g;
	long long refused;
	u64 pfns[256];
	u8 *mine;

	if (!mts_online()) {
		ktap_skip("module not online", "pages in tag storage: data and tags");
		ktap_skip("module not online", "pages in tag storage: moved out");
		return;
	}
	/* Of all regions, as far as there is room */
	if (mts_grab_storage(&g, 4000UL * mts_nr_regions)) {
		ktap_result(false, "no page in tag storage to be had");
		ktap_result(false, "pages in tag storage: moved out");
		return;
	}
	mine = calloc(g.pages, 1);
	if (!mine)
		mts_die("calloc");
	for (i = 0; i < g.pages; i += n) {
		n = g.pages - i < ARRAY_SIZE(pfns) ? g.pages - i :
		    ARRAY_SIZE(pfns);
		mts_pfns(g.base + i * mts_page_size, n, pfns);
		for (j = 0; j < n; j++) {
			mine[i + j] = !!pfns[j];
			if (mine[i + j])
				mts_page_fill(g.base + (i + j) * mts_page_size,
					      DATA(i + j));
		}
	}
	refused = mts_stat("reserve_refused");
	if (mprotect(g.base, g.pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	for (i = 0; i < g.pages && bad < 4; i++) {
		char *page = g.base + i * mts_page_size;

		if (!mine[i])
			continue;
		bad += !mts_data_ok("in tag storage", page, DATA(i));
		bad += !mts_tags_ok("in tag storage", page, 0);
		mts_page_tag(page, KEY(i));
	}
	for (i = 0; i < g.pages && bad < 4; i++) {
		char *page = g.base + i * mts_page_size;

		if (!mine[i])
			continue;
		bad += !mts_tags_ok("was in tag storage", page, KEY(i));
		bad += !mts_data_ok("was in tag storage", page,
				    KEY(i) & 2 ? 0 : DATA(i));
		inside += mts_pfn_in_storage(mts_pfn(page));
	}
	/*
	 * They are told from other memory, for which storage can be reserved; but for
	 * those that had to leave before, as their storage was taken for others
	 */
	refused = mts_stat("reserve_refused") - refused;
	if (refused < (long long)(g.nr * 9 / 10)) {
		ktap_note("%lld of %zu pages were known to be tag storage", refused, g.nr);
		bad++;
	}
	ktap_result(!bad, "pages in tag storage: data and tags of %zu pages",
		    g.nr);
	ktap_result(!inside, "pages in tag storage: moved out, %zu still inside",
		    inside);
	munmap(g.base, g.pages * mts_page_size);
	free(mine);
}

/*
 * mprotect() asks for storage that is free, up to a limit, so that most entries
 * needn't be changed again by a fault.
 */
static void test_ahead(void)
{
	size_t pages = (160UL << 20) / mts_page_size, third, i;
	size_t limit = AHEAD_BLOCKS * mts_regions[0].block_pages * mts_page_size;
	char delay[32], cmdline[4096], *p;
	long long bytes, want;

	if (!mts_online()) {
		ktap_skip("module not online", "storage reserved by mprotect");
		return;
	}
	if (mts_read_file("/proc/cmdline", cmdline, sizeof(cmdline)) > 0 &&
	    strstr(cmdline, "mts.queue=needed")) {
		ktap_skip("without the optional patches", "storage reserved by mprotect");
		return;
	}
	if (mts_read_file(MTS_DEBUGFS "/policy/release_delay_ms", delay, sizeof(delay)) > 0 &&
	    !atoi(delay)) {
		ktap_skip("blocks are released at once", "storage reserved by mprotect");
		return;
	}
	mts_release();
	/* More than the limit, where memory is large enough */
	third = mts_meminfo("MemTotal") * 1024 / 3 / mts_page_size;
	if (pages > third)
		pages = third;
	p = mts_map(pages * mts_page_size, PROT_RW, 0, 0);
	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++)
		*(volatile u64 *)(p + i * mts_page_size) = i;
	/*
	 * Not what other data has, nor what is static: half of what may be expected. A
	 * block of several pages serves as many of those that are counted.
	 */
	want = pages * mts_page_size / 32;
	if (want > (long long)(AHEAD_BLOCKS * mts_page_size))
		want = AHEAD_BLOCKS * mts_page_size;
	want = want / 2 * mts_stat("released_free_bytes") / mts_stat("carveout_bytes");
	bytes = mts_stat("reserved_bytes");
	if (mprotect(p, pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	bytes = mts_stat("reserved_bytes") - bytes;
	/* A release pass, or somebody else's tags, may come in between */
	ktap_result(want && bytes >= want && bytes <= (long long)(limit + (64 << 10)),
		    "storage reserved by mprotect: %lld KiB of %lld", bytes >> 10, want >> 9);
	munmap(p, pages * mts_page_size);
}

int main(void)
{
	size_t huge;

	mts_need_mte();
	mts_load_regions();
	huge = mts_huge_size / mts_page_size;
	ktap_begin(13);
	test_anon("small", 3, 1, 0, 3);
	test_anon("large", 4096, 1, 0, 4096);
	test_anon("sparse", 2000, 7, 0, 2000);
	test_anon("middle", 600, 1, 200, 200);
	test_thp("huge page", 0, huge);
	test_thp("a part of a huge page", huge / 4, 100);
	test_thp("one page of a huge page", huge - 1, 1);
	test_shared();
	test_protections();
	test_storage();
	test_ahead();
	return ktap_end();
}
