// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: large folios of shared memory that lie in tag storage become
 * part of a PROT_MTE mapping: every access ends, after a bounded number of
 * faults, reading and writing, also with memory full. And shared memory with
 * tags collapses to huge pages each time.
 */
#define _GNU_SOURCE
#include "mts_contract.h"

#define HUGE		(mts_huge_size / mts_page_size)
#define FILE_HUGE	4UL
#define KEY(i)		(0x73687468UL + (i) * 8 + 4)
#define TAGS(i)		(0x74616770UL + (i) * 8 + 4)
#define GRAB_SEED	0x73680000UL
#define COLLAPSES	6
/* So much is free when memory is full, KiB: another huge page, and the rest */
#define LEFT_KIB	((long long)(mts_huge_size >> 10) + (16 << 10))

static volatile u64 *steps;

/* Huge pages of a file: half of tag storage is left for other data */
static size_t file_huge(void)
{
	size_t half = ALIGN_UP(lent_bytes() / 2, mts_huge_size) / mts_huge_size;

	return !mts_online() || half > FILE_HUGE ? FILE_HUGE : half;
}

static void *map_file(int fd, size_t pages, int prot)
{
	size_t len = pages * mts_page_size;
	char *p = mts_map(len, PROT_NONE, MAP_NORESERVE, mts_huge_size);

	if (mmap(p, len, prot, MAP_SHARED | MAP_FIXED, fd, 0) != p)
		mts_die("mmap");
	return p;
}

static int make_file(size_t pages)
{
	int fd = memfd_create("mts", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, pages * mts_page_size))
		mts_die("memfd");
	return fd;
}

/* Page by page in a child that can be given up */
static bool access_all(char *p, size_t pages, const bool *wanted, size_t nr,
		       bool write)
{
	size_t i, bad = 0;
	pid_t pid;

	*steps = 0;
	pid = mts_fork();
	if (!pid) {
		for (i = 0; i < pages && bad < 4; i++) {
			char *page = p + i * mts_page_size;

			if (wanted && !wanted[i])
				continue;
			if (write)
				mts_page_tag(page, TAGS(i));
			bad += !mts_data_ok("large folio", page, KEY(i));
			bad += !mts_tags_ok("large folio", page,
					    write ? TAGS(i) : 0);
			++*steps;
		}
		_exit(!!bad);
	}
	return watch_child(pid, steps, faults_allowed(nr));
}

/* A file of large folios, of which some lie in tag storage, and where it is mapped */
static int file_in_storage(size_t pages, char **m, size_t *in)
{
	struct at_hand at;
	int fd, tries;
	size_t i;

	for (tries = 0;; tries++) {
		fd = make_file(pages);
		*m = map_file(fd, pages, PROT_RW);
		storage_first(&at);
		for (i = 0; i < pages; i++)
			mts_page_fill(*m + i * mts_page_size, KEY(i));
		storage_as_usual(&at);
		*in = in_storage(*m, pages);
		if (!mts_online() || *in >= pages / 8 || tries == 5)
			return fd;
		ktap_note("%zu of %zu pages in tag storage, CmaFree %lld KiB: again",
			  *in, pages, mts_meminfo("CmaFree"));
		munmap(*m, pages * mts_page_size);
		close(fd);
		/* A page in each huge page's place is enough: all out */
		if (mts_write_file(MTS_DEBUGFS "/state", "offline") ||
		    mts_write_file(MTS_DEBUGFS "/state", "online"))
			mts_die("state");
	}
}

static void test(const char *what, size_t folio, bool write)
{
	size_t pages = file_huge() * HUGE, i, in, folios;
	struct mts_grab grab;
	size_t bad = 0;
	char *m, *q;
	bool ok;
	int fd;

	fd = file_in_storage(pages, &m, &in);
	folios = mts_folios(m, pages * mts_page_size, folio);
	fill_storage(&grab, GRAB_SEED);
	q = map_file(fd, pages, write ? PROT_TAGGED : PROT_READ | PROT_MTE);
	ok = access_all(q, pages, NULL, pages, write);
	/* The mapping without tags, and all of them once more if that ended */
	for (i = 0; i < pages && bad < 4; i++)
		bad += !mts_data_ok("mapping without tags",
				    m + i * mts_page_size, KEY(i));
	if (ok && mts_pages_untaggable(what, q, pages) > 0)
		ok = false;
	ok &= !bad;
	munmap(q, pages * mts_page_size);
	munmap(m, pages * mts_page_size);
	close(fd);
	ok &= fill_ok(&grab, GRAB_SEED);
	if (mts_online() && !in) {
		ktap_note("no page in tag storage");
		ok = false;
	}
	/* Most of them: memory may be in pieces */
	if (folios < pages * mts_page_size / folio / 2) {
		ktap_note("%s: there are %zu", what, folios);
		ok = false;
	}
	ktap_result(ok, "%s, %s: %zu of %zu pages in tag storage", what,
		    write ? "written" : "read", in, pages);
}

/*
 * By default policy: a file of huge pages takes most of memory, and what of it
 * lies in tag storage is read in a PROT_MTE mapping.
 */
static void test_full(void)
{
	size_t max, pages, i, in = 0;
	struct mts_fill fill;
	long long huge;
	bool *wanted;
	char *m, *q;
	bool ok;
	int fd;

	mts_fill_begin(&fill);
	max = mts_meminfo("MemTotal") * 1024 / mts_huge_size * HUGE;
	fd = make_file(max);
	m = map_file(fd, max, PROT_RW);
	for (pages = 0; pages < max && mts_meminfo("MemFree") > LEFT_KIB;
	     pages += HUGE)
		for (i = pages; i < pages + HUGE; i++)
			mts_page_fill(m + i * mts_page_size, KEY(i));
	wanted = calloc(pages, sizeof(*wanted));
	if (!wanted)
		mts_die("calloc");
	for (i = 0; i < pages; i++) {
		wanted[i] = mts_online() ? in_storage(m + i * mts_page_size, 1) :
					   i % 64 == 0;
		in += wanted[i];
	}
	huge = mts_meminfo("ShmemHugePages");
	ktap_note("MemFree %lld KiB, huge pages of shared memory %lld KiB",
		  mts_meminfo("MemFree"), huge);
	q = map_file(fd, pages, PROT_TAGGED);
	ok = access_all(q, pages, wanted, in, false);
	munmap(q, pages * mts_page_size);
	munmap(m, max * mts_page_size);
	close(fd);
	free(wanted);
	mts_fill_end(&fill);
	if (huge << 10 < (long long)(pages * mts_page_size / 2)) {
		ktap_note("too few huge pages");
		ok = false;
	}
	/* As a huge page has with 4K pages; with 16K it is half of what is lent */
	if (mts_online() && in < 512) {
		ktap_note("too few pages in tag storage");
		ok = false;
	}
	ktap_result(ok, "memory full of huge pages, by default policy: %zu of %zu pages in tag storage",
		    in, pages);
}

/* Small pages with tags, in other data's tag storage, collapse each time */
static void test_collapse(void)
{
	int round, collapsed = 0, huge = 0;
	struct mts_grab grab;
	size_t i, bad = 0;

	fill_storage(&grab, GRAB_SEED);
	for (round = 0; round < COLLAPSES && !bad; round++) {
		long long before = mts_meminfo("ShmemHugePages");
		int fd = make_file(HUGE);
		char *q = map_file(fd, HUGE, PROT_TAGGED);

		for (i = 0; i < HUGE; i++) {
			mts_page_tag(q + i * mts_page_size, TAGS(i));
			mts_page_fill(q + i * mts_page_size, KEY(i));
		}
		if (collapse(q))
			ktap_note("round %d: MADV_COLLAPSE: %s", round,
				  strerror(errno));
		else
			collapsed++;
		huge += mts_meminfo("ShmemHugePages") > before;
		for (i = 0; i < HUGE && bad < 4; i++) {
			bad += !mts_data_ok("collapsed", q + i * mts_page_size,
					    KEY(i));
			bad += !mts_tags_ok("collapsed", q + i * mts_page_size,
					    TAGS(i));
		}
		if (mts_pages_untaggable("collapsed", q, HUGE) > 0)
			bad++;
		munmap(q, mts_huge_size);
		close(fd);
	}
	bad += !fill_ok(&grab, GRAB_SEED);
	ktap_result(!bad && collapsed == COLLAPSES && huge == COLLAPSES,
		    "MADV_COLLAPSE of shared memory with tags: %d of %d, %d huge pages",
		    collapsed, COLLAPSES, huge);
}

static void shmem_folios(const char *huge, const char *kib64)
{
	if (mts_write_file(THP "shmem_enabled", huge) ||
	    mts_write_file(THP "hugepages-64kB/shmem_enabled", kib64))
		mts_die("shmem_enabled");
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	if (!mts_huge_is_pmd()) {
		ktap_begin(1);
		ktap_skip("no huge page", "neither are 64 KiB a large folio");
		return ktap_end();
	}
	ktap_begin(6);
	mts_thp_enable();
	/* Also of shared memory, whatever shmem_enabled says */
	mts_khugepaged_rest();
	steps = shared_memory(mts_page_size);
	shmem_folios("never", "always");
	test("64 KiB folios", 65536, false);
	test("64 KiB folios", 65536, true);
	shmem_folios("force", "never");
	test("huge pages", mts_huge_size, false);
	test("huge pages", mts_huge_size, true);
	test_full();
	shmem_folios("never", "never");
	test_collapse();
	return ktap_end();
}
