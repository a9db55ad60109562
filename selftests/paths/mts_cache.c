// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that lives in tag storage and then becomes part of an MTE mapping in
 * other ways than by mprotect(): the page cache of shared memory, UFFDIO_MOVE.
 * Tagged pages in an ordinary CMA area that is allocated from. No memory at
 * all: nothing hangs, and killed programs leave nothing behind.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "mts_paths.h"

#ifndef UFFDIO_MOVE
struct uffdio_move {
	u64 dst;
	u64 src;
	u64 len;
	u64 mode;
	long long move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#define UFFD_FEATURE_MOVE	(1 << 16)
#endif

#define SEED		0x63616368UL
#define CMA		"/sys/kernel/debug/cma/reserved"

/* ---- shared memory ---- */

/* Page cache that was written before anybody mapped it, some in tag storage. */
static void test_shmem(void)
{
	size_t pages, i, stored = 0, bad = 0, room;
	struct mts_balloon balloon;
	struct mts_fill fill;
	struct mts_buf b, other;
	char *page = malloc(mts_page_size);
	u64 *pfns;
	int fd = syscall(__NR_memfd_create, "cache", 0);

	if (fd < 0 || !page)
		mts_die("memfd");
	mts_fill_begin(&fill);
	mts_balloon_inflate(&balloon);
	memset(&b, 0, sizeof(b));
	b.seed = SEED;
	/* Until there is little other memory left; some in any case */
	for (pages = 0; (room = mts_fill_room()) || pages < 1024;) {
		if (!room || room > 256)
			room = 256;
		for (i = 0; i < room; i++, pages++) {
			mts_page_fill(page, buf_key(&b, pages));
			if (write(fd, page, mts_page_size) !=
			    (ssize_t)mts_page_size)
				mts_die("write");
		}
	}
	mts_balloon_deflate(&balloon);
	mts_fill_end(&fill);
	/* Moves pages to the end of memory, where tag storage is */
	mts_write_file("/proc/sys/vm/compact_memory", "1");
	other = b;
	other.pages = pages;
	other.p = mmap(NULL, pages * mts_page_size, PROT_RW, MAP_SHARED, fd, 0);
	if (other.p == MAP_FAILED)
		mts_die("mmap");
	pfns = calloc(pages, sizeof(*pfns));
	madvise(other.p, pages * mts_page_size, MADV_POPULATE_WRITE);
	mts_pfns(other.p, pages, pfns);
	for (i = 0; i < pages; i++)
		stored += mts_pfn_in_storage(pfns[i]);
	ktap_note("%zu of %zu pages of the page cache are in tag storage",
		  stored, pages);
	b.p = mmap(NULL, pages * mts_page_size, PROT_TAGGED, MAP_SHARED, fd, 0);
	if (b.p == MAP_FAILED)
		mts_die("mmap");
	b.pages = pages;
	b.mte = true;
	/* Every page in tag storage, and some of the others */
	for (i = 0; i < pages && bad < 4; i++) {
		if (!mts_pfn_in_storage(pfns[i]) && i % 16)
			continue;
		bad += !buf_page_ok("page cache", &b, i);
		mts_page_tag(buf_page(&b, i), buf_key(&b, i));
		bad += !mts_tags_ok("page cache", buf_page(&b, i),
				    buf_key(&b, i));
		bad += !buf_page_ok("page cache, untagged", &other, i);
		bad += mts_pages_untaggable("page cache", buf_page(&b, i),
					    1) > 0;
	}
	for (i = 0; i < pages && bad < 4; i++) {
		if (!mts_pfn_in_storage(pfns[i]) && i % 16)
			continue;
		bad += !mts_tags_ok("page cache, again", buf_page(&b, i),
				    buf_key(&b, i));
		bad += !mts_data_ok("page cache, again", buf_page(&b, i),
				    buf_key(&b, i));
	}
	free(pfns);
	munmap(other.p, pages * mts_page_size);
	buf_unmap(&b);
	if (bad || stored || !mts_online())
		ktap_result(!bad, "page cache in tag storage");
	else
		ktap_skip("none got there", "page cache in tag storage");
	close(fd);
	free(page);
}

/* ---- userfaultfd ---- */

static void test_move(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_MOVE };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct mts_grab grab;
	struct mts_buf b;
	size_t i, n, bad = 0, pages = 64;
	u64 *pfns, keys[64];
	int uffd;

	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (!mts_online() || uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
		ktap_skip("no module or no UFFDIO_MOVE",
			  "UFFDIO_MOVE from tag storage");
		return;
	}
	grab_storage(&grab);
	grab_fill(&grab, SEED);
	pfns = calloc(grab.pages, sizeof(*pfns));
	if (!pfns)
		mts_die("calloc");
	mts_pfns(grab.base, grab.pages, pfns);
	/* Only between mappings of the same kind; nothing is accessed yet */
	if (mprotect(grab.base, grab.pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	buf_map(&b, pages, PROT_TAGGED, 0);
	reg.range.start = (u64)b.p;
	reg.range.len = pages * mts_page_size;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		mts_die("UFFDIO_REGISTER");
	for (i = 0, n = 0; i < grab.pages && n < pages; i++) {
		struct uffdio_move m = {
			.dst = (u64)buf_page(&b, n),
			.src = (u64)grab.base + i * mts_page_size,
			.len = mts_page_size,
		};
		int tries;

		if (!mts_pfn_in_storage(pfns[i]))
			continue;
		for (tries = 0; tries < 5000; tries++) {
			if (!ioctl(uffd, UFFDIO_MOVE, &m))
				break;
			if (errno != EAGAIN && errno != EBUSY)
				mts_die("UFFDIO_MOVE");
			usleep(1000);
		}
		if (tries == 5000)
			mts_die("UFFDIO_MOVE");
		keys[n++] = SEED + i * 2;
		grab.nr--;
	}
	for (i = 0; i < n && bad < 4; i++) {
		bad += !mts_data_ok("moved", buf_page(&b, i), keys[i]);
		bad += !mts_tags_ok("moved", buf_page(&b, i), 0);
		mts_page_tag(buf_page(&b, i), keys[i] & ~2UL);
		bad += !mts_tags_ok("moved", buf_page(&b, i), keys[i] & ~2UL);
		bad += !mts_data_ok("moved", buf_page(&b, i), keys[i]);
	}
	bad += mts_pages_untaggable("moved", b.p, n) > 0;
	bad += grab_bad("those that stayed", &grab, SEED);
	close(uffd);
	munmap(grab.base, grab.pages * mts_page_size);
	buf_unmap(&b);
	free(pfns);
	ktap_result(!bad && n, "UFFDIO_MOVE of %zu pages from tag storage", n);
}

/* ---- an ordinary CMA area ---- */

/* Tagged pages may live there; who allocates from it gets them moved. */
static void test_cma(void)
{
	const size_t piece = SZ_2M / mts_page_size;
	long long free_before, got = 0;
	struct mts_balloon balloon;
	struct mts_buf b;
	size_t bad = 0, i;
	char text[32];

	if (access(CMA "/alloc", W_OK)) {
		ktap_skip("no CMA area (cma= on the command line)",
			  "allocation from a CMA area with tagged pages");
		return;
	}
	/* As much tagged memory as there is: it is in the CMA area, too */
	mts_balloon_inflate(&balloon);
	buf_map(&b, mts_meminfo("MemFree") / 4 * 1024 / mts_page_size,
		PROT_TAGGED, 0);
	mts_balloon_deflate(&balloon);
	buf_fill(&b, SEED, true);
	free_before = mts_meminfo("CmaFree");
	snprintf(text, sizeof(text), "%zu", piece);
	for (i = 0; i < 64; i++) {
		if (mts_write_file(CMA "/alloc", text))
			break;
		got += piece;
	}
	ktap_note("%lld pages allocated, CmaFree %lld KiB before", got,
		  free_before);
	bad += buf_bad("CMA", &b);
	bad += !buf_taggable("CMA", &b);
	for (i = 0; i < (size_t)got; i += piece)
		if (mts_write_file(CMA "/free", text))
			bad++;
	bad += buf_bad("CMA, freed", &b);
	buf_unmap(&b);
	ktap_result(!bad && got,
		    "allocation from a CMA area with tagged pages");
}

/* ---- no memory ---- */

static void eat(bool tagged)
{
	size_t pages = mts_meminfo("MemTotal") * 1024 / mts_page_size, i;
	char *p = mts_map(pages * mts_page_size,
			  tagged ? PROT_TAGGED : PROT_RW, MAP_NORESERVE, 0);

	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	mts_write_file("/proc/self/oom_score_adj", "1000");
	for (i = 0; i < pages; i++) {
		volatile char *at = p + i * mts_page_size;

		if (tagged && i % 64 == 0)
			mte_stg(mte_ptr((void *)at, 5));
		*at = 1;
	}
	/* All of it: nobody was killed */
	_exit(0);
}

static void test_oom(void)
{
	long long reserved = mts_stat("blocks_reserved"), after = 0;
	size_t killed = 0, bad = 0;
	int i, tries;

	for (i = 0; i < 4; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			/* So that only these programs meet the OOM killer */
			if (!memcg_enter("eat", "memory.max", "32M"))
				_exit(7);
			eat(i & 1);
		}
		status = wait_status(pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 7) {
			ktap_skip("no memory cgroup", "out of memory");
			return;
		}
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	if (mts_online()) {
		for (tries = 0; tries < 50; tries++) {
			mts_release();
			after = mts_stat("blocks_reserved");
			if (after <= reserved + 8)
				break;
			usleep(100000);
		}
		ktap_note("%lld blocks reserved before, %lld after", reserved,
			  after);
		bad = after > reserved + 8;
	}
	ktap_result(!bad && killed == 4,
		    "out of memory: %zu programs killed, nothing left behind",
		    killed);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	ktap_begin(5);
	test_shmem();
	test_move();
	test_cma();
	test_oom();
	mts_blocks_result(mts_online());
	return ktap_end();
}
