// SPDX-License-Identifier: GPL-2.0
/*
 * Nobody sees what another one has left in memory: no tags in what was tag storage,
 * no data in what is tag storage now, no tags on fresh pages. Looked at as programs
 * see it (anonymous memory, a file's holes, tags), and as it is in memory: by
 * /dev/mem, also what belongs to nobody.
 */
#define _GNU_SOURCE
#include "mts_paths.h"

/* As tags and as data: none of the two is ever 0, nor 8 bytes of anything else */
#define SECRET_TAG(granule)	((granule) & 1 ? 0xc : 0x6)
#define TAG_WORD		0xc6c6c6c6c6c6c6c6UL
#define DATA_WORD		0x5aa55aa55aa55aa5UL

/* Of memory, that is tagged */
#define SHARE			8
#define POLICY			MTS_DEBUGFS "/policy/"

static int mem = -1;

static void must_write(const char *path, const char *text)
{
	if (mts_write_file(path, text))
		mts_die(path);
}

static char *map_tagged(size_t pages)
{
	return mts_map(pages * mts_page_size, PROT_TAGGED, MAP_PRIVATE | MAP_ANONYMOUS, 0);
}

static void fill_words(char *p, size_t pages, u64 word)
{
	u64 *words = (u64 *)p;
	size_t i;

	for (i = 0; i < pages * mts_page_size / sizeof(u64); i++)
		words[i] = word;
}

static void fill_secret(char *p, size_t pages)
{
	size_t i;

	for (i = 0; i < pages * mts_page_granules; i++)
		mte_stg(mte_ptr(p + i * MTE_GRANULE, SECRET_TAG(i)));
	fill_words(p, pages, DATA_WORD);
}

/* Granules with a tag, of pages that are there */
static size_t tags_seen(const char *p, size_t pages)
{
	size_t i, seen = 0;

	for (i = 0; i < pages * mts_page_granules; i++)
		seen += mte_ldg(p + i * MTE_GRANULE) != 0;
	return seen;
}

static size_t not_zero(const char *page)
{
	const u64 *words = (const u64 *)page;
	size_t i, seen = 0;

	for (i = 0; i < mts_page_size / sizeof(u64); i++)
		seen += words[i] != 0;
	return seen;
}

/* Storage pages, by page frame; each once */
struct frames {
	u64 *pfn;
	size_t nr;
};

static void frames_of_storage(struct frames *f, const char *p, size_t pages)
{
	u64 last = 0, first, nr, pfns[256];
	size_t i, j, n;

	f->pfn = calloc(pages, sizeof(*f->pfn));
	f->nr = 0;
	if (!f->pfn)
		mts_die("calloc");
	for (i = 0; i < pages; i += n) {
		n = pages - i < 256 ? pages - i : 256;
		mts_pfns(p + i * mts_page_size, n, pfns);
		for (j = 0; j < n; j++) {
			first = pfns[j] ? storage_of(pfns[j], &nr) : 0;
			if (!first || first == last)
				continue;
			last = first;
			/* Blocks come in several runs; the same twice does no harm */
			for (; nr && f->nr < pages; nr--)
				f->pfn[f->nr++] = first++;
		}
	}
}

struct seen {
	size_t pages;		/* looked at */
	size_t words;		/* of them that are the secret */
	size_t unread;		/* the kernel doesn't map them now */
};

/* What is in memory, of pages whose block is in that state */
static struct seen look(const struct frames *f, const char *state, u64 word)
{
	struct mts_blocks *blocks = mts_blocks_read();
	static u64 page[65536 / sizeof(u64)];
	struct seen seen = {};
	const char *is;
	size_t i, j;

	for (i = 0; mem >= 0 && i < f->nr; i++) {
		is = mts_block_state(blocks, served_by(f->pfn[i]));
		if (!is || strcmp(is, state))
			continue;
		if (pread(mem, page, mts_page_size, f->pfn[i] * mts_page_size) !=
		    (ssize_t)mts_page_size) {
			seen.unread++;
			continue;
		}
		seen.pages++;
		for (j = 0; j < mts_page_size / sizeof(u64); j++)
			seen.words += page[j] == word;
	}
	mts_blocks_free(blocks);
	return seen;
}

static void result_seen(const char *what, struct seen seen)
{
	if (mem < 0)
		ktap_skip("/dev/mem can't be read", "%s", what);
	else
		ktap_result(seen.pages && !seen.words,
			    "%s: %zu words of it in %zu pages, %zu not mapped", what,
			    seen.words, seen.pages, seen.unread);
}

/* CONFIG_STRICT_DEVMEM and lockdown don't let anybody look at memory */
static void open_memory(void)
{
	char byte;

	mem = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	if (mem >= 0 && pread(mem, &byte, 1, mts_regions[0].start) != 1 &&
	    errno == EPERM) {
		close(mem);
		mem = -1;
	}
}

/* A file's holes, where tag storage is used first */
static void file_holes(size_t pages)
{
	size_t i, inside = 0, seen = 0;
	int fd = memfd_create("holes", 0);
	char *p;

	if (fd < 0 || ftruncate(fd, pages * mts_page_size))
		mts_die("memfd");
	p = mmap(NULL, pages * mts_page_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		mts_die("mmap");
	for (i = 0; i < pages; i++) {
		seen += not_zero(p + i * mts_page_size);
		inside += mts_pfn_in_storage(mts_pfn(p + i * mts_page_size));
	}
	ktap_result(!seen && inside, "holes of a file: %zu words, %zu pages in tag storage",
		    seen, inside);
	munmap(p, pages * mts_page_size);
	close(fd);
}

int main(void)
{
	struct mts_fill fill;
	size_t pages, i, seen, loud = 0;
	struct frames frames;
	struct mts_grab grab;
	char *p;

	mts_need_mte();
	mts_load_regions();
	if (!mts_online()) {
		printf("KTAP version 1\n1..0 # SKIP the module is not online\n");
		return KSFT_SKIP;
	}
	open_memory();
	ktap_begin(9);
	pages = mts_meminfo("MemTotal") * 1024 / mts_page_size / SHARE;

	/* Tags become data */
	p = map_tagged(pages);
	fill_secret(p, pages);
	frames_of_storage(&frames, p, pages);
	/* Can it be seen at all? Some of what is cached gets there meanwhile */
	usleep(2000000);
	loud = look(&frames, "reserved", TAG_WORD).words;
	if (mem < 0)
		ktap_skip("/dev/mem can't be read", "the secret is in memory");
	else
		ktap_result(loud > frames.nr * mts_page_size / sizeof(u64) / 16,
			    "while it is somebody's, the secret is in memory: %zu words",
			    loud);
	munmap(p, pages * mts_page_size);
	if (mts_release())
		mts_die("release");
	result_seen("old tags in released storage", look(&frames, "released", TAG_WORD));
	must_write(POLICY "data_use", "first");
	/* Not what is on per-CPU lists, where all that was freed may be */
	mts_fill_begin(&fill);
	file_holes(pages / 4);
	mts_fill_end(&fill);
	grab_storage(&grab);
	/* What is in a cache of tags gets to memory late */
	usleep(3000000);
	for (seen = i = 0; i < grab.pages; i++)
		if (mts_pfn_in_storage(mts_pfn(grab.base + i * mts_page_size)))
			seen += not_zero(grab.base + i * mts_page_size);
	ktap_result(!seen, "fresh memory, %zu pages in tag storage: %zu words", grab.nr, seen);
	result_seen("... and later", look(&frames, "released", TAG_WORD));
	free(frames.pfn);

	/* Data become tags */
	for (i = 0; i < grab.pages; i++)
		if (mts_pfn(grab.base + i * mts_page_size))
			fill_words(grab.base + i * mts_page_size, 1, DATA_WORD);
	munmap(grab.base, grab.pages * mts_page_size);
	p = map_tagged(pages);
	for (i = 0; i < pages; i++)
		p[i * mts_page_size] = 1;
	seen = tags_seen(p, pages);
	ktap_result(!seen, "tags of fresh memory whose storage was data: %zu", seen);
	frames_of_storage(&frames, p, pages);
	result_seen("old data in reserved storage", look(&frames, "reserved", DATA_WORD));
	free(frames.pfn);

	/* Tags become others' tags: the storage stays reserved */
	must_write(POLICY "release", "never");
	fill_secret(p, pages);
	munmap(p, pages * mts_page_size);
	p = map_tagged(pages);
	/* Touched by a store: what is only read is the page of zeroes */
	for (seen = i = 0; i < pages; i++) {
		*(volatile char *)(p + i * mts_page_size) = 0;
		seen += not_zero(p + i * mts_page_size);
	}
	ktap_result(!seen, "fresh memory where tags were: %zu words", seen);
	seen = tags_seen(p, pages);
	ktap_result(!seen, "tags of fresh memory where tags were: %zu", seen);
	munmap(p, pages * mts_page_size);
	must_write(POLICY "release", "lazy");
	must_write(POLICY "data_use", "balanced");
	return ktap_end();
}
