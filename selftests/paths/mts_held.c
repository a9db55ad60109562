// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: tag storage that somebody holds. Pages there are in pipes that
 * nobody reads: what they serve can't have tags, and is free. Programs with tags
 * find the rest. Huge pages of hugetlbfs there, in use and in the pool, are
 * replaced one by one; none gets lost, and going offline goes on.
 */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "mts_contract.h"
#include "mts_uring.h"

#define PIPES		128UL
#define PIPE_PAGES	16UL
/* At most half of tag storage, which has fewer pages where these are large */
#define HELD		(nr_pipes * PIPE_PAGES)
#define HELD_SEED	0x68656c64UL
/* Left beside other data and what the kernel keeps free, and how much gets tags */
#define BESIDE_LEFT	(120UL << 20)
#define BESIDE_TAGGED	(60UL << 20)
#define PLACE_PAGES	48000UL
#define COPY_PINNED	64UL
#define NR_HUGE		"/proc/sys/vm/nr_hugepages"
#define HUGE_BYTES	(128UL << 20)
#define KEY(i)		(0x6b6579UL * 8 + (i) * 8)

static volatile u64 *steps;
static int pipes[PIPES][2];
static size_t nr_pipes = PIPES;

/* One word and one tag of each page */
static void touch(char *page, size_t i)
{
	*(volatile u64 *)page = KEY(i);
	mte_stg(mte_ptr(page, i % 15 + 1));
}

static bool touched(const char *page, size_t i)
{
	return *(volatile const u64 *)page == KEY(i) &&
	       mte_ldg(page) == i % 15 + 1;
}

/* In a process of its own: all that it has is gone afterwards */
static void test_tagged(const char *how, size_t others, size_t pages, bool late)
{
	size_t len = pages * mts_page_size, i, bad = 0;
	pid_t pid;

	*steps = 0;
	pid = mts_fork();
	if (!pid) {
		char *p = mts_map(len, late ? PROT_RW : PROT_TAGGED, 0, 0);
		struct mts_buf b = { 0 };

		if (others) {
			buf_map(&b, others, PROT_RW, 0);
			b.seed = HELD_SEED + 1;
			for (i = 0; i < others; i++, ++*steps)
				buf_write(&b, i);
		}
		madvise(p, len, MADV_NOHUGEPAGE);
		for (i = 0; late && i < pages; i++)
			p[i * mts_page_size] = 1;
		if (late && mprotect(p, len, PROT_TAGGED))
			mts_die("mprotect");
		for (i = 0; i < pages; i++, ++*steps)
			touch(p + i * mts_page_size, i);
		for (i = 0; i < pages; i++)
			bad += !touched(p + i * mts_page_size, i);
		bad += mts_pages_untaggable(how, p, pages) > 0;
		bad += buf_bad("others", &b);
		_exit(!!bad);
	}
	ktap_result(watch_child(pid, steps, faults_allowed(pages)),
		    "%s: %zu pages", how, pages);
}

/*
 * The same for copies: fork that has to copy, as the memory is pinned by io_uring, and
 * copy-on-write after a fork
 */
static void test_copies(size_t pages)
{
	size_t len = pages * mts_page_size, i, bad = 0;
	struct mts_buf pinned = { 0 };
	struct ring ring;
	struct iovec iov;
	pid_t pid, child;
	int status;

	*steps = 0;
	pid = mts_fork();
	if (!pid) {
		char *p = mts_map(len, PROT_TAGGED, 0, 0);

		madvise(p, len, MADV_NOHUGEPAGE);
		for (i = 0; i < pages; i++, ++*steps)
			touch(p + i * mts_page_size, i);
		buf_map(&pinned, COPY_PINNED, PROT_TAGGED, 0);
		pinned.mte = true;
		buf_fill(&pinned, HELD_SEED, true);
		iov = (struct iovec){ pinned.p, pinned.pages * mts_page_size };
		if (!ring_make(&ring) || !ring_pin(&ring, &iov, 1))
			mts_die("io_uring");
		child = fork();
		if (!child) {
			for (i = 0; i < pages; i++, ++*steps) {
				bad += !touched(p + i * mts_page_size, i);
				touch(p + i * mts_page_size, i + 1);
			}
			for (i = 0; i < pages; i++)
				bad += !touched(p + i * mts_page_size, i + 1);
			bad += buf_bad("copied by fork", &pinned);
			_exit(!!bad);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			_exit(2);
		for (i = 0; i < pages; i++)
			bad += !touched(p + i * mts_page_size, i);
		bad += buf_bad("pinned", &pinned);
		_exit(!!bad);
	}
	ktap_result(watch_child(pid, steps, faults_allowed(3 * pages)),
		    "copies of %zu pages, and of %lu by fork", pages, COPY_PINNED);
}

static void test_pipes(void)
{
	struct rlimit files = { 4 * PIPES, 4 * PIPES };
	size_t pages, others, i, in, bad = 0;
	struct mts_buf held, got;
	struct at_hand at;

	setrlimit(RLIMIT_NOFILE, &files);
	storage_first(&at);
	buf_map(&held, HELD, PROT_RW, 0);
	buf_fill(&held, HELD_SEED, false);
	in = in_storage(held.p, HELD);
	for (i = 0; i < nr_pipes; i++) {
		make_pipe(pipes[i]);
		splice_in(pipes[i][1], buf_page(&held, i * PIPE_PAGES),
			  PIPE_PAGES * mts_page_size);
	}
	buf_unmap(&held);
	storage_as_usual(&at);
	ktap_note("%zu of %zu pages in pipes are in tag storage", in, HELD);

	/* Others lie where tags could be, and have to go where they can't */
	pages = BESIDE_TAGGED / mts_page_size;
	others = (mts_meminfo("MemFree") - min_free_kib()) * 1024 - BESIDE_LEFT;
	test_tagged("beside other data", others / mts_page_size, pages, false);
	if (mts_online())
		mts_release();
	/* What was freed may be on per-CPU lists, which get shorter every second */
	for (i = 0; i < 100; i++) {
		pages = mts_meminfo("MemFree") * 1024 / mts_page_size;
		if (pages >= HELD * 40)
			break;
		usleep(100000);
	}
	if (pages < HELD * 40)
		mts_die("memory");
	/* No more than what the rest of tag storage serves */
	pages = (pages - HELD * 32) / 2;
	test_tagged("first touch", 0, pages, false);
	test_tagged("PROT_MTE late", 0, pages, true);

	buf_map(&got, HELD, PROT_RW, 0);
	got.seed = HELD_SEED;
	for (i = 0; i < nr_pipes; i++) {
		ssize_t len = PIPE_PAGES * mts_page_size;

		bad += read(pipes[i][0], buf_page(&got, i * PIPE_PAGES), len) != len;
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	bad += buf_bad("in the pipes", &got);
	ktap_result(!bad && (!mts_online() || in > HELD / 2),
		    "data in the pipes");
	buf_unmap(&got);
}

static bool set_huge(size_t nr)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", nr);
	return !mts_write_file(NR_HUGE, text);
}

static bool huge_offline(void)
{
	if (!mts_online())
		return true;
	return !mts_write_file(MTS_DEBUGFS "/state", "offline") &&
	       !mts_write_file(MTS_DEBUGFS "/state", "online");
}

static void test_huge(void)
{
	size_t size = mts_meminfo("Hugepagesize") * 1024, pages, bad = 0;
	size_t nr = HUGE_BYTES / size, used = nr / 2, in;
	struct mts_buf b = { .seed = HELD_SEED };
	struct at_hand at;
	bool ok;

	storage_first(&at);
	if (!nr || !set_huge(nr) || mts_meminfo("HugePages_Total") != (long long)nr)
		mts_die("huge pages");
	b.pages = used * size / mts_page_size;
	b.p = mmap(NULL, used * size, PROT_RW,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (b.p == MAP_FAILED)
		mts_die("MAP_HUGETLB");
	buf_fill(&b, HELD_SEED, false);
	in = in_storage(b.p, b.pages);
	ktap_note("%zu pages of huge pages in use are in tag storage", in);
	ktap_result(mprotect(b.p, size, PROT_TAGGED) && errno == EINVAL,
		    "PROT_MTE of huge pages of hugetlbfs: EINVAL");
	storage_as_usual(&at);

	pages = mts_meminfo("MemFree") * 1024 / mts_page_size * 8 / 10;
	test_tagged("beside huge pages of hugetlbfs", 0, pages, false);
	bad += buf_bad("huge pages", &b);
	ok = huge_offline();
	bad += buf_bad("huge pages, offline", &b);
	ktap_result(!bad && ok && (in || !mts_online()) &&
		    mts_meminfo("HugePages_Total") == (long long)nr &&
		    mts_meminfo("HugePages_Free") == (long long)(nr - used),
		    "huge pages of hugetlbfs, in use and not, offline and online");
	munmap(b.p, used * size);
	set_huge(0);
}

/* Where the memory begins that is allocated first: ZONE_MOVABLE, or node 1 for its CPUs */
static u64 place_start(bool node)
{
	static char text[1 << 16];
	char *line, *save, *at;
	bool in = false;

	if (mts_read_file("/proc/zoneinfo", text, sizeof(text)) <= 0)
		mts_die("zoneinfo");
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strstr(line, ", zone "))
			in = strstr(line, node ? "Node 1," : " Movable");
		at = strstr(line, "start_pfn:");
		if (in && at && atoll(at + 10))
			return atoll(at + 10);
	}
	mts_die(node ? "no second node" : "no ZONE_MOVABLE");
}

/* Is it storage of memory from @start on? Memory is described in whole blocks. */
static bool serves(u64 pfn, u64 start)
{
	u64 addr = pfn * mts_page_size;
	int i;

	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];

		if (addr >= r->start && addr < r->end)
			return r->data_start + (addr - r->start) * 32 >=
			       start * mts_page_size;
	}
	return false;
}

/*
 * Pipes hold all storage of memory of one zone, or of a node, and it is free itself.
 * Programs with tags find other memory.
 */
static void test_place(bool node)
{
	struct rlimit files = { 4096, 4096 };
	struct mts_grab grab = { 0 };
	u64 start = place_start(node);
	size_t i, held = 0, pages;
	int fds[2] = { -1, -1 };

	setrlimit(RLIMIT_NOFILE, &files);
	/* It is this node's storage that is found first, and its memory that is wanted */
	if (node)
		mts_pin(mts_cpus() - 1);
	if (mts_online()) {
		mts_release();
		grab_storage(&grab);
	}
	for (i = 0; i < grab.pages; i++) {
		char *page = grab.base + i * mts_page_size;
		u64 pfn = 0;

		if (mts_pfns(page, 1, &pfn) || !pfn || !serves(pfn, start))
			continue;
		if (held++ % PIPE_PAGES == 0)
			make_pipe(fds);
		splice_in(fds[1], page, mts_page_size);
	}
	if (grab.pages)
		munmap(grab.base, grab.pages * mts_page_size);
	ktap_note("%zu pages are held, of what serves memory from %#lx on", held,
		  start * mts_page_size);
	/* More than ZONE_MOVABLE has, and less than there is elsewhere */
	pages = mts_meminfo("MemFree") * 1024 / mts_page_size / 2;
	if (pages > PLACE_PAGES)
		pages = PLACE_PAGES;
	test_tagged("first touch", 0, pages, false);
	test_tagged("PROT_MTE late", 0, pages, true);
	test_copies(pages / 4);
	ktap_result(!mts_online() || held * 32 > pages / 16, "storage is held");
}

int main(int argc, char **argv)
{
	mts_need_mte();
	mts_load_regions();
	steps = shared_memory(mts_page_size);
	if (argc > 1) {
		ktap_begin(4);
		test_place(!strcmp(argv[1], "node"));
		return ktap_end();
	}
	ktap_begin(7);
	if (mts_online() && lent_bytes() / mts_page_size / 2 < HELD)
		nr_pipes = lent_bytes() / mts_page_size / 2 / PIPE_PAGES;
	test_pipes();
	if (mts_huge_is_pmd()) {
		test_huge();
	} else {
		ktap_skip("no huge page", "PROT_MTE of huge pages of hugetlbfs");
		ktap_skip("no huge page", "beside huge pages of hugetlbfs");
		ktap_skip("no huge page", "huge pages of hugetlbfs");
	}
	return ktap_end();
}
