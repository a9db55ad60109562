// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints in code whose pages have tags: the kernel puts a copy in place of
 * each page, and takes it away again. Data and tags stay what they are, and all of
 * tag storage is in use for data meanwhile.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/stat.h>

#include "mts_paths.h"

#define TRACING		"/sys/kernel/tracing/"
#define EVENTS		TRACING "uprobe_events"
#define ENABLE		TRACING "events/mts/enable"
#define PROFILE		TRACING "uprobe_profile"
#define PATH		"/tmp/mts_code"
#define GRAB_SEED	0x7570726fUL
#define PAGES		32UL

#define INSN_NOP	0xd503201fU
#define INSN_RET	0xd65f03c0U

static int event(const char *fmt, size_t i)
{
	char text[128];
	int fd = open(EVENTS, O_WRONLY | O_APPEND | O_CLOEXEC), ret;

	snprintf(text, sizeof(text), fmt, i, i * mts_page_size);
	ret = fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

/* Breakpoints that were hit once, which is what running the code does */
static size_t hit_once(void)
{
	FILE *f = fopen(PROFILE, "re");
	unsigned long long hits;
	char line[256], name[64];
	size_t nr = 0;

	/* path name hits misses */
	while (f && fgets(line, sizeof(line), f))
		nr += sscanf(line, " %*s %63s %llu", name, &hits) == 2 && hits == 1;
	if (f)
		fclose(f);
	return nr;
}

/* 0 is a page that is being moved, for some milliseconds */
static u64 frame(const char *page)
{
	u64 pfn = mts_pfn(page);
	int tries;

	for (tries = 0; !pfn && tries < 1000; tries++) {
		usleep(1000);
		pfn = mts_pfn(page);
	}
	return pfn;
}

/* Pages that are copies, by their frames */
static size_t copies(const struct mts_buf *code, const struct mts_buf *file)
{
	size_t i, nr = 0;

	for (i = 0; i < PAGES; i++) {
		u64 pfn = frame(buf_page(code, i));

		nr += pfn && pfn != frame(buf_page(file, i));
	}
	return nr;
}

/* All but the first instructions */
static bool rest_ok(const char *what, const struct mts_buf *b, size_t i)
{
	static char want[65536];

	mts_page_fill(want, buf_key(b, i));
	if (memcmp(buf_page(b, i) + 8, want + 8, mts_page_size - 8)) {
		ktap_note("%s: page %zu has other data", what, i);
		return false;
	}
	return true;
}

static size_t check(const char *what, const struct mts_buf *b, bool run)
{
	size_t i, bad = 0;

	for (i = 0; i < PAGES && bad < 4; i++) {
		if (run)
			((void (*)(void))buf_page(b, i))();
		bad += !rest_ok(what, b, i);
		if (b->mte)
			bad += !mts_tags_ok(what, buf_page(b, i),
					    buf_key(b, i));
	}
	return bad;
}

static void test_probes(const char *what, const struct mts_buf *file, int fd,
			bool mte)
{
	int prot = PROT_READ | PROT_EXEC | (mte ? PROT_MTE : 0);
	struct mts_buf code = *file;
	size_t i, bad, hits, copied;

	code.mte = mte;
	code.p = mmap(NULL, PAGES * mts_page_size, prot, MAP_PRIVATE, fd, 0);
	if (code.p == MAP_FAILED)
		mts_die("mmap");
	bad = check(what, &code, true);
	for (i = 0; i < PAGES; i++)
		if (event("p:mts/u%zu " PATH ":%#zx\n", i))
			mts_die(EVENTS);
	if (mts_write_file(ENABLE, "1"))
		mts_die(ENABLE);
	bad += check("with breakpoints", &code, true);
	hits = hit_once();
	copied = copies(&code, file);
	if (hits != PAGES || copied != PAGES) {
		ktap_note("%s: of %lu breakpoints %zu were hit once, %zu pages are copies",
			  what, PAGES, hits, copied);
		bad++;
	}
	if (!mte) {
		/* What the copies have shows when it can be looked at */
		if (mprotect(code.p, PAGES * mts_page_size, prot | PROT_MTE))
			mts_die("mprotect");
		code.mte = true;
		bad += check("with breakpoints, later", &code, false);
	}
	bad += !buf_taggable(what, &code);
	if (mts_write_file(ENABLE, "0"))
		mts_die(ENABLE);
	for (i = 0; i < PAGES; i++)
		event("-:mts/u%zu\n", i);
	bad += check("without breakpoints", &code, true);
	bad += check("file", file, false);
	buf_unmap(&code);
	ktap_result(!bad, "%s", what);
}

int main(void)
{
	struct mts_buf file = { .pages = PAGES, .seed = 3, .tagged = true,
				.mte = true };
	struct mts_grab grab = { 0 };
	size_t i;
	int fd;

	mts_need_mte();
	mts_load_regions();
	if (access(EVENTS, W_OK)) {
		printf("KTAP version 1\n1..0 # SKIP no uprobes in this kernel\n");
		return KSFT_SKIP;
	}
	ktap_begin(4);
	if (mts_online()) {
		grab_storage(&grab);
		grab_fill(&grab, GRAB_SEED);
	}
	fd = open(PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (fd < 0 || ftruncate(fd, PAGES * mts_page_size))
		mts_die(PATH);
	file.p = mmap(NULL, PAGES * mts_page_size, PROT_TAGGED, MAP_SHARED, fd,
		      0);
	if (file.p == MAP_FAILED)
		mts_die("mmap");
	for (i = 0; i < PAGES; i++) {
		u32 *insn = (u32 *)buf_page(&file, i);

		buf_write(&file, i);
		insn[0] = INSN_NOP;
		insn[1] = INSN_RET;
		__builtin___clear_cache((char *)insn, (char *)(insn + 2));
	}
	test_probes("breakpoints in an MTE mapping", &file, fd, true);
	test_probes("breakpoints in another mapping of tagged pages", &file, fd,
		    false);
	grab_end(&grab, GRAB_SEED);
	return ktap_end();
}
