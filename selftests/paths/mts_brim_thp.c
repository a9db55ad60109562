// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: huge pages of ordinary memory that lie in tag storage; then
 * memory fills up with small pages, so that no huge page can move any more; then
 * they become PROT_MTE. Every page gets its tags somewhere, after a bounded number
 * of faults.
 */
#define _GNU_SOURCE
#include "mts_contract.h"

#define HUGE		(mts_huge_size / mts_page_size)
#define HUGE_KIB	((long long)(mts_huge_size >> 10))
/* Less to spare with pages of 4K, as all is smaller */
#define SPARE_KIB(n)	((n) * (long long)(mts_page_size >> 12))
#define MIN_FREE	"/proc/sys/vm/min_free_kbytes"
#define KEY(i)		(0x6272696dUL * 8 + (i) * 8)
#define TAGS(i)		(0x74616773UL * 8 + (i) * 8)
#define REST(i)		(0x72657374UL * 8 + (i) * 8)

static volatile u64 *steps;

/*
 * In a process that has the memory to itself, and that can be given up. It is
 * made there, since fork() would copy.
 */
static size_t take_huge(char **huge, size_t nr, const char *when)
{
	size_t pages = nr * HUGE, i;

	*huge = mts_map(nr * mts_huge_size, PROT_RW, MAP_NORESERVE, mts_huge_size);
	madvise(*huge, nr * mts_huge_size, MADV_HUGEPAGE);
	data_use(when);
	for (i = 0; i < pages; i++, ++*steps)
		mts_page_fill(*huge + i * mts_page_size, KEY(i));
	data_use("balanced");
	return in_storage(*huge, pages);
}

/* Small pages until no more than that is free; how many there are */
static size_t fill_until(char *p, size_t from, size_t max, long long kib)
{
	size_t i;

	while (from + 64 < max && mts_meminfo("MemFree") > kib) {
		for (i = 0; i < 64; i++, from++)
			mts_page_fill(p + from * mts_page_size, REST(from));
		++*steps;
	}
	return from;
}

static size_t tag_all(char *huge, size_t pages)
{
	size_t i, bad = 0;

	if (mprotect(huge, pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	for (i = 0; i < pages && bad < 4; i++) {
		char *page = huge + i * mts_page_size;

		bad += !mts_data_ok("was huge", page, KEY(i));
		bad += !mts_tags_ok("was huge", page, 0);
		mts_page_tag(page, TAGS(i));
		++*steps;
	}
	for (i = 0; i < pages && bad < 4; i++, ++*steps) {
		char *page = huge + i * mts_page_size;

		bad += !mts_data_ok("tagged", page, KEY(i));
		bad += !mts_tags_ok("tagged", page, TAGS(i));
	}
	return bad + (mts_pages_untaggable("was huge", huge, pages) > 0);
}

/*
 * The default policy takes tag storage when memory is low, so small pages come
 * first, and the huge ones out of the last of it. With data_use=first the huge
 * ones lie there at once.
 */
static void test(bool first, size_t nr, long long full_kib)
{
	size_t max = mts_meminfo("MemTotal") * 1024 / mts_page_size;
	volatile u64 *in = steps + 1;
	bool ok;
	pid_t pid;

	*steps = 0;
	*in = 0;
	pid = mts_fork();
	if (!pid) {
		size_t i, bad, rest = 0, folios;
		char *huge, *p;

		p = mts_map(max * mts_page_size, PROT_RW, MAP_NORESERVE, 0);
		madvise(p, max * mts_page_size, MADV_NOHUGEPAGE);
		if (!first)
			rest = fill_until(p, 0, max,
					  SPARE_KIB(12 << 10) + (nr + 1) * HUGE_KIB);
		*in = take_huge(&huge, nr, first ? "first" : "balanced");
		folios = mts_folios(huge, nr * mts_huge_size, mts_huge_size);
		rest = fill_until(p, rest, max, full_kib);
		ktap_note("huge %lld KiB, MemFree %lld KiB, CmaFree %lld KiB",
			  mts_meminfo("AnonHugePages"), mts_meminfo("MemFree"),
			  mts_meminfo("CmaFree"));
		bad = tag_all(huge, nr * HUGE);
		if (folios < nr) {
			ktap_note("%zu huge pages of %zu", folios, nr);
			bad++;
		}
		for (i = 0; i < rest && bad < 4; i++, ++*steps)
			bad += !mts_data_ok("the rest", p + i * mts_page_size,
					    REST(i));
		_exit(!!bad);
	}
	ok = watch_child(pid, steps, faults_allowed(nr * HUGE));
	if (mts_online() && first && !*in) {
		ktap_note("no page in tag storage");
		ok = false;
	}
	ktap_result(ok, "%zu huge pages, %s: %llu of %zu pages in tag storage",
		    nr, first ? "put into tag storage" : "by default policy",
		    (unsigned long long)*in, nr * HUGE);
}

int main(void)
{
	struct mts_fill fill;

	mts_need_mte();
	mts_load_regions();
	ktap_begin(2);
	mts_thp_enable();
	steps = shared_memory(mts_page_size);
	/* With huge pages the kernel keeps more free than there is tag storage */
	mts_fill_begin(&fill);
	mts_write_file(MIN_FREE, "3000");
	/* Watermarks may be higher by a pageblock for a while */
	test(true, 4, (34 << 10) + HUGE_KIB);
	test(false, 5, SPARE_KIB(7000) + HUGE_KIB);
	mts_fill_end(&fill);
	return ktap_end();
}
