// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_COLLAPSE and khugepaged on memory with tags: the huge page has the data
 * and the tags of the small ones, or the small ones stay as they are.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>

#include "mts_paths.h"

#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define GRAB_SEED	0x636f6cUL

/* Each third page is not tagged, or not there. */
enum what { ALL, SPARSE, HOLES };

static size_t kind(enum what what, size_t i)
{
	return i % 3 ? ALL : what;
}

static void fill(struct mts_buf *b, enum what what)
{
	size_t i;

	b->tagged = true;
	for (i = 0; i < b->pages; i++) {
		if (kind(what, i) == ALL)
			buf_write(b, i);
		else if (kind(what, i) == SPARSE)
			mts_page_fill(buf_page(b, i), buf_key(b, i));
	}
}

static size_t check(const char *name, const struct mts_buf *b, enum what what)
{
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i++) {
		u64 key = buf_key(b, i);

		bad += !mts_tags_ok(name, buf_page(b, i),
				    kind(what, i) == ALL ? key : 0);
		bad += !mts_data_ok(name, buf_page(b, i),
				    kind(what, i) == HOLES ? 0 : key);
	}
	return bad;
}

static void map_small(struct mts_buf *b)
{
	memset(b, 0, sizeof(*b));
	b->pages = mts_huge_size / mts_page_size;
	b->mte = true;
	b->p = mts_map(mts_huge_size, PROT_TAGGED, 0, mts_huge_size);
	madvise(b->p, mts_huge_size, MADV_NOHUGEPAGE);
}

static void test_collapse(const char *name, enum what what)
{
	struct mts_buf b;
	size_t bad;
	bool huge;
	int err;

	map_small(&b);
	b.seed = 10 + what;
	fill(&b, what);
	madvise(b.p, mts_huge_size, MADV_HUGEPAGE);
	err = collapse(b.p) ? errno : 0;
	huge = mts_is_thp(b.p);
	bad = check(name, &b, what);
	bad += !buf_taggable(name, &b);
	if (err)
		ktap_note("%s: %s", name, strerror(err));
	if (!huge) {
		ktap_note("%s: no huge page", name);
		bad++;
	}
	/* Tags can be written, and the pages be mapped singly again */
	fill(&b, what);
	mprotect(b.p, mts_huge_size / 2, PROT_READ | PROT_MTE);
	bad += check(name, &b, what);
	buf_unmap(&b);
	ktap_result(!bad, "MADV_COLLAPSE: %s", name);
}

/*
 * Huge pages where there were others before: their blocks have no tags any more, and
 * are released after a while, which is about as long as it takes to come here again.
 */
#define RELEASE_DELAY	MTS_DEBUGFS "/policy/release_delay_ms"
#define PASS_INTERVAL	MTS_DEBUGFS "/policy/pass_interval_ms"
/* As much memory with huge pages of 32 MiB as with those of 2 MiB */
#define RACES		(mts_huge_size > SZ_2M ? 8UL : 32UL)
#define RACE_PAGES	(mts_huge_size > SZ_2M ? 1UL : 4UL)

static void test_race(void)
{
	char delay[32] = "2000", interval[32] = "250", text[32];
	struct mts_buf b = { .mte = true };
	double start = mts_now(), took = 0.3;
	size_t i, j, failed = 0, bad = 0;

	mts_read_file(RELEASE_DELAY, delay, sizeof(delay));
	mts_read_file(PASS_INTERVAL, interval, sizeof(interval));
	mts_write_file(PASS_INTERVAL, "10");
	b.pages = RACE_PAGES * mts_huge_size / mts_page_size;
	for (i = 0; i < RACES; i++) {
		snprintf(text, sizeof(text), "%u",
			 (unsigned int)(took * 1000 * (RACES / 2 + i) / RACES));
		mts_write_file(RELEASE_DELAY, text);
		b.p = mts_map(RACE_PAGES * mts_huge_size, PROT_TAGGED, 0,
			      mts_huge_size);
		madvise(b.p, RACE_PAGES * mts_huge_size, MADV_NOHUGEPAGE);
		buf_fill(&b, 40 + i, true);
		madvise(b.p, RACE_PAGES * mts_huge_size, MADV_HUGEPAGE);
		for (j = 0; j < RACE_PAGES; j++)
			if (collapse(b.p + j * mts_huge_size) && !failed++)
				ktap_note("%zu: %s", i, strerror(errno));
		bad += buf_bad("raced", &b);
		buf_unmap(&b);
		took = (mts_now() - start) / (i + 1);
	}
	mts_write_file(RELEASE_DELAY, delay);
	mts_write_file(PASS_INTERVAL, interval);
	ktap_result(!failed && !bad,
		    "MADV_COLLAPSE %lu times, while blocks are released: %zu failed",
		    RACES * RACE_PAGES, failed);
}

static void test_khugepaged(void)
{
	struct mts_buf b;
	size_t bad;
	int tries;

	mts_write_file(KHUGEPAGED "scan_sleep_millisecs", "10");
	mts_write_file(KHUGEPAGED "alloc_sleep_millisecs", "10");
	mts_write_file(KHUGEPAGED "pages_to_scan", "65536");
	map_small(&b);
	b.seed = 20;
	fill(&b, SPARSE);
	madvise(b.p, mts_huge_size, MADV_HUGEPAGE);
	/* Changed all the time while it is collapsed */
	for (bad = 0, tries = 0; tries < 1000 && !bad; tries++) {
		bad += check("khugepaged", &b, SPARSE);
		if (mts_is_thp(b.p))
			break;
		b.seed++;
		fill(&b, SPARSE);
		usleep(20000);
	}
	bad += check("khugepaged", &b, SPARSE);
	bad += !buf_taggable("khugepaged", &b);
	if (!bad && !mts_is_thp(b.p))
		ktap_skip("it made no huge page", "khugepaged");
	else
		ktap_result(!bad, "khugepaged");
	buf_unmap(&b);
}

static void test_shmem(void)
{
	struct mts_buf b = { .pages = mts_huge_size / mts_page_size, .mte = true };
	int fd = syscall(__NR_memfd_create, "collapse", 0), err;
	size_t bad;

	if (fd < 0 || ftruncate(fd, mts_huge_size))
		mts_die("memfd");
	b.p = mts_map(mts_huge_size, PROT_NONE, 0, mts_huge_size);
	if (mmap(b.p, mts_huge_size, PROT_TAGGED, MAP_SHARED | MAP_FIXED, fd, 0) != b.p)
		mts_die("mmap");
	buf_fill(&b, 30, true);
	err = collapse(b.p) ? errno : 0;
	if (err)
		ktap_note("shared memory: %s", strerror(err));
	bad = mts_folios(b.p, mts_huge_size, mts_huge_size) != 1;
	if (bad)
		ktap_note("shared memory: no huge page");
	bad += buf_bad("shared memory", &b);
	bad += !buf_taggable("shared memory", &b);
	buf_fill(&b, 31, true);
	bad += buf_bad("shared memory", &b);
	buf_unmap(&b);
	close(fd);
	ktap_result(!bad, "MADV_COLLAPSE: shared memory");
}

/* A huge page whose storage can't be had: it is worth to try again, and works then */
static void test_no_storage(void)
{
	struct mts_buf b;
	int err, later;
	size_t bad;

	if (!can_inject("fail_reserve")) {
		ktap_skip("module not online", "MADV_COLLAPSE without tag storage");
		return;
	}
	map_small(&b);
	b.seed = 90;
	fill(&b, ALL);
	mts_release();
	madvise(b.p, mts_huge_size, MADV_HUGEPAGE);
	inject_failures("fail_reserve", true);
	err = madvise(b.p, mts_huge_size, MADV_COLLAPSE) ? errno : 0;
	bad = check("without tag storage", &b, ALL);
	inject_failures("fail_reserve", false);
	later = collapse(b.p) ? errno : 0;
	bad += check("with tag storage again", &b, ALL);
	ktap_result(err == EAGAIN && !later && mts_is_thp(b.p) && !bad,
		    "MADV_COLLAPSE without tag storage: %s; later: %s",
		    strerror(err), strerror(later));
	buf_unmap(&b);
}

int main(void)
{
	struct mts_grab grab;

	mts_need_mte();
	mts_load_regions();
	mts_thp_enable();
	if (!mts_huge_is_pmd()) {
		ktap_begin(1);
		ktap_skip("no huge page", "nothing else is collapsed to");
		return ktap_end();
	}
	ktap_begin(10);
	test_collapse("all tagged", ALL);
	test_collapse("some tagged", SPARSE);
	test_collapse("some absent", HOLES);
	test_khugepaged();
	test_shmem();
	test_race();
	test_no_storage();
	if (mts_online()) {
		grab_storage(&grab);
		grab_fill(&grab, GRAB_SEED);
		test_collapse("with tag storage in use", ALL);
	} else {
		ktap_skip("module not online", "with tag storage in use");
	}
	grab_end(&grab, GRAB_SEED);
	return ktap_end();
}
