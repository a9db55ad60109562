// SPDX-License-Identifier: GPL-2.0
/* Other kinds of memory: shared, swapped, in huge pages, protected, moved. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

static size_t bytes;
static int prot;

struct kind {
	const char *what[3];	/* names of the times */
	/* One pass, whose memory is at p, aligned to huge pages. Adds to ns, in that order. */
	void (*pass)(char *p, u64 ns[3]);
};

static void lap(u64 *from, u64 *sum)
{
	u64 now = bench_ns();

	*sum += now - *from;
	*from = now;
}

static void must_advise(char *p, int advice)
{
	if (madvise(p, bytes, advice))
		mts_die("madvise");
}

static void shared_pass(char *p, u64 ns[3])
{
	int fd = memfd_create("bench", 0);
	u64 t;

	if (fd < 0 || ftruncate(fd, bytes) ||
	    mmap(p, bytes, prot, MAP_SHARED | MAP_FIXED, fd, 0) != p)
		mts_die("memfd");
	t = bench_ns();
	bench_touch(p, bytes);
	lap(&t, &ns[0]);
	must_advise(p, MADV_DONTNEED);
	t = bench_ns();
	bench_touch(p, bytes);
	lap(&t, &ns[1]);
	if (ftruncate(fd, 0))
		mts_die("memfd");
	lap(&t, &ns[2]);
	close(fd);
}

static void swap_pass(char *p, u64 ns[3])
{
	u64 t;
	size_t i;

	must_advise(p, MADV_NOHUGEPAGE);
	bench_touch(p, bytes);
	/* Each one another content, that zram does not keep as a number */
	for (i = 0; i < bytes; i += 256)
		memcpy(p + i, &i, sizeof(i));
	t = bench_ns();
	must_advise(p, MADV_PAGEOUT);
	lap(&t, &ns[0]);
	bench_touch(p, bytes);
	lap(&t, &ns[1]);
}

static void huge_pass(char *p, u64 ns[3])
{
	u64 t;

	must_advise(p, MADV_HUGEPAGE);
	t = bench_ns();
	bench_touch(p, bytes);
	lap(&t, &ns[0]);
	munmap(p, bytes);
	lap(&t, &ns[1]);
}

static void collapse_pass(char *p, u64 ns[3])
{
	u64 t;

	must_advise(p, MADV_NOHUGEPAGE);
	bench_touch(p, bytes);
	must_advise(p, MADV_HUGEPAGE);
	t = bench_ns();
	must_advise(p, MADV_COLLAPSE);
	lap(&t, &ns[0]);
	/* Maps them by entries */
	if (mprotect(p + mts_page_size, bytes - 2 * mts_page_size, prot & ~PROT_WRITE))
		mts_die("mprotect");
	lap(&t, &ns[1]);
}

static void protect_pass(char *p, u64 ns[3])
{
	u64 t;

	must_advise(p, MADV_NOHUGEPAGE);
	bench_touch(p, bytes);
	t = bench_ns();
	if (mprotect(p, bytes, prot & ~PROT_WRITE) || mprotect(p, bytes, prot))
		mts_die("mprotect");
	lap(&t, &ns[0]);
	bench_touch(p, bytes);
	lap(&t, &ns[1]);
	if (mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p - bytes) != p - bytes)
		mts_die("mremap");
	lap(&t, &ns[2]);
}

static const struct {
	const char *name;
	struct kind kind;
} kinds[] = {
	{ "shared", { { "touch", "again", "truncate" }, shared_pass } },
	{ "swap", { { "out", "in" }, swap_pass } },
	{ "huge", { { "touch", "munmap" }, huge_pass } },
	{ "collapse", { { "collapse", "mprotect" }, collapse_pass } },
	{ "protect", { { "mprotect", "write", "mremap" }, protect_pass } },
};

/* kind NAME PROT MIB PASSES: the mean of all passes but the first, ns per (small) page */
int kind_main(int argc, char **argv)
{
	const struct kind *kind = NULL;
	size_t passes, pass, pages, i, align = MIB(2);
	u64 ns[3] = { 0 };

	for (i = 0; argc > 3 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(argv[0], kinds[i].name))
			kind = &kinds[i].kind;
	if (!kind)
		mts_die("kind NAME PROT MIB PASSES");
	prot = bench_prot(argv[1]);
	bytes = MIB(bench_number(argv[2]));
	/* Collapsed is to what a PMD maps, 32 MiB with 16K pages; other huge pages have 2 MiB */
	if (kind->pass == collapse_pass)
		align = mts_huge_size;
	if (bytes < align)
		bytes = align;
	pages = bytes / mts_page_size;
	passes = bench_number(argv[3]);
	bench_folios("2m");
	for (pass = 0; pass < passes; pass++) {
		char *map = bench_map(2 * bytes + align, prot);
		char *p = (char *)ALIGN_UP((u64)map + bytes, align);

		if (pass == 1)
			memset(ns, 0, sizeof(ns));
		kind->pass(p, ns);
		munmap(map, 2 * bytes + align);
	}
	bench_folios(NULL);
	for (i = 0; i < 3 && kind->what[i]; i++)
		bench_say(kind->what[i], 1.0 * ns[i] / pages / (passes - 1));
	return 0;
}
