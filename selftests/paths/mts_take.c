// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of all kinds that are moved out of tag storage when their page frames are
 * needed for tags, one by one: what programs see stays as it was, also when they
 * use the pages at that moment.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "mts_paths.h"

#define WANTED		2000
#define PER_KIND	32
#define SEED		0x74616b65UL
#define WRITERS		2

static struct mts_grab grab;
static char **page_of;		/* pages in tag storage, each one once */
static size_t nr_pages, next_page;

static u64 key_of(const char *p)
{
	return SEED + (size_t)(p - grab.base) / mts_page_size * 2;
}

/* Reserve the block that a page is in. 0, or an error */
static int take(u64 pfn)
{
	char word[32];

	snprintf(word, sizeof(word), "%llu", (unsigned long long)served_by(pfn));
	return mts_write_file(MTS_DEBUGFS "/trigger/reserve", word);
}

static void find_pages(void)
{
	u64 *pfns = calloc(grab.pages, sizeof(*pfns));
	size_t i;

	page_of = calloc(grab.pages, sizeof(*page_of));
	if (!pfns || !page_of)
		mts_die("calloc");
	grab_fill(&grab, SEED);
	mts_pfns(grab.base, grab.pages, pfns);
	for (i = 0; i < grab.pages; i++) {
		char *p = grab.base + i * mts_page_size;

		if (mts_pfn_in_storage(pfns[i]))
			page_of[nr_pages++] = p;
	}
	free(pfns);
}

/* What the kernel says when it reads or writes a program's page */
static bool access_fails(const char *p, bool write_to)
{
	char byte = *(volatile char *)page_of[0];
	int fd[2], got;

	make_pipe(fd);
	if (write_to) {
		if (write(fd[1], &byte, 1) != 1)
			mts_die("write");
		got = read(fd[0], (void *)p, 1);
	} else {
		got = write(fd[1], p, 1);
	}
	close(fd[0]);
	close(fd[1]);
	return got < 0 && errno == EFAULT;
}

/* A fork makes no page exclusive any more: it comes last */
enum kind { PLAIN, READ_ONLY, NO_ACCESS, LOCKED, LAZY, SPLICED, WATCHED, FORKED, KINDS };

static const char * const kind_name[] = {
	"ordinary pages", "read-only pages", "pages without access",
	"locked pages", "MADV_FREE pages", "pages in a pipe",
	"pages that a userfaultfd protects", "pages shared with a child",
};

static int uffd = -1;

static void watch(char *p)
{
	if (uffd < 0)
		uffd = uffd_open_wp();
	uffd_watch(uffd, p, mts_page_size);
	uffd_protect(uffd, p, mts_page_size, true);
}

static bool is_watched(char *p)
{
	return pagemap_count(p, 1, PM_UFFD_WP) == 1;
}

static void prepare(enum kind kind, char *p, int *pipe_fd)
{
	int ret = 0;

	switch (kind) {
	case READ_ONLY:
		ret = mprotect(p, mts_page_size, PROT_READ);
		break;
	case NO_ACCESS:
		ret = mprotect(p, mts_page_size, PROT_NONE);
		break;
	case LOCKED:
		ret = mlock(p, mts_page_size);
		break;
	case LAZY:
		ret = madvise(p, mts_page_size, MADV_FREE);
		break;
	case SPLICED:
		splice_in(pipe_fd[1], p, mts_page_size);
		break;
	case WATCHED:
		watch(p);
		ret = !is_watched(p);
		break;
	default:
		break;
	}
	if (ret)
		mts_die(kind_name[kind]);
}

static bool still_right(enum kind kind, char *p)
{
	bool ok = true;

	if (kind == READ_ONLY || kind == NO_ACCESS) {
		ok &= access_fails(p, true);
		ok &= access_fails(p, false) == (kind == NO_ACCESS);
		if (mprotect(p, mts_page_size, PROT_RW))
			mts_die("mprotect");
	}
	if (kind == WATCHED) {
		ok &= is_watched(p);
		uffd_protect(uffd, p, mts_page_size, false);
	}
	if (kind == LAZY && mts_page_bad_word(p, 0) < 0)
		return ok;	/* reclaimed, as it may be */
	return ok && mts_data_ok(kind_name[kind], p, key_of(p));
}

/* The child keeps what it has until it hears from us, then looks at it */
static pid_t start_child(char **pages, size_t nr, int *fd)
{
	pid_t pid;
	size_t i;
	char byte;

	make_pipe(fd);
	pid = mts_fork();
	if (pid)
		return pid;
	if (read(fd[0], &byte, 1) != 1)
		_exit(1);
	for (i = 0; i < nr; i++)
		if (!mts_data_ok("child", pages[i], key_of(pages[i])))
			_exit(2);
	_exit(0);
}

static void test_kind(enum kind kind)
{
	char **pages = page_of + next_page;
	size_t i, moved = 0, bad = 0, held = 0;
	int pipe_fd[2], child_fd[2];
	size_t nr = PER_KIND;
	pid_t child = 0;
	char *buf;

	if (next_page + nr > nr_pages)
		nr = nr_pages - next_page;
	/* A pipe has room for 16 of them */
	if (kind == SPLICED && nr > 16)
		nr = 16;
	next_page += nr;
	make_pipe(pipe_fd);
	for (i = 0; i < nr; i++)
		prepare(kind, pages[i], pipe_fd);
	if (kind == FORKED)
		child = start_child(pages, nr, child_fd);

	for (i = 0; i < nr; i++) {
		u64 pfn = mts_pfn(pages[i]);
		int ret = take(pfn);

		moved += !ret && mts_pfn(pages[i]) != pfn;
		held += ret && mts_pfn(pages[i]) == pfn;
		bad += !ret && mts_pfn_in_storage(mts_pfn(pages[i])) &&
			mts_pfn(pages[i]) == pfn;
	}
	if (kind == SPLICED) {
		/* What the program writes now is what the reader gets */
		buf = malloc(mts_page_size);
		for (i = 0; i < nr; i++) {
			*(volatile u64 *)pages[i] += 1;
			if (read(pipe_fd[0], buf, mts_page_size) !=
			    (ssize_t)mts_page_size)
				mts_die("read");
			bad += memcmp(buf, pages[i], mts_page_size) != 0;
			*(volatile u64 *)pages[i] -= 1;
		}
		free(buf);
	}
	for (i = 0; i < nr; i++)
		bad += !still_right(kind, pages[i]);
	if (child) {
		for (i = 0; i < nr; i++)
			*(volatile u64 *)pages[i] += 1;
		if (write(child_fd[1], "", 1) != 1)
			mts_die("child");
		bad += !child_ok(child);
		close(child_fd[0]);
		close(child_fd[1]);
	}
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	ktap_result(!bad && nr && (kind == SPLICED ? held == nr : moved > nr / 2),
		    "%s: %zu of %zu moved, %zu held, %zu wrong", kind_name[kind],
		    moved, nr, held, bad);
}

/* ---- pages that programs use at that moment ---- */

static struct {
	char **pages;
	size_t nr;
	u64 *counts;
	volatile bool quit;
	u64 rounds[WRITERS + 1];
	size_t stale;
} race;

/* Each writer has a word of its own in each page */
static void *count_up(void *arg)
{
	size_t who = (size_t)arg, i;
	u64 seed = 77 + who;

	while (!race.quit) {
		i = mts_below(&seed, race.nr);
		++*(volatile u64 *)(race.pages[i] + 64 * (who + 1));
		race.counts[i * WRITERS + who]++;
		race.rounds[who]++;
	}
	return NULL;
}

/* While a page is in a pipe, what is written to it is seen there */
static void *splice_and_write(void *arg)
{
	u64 seed = 99, value;
	int fd[2];

	make_pipe(fd);
	while (!race.quit) {
		char *word = race.pages[mts_below(&seed, race.nr)] + 2048;

		splice_in(fd[1], word, sizeof(value));
		*(volatile u64 *)word = ++race.rounds[WRITERS];
		if (read(fd[0], &value, sizeof(value)) != sizeof(value))
			mts_die("read");
		race.stale += value != race.rounds[WRITERS];
	}
	close(fd[0]);
	close(fd[1]);
	return arg;
}

static void test_race(void)
{
	pthread_t thread[WRITERS + 1];
	size_t i, who, moved = 0, lost = 0;

	race.pages = page_of + next_page;
	race.nr = nr_pages - next_page;
	race.counts = calloc(race.nr * WRITERS + 1, sizeof(u64));
	if (!race.counts)
		mts_die("calloc");
	for (i = 0; i < race.nr; i++)
		memset(race.pages[i], 0, mts_page_size);
	for (who = 0; who <= WRITERS; who++)
		if (pthread_create(&thread[who], NULL, who < WRITERS ? count_up :
				   splice_and_write, (void *)who))
			mts_die("thread");
	for (i = 0; i < race.nr; i++) {
		u64 pfn = mts_pfn(race.pages[i]);

		moved += pfn && !take(pfn) && mts_pfn(race.pages[i]) != pfn;
	}
	race.quit = true;
	for (who = 0; who <= WRITERS; who++)
		pthread_join(thread[who], NULL);
	for (i = 0; i < race.nr; i++)
		for (who = 0; who < WRITERS; who++)
			lost += *(u64 *)(race.pages[i] + 64 * (who + 1)) !=
				race.counts[i * WRITERS + who];
	ktap_result(race.nr && moved > race.nr / 2 && !lost,
		    "written meanwhile: %zu of %zu moved, %llu and %llu writes, %zu pages wrong",
		    moved, race.nr, (unsigned long long)race.rounds[0],
		    (unsigned long long)race.rounds[1], lost);
	ktap_result(!race.stale, "in a pipe meanwhile: %llu times, %zu wrong",
		    (unsigned long long)race.rounds[WRITERS], race.stale);
	free(race.counts);
}

int main(void)
{
	enum kind kind;

	mts_need_mte();
	mts_load_regions();
	ktap_begin(KINDS + 3);
	if (!mts_online()) {
		for (kind = 0; kind < KINDS; kind++)
			ktap_skip("module not online", "%s", kind_name[kind]);
		ktap_skip("module not online", "written meanwhile");
		ktap_skip("module not online", "in a pipe meanwhile");
		ktap_skip("module not online", "the blocks are given back");
		return ktap_end();
	}
	mts_release();
	if (mts_grab_storage(&grab, WANTED))
		mts_die("no page in tag storage to be had");
	find_pages();
	for (kind = 0; kind < KINDS; kind++)
		test_kind(kind);
	test_race();
	munmap(grab.base, grab.pages * mts_page_size);
	ktap_result(!mts_release() && mts_blocks_add_up(),
		    "the blocks are given back");
	return ktap_end();
}
