// SPDX-License-Identifier: GPL-2.0
/*
 * The oracle: memory full of known data, tags coming and going in it.
 *
 * Three kinds of processes work at once on all CPUs:
 *
 *  data     own untagged regions (anonymous, tmpfs, page cache of a file
 *           system). Every page holds a function of (seed, owner, page,
 *           generation). They verify, rewrite, drop and refill them.
 *  keeper   one process that fills memory to the brim now and then and keeps
 *           only the pages that lie in tag storage. This is what makes sure
 *           that a tag written without a reservation hits known data.
 *  tag      own tagged regions, made in all the ways a program can. Every
 *           granule's tag and every word's value is known.
 *
 * A wrong byte or tag is reported with its address, page frame, expected and
 * actual value, and the test fails. It also fails if it proved nothing: no
 * tagged page made, or, with the module online, no data in tag storage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mts_test.h"

#define MAX_WORKERS	64
#define MAX_TREGIONS	64
#define MAX_BAD		8	/* a worker that saw so many has seen enough */
#define MANY_BAD	256	/* wrong tags, where wrong data is waited for */
#define MIN_OPS		100	/* of the tag workers, all together */
#define CHUNK		128UL	/* pages looked at in one go */

enum mode {
	/* data */
	M_ANON, M_TMPFS, M_CACHE, M_KEEPER,
	/* ways to make tagged memory */
	M_TOUCH, M_MPROTECT, M_THP, M_MTHP, M_SHM,
	/* what happens to it then */
	M_FORK, M_KILL, M_MUNMAP, M_MREMAP, M_DONTNEED, M_CHECK, M_SPLIT,
	NR_MODES
};

static const char * const mode_names[NR_MODES] = {
	[M_ANON] = "anon", [M_TMPFS] = "tmpfs", [M_CACHE] = "cache",
	[M_KEEPER] = "keeper", [M_TOUCH] = "touch", [M_MPROTECT] = "mprotect",
	[M_THP] = "thp", [M_MTHP] = "mthp", [M_SHM] = "shm",
	[M_FORK] = "fork", [M_KILL] = "kill", [M_MUNMAP] = "munmap",
	[M_MREMAP] = "mremap", [M_DONTNEED] = "dontneed",
	[M_CHECK] = "check", [M_SPLIT] = "split",
};

static struct {
	double seconds;
	int threads;
	int mem_percent;
	int tagged_percent;
	u64 seed;
	u32 modes;
	const char *dir;
	const char *until;
	const char *lock;
	char inject;		/* 'd' or 't': one wrong word or tag */
	bool go_on;		/* wrong tags end nobody soon */
} opt = {
	.seconds = 10,
	.mem_percent = 60,
	.tagged_percent = 4,
	.seed = 1,
	/* Splitting on demand is opt-in: see mts_split.c for the reason. */
	.modes = ((1U << NR_MODES) - 1) & ~(1U << M_SPLIT),
};

static bool has_mode(enum mode m)
{
	return opt.modes & (1U << m);
}

/* Written by its worker only, read by all. */
struct counters {
	u64 pages;		/* data pages compared */
	u64 granules;		/* tags compared */
	u64 bad_data;
	u64 bad_tags;
	u64 in_storage;		/* times a data page was seen in tag storage */
	u64 tagged;		/* pages that got tags */
	u64 untaggable;		/* tagged pages where no tag may be */
	u64 checks;		/* real tag checks */
	u64 bad_checks;
	u64 ops[NR_MODES];
	bool parked;
	bool done;
} __attribute__((aligned(64)));

static struct shared {
	volatile bool stop;
	volatile bool park;	/* the keeper wants the memory for itself */
	volatile u64 kept;	/* pages of the keeper in tag storage, now */
	volatile u64 kept_max;
	volatile u64 fills;
	volatile u64 evicted;	/* kept pages that were moved out */
	struct counters c[MAX_WORKERS];
} *sh;

static struct counters *me;
static int my_id;
static u64 rnd;

static size_t data_pages_each, tagged_pages_each;

static bool too_bad(void)
{
	return me->bad_data >= MAX_BAD ||
	       me->bad_data + me->bad_tags >= (opt.go_on ? MANY_BAD : MAX_BAD);
}

static bool enough(void)
{
	return sh->stop || too_bad();
}

static void park(void)
{
	while (sh->park && !sh->stop) {
		me->parked = true;
		usleep(2000);
	}
	me->parked = false;
}

static bool check_data(const char *what, const void *page, u64 key)
{
	me->pages++;
	if (mts_data_ok(what, page, key))
		return true;
	me->bad_data++;
	return false;
}

/* Another eighth of the tags each time, or all of them. */
static bool check_tags(const char *what, const void *page, u64 key, bool all)
{
	if (all) {
		me->granules += mts_page_granules;
	} else {
		me->granules += mts_page_granules / 8;
		if (mts_page_bad_granule_step(page, key,
					      mts_below(&rnd, 8), 8) < 0)
			return true;
	}
	if (mts_tags_ok(what, page, key))
		return true;
	me->bad_tags++;
	return false;
}

/* ---- data ---- */

struct dregion {
	enum mode kind;
	int fd;
	char *base;
	size_t pages;
	u32 *gen;
};

static u64 data_key(const struct dregion *r, size_t page)
{
	u64 gen = r->gen[page];

	return gen ? mts_mix3(opt.seed, (u64)my_id << 32 | page,
			      (u64)r->kind << 32 | gen) | 1 : 0;
}

static void dregion_fill(struct dregion *r, size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++) {
		r->gen[i]++;
		mts_page_fill(r->base + i * mts_page_size, data_key(r, i));
	}
}

static void dregion_verify(struct dregion *r, size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n && !(me->bad_data >= MAX_BAD); i++)
		check_data(mode_names[r->kind], r->base + i * mts_page_size,
			   data_key(r, i));
	me->ops[r->kind] += n;
}

static void dregion_count(struct dregion *r, size_t first, size_t n)
{
	u64 pfns[CHUNK];
	size_t i;

	mts_pfns(r->base + first * mts_page_size, n, pfns);
	for (i = 0; i < n; i++)
		me->in_storage += mts_pfn_in_storage(pfns[i]);
}

/* Lets go of the pages, and gets back what must be there then. */
static void dregion_drop(struct dregion *r, size_t first, size_t n)
{
	char *p = r->base + first * mts_page_size;
	size_t len = n * mts_page_size;

	switch (r->kind) {
	case M_CACHE:
		/* The file system has it: the same contents, other pages. */
		msync(p, len, MS_SYNC);
		madvise(p, len, MADV_DONTNEED);
		posix_fadvise(r->fd, first * mts_page_size, len,
			      POSIX_FADV_DONTNEED);
		dregion_verify(r, first, n);
		return;
	case M_TMPFS:
		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      first * mts_page_size, len))
			return;
		break;
	default:
		if (madvise(p, len, MADV_DONTNEED))
			return;
	}
	dregion_fill(r, first, n);
}

static bool dregion_make(struct dregion *r, enum mode kind, size_t pages)
{
	size_t len = pages * mts_page_size;
	char name[256];

	memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->pages = pages;
	r->fd = -1;
	r->gen = calloc(pages, sizeof(*r->gen));
	if (!r->gen)
		mts_die("calloc");
	if (kind == M_ANON) {
		r->base = mts_map(len, PROT_RW, MAP_NORESERVE, 0);
		madvise(r->base, len, MADV_NOHUGEPAGE);
		return true;
	}
	if (kind == M_TMPFS) {
		r->fd = memfd_create("mts-oracle", MFD_CLOEXEC);
	} else {
		snprintf(name, sizeof(name), "%s/mts-oracle.%d", opt.dir,
			 my_id);
		r->fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
			     0600);
		unlink(name);
	}
	if (r->fd < 0)
		mts_die(mode_names[kind]);
	if (kind == M_CACHE ? posix_fallocate(r->fd, 0, len) :
	    ftruncate(r->fd, len)) {
		close(r->fd);
		free(r->gen);
		return false;
	}
	r->base = mmap(NULL, len, PROT_RW, MAP_SHARED, r->fd, 0);
	if (r->base == MAP_FAILED)
		mts_die("mmap");
	return true;
}

static void data_worker(void)
{
	static const enum mode kinds[] = { M_ANON, M_TMPFS, M_CACHE };
	struct dregion r[ARRAY_SIZE(kinds)];
	size_t i, nr = 0, want = 0, first, n;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		want += has_mode(kinds[i]) && (kinds[i] != M_CACHE || opt.dir);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t pages = data_pages_each / want;

		if (!has_mode(kinds[i]) || (kinds[i] == M_CACHE && !opt.dir))
			continue;
		if (kinds[i] == M_CACHE) {
			struct statfs fs;
			size_t room;

			/* Half of what the file system has, for all of us. */
			if (statfs(opt.dir, &fs))
				continue;
			room = (u64)fs.f_bavail * fs.f_bsize / 2 /
			       mts_page_size / opt.threads;
			if (pages > room)
				pages = room;
		}
		if (pages && dregion_make(&r[nr], kinds[i], pages))
			nr++;
	}
	for (i = 0; i < nr; i++)
		for (first = 0; first < r[i].pages && !sh->stop; first += n) {
			park();
			n = r[i].pages - first;
			if (n > CHUNK)
				n = CHUNK;
			dregion_fill(&r[i], first, n);
		}
	if (nr && my_id == 0 && opt.inject == 'd')
		((u64 *)r[0].base)[5] ^= 1UL << 17;
	while (nr && !enough()) {
		struct dregion *d = &r[mts_below(&rnd, nr)];

		park();
		first = mts_below(&rnd, d->pages);
		n = d->pages - first;
		if (n > CHUNK)
			n = CHUNK;
		n = 1 + mts_below(&rnd, n);
		dregion_verify(d, first, n);
		switch (mts_below(&rnd, 8)) {
		case 0:
		case 1:
			dregion_fill(d, first, n);
			break;
		case 2:
			dregion_drop(d, first, n);
			break;
		case 3:
			dregion_count(d, first, n);
			break;
		}
	}
	for (i = 0; i < nr; i++)
		for (first = 0; first < r[i].pages; first += n) {
			n = r[i].pages - first;
			if (n > CHUNK)
				n = CHUNK;
			dregion_verify(&r[i], first, n);
			dregion_count(&r[i], first, n);
		}
}

/* ---- the keeper ---- */

struct keeper {
	char *base;
	size_t pages;
	u32 *gen;		/* 0: not kept */
	u32 next_gen;
	size_t kept;
};

static u64 keeper_key(const struct keeper *k, size_t page)
{
	return mts_mix3(opt.seed, ~page, k->gen[page]) | 1;
}

static void keeper_verify(struct keeper *k)
{
	u64 pfns[CHUNK];
	size_t i, j, n, in = 0;

	for (i = 0; i < k->pages; i += n) {
		n = k->pages - i < CHUNK ? k->pages - i : CHUNK;
		for (j = 0; j < n && !k->gen[i + j]; j++)
			;
		if (j == n)
			continue;
		for (j = i; j < i + n; j++) {
			if (!k->gen[j])
				continue;
			if (me->bad_data >= MAX_BAD)
				return;
			check_data("keeper", k->base + j * mts_page_size,
				   keeper_key(k, j));
			me->ops[M_KEEPER]++;
		}
		mts_pfns(k->base + i * mts_page_size, n, pfns);
		for (j = 0; j < n; j++)
			in += k->gen[i + j] && mts_pfn_in_storage(pfns[j]);
	}
	me->in_storage += in;
	sh->kept = in;
	if (in > sh->kept_max)
		sh->kept_max = in;
}

/* Pages of the keeper which left tag storage are of no use any more. */
static void keeper_sort(struct keeper *k)
{
	size_t page = mts_page_size, i, j, n, drop = 0;
	u64 pfns[CHUNK];

	k->kept = 0;
	for (i = 0; i < k->pages; i += n) {
		n = k->pages - i < CHUNK ? k->pages - i : CHUNK;
		if (mts_pfns(k->base + i * page, n, pfns))
			mts_die("pagemap");
		for (j = 0; j < n; j++) {
			char *p = k->base + (i + j) * page;

			if (!mts_pfn_in_storage(pfns[j])) {
				if (k->gen[i + j]) {
					check_data("keeper, moved out", p,
						   keeper_key(k, i + j));
					sh->evicted++;
				}
				k->gen[i + j] = 0;
				drop++;
				continue;
			}
			/* A run of pages that are of no use ends here. */
			if (drop)
				madvise(p - drop * page, drop * page,
					MADV_DONTNEED);
			drop = 0;
			k->kept++;
			if (k->gen[i + j])
				continue;
			k->gen[i + j] = ++k->next_gen;
			mts_page_fill(p, keeper_key(k, i + j));
		}
		if (drop)
			madvise(k->base + (i + n - drop) * page, drop * page,
				MADV_DONTNEED);
		drop = 0;
	}
}

/*
 * Pages of what there is room for that stay free: per-CPU lists hold pages that
 * the others, who go on then, can't use, and nothing can be reclaimed.
 */
#define KEEPER_MARGIN	(SZ_2M / mts_page_size)

static void keeper_fill(struct keeper *k)
{
	struct mts_balloon balloon;
	size_t i, n, room = 0;
	int w;

	sh->park = true;
	for (w = 0; w < MAX_WORKERS; w++)
		while (&sh->c[w] != me && !sh->c[w].parked &&
		       !sh->c[w].done && !sh->stop)
			usleep(1000);
	mts_balloon_inflate(&balloon);
	for (i = 0; i < k->pages && !sh->stop; i += n) {
		char *p = k->base + i * mts_page_size;
		size_t j;

		/* Looking costs more than filling. */
		if (!room) {
			room = mts_fill_room();
			room -= room < KEEPER_MARGIN ? room : KEEPER_MARGIN;
		}
		n = k->pages - i < CHUNK ? k->pages - i : CHUNK;
		if (n > room)
			n = room;
		if (!n)
			break;
		room -= n;
		/* Write faults on all; what is there keeps its contents. */
		if (!madvise(p, n * mts_page_size, MADV_POPULATE_WRITE))
			continue;
		for (j = 0; j < n; j++)
			if (!k->gen[i + j])
				*(volatile char *)(p + j * mts_page_size) = 0;
	}
	mts_balloon_deflate(&balloon);
	keeper_sort(k);
	sh->fills++;
	sh->park = false;
	keeper_verify(k);
}

static void lock_file(void)
{
	int fd;

	do {
		fd = open(opt.lock, O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (fd < 0 && errno != EEXIST)
			mts_die(opt.lock);
		if (fd < 0)
			usleep(5000);
	} while (fd < 0 && !sh->stop);
	if (fd >= 0)
		close(fd);
}

static void keeper_worker(void)
{
	struct keeper k = { 0 };
	struct mts_fill fill;
	double next = 0;

	mts_fill_begin(&fill);
	k.pages = mts_meminfo("MemTotal") * 1024 / mts_page_size;
	k.gen = calloc(k.pages, sizeof(*k.gen));
	if (!k.gen)
		mts_die("calloc");
	k.base = mts_map(k.pages * mts_page_size, PROT_RW, MAP_NORESERVE, 0);
	madvise(k.base, k.pages * mts_page_size, MADV_NOHUGEPAGE);
	while (!enough()) {
		if (mts_now() >= next) {
			double start, took;

			/* Full memory must not become less than it is. */
			if (opt.lock)
				lock_file();
			start = mts_now();
			keeper_fill(&k);
			if (opt.lock)
				unlink(opt.lock);
			took = mts_now() - start;
			ktap_note("keeper: %zu pages, %.2f s", k.kept, took);
			next = mts_now() + (took > 1 ? took * 1.5 : 1.5);
		}
		keeper_verify(&k);
		usleep(20000);
	}
	keeper_verify(&k);
	sh->evicted += k.kept - sh->kept;
	mts_fill_end(&fill);
}

/* ---- tags ---- */

struct tpage {
	u32 tgen;		/* 0: tags never set, all 0 */
	u32 dgen;		/* 0: never written, all 0 */
	bool mapped;
	bool mte;
};

struct tregion {
	enum mode kind;
	char *base;
	size_t pages;
	u32 id;
	int fd;
	bool whole;		/* one mapping with one protection */
	struct tpage *page;
};

static struct tregion tr[MAX_TREGIONS];
static int nr_tr;
static size_t tr_pages;
static u32 next_id, next_gen;
static bool in_child;

static u64 tag_key(const struct tregion *r, size_t i)
{
	u32 gen = r->page[i].tgen;

	/* The two low bits choose the instruction: see mts_page_tag(). */
	return gen ? mts_mix3(opt.seed ^ 0x7461,
			      (u64)my_id << 32 | r->id,
			      (u64)i << 32 | gen) | 4 : 0;
}

static u64 tdata_key(const struct tregion *r, size_t i)
{
	u32 gen = r->page[i].dgen;

	return gen ? mts_mix3(opt.seed ^ 0x6461,
			      (u64)my_id << 32 | r->id,
			      (u64)i << 32 | gen) | 1 : 0;
}

static char *tpage(const struct tregion *r, size_t i)
{
	return r->base + i * mts_page_size;
}

static void tag_page(struct tregion *r, size_t i)
{
	u64 key;

	r->page[i].tgen = ++next_gen;
	key = tag_key(r, i);
	mts_page_tag(tpage(r, i), key);
	if (key & 2)
		r->page[i].dgen = 0;	/* STZG wrote zeros */
	me->tagged++;
	if (mts_below(&rnd, 4)) {
		r->page[i].dgen = next_gen;
		mts_page_fill(tpage(r, i), tdata_key(r, i));
	}
}

static void data_page(struct tregion *r, size_t i)
{
	r->page[i].dgen = ++next_gen;
	mts_page_fill(tpage(r, i), tdata_key(r, i));
}

static void tregion_verify(const char *what, struct tregion *r, bool all)
{
	size_t i;

	for (i = 0; i < r->pages && !too_bad(); i++) {
		if (!r->page[i].mapped)
			continue;
		check_data(what, tpage(r, i), tdata_key(r, i));
		if (r->page[i].mte)
			check_tags(what, tpage(r, i), tag_key(r, i), all);
	}
}

static void tregion_free(int n)
{
	struct tregion *r = &tr[n];
	size_t i;

	for (i = 0; i < r->pages; i++)
		if (r->page[i].mapped)
			munmap(tpage(r, i), mts_page_size);
	if (r->fd >= 0)
		close(r->fd);
	tr_pages -= r->pages;
	free(r->page);
	tr[n] = tr[--nr_tr];
}

static void tag_some(struct tregion *r)
{
	u64 density = 1 + mts_below(&rnd, 4);
	size_t i;

	for (i = 0; i < r->pages; i++)
		if (r->page[i].mapped && r->page[i].mte &&
		    mts_below(&rnd, 4) < density)
			tag_page(r, i);
}

static void tregion_make(enum mode kind)
{
	size_t i, first, n, len, align = 0, pages;
	struct tregion *r = &tr[nr_tr];
	int prot = PROT_TAGGED;
	bool later = false;

	switch (kind) {
	case M_THP:
		pages = mts_huge_size / mts_page_size;
		align = mts_huge_size;
		later = mts_below(&rnd, 3) == 0;
		break;
	case M_MTHP:
		pages = 64 + mts_below(&rnd, 128);
		align = 65536;
		later = mts_below(&rnd, 4) == 0;
		break;
	default:
		pages = 1 + mts_below(&rnd, mts_below(&rnd, 4) ? 64 : 400);
		later = kind == M_MPROTECT ||
			(kind == M_SHM && mts_below(&rnd, 2));
	}
	if (pages + tr_pages > tagged_pages_each || nr_tr == MAX_TREGIONS)
		return;
	len = pages * mts_page_size;
	memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->id = ++next_id;
	r->fd = -1;
	r->pages = pages;
	r->whole = true;
	r->page = calloc(pages, sizeof(*r->page));
	if (!r->page)
		mts_die("calloc");
	if (later)
		prot = PROT_RW;
	if (kind == M_SHM) {
		r->fd = memfd_create("mts-oracle-tagged", MFD_CLOEXEC);
		if (r->fd < 0 || ftruncate(r->fd, len))
			mts_die("memfd");
		r->base = mmap(NULL, len, prot, MAP_SHARED, r->fd, 0);
		if (r->base == MAP_FAILED)
			mts_die("mmap");
	} else {
		r->base = mts_map(len, prot, 0, align);
	}
	madvise(r->base, len, kind == M_THP || kind == M_MTHP ?
		MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++) {
		r->page[i].mapped = true;
		r->page[i].mte = !later;
	}
	nr_tr++;
	tr_pages += pages;
	me->ops[kind]++;
	if (!later) {
		tag_some(r);
		return;
	}
	/* Populated memory, all or a part of it becomes tagged afterwards. */
	for (i = 0; i < pages; i++)
		if (mts_below(&rnd, 4))
			data_page(r, i);
	first = mts_below(&rnd, 2) ? mts_below(&rnd, pages) : 0;
	n = mts_below(&rnd, 2) ? 1 + mts_below(&rnd, pages - first) :
	    pages - first;
	if (mprotect(tpage(r, first), n * mts_page_size, PROT_TAGGED)) {
		ktap_note("mprotect(PROT_MTE): %s", strerror(errno));
		return;
	}
	r->whole = n == pages;
	for (i = first; i < first + n; i++)
		r->page[i].mte = true;
	tregion_verify("after mprotect", r, false);
	tag_some(r);
}

static void tregion_hole(struct tregion *r, bool unmap)
{
	size_t first = mts_below(&rnd, r->pages), i;
	size_t n = 1 + mts_below(&rnd, r->pages - first);

	if (unmap)
		r->whole = false;
	if (!unmap && r->fd >= 0 &&
	    fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      first * mts_page_size, n * mts_page_size))
		return;
	for (i = first; i < first + n; i++) {
		r->page[i].tgen = 0;
		r->page[i].dgen = 0;
		/* An older hole may be somebody else's memory by now. */
		if (!r->page[i].mapped)
			continue;
		if (unmap) {
			munmap(tpage(r, i), mts_page_size);
			r->page[i].mapped = false;
		} else if (r->fd < 0) {
			madvise(tpage(r, i), mts_page_size, MADV_DONTNEED);
		}
	}
}

static void tregion_move(struct tregion *r)
{
	size_t len = r->pages * mts_page_size;
	char *to, *got;

	if (!r->whole)
		return;
	to = mts_map(len, PROT_NONE, MAP_NORESERVE,
		     r->kind == M_THP && mts_below(&rnd, 2) ? mts_huge_size : 0);
	got = mremap(r->base, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (got == MAP_FAILED) {
		munmap(to, len);
		return;
	}
	r->base = got;
}

static void tag_ops(int n);

/* A child with a copy of everything: its changes must stay its own. */
static void tag_fork(bool killed)
{
	struct timespec ts = { .tv_nsec = 1000 * (1 + mts_below(&rnd, 30000)) };
	int status, i;
	pid_t pid;

	pid = fork();
	if (pid < 0) {
		usleep(1000);
		return;
	}
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		in_child = true;
		rnd = mts_mix(rnd ^ 0x6b6964);
		/* What it writes must not look like what the parent writes. */
		next_gen += 1U << 30;
		/*
		 * Shared memory is not copied: the parent goes on writing it.
		 */
		for (i = nr_tr - 1; i >= 0; i--)
			if (tr[i].kind == M_SHM)
				tregion_free(i);
		if (killed) {
			/* Faults and frees until the parent has enough. */
			for (;;)
				tag_ops(1);
		}
		for (i = 0; i < nr_tr; i++) {
			tregion_verify("child", &tr[i], false);
			tag_some(&tr[i]);
		}
		tag_ops(2);
		for (i = 0; i < nr_tr; i++)
			tregion_verify("child, own", &tr[i], false);
		_exit(0);
	}
	if (killed) {
		nanosleep(&ts, NULL);
		kill(pid, SIGKILL);
	} else {
		for (i = 0; i < nr_tr; i++)
			if (mts_below(&rnd, 2))
				tag_some(&tr[i]);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!killed && status) {
		ktap_note("child of worker %d: status %#x", my_id, status);
		me->bad_checks++;
	}
}

static void tag_check(struct tregion *r)
{
	size_t i = mts_below(&rnd, r->pages);
	size_t g = mts_below(&rnd, mts_page_granules);
	const char *p = tpage(r, i) + g * MTE_GRANULE;
	unsigned int tag;
	int good, bad;

	if (!r->page[i].mapped || !r->page[i].mte)
		return;
	tag = mts_tag_of(tag_key(r, i), g);
	good = mts_checked_load(p, tag);
	bad = mts_checked_load(p, tag ^ (1 + mts_below(&rnd, 15)));
	me->checks++;
	if (good == 0 && bad == SEGV_MTESERR)
		return;
	me->bad_checks++;
	ktap_note("WRONG CHECK: address %p pfn %#llx tag %u: load with this tag gave %d, with another %d",
		  (void *)p, (unsigned long long)mts_pfn(p), tag, good, bad);
}

static void tag_split(struct tregion *r)
{
	char text[96];

	snprintf(text, sizeof(text), "%d,%#llx,%#llx,0", getpid(),
		 (unsigned long long)r->base,
		 (unsigned long long)tpage(r, r->pages));
	mts_write_file("/sys/kernel/debug/split_huge_pages", text);
}

static enum mode pick(enum mode from, enum mode to)
{
	enum mode m;

	do {
		m = from + mts_below(&rnd, to - from + 1);
	} while (!has_mode(m));
	return m;
}

static void tag_ops(int n)
{
	while (n-- && !enough()) {
		u64 dice = mts_below(&rnd, 100);
		struct tregion *r;
		enum mode m;
		int i;

		if (nr_tr == 0 || dice < 25) {
			tregion_make(pick(M_TOUCH, M_SHM));
			continue;
		}
		i = mts_below(&rnd, nr_tr);
		r = &tr[i];
		if (dice < 45) {
			tregion_verify(mode_names[r->kind], r,
				       mts_below(&rnd, 4) == 0);
			tregion_free(i);
			continue;
		}
		if (dice < 65) {
			tregion_verify(mode_names[r->kind], r, false);
			tag_some(r);
			continue;
		}
		m = pick(M_FORK, M_SPLIT);
		if ((m == M_FORK || m == M_KILL) && in_child)
			continue;
		me->ops[m]++;
		switch (m) {
		case M_FORK:
			tag_fork(false);
			break;
		case M_KILL:
			tag_fork(true);
			break;
		case M_MUNMAP:
			tregion_hole(r, true);
			break;
		case M_DONTNEED:
			tregion_hole(r, false);
			break;
		case M_MREMAP:
			tregion_move(r);
			break;
		case M_SPLIT:
			tag_split(r);
			break;
		default:
			tag_check(r);
			continue;
		}
		tregion_verify(mode_names[m], r, false);
	}
}

static void tag_worker(void)
{
	double next = 0;
	int i;

	while (!enough()) {
		park();
		tag_ops(1);
		/* One snapshot of all blocks now and then: it isn't cheap. */
		if (nr_tr && mts_now() > next) {
			struct tregion *r = &tr[mts_below(&rnd, nr_tr)];
			size_t first = mts_below(&rnd, r->pages);

			/* Only pages that do have tags have to be taggable. */
			if (r->page[first].mapped && r->page[first].tgen &&
			    mts_pages_untaggable("oracle", tpage(r, first),
						 1) > 0)
				me->untaggable++;
			next = mts_now() + 0.2;
		}
	}
	/* Those that there are by chance may all be without tags, or none */
	if (opt.inject == 't') {
		while (nr_tr)
			tregion_free(0);
		while (!nr_tr)
			tregion_make(M_TOUCH);
	}
	for (i = 0; i < nr_tr && opt.inject == 't'; i++)
		if (tr[i].page[0].mapped && tr[i].page[0].mte)
			mte_stg(mte_ptr(tr[i].base + 48,
					~mte_ldg(tr[i].base + 48) & 0xf));
	for (i = 0; i < nr_tr; i++)
		tregion_verify("at the end", &tr[i], true);
	while (nr_tr)
		tregion_free(0);
}

/* ---- main ---- */

static pid_t spawn(int id, void (*work)(void), int cpu)
{
	pid_t pid;

	sh->c[id].done = false;
	pid = mts_fork();
	if (pid)
		return pid;
	my_id = id;
	me = &sh->c[id];
	rnd = mts_mix(opt.seed * 0x10001 + id);
	if (cpu >= 0)
		mts_pin(cpu);
	work();
	me->done = true;
	_exit(0);
}

static void usage(void)
{
	fprintf(stderr,
		"usage: mts_oracle [--seconds=N] [--threads=N] [--mem-percent=N]\n"
		"                  [--tagged-percent=N] [--seed=N] [--modes=a,b,..|-a,-b,..]\n"
		"                  [--dir=DIR of a file system with a page cache]\n"
		"                  [--until=FILE: end early, when it is gone]\n"
		"                  [--lock=FILE: a lock file, there while memory is filled]\n"
		"                  [--inject=data|tag: one wrong word or tag]\n"
		"                  [--go-on: until data is wrong, too]\n"
		"modes:");
	for (int i = 0; i < NR_MODES; i++)
		fprintf(stderr, " %s", mode_names[i]);
	fprintf(stderr, "\n");
	exit(2);
}

static void parse_modes(char *list)
{
	char *word, *save;
	u32 add = 0, del = 0;

	/* '+' is as good as ',': the kernel command line needs the comma. */
	for (word = strtok_r(list, ",+", &save); word;
	     word = strtok_r(NULL, ",+", &save)) {
		bool minus = *word == '-';
		int i;

		for (i = 0; i < NR_MODES; i++)
			if (!strcmp(word + minus, mode_names[i]))
				break;
		if (i == NR_MODES)
			usage();
		*(minus ? &del : &add) |= 1U << i;
	}
	opt.modes = (add ? add : opt.modes) & ~del;
	/* A tag worker needs a way to make memory and one to use it. */
	if (!(opt.modes >> M_TOUCH & ((1U << (M_SHM - M_TOUCH + 1)) - 1)))
		opt.modes |= 1U << M_TOUCH;
	if (!(opt.modes >> M_FORK))
		opt.modes |= 1U << M_CHECK;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "mem-percent", required_argument, NULL, 'm' },
		{ "tagged-percent", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 'r' },
		{ "modes", required_argument, NULL, 'o' },
		{ "dir", required_argument, NULL, 'd' },
		{ "until", required_argument, NULL, 'u' },
		{ "lock", required_argument, NULL, 'l' },
		{ "inject", required_argument, NULL, 'i' },
		{ "go-on", no_argument, NULL, 'g' },
		{ NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 's':
			opt.seconds = atof(optarg);
			break;
		case 't':
			opt.threads = atoi(optarg);
			break;
		case 'm':
			opt.mem_percent = atoi(optarg);
			break;
		case 'p':
			opt.tagged_percent = atoi(optarg);
			break;
		case 'r':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			parse_modes(optarg);
			break;
		case 'd':
			opt.dir = optarg;
			break;
		case 'u':
			opt.until = optarg;
			break;
		case 'l':
			opt.lock = optarg;
			break;
		case 'i':
			opt.inject = optarg[0];
			break;
		case 'g':
			opt.go_on = true;
			break;
		default:
			usage();
		}
	}
	if (!opt.threads)
		opt.threads = mts_cpus();
	if (opt.threads > MAX_WORKERS / 2 - 1)
		opt.threads = MAX_WORKERS / 2 - 1;
	if (optind != argc || opt.mem_percent < 1 || opt.mem_percent > 90 ||
	    opt.tagged_percent < 1 ||
	    opt.mem_percent + opt.tagged_percent > 90 || opt.seconds < 1)
		usage();
}

/* How often tagged memory was made, or something done to it. */
static u64 tag_operations(void)
{
	u64 sum = 0;
	int i, j;

	for (i = 0; i < MAX_WORKERS; i++)
		for (j = M_TOUCH; j < NR_MODES; j++)
			sum += *(volatile u64 *)&sh->c[i].ops[j];
	return sum;
}

int main(int argc, char **argv)
{
	long long base_reserved, peak_reserved, min_cma, v, cma_total;
	long long base_fast, base_slow, base_released, left;
	struct counters sum = { 0 };
	pid_t pids[MAX_WORKERS];
	int i, j, nr = 0, crashed = 0, status;
	double began = mts_now(), start, last = 0, now;
	bool online;
	u64 pages;

	mts_need_mte();
	parse(argc, argv);
	mts_thp_enable();
	mts_mthp_enable(64);
	mts_load_regions();
	sh = mmap(NULL, sizeof(*sh), PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1,
		  0);
	if (sh == MAP_FAILED)
		mts_die("mmap");
	for (i = 0; i < MAX_WORKERS; i++)
		sh->c[i].done = true;

	ktap_begin(9);
	online = mts_online();
	if (online)
		mts_release();
	base_reserved = mts_stat("blocks_reserved");
	peak_reserved = base_reserved;
	base_fast = mts_stat("reserve_fast");
	base_slow = mts_stat("reserve_slow");
	base_released = mts_stat("released");
	cma_total = mts_meminfo("CmaTotal");
	min_cma = mts_meminfo("CmaFree");

	pages = mts_meminfo("MemAvailable") * 1024 / mts_page_size;
	data_pages_each = pages * opt.mem_percent / 100 / opt.threads;
	tagged_pages_each = pages * opt.tagged_percent / 100 / opt.threads;
	/* Forks double it, and a tag costs more time than a byte. */
	tagged_pages_each /= 2;
	if (tagged_pages_each > 6000)
		tagged_pages_each = 6000;
	if (tagged_pages_each < 64)
		tagged_pages_each = 64;
	ktap_note("seed %llu, %d CPUs, %d + %d workers, %zu data and %zu tagged pages each, module %s, cache %s",
		  (unsigned long long)opt.seed, mts_cpus(), opt.threads,
		  opt.threads, data_pages_each, tagged_pages_each,
		  online ? "online" : "not online", opt.dir ?: "none");

	if (has_mode(M_ANON) || has_mode(M_TMPFS) ||
	    (has_mode(M_CACHE) && opt.dir))
		for (i = 0; i < opt.threads; i++, nr++)
			pids[nr] = spawn(nr, data_worker, i);
	for (i = 0; i < opt.threads; i++, nr++)
		pids[nr] = spawn(nr, tag_worker, i);
	if (online && has_mode(M_KEEPER)) {
		pids[nr] = spawn(nr, keeper_worker, -1);
		nr++;
	}

	/*
	 * The time counts from when memory is full; a busy machine gets more
	 * of it, as a run with few tags proves little.
	 */
	start = mts_now();
	for (;;) {
		now = mts_now();
		if (online && has_mode(M_KEEPER) && !sh->fills &&
		    now < began + 120)
			start = now;
		if (now > start + opt.seconds &&
		    (tag_operations() >= MIN_OPS ||
		     now > start + 4 * opt.seconds))
			break;
		usleep(100000);
		if (opt.until && access(opt.until, F_OK))
			break;
		if (!online)
			continue;
		v = mts_stat("blocks_reserved");
		if (v > peak_reserved)
			peak_reserved = v;
		v = mts_meminfo("CmaFree");
		if (v < min_cma)
			min_cma = v;
		/* Blocks have to come back all the time, not once. */
		if (now - last > 1) {
			mts_release();
			last = now;
		}
	}
	sh->stop = true;
	for (i = 0; i < nr; i++) {
		while (waitpid(pids[i], &status, 0) < 0 && errno == EINTR)
			;
		if (status) {
			ktap_note("worker %d ended with status %#x", i, status);
			crashed++;
		}
	}
	for (i = 0; i < nr; i++) {
		struct counters *c = &sh->c[i];

		sum.pages += c->pages;
		sum.granules += c->granules;
		sum.bad_data += c->bad_data;
		sum.bad_tags += c->bad_tags;
		sum.in_storage += c->in_storage;
		sum.tagged += c->tagged;
		sum.untaggable += c->untaggable;
		sum.checks += c->checks;
		sum.bad_checks += c->bad_checks;
		for (j = 0; j < NR_MODES; j++)
			sum.ops[j] += c->ops[j];
	}
	for (j = 0; j < NR_MODES; j++)
		if (has_mode(j))
			ktap_note("%s %llu", mode_names[j],
				  (unsigned long long)sum.ops[j]);
	if (online) {
		ktap_note("blocks reserved: %lld before, at most %lld; reservations fast %lld slow %lld; released %lld",
			  base_reserved, peak_reserved,
			  mts_stat("reserve_fast") - base_fast,
			  mts_stat("reserve_slow") - base_slow,
			  mts_stat("released") - base_released);
		ktap_note("CMA: %lld KiB, at least %lld KiB free; keeper: %llu fills, at most %llu pages in tag storage, %llu moved out of it",
			  cma_total, min_cma, (unsigned long long)sh->fills,
			  (unsigned long long)sh->kept_max,
			  (unsigned long long)sh->evicted);
	}

	ktap_result(!sum.bad_data, "data intact: %llu pages compared, %llu wrong",
		    (unsigned long long)sum.pages,
		    (unsigned long long)sum.bad_data);
	ktap_result(!sum.bad_tags, "tags intact: %llu granules compared, %llu wrong pages",
		    (unsigned long long)sum.granules,
		    (unsigned long long)sum.bad_tags);
	ktap_result(!sum.bad_checks, "tag checks and children: %llu checks, %llu wrong",
		    (unsigned long long)sum.checks,
		    (unsigned long long)sum.bad_checks);
	ktap_result(sum.tagged > 0, "pages got tags: %llu",
		    (unsigned long long)sum.tagged);
	ktap_result(!crashed, "all %d workers ended in order", nr);
	if (!online) {
		ktap_skip("module not online", "data lived in tag storage");
		ktap_skip("module not online", "tagged pages are taggable");
		ktap_skip("module not online", "blocks were reserved");
		ktap_skip("module not online", "blocks were given back");
		return ktap_end();
	}
	if (!sum.in_storage && !has_mode(M_KEEPER))
		ktap_skip("by chance none did, without the keeper",
			  "data lived in tag storage");
	else
		ktap_result(sum.in_storage > 0,
			    "data lived in tag storage: %llu sightings",
			    (unsigned long long)sum.in_storage);
	ktap_result(!sum.untaggable, "tagged pages are taggable: %llu not",
		    (unsigned long long)sum.untaggable);
	ktap_result(peak_reserved > base_reserved,
		    "blocks were reserved: %lld at the peak, %lld before",
		    peak_reserved, base_reserved);
	if (!mts_online()) {
		ktap_skip("module not online any more",
			  "blocks were given back");
		return ktap_end();
	}
	/*
	 * A data block that got pages which can't be moved stays reserved
	 * while they live; most blocks have none. Other programs beside us may
	 * still be ending.
	 */
	for (i = 0; i < 50; i++) {
		if (i)
			usleep(200000);
		status = mts_release();
		left = mts_stat("blocks_reserved");
		if (left - base_reserved <= (peak_reserved - base_reserved) / 2)
			break;
		ktap_note("release pass %d: status %d, %lld blocks left", i,
			  status, left);
	}
	ktap_result(left - base_reserved <= (peak_reserved - base_reserved) / 2,
		    "blocks were given back: %lld left, %lld before, %lld at the peak",
		    left, base_reserved, peak_reserved);
	return ktap_end();
}
