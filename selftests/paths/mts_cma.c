// SPDX-License-Identifier: GPL-2.0
/*
 * The contract, and CMA areas that aren't tag storage (cma= on the command line):
 *
 * mts_cma fit	tagged memory uses them: as much fits as on the unmodified kernel
 * mts_cma busy	an area full of pages that became tagged late can be had back
 * mts_cma full	they are free, and tag storage is not: nothing moves there in vain
 */
#define _GNU_SOURCE
#include "mts_contract.h"

#define AREA		"/sys/kernel/debug/cma/reserved/"
/* One allocation of the device that owns the area */
#define PIECE		(SZ_2M / mts_page_size)
#define MIB_PAGES	((1UL << 20) / mts_page_size)
/*
 * Kept free for what can't use CMA areas, so that these stay free; pages in 2 s. With
 * 64K pages what the counters of CPUs are behind is more than an eighth of 32 MiB.
 */
#define FULL_KIB	((mts_page_size < 65536 ? 32LL : 128LL) << 10)
#define FULL_MOVED	512
#define DATA(i)		(0x636d61UL * 8 + (i) * 8)
#define TAGS(i)		(0x746167UL * 8 + (i) * 8)

static volatile u64 *steps;

/* ---- how much fits ---- */

/* A word and a tag of each page: it is much memory */
static void put(char *page, size_t i)
{
	*(volatile u64 *)page = DATA(i);
	mte_stg(mte_ptr(page, 1 + i % 15));
}

static bool page_ok(const char *page, size_t i)
{
	if (*(const volatile u64 *)page == DATA(i) &&
	    mte_ldg(page) == 1 + i % 15)
		return true;
	ktap_note("WRONG page %zu: word %#llx, tag %u", i,
		  (unsigned long long)*(const u64 *)page, mte_ldg(page));
	return false;
}

static void fit_child(size_t pages, bool late)
{
	size_t i, bad = 0;
	char *p;

	/* The first one to be killed, if one is */
	mts_write_file("/proc/self/oom_score_adj", "1000");
	p = mts_map(pages * mts_page_size, late ? PROT_RW : PROT_TAGGED,
		    MAP_NORESERVE, 0);
	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i++) {
		char *page = p + i * mts_page_size;

		if (late && i % MIB_PAGES == 0) {
			size_t n = pages - i < MIB_PAGES ? pages - i : MIB_PAGES;

			if (madvise(page, n * mts_page_size,
				    MADV_POPULATE_WRITE) ||
			    mprotect(page, n * mts_page_size, PROT_TAGGED))
				mts_die("mprotect");
		}
		put(page, i);
		++*steps;
	}
	for (i = 0; i < pages && bad < 4; i++, ++*steps)
		bad += !page_ok(p + i * mts_page_size, i);
	_exit(!!bad);
}

static void test_fit(const char *what, bool late)
{
	static long long lent = -1;
	long long kib;
	size_t pages, fit;
	pid_t pid;
	bool ok;

	/*
	 * Of what is free, but for tag storage, a hundredth, what page tables and
	 * the kernel itself need, and twice what it keeps free: so much stays free
	 * in CMA areas, too. That much fits without the module.
	 */
	if (lent < 0)
		lent = lent_bytes() >> 10;
	if (mts_online())
		mts_release();
	/* Pages on per-CPU lists don't count as free: this empties them */
	mts_write_file(AREA "alloc", "1");
	mts_write_file(AREA "free", "1");
	kib = mts_meminfo("MemFree") - lent;
	kib -= mts_meminfo("MemTotal") / 100 + 2 * min_free_kib() + (6 << 10);
	pages = kib * 1024 / mts_page_size;
	*steps = 0;
	pid = mts_fork();
	if (!pid)
		fit_child(pages, late);
	ok = watch_child(pid, steps, faults_allowed(pages));
	/* Each page has been tagged and looked at */
	fit = *steps < pages ? *steps : pages;
	ktap_result(ok && *steps == 2 * pages, "%s: %zu of %zu MiB", what,
		    fit / MIB_PAGES, pages / MIB_PAGES);
}

/* ---- an area that is wanted back ---- */

static u64 area_number(const char *name)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), AREA "%s", name);
	if (mts_read_file(path, text, sizeof(text)) <= 0)
		mts_die(path);
	return strtoull(text, NULL, 0);
}

static u64 base, count;

static bool in_area(u64 pfn)
{
	return pfn >= base && pfn < base + count;
}

/* Allocations of a device, up to @all; returns how many there were */
static size_t take_area(size_t all, long long *failed, long long limit)
{
	long long before = mts_vmstat("pgmigrate_fail");
	size_t i, got = 0;
	char text[32];

	*failed = 0;
	snprintf(text, sizeof(text), "%zu", PIECE);
	/* Enough is seen when too many pages did not move */
	for (i = 0; i < all && *failed <= limit; i++) {
		got += !mts_write_file(AREA "alloc", text);
		*failed = mts_vmstat("pgmigrate_fail") - before;
	}
	return got;
}

static void give_area(size_t got)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", got * PIECE);
	mts_write_file(AREA "free", text);
}

static void test_busy(void)
{
	size_t max, pages, i, j, in = 0, got, all, bad = 0, still = 0;
	long long failed, limit;
	struct mts_fill fill;
	u64 pfns[64];
	double start;
	bool *keep;
	char *p;

	base = area_number("base_pfn");
	count = area_number("count");
	limit = count / 16;
	/* The kernel itself has some of it, and files of the initramfs: these move */
	all = area_number("maxchunk") / PIECE;
	give_area(take_area(all, &failed, count));
	max = mts_meminfo("MemFree") * 1024 / mts_page_size;
	keep = calloc(max, sizeof(*keep));
	if (!keep)
		mts_die("calloc");
	p = mts_map(max * mts_page_size, PROT_RW, MAP_NORESERVE, 0);
	madvise(p, max * mts_page_size, MADV_NOHUGEPAGE);
	/*
	 * Until most of the area is in use, or memory is nearly full; what the
	 * kernel keeps free with large pageblocks is more than the area has
	 */
	mts_fill_begin(&fill);
	for (pages = 0; pages + 64 <= max && in < count * 7 / 8; pages += 64) {
		char *chunk = p + pages * mts_page_size;

		if (pages % 256 == 0 &&
		    mts_meminfo("MemFree") - mts_meminfo("CmaFree") < 4 << 10)
			break;
		if (madvise(chunk, 64 * mts_page_size, MADV_POPULATE_WRITE))
			mts_die("populate");
		mts_pfns(chunk, 64, pfns);
		for (j = 0; j < 64; j++) {
			keep[pages + j] = in_area(pfns[j]);
			in += keep[pages + j];
		}
	}
	for (i = 0; i < pages; i++) {
		char *page = p + i * mts_page_size;

		if (keep[i])
			mts_page_fill(page, DATA(i));
		else
			madvise(page, mts_page_size, MADV_DONTNEED);
	}
	mts_fill_end(&fill);
	if (mprotect(p, pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	for (i = 0; i < pages; i++) {
		if (!keep[i])
			continue;
		mts_page_tag(p + i * mts_page_size, TAGS(i));
		still += in_area(mts_pfn(p + i * mts_page_size));
	}
	start = mts_now();
	got = take_area(all, &failed, limit);
	ktap_note("%zu of %llu pages of the area were in use, %zu with tags; %.1f s",
		  in, (unsigned long long)count, still, mts_now() - start);
	ktap_result(in > count / 2 && still && all && got == all,
		    "an area full of pages that became tagged late: %zu of %zu pieces",
		    got, all);
	ktap_result(failed <= limit,
		    "%lld migrations of %zu pages failed meanwhile, at most %lld",
		    failed, still, limit);
	for (i = 0; i < pages && bad < 4; i++) {
		char *page = p + i * mts_page_size;

		if (!keep[i])
			continue;
		bad += !mts_data_ok("moved out", page, DATA(i));
		bad += !mts_tags_ok("moved out", page, TAGS(i));
	}
	if (mts_online())
		bad += mts_pages_untaggable("moved out", p, pages) > 0;
	ktap_result(!bad, "data and tags of %zu pages", in);
	give_area(got);
}

/* ---- an area that is free when tag storage is full ---- */

/* Pages that the kernel itself needs, and so other memory than CMA areas */
static void use_pipes(void)
{
	static char page[64 << 10];
	int pipes[2];

	make_pipe(pipes);
	if (write(pipes[1], page, mts_page_size) != (ssize_t)mts_page_size)
		mts_die("pipe");
	close(pipes[0]);
	close(pipes[1]);
}

static void test_full(void)
{
	long long kept = min_free_kib(), low = kept > FULL_KIB ? kept : FULL_KIB;
	size_t max = mts_meminfo("MemTotal") * 1024 / mts_page_size, i;
	long long other, moved;
	struct mts_grab grab;
	struct mts_fill fill;
	char text[32], *p;

	fill_storage(&grab, DATA(0));
	/*
	 * Else a list of a CPU takes 4 MiB at once whatever is left, and a boost
	 * lifts what is kept to what is free: that is out of memory
	 */
	mts_fill_begin(&fill);
	snprintf(text, sizeof(text), "%lld", low);
	mts_write_file("/proc/sys/vm/min_free_kbytes", text);
	p = mts_map(max * mts_page_size, PROT_RW, MAP_NORESERVE, 0);
	madvise(p, max * mts_page_size, MADV_NOHUGEPAGE);
	/* Less than kswapd wants (5/4), more than is kept (1), for what can't use CMA */
	for (i = 0; i < max; i++) {
		if (i * mts_page_size % (64 << 12) == 0 &&
		    mts_meminfo("MemFree") - mts_meminfo("CmaFree") < low * 9 / 8)
			break;
		p[i * mts_page_size] = 1;
	}
	use_pipes();
	sleep(1);
	moved = mts_vmstat("pgmigrate_success");
	for (i = 0; i < 20; i++) {
		use_pipes();
		usleep(100000);
	}
	moved = mts_vmstat("pgmigrate_success") - moved;
	other = mts_meminfo("MemFree") - mts_meminfo("CmaFree");
	ktap_note("%lld KiB of CMA areas and %lld KiB of other memory are free, %lld KiB are kept",
		  mts_meminfo("CmaFree"), other, low);
	/* With 64K pages areas are used up while that much is free: not what this is about */
	if (mts_page_size == 65536 && !mts_meminfo("CmaFree"))
		ktap_skip("for 4K pages", "tag storage is full, an area is free");
	else
		ktap_result(moved < FULL_MOVED && other < low * 5 / 4 &&
			    mts_meminfo("CmaFree") > (long long)(area_number("count") *
							mts_page_size >> 11),
			    "tag storage is full, an area is free: %lld pages move in 2 s, less than %d",
			    moved, FULL_MOVED);
	munmap(p, max * mts_page_size);
	mts_fill_end(&fill);
	ktap_result(fill_ok(&grab, DATA(0)), "data in tag storage");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "fit";

	mts_need_mte();
	mts_load_regions();
	if (access(AREA "alloc", W_OK)) {
		printf("KTAP version 1\n1..0 # SKIP no cma= on the command line\n");
		return KSFT_SKIP;
	}
	steps = shared_memory(mts_page_size);
	if (!strcmp(what, "busy")) {
		ktap_begin(3);
		test_busy();
	} else if (!strcmp(what, "full")) {
		ktap_begin(2);
		test_full();
	} else {
		ktap_begin(2);
		test_fit("PROT_MTE memory, ordinary CMA included", false);
		test_fit("the same, PROT_MTE by mprotect()", true);
	}
	return ktap_end();
}
