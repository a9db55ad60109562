// SPDX-License-Identifier: GPL-2.0
/*
 * Swap: what was swapped out has its data and its tags when it comes back, and
 * nothing else has. While the tests run all of tag storage is in use for data,
 * so that bringing back tags means to migrate.
 *
 * usage: mts_swap zram|file|disk
 *
 *   zram	no I/O: single pages bypass the swap cache
 *   file	swap file on ext4 on a loop device on ramfs; swap cache, and
 *		readahead of what is next in the address space
 *   disk	the loop device; readahead of what is next in swap
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "mts_paths.h"

/* As many pages, whatever a page is: memory is larger, too */
#define SWAP_MB		(64UL * (mts_page_size / 4096))
#define COMPACT		"/proc/sys/vm/compact_memory"

static char swap_path[128];
static bool online;

/* ---- the swap device ---- */

static int sh(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int backing(void)
{
	char cmd[256];

	mkdir("/tmp/swap", 0700);
	/*
	 * Not tmpfs, which would be swapped itself; and not sparse: to swap
	 * must not need memory.
	 */
	if (mount("none", "/tmp/swap", "ramfs", 0, NULL))
		return -1;
	snprintf(cmd, sizeof(cmd),
		 "dd if=/dev/zero of=/tmp/swap/disk bs=1M count=%lu 2>/dev/null && losetup /dev/loop7 /tmp/swap/disk",
		 SWAP_MB + SWAP_MB / 8);
	return sh(cmd);
}

static int swap_make(const char *kind, bool cluster)
{
	u64 bytes = SWAP_MB << 20;
	char text[64], cmd[256];

	if (!strcmp(kind, "zram")) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
		if (mts_write_file("/sys/block/zram0/disksize", text))
			return -1;
		strcpy(swap_path, "/dev/zram0");
	} else {
		if (backing())
			return -1;
		/* "Rotating" disks have no readahead by address */
		mts_write_file("/sys/block/loop7/queue/rotational",
			       cluster ? "1" : "0");
		/*
		 * The driver allocates memory for a merged request, and waits
		 * for ever if all that could be freed waits for the driver.
		 */
		mts_write_file("/sys/block/loop7/queue/nomerges", "2");
		strcpy(swap_path, "/dev/loop7");
		if (!strcmp(kind, "file")) {
			mkdir("/tmp/swapfs", 0700);
			if (sh("mke2fs /dev/loop7 >/dev/null 2>&1") ||
			    mount("/dev/loop7", "/tmp/swapfs", "ext4", 0, NULL))
				return -1;
			strcpy(swap_path, "/tmp/swapfs/swap");
			snprintf(cmd, sizeof(cmd),
				 "dd if=/dev/zero of=%s bs=1M count=%lu 2>/dev/null",
				 swap_path, SWAP_MB);
			if (sh(cmd))
				return -1;
			chmod(swap_path, 0600);
		}
	}
	mts_write_file("/sys/kernel/mm/swap/vma_ra_enabled",
		       cluster ? "false" : "true");
	return swap_header(swap_path, bytes);
}

static void swap_unmake(const char *kind)
{
	if (!strcmp(kind, "zram")) {
		mts_write_file("/sys/block/zram0/reset", "1");
		return;
	}
	if (!strcmp(kind, "file"))
		umount("/tmp/swapfs");
	sh("losetup -d /dev/loop7");
	umount("/tmp/swap");
}

static void swap_on(void)
{
	if (swapon(swap_path, 0))
		mts_die("swapon");
}

static void swap_off(void)
{
	if (swapoff(swap_path))
		mts_die("swapoff");
}

/* Swaps out, asking again while pages are still being written. */
static size_t page_out(const struct mts_buf *b)
{
	size_t out = 0;
	int tries;

	for (tries = 0; tries < 20; tries++) {
		if (madvise(b->p, b->pages * mts_page_size, MADV_PAGEOUT))
			mts_die("MADV_PAGEOUT");
		out = b->pages - pagemap_count(b->p, b->pages, PM_PRESENT);
		if (out == b->pages)
			break;
		usleep(2000);
	}
	return out;
}

/* The result of a round trip: enough was swapped out, nothing is wrong. */
static void result(const struct mts_buf *b, size_t out, size_t bad,
		   const char *what)
{
	bool taggable = !b || !b->mte || buf_taggable(what, b);

	ktap_result(!bad && taggable && (!b || out >= b->pages / 2),
		    "%s: %zu of %zu pages swapped out", what, out,
		    b ? b->pages : out);
}

/* ---- the tests ---- */

static void test_round_trip(size_t pages)
{
	struct mts_buf b;
	size_t out, bad;

	buf_map(&b, pages, PROT_TAGGED, 0);
	buf_fill(&b, 1, true);
	out = page_out(&b);
	bad = buf_bad("round trip", &b);
	result(&b, out, bad, "tagged pages");

	/* Twice, and changed in between: the new tags count */
	buf_fill(&b, 2, true);
	out = page_out(&b);
	bad = buf_bad("second trip", &b);
	result(&b, out, bad, "changed tags");

	/* A page that is in the swap cache still, and gets other tags */
	out = page_out(&b);
	bad = buf_bad("clean pages", &b);
	buf_fill(&b, 3, true);
	page_out(&b);
	bad += buf_bad("tagged after swap-in", &b);
	result(&b, out, bad, "new tags over old swap entries");
	buf_unmap(&b);
}

/* Neighbours in swap and in memory: tagged, of an MTE mapping, of another. */
static void test_neighbours(size_t pages)
{
	const int prot[] = { PROT_TAGGED, PROT_RW, PROT_TAGGED };
	size_t i, k, out = 0, bad = 0;
	struct mts_buf b[3];
	struct mts_balloon balloon;
	struct mts_fill fill;
	u64 seed = 5;

	for (k = 0; k < 3; k++) {
		buf_map(&b[k], pages, prot[k], 0);
		b[k].seed = 10 + k;
		b[k].tagged = k == 0;
	}
	for (i = 0; i < pages; i++)
		for (k = 0; k < 3; k++)
			buf_write(&b[k], i);
	/* Slots next to each other, as far as the kernel likes that */
	for (i = 0; i < pages; i += 8)
		for (k = 0; k < 3; k++)
			madvise(buf_page(&b[k], i), 8 * mts_page_size,
				MADV_PAGEOUT);
	for (k = 0; k < 3; k++)
		out += page_out(&b[k]);
	/* Readahead finds little else than tag storage now */
	mts_fill_begin(&fill);
	mts_balloon_inflate(&balloon);
	for (i = 0; i < pages; i++) {
		k = mts_below(&seed, 3);
		bad += !buf_page_ok("neighbours, random", &b[k],
				    mts_below(&seed, pages));
	}
	for (k = 0; k < 3; k++)
		bad += buf_bad("neighbours", &b[k]);
	mts_balloon_deflate(&balloon);
	mts_fill_end(&fill);
	for (k = 0; k < 3; k += 2)
		bad += !buf_taggable("neighbours", &b[k]);
	/* What was never tagged, and what becomes an MTE mapping only now */
	if (mprotect(b[1].p, pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	b[1].mte = true;
	bad += buf_bad("neighbours, mprotect", &b[1]);
	result(NULL, out, bad || out < pages, "readahead of mixed neighbours");
	for (k = 0; k < 3; k++)
		buf_unmap(&b[k]);
}

static void test_fork(size_t pages)
{
	struct mts_buf b;
	size_t out, bad, i;
	pid_t pid[3];

	buf_map(&b, pages, PROT_TAGGED, 0);
	buf_fill(&b, 20, true);
	out = page_out(&b);
	for (i = 0; i < 3; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		mts_pin(i);
		bad = buf_bad("child", &b);
		buf_fill(&b, 21 + i, true);
		page_out(&b);
		bad += buf_bad("child's own", &b);
		_exit(!!bad);
	}
	bad = buf_bad("parent", &b);
	page_out(&b);
	for (i = 0; i < 3; i++)
		bad += !child_ok(pid[i]);
	bad += buf_bad("parent, after", &b);
	result(&b, out, bad, "fork of swapped pages");
	buf_unmap(&b);
}

static void test_large(const char *what, unsigned int kib, size_t len)
{
	struct mts_buf b = {
		.pages = len / mts_page_size, .mte = true,
	};
	size_t folio = kib ? kib << 10 : len, out, bad, i;
	int round;

	mts_khugepaged_rest();
	mts_thp_enable();
	if (kib && !mts_mthp_enable(kib)) {
		ktap_skip("no folios of that size", "%s", what);
		return;
	}
	b.p = mts_map(len, PROT_TAGGED, 0, mts_huge_size);
	if (madvise(b.p, len, MADV_HUGEPAGE))
		mts_die("MADV_HUGEPAGE");
	for (i = 0; i < len; i += folio)
		b.p[i] = 0;
	bad = mts_folios(b.p, len, folio) < len / folio;
	if (bad)
		ktap_note("%s: there are %zu", what, mts_folios(b.p, len, folio));
	buf_fill(&b, 30, true);
	/* Parts of it, then all */
	madvise(buf_page(&b, b.pages / 3), b.pages / 3 * mts_page_size,
		MADV_PAGEOUT);
	bad += buf_bad(what, &b);
	out = 0;
	for (round = 0; round < 2; round++) {
		buf_fill(&b, 31 + round, true);
		out = page_out(&b);
		bad += buf_bad(what, &b);
	}
	result(&b, out, bad, what);
	buf_unmap(&b);
	if (kib) {
		char path[96];

		snprintf(path, sizeof(path),
			 "/sys/kernel/mm/transparent_hugepage/hugepages-%ukB/enabled",
			 kib);
		mts_write_file(path, "never");
	}
}

/* Shared memory with and without tags, and swapoff with both swapped out. */
static void test_shmem(size_t pages, bool off)
{
	const char *what = off ? "swapoff" : "shared memory";
	struct mts_buf b, other, anon;
	size_t out, bad;
	int fd;

	fd = syscall(__NR_memfd_create, "swap", 0);
	if (fd < 0 || ftruncate(fd, pages * mts_page_size))
		mts_die("memfd");
	memset(&b, 0, sizeof(b));
	b.pages = pages;
	b.mte = true;
	b.p = mmap(NULL, pages * mts_page_size, PROT_TAGGED, MAP_SHARED, fd, 0);
	if (b.p == MAP_FAILED)
		mts_die("mmap");
	buf_fill(&b, 40, true);
	/* A second mapping of the same pages, not of memory with tags */
	other = b;
	other.mte = false;
	other.p = mmap(NULL, pages * mts_page_size, PROT_RW, MAP_SHARED, fd, 0);
	if (other.p == MAP_FAILED)
		mts_die("mmap");
	buf_map(&anon, pages, PROT_TAGGED, 0);
	buf_fill(&anon, 41, true);
	out = page_out(&b);
	if (off) {
		out += page_out(&anon);
		swap_off();
		bad = buf_swapped(&anon);
		if (bad)
			ktap_note("%zu pages in swap after swapoff", bad);
		out /= 2;
	} else {
		/* Through read(): no VMA that says that there are tags */
		char *copy = malloc(mts_page_size);
		size_t i;

		for (bad = 0, i = 0; i < pages && bad < 4; i += 2) {
			if (pread(fd, copy, mts_page_size,
				  i * mts_page_size) != (ssize_t)mts_page_size)
				mts_die("pread");
			bad += !mts_data_ok("read()", copy, buf_key(&b, i));
		}
		free(copy);
		bad += buf_bad("untagged mapping", &other);
	}
	bad += buf_bad(what, &b);
	bad += buf_bad(what, &other);
	bad += buf_bad(what, &anon);
	result(&b, out, bad, what);
	munmap(other.p, pages * mts_page_size);
	buf_unmap(&b);
	buf_unmap(&anon);
	close(fd);
	if (off)
		swap_on();
}

/*
 * Compaction moves tagged pages and the next swap-out must save the tags of
 * where they are now (RFC v3 lost them). Their neighbours, freed, are free
 * memory that may have tags; a tagged page is moved to no other.
 */
#define SPREAD		8

static void test_compaction(size_t pages)
{
	size_t out = 0, bad = 0, i, moved = 0, len = pages * SPREAD;
	u64 *pfns = calloc(len, sizeof(u64));
	struct mts_buf b;
	int round;

	if (!pfns)
		mts_die("calloc");
	for (round = 0; round < 2; round++) {
		buf_map(&b, len, PROT_TAGGED, 0);
		b.seed = 50 + round;
		b.tagged = true;
		for (i = 0; i < len; i++) {
			if (i % SPREAD)
				*buf_page(&b, i) = 1;
			else
				buf_write(&b, i);
		}
		for (i = 0; i < len; i += SPREAD)
			madvise(buf_page(&b, i + 1),
				(SPREAD - 1) * mts_page_size, MADV_DONTNEED);
		mts_pfns(b.p, len, pfns);
		if (mts_write_file(COMPACT, "1"))
			mts_die(COMPACT);
		for (i = 0; i < len; i += SPREAD)
			moved += mts_pfn(buf_page(&b, i)) != pfns[i];
		page_out(&b);
		out += pagemap_count(b.p, len, PM_SWAP);
		mts_write_file(COMPACT, "1");
		for (i = 0; i < len && bad < 4; i += SPREAD)
			bad += !buf_page_ok("compaction and swap", &b, i);
		buf_unmap(&b);
	}
	ktap_note("compaction moved %zu pages", moved);
	if (bad || moved)
		ktap_result(!bad && out >= pages,
			    "compaction, then swap: %zu of %zu pages swapped out",
			    out, 2 * pages);
	else
		ktap_skip("the kernel found nothing to move",
			  "compaction, then swap");
	free(pfns);
}

/* Old tags, saved or in memory, that must not come with anything new. */
static void test_stale(size_t pages)
{
	size_t out, bad, i;
	struct mts_buf b, c;

	/* Frames whose pages were swapped out go to somebody else */
	buf_map(&b, pages, PROT_TAGGED, 0);
	buf_fill(&b, 60, true);
	out = page_out(&b);
	buf_map(&c, pages, PROT_TAGGED, 0);
	for (bad = 0, i = 0; i < pages && bad < 4; i++) {
		bad += !mts_tags_ok("frame of a swapped page",
				    buf_page(&c, i), 0);
		bad += !mts_data_ok("frame of a swapped page",
				    buf_page(&c, i), 0);
	}
	buf_unmap(&c);
	/* Swap slots of tagged pages, too */
	buf_unmap(&b);
	buf_map(&c, pages * 2, PROT_RW, 0);
	buf_fill(&c, 61, false);
	out += page_out(&c);
	if (mprotect(c.p, c.pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	c.mte = true;
	bad += buf_bad("slot of a tagged page", &c);
	result(&c, out, bad, "no stale tags");
	/* Freed while swapped out, mapped again at the same place */
	buf_fill(&c, 62, true);
	out = page_out(&c);
	madvise(c.p, c.pages * mts_page_size, MADV_DONTNEED);
	for (bad = 0, i = 0; i < c.pages && bad < 4; i++) {
		bad += !mts_tags_ok("after MADV_DONTNEED", buf_page(&c, i), 0);
		bad += !mts_data_ok("after MADV_DONTNEED", buf_page(&c, i), 0);
	}
	result(&c, out, bad, "no tags of freed swap");
	buf_unmap(&c);
}

/*
 * Pages whose tags the mapping doesn't tell of: copies of tagged shared memory
 * in a private mapping without PROT_MTE, which then go to swap and come back.
 */
static void test_hidden(size_t pages)
{
	size_t len = pages * mts_page_size, i, out, bad;
	int fd = memfd_create("tagged", MFD_CLOEXEC);
	struct mts_buf shared, copy;

	if (fd < 0 || ftruncate(fd, len))
		mts_die("memfd");
	memset(&shared, 0, sizeof(shared));
	shared.pages = pages;
	shared.mte = true;
	shared.p = mmap(NULL, len, PROT_TAGGED, MAP_SHARED, fd, 0);
	if (shared.p == MAP_FAILED)
		mts_die("mmap");
	buf_fill(&shared, 80, true);
	copy = shared;
	copy.mte = false;
	copy.p = mmap(NULL, len, PROT_RW, MAP_PRIVATE, fd, 0);
	if (copy.p == MAP_FAILED)
		mts_die("mmap");
	for (i = 0; i < pages; i++) {
		volatile char *page = buf_page(&copy, i);

		/* Half of them are read first, and so mapped before the copy */
		if (i & 1)
			*page = *page;
		else
			*page = *buf_page(&shared, i);
	}
	bad = buf_bad("private copies", &copy);
	out = page_out(&copy);
	bad += buf_bad("private copies after swap", &copy);
	out += page_out(&copy);
	if (mprotect(copy.p, len, PROT_TAGGED))
		mts_die("mprotect");
	copy.mte = true;
	bad += buf_bad("private copies, their tags", &copy);
	bad += buf_bad("shared memory that was copied", &shared);
	result(&copy, out, bad, "tags without PROT_MTE");
	buf_unmap(&copy);
	buf_unmap(&shared);
	close(fd);
}

static void *end_failures(void *arg)
{
	usleep(300000);
	inject_failures("fail_reserve", false);
	return arg;
}

/*
 * While no tag storage can be had, what comes back has to wait, and no tags are
 * dropped. A thread ends that: with a child swap would have two users. What is in the
 * swap cache still has its tags.
 */
static void test_no_storage(size_t pages, bool cached)
{
	long long failed = mts_stat("reserve_failed");
	size_t out, bad;
	pthread_t thread;
	struct mts_buf b;

	if (!can_inject("fail_reserve")) {
		ktap_skip("module not online", "no tag storage for what comes back");
		return;
	}
	buf_map(&b, pages, PROT_TAGGED, 0);
	buf_fill(&b, 90, true);
	out = page_out(&b);
	mts_release();
	inject_failures("fail_reserve", true);
	if (pthread_create(&thread, NULL, end_failures, NULL))
		mts_die("thread");
	bad = buf_bad("without tag storage", &b);
	pthread_join(thread, NULL);
	failed = mts_stat("reserve_failed") - failed;
	ktap_note("%lld failures to reserve", failed);
	/* What is served by storage that isn't lent needs none */
	bad += !cached && failed <= 0 && !mts_stat("blocks_static");
	result(&b, out, bad, "no tag storage for what comes back");
	buf_unmap(&b);
}

/*
 * Several processes, more memory than there is. Only a few words of each page
 * are used, or zram would need as much memory as it gains, and a few tags.
 */
#define SPARSE		(mts_page_granules / 4)

static void sparse_write(const struct mts_buf *b, size_t i)
{
	size_t g;

	for (g = 0; g < mts_page_granules; g += SPARSE) {
		char *p = buf_page(b, i) + g * MTE_GRANULE;

		if (b->tagged)
			mte_stg(mte_ptr(p, mts_tag_of(buf_key(b, i), g)));
		*(u64 *)p = buf_key(b, i);
	}
}

static bool sparse_ok(const struct mts_buf *b, size_t i)
{
	size_t g;

	for (g = 0; g < mts_page_granules; g += SPARSE) {
		char *p = buf_page(b, i) + g * MTE_GRANULE;
		unsigned int tag = b->tagged ? mts_tag_of(buf_key(b, i), g) : 0;

		if (*(volatile u64 *)p == buf_key(b, i) &&
		    (!b->mte || mte_ldg(p) == tag))
			continue;
		ktap_note("WRONG under pressure: page %zu granule %zu: data %#llx expected %#llx",
			  i, g, *(unsigned long long *)p,
			  (unsigned long long)buf_key(b, i));
		ktap_note("tag %u expected %u", b->mte ? mte_ldg(p) : 0, tag);
		return false;
	}
	return true;
}

static bool pressure_child(int nr, size_t pages, double seconds)
{
	double end = mts_now() + seconds;
	struct mts_buf b[2];
	size_t bad = 0, i, k, swapped = 0;
	u64 seed = 700 + nr;

	buf_map(&b[0], pages - pages / 3, PROT_RW, 0);
	buf_map(&b[1], pages / 3, PROT_TAGGED, 0);
	for (k = 0; k < 2; k++) {
		b[k].tagged = k;
		b[k].seed = 70 + nr * 2 + k;
		for (i = 0; i < b[k].pages; i++)
			sparse_write(&b[k], i);
	}
	while (!bad && mts_now() < end) {
		k = mts_below(&seed, 2);
		i = mts_below(&seed, b[k].pages);
		bad += !sparse_ok(&b[k], i);
		sparse_write(&b[k], i);
		/* Some swapping, also where all of it just fits into memory */
		if (i % 32 || i + 32 > b[k].pages)
			continue;
		madvise(buf_page(&b[k], i), 32 * mts_page_size, MADV_PAGEOUT);
	}
	for (k = 0; k < 2; k++) {
		swapped += buf_swapped(&b[k]);
		for (i = 0; i < b[k].pages && bad < 4; i++)
			bad += !sparse_ok(&b[k], i);
	}
	ktap_note("process %d: %zu of %zu pages swapped out at the end", nr,
		  swapped, pages);
	return !bad;
}

static void test_pressure(double seconds)
{
	/*
	 * More than there is by what the kernel keeps free, page tables and tag storage;
	 * what goes to zram or zswap stays in memory, in part.
	 */
	size_t total = mts_meminfo("MemFree") * 1024 / mts_page_size;
	int i, nr = mts_cpus() + 1;
	pid_t pid[16];
	bool ok = true;

	if (nr > 16)
		nr = 16;
	for (i = 0; i < nr; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(!pressure_child(i, total / nr, seconds));
	}
	for (i = 0; i < nr; i++)
		ok &= child_ok(pid[i]);
	ktap_result(ok, "memory pressure, %d processes", nr);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "zram";
	bool cluster = !strcmp(kind, "disk");
	struct mts_grab grab = { 0 };
	size_t pages = 600;

	mts_need_mte();
	mts_load_regions();
	online = mts_online();
	ktap_begin(18);
	if (online) {
		grab_storage(&grab);
		grab_fill(&grab, 0x67726162UL);
		ktap_note("%zu pages of data in tag storage", grab.nr);
	}
	if (swap_make(kind, cluster))
		mts_die("no swap device");
	swap_on();
	test_round_trip(pages);
	test_neighbours(pages / 3);
	test_fork(pages / 2);
	test_large("huge pages", 0, mts_huge_size);
	/* Too few to be a huge page instead */
	test_large("64 KiB folios", 64, mts_huge_size - (64 << 10));
	test_shmem(pages, false);
	test_shmem(pages, true);
	test_compaction(pages);
	test_stale(pages / 2);
	test_hidden(pages / 2);
	test_no_storage(pages / 2, strcmp(kind, "zram"));
	test_pressure(2);
	if (online)
		ktap_result(!grab_bad("data in tag storage", &grab,
				      0x67726162UL),
			    "the data in tag storage (%zu pages)", grab.nr);
	else
		ktap_skip("module not online", "the data in tag storage");
	if (grab.base)
		munmap(grab.base, grab.pages * mts_page_size);
	swap_off();
	ktap_result(mts_meminfo("SwapTotal") == 0, "swapoff at the end");
	swap_unmake(kind);
	mts_blocks_result(online);
	return ktap_end();
}
