/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers of the tests of single paths (swap, GUP, KSM, ...): buffers whose
 * pages all have known data and tags, children, and what the kernel says of
 * pages. See mts_test.h for the rest.
 */
#ifndef MTS_PATHS_H
#define MTS_PATHS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mts_test.h"

#define __maybe_unused		__attribute__((unused))

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

/*
 * A run of pages with known contents. The key of a page is made of the seed,
 * which a test changes to write something new.
 */
struct mts_buf {
	char *p;
	size_t pages;
	u64 seed;
	bool tagged;	/* tags were written */
	bool mte;	/* tags can be read: a PROT_MTE mapping */
};

/* A userfaultfd that write protection is told by */
static inline int uffd_open_wp(void)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		mts_die("userfaultfd");
	return uffd;
}

/* Have it watch memory, for uffd_protect() */
static inline void uffd_watch(int uffd, void *p, size_t len)
{
	struct uffdio_register reg = {
		.range.start = (u64)p, .range.len = len,
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		mts_die("UFFDIO_REGISTER");
}

/* Protect memory that a userfaultfd watches from writes, or let the writers go on */
static inline void uffd_protect(int uffd, void *p, size_t len, bool on)
{
	struct uffdio_writeprotect wp = {
		.range.start = (u64)p & ~(0xffUL << 56), .range.len = len,
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	while (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		if (errno != EAGAIN)
			mts_die("UFFDIO_WRITEPROTECT");
}

static inline char *buf_page(const struct mts_buf *b, size_t i)
{
	return b->p + i * mts_page_size;
}

static inline u64 buf_key(const struct mts_buf *b, size_t i)
{
	/* Not 0, which stands for a fresh page; no STZG, which clears data */
	return ((b->seed << 24) + i * 4 + 4) | (i & 1);
}

static __maybe_unused void buf_write(const struct mts_buf *b, size_t i)
{
	if (b->tagged)
		mts_page_tag(buf_page(b, i), buf_key(b, i));
	mts_page_fill(buf_page(b, i), buf_key(b, i));
}

static __maybe_unused void buf_fill(struct mts_buf *b, u64 seed, bool tagged)
{
	size_t i;

	b->seed = seed;
	b->tagged = tagged;
	for (i = 0; i < b->pages; i++)
		buf_write(b, i);
}

static __maybe_unused void buf_map(struct mts_buf *b, size_t pages, int prot,
				   int flags)
{
	memset(b, 0, sizeof(*b));
	b->pages = pages;
	b->mte = prot & PROT_MTE;
	b->p = mts_map(pages * mts_page_size, prot, flags, 0);
	madvise(b->p, pages * mts_page_size, MADV_NOHUGEPAGE);
}

static __maybe_unused void buf_unmap(struct mts_buf *b)
{
	munmap(b->p, b->pages * mts_page_size);
	b->p = NULL;
}

static __maybe_unused bool buf_page_ok(const char *what,
				       const struct mts_buf *b, size_t i)
{
	u64 key = buf_key(b, i);
	bool ok = mts_data_ok(what, buf_page(b, i), key);

	if (b->mte)
		ok &= mts_tags_ok(what, buf_page(b, i), b->tagged ? key : 0);
	return ok;
}

/* The number of wrong pages; the first few are reported. */
static __maybe_unused size_t buf_bad(const char *what, const struct mts_buf *b)
{
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i++)
		bad += !buf_page_ok(what, b, i);
	return bad;
}

/* Every page may have tags. True without the module. */
static __maybe_unused bool buf_taggable(const char *what,
					const struct mts_buf *b)
{
	return mts_pages_untaggable(what, b->p, b->pages) <= 0;
}

/* ---- pagemap ---- */

#define PM_UFFD_WP	(1UL << 57)
#define PM_SWAP		(1UL << 62)
#define PM_PRESENT	(1UL << 63)

/* A swap area's number; a page that is being moved, or poisoned, has a higher one */
#define PM_SWAP_TYPE	31UL
#define PM_SWAP_AREAS	16UL

static __maybe_unused bool pagemap_has(u64 entry, u64 bit)
{
	return entry & bit &&
	       (bit != PM_SWAP || (entry & PM_SWAP_TYPE) < PM_SWAP_AREAS);
}

static __maybe_unused size_t pagemap_count(const void *p, size_t pages, u64 bit)
{
	u64 at = ((u64)p & ~(0xffUL << 56)) / mts_page_size * sizeof(u64);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t i, n, count = 0;
	u64 entry[512];

	for (i = 0; fd >= 0 && i < pages; i += n) {
		ssize_t got;
		size_t j;

		n = pages - i < ARRAY_SIZE(entry) ? pages - i :
						    ARRAY_SIZE(entry);
		got = pread(fd, entry, n * sizeof(u64), at + i * sizeof(u64));
		if (got != (ssize_t)(n * sizeof(u64)))
			mts_die("pagemap");
		for (j = 0; j < n; j++)
			count += pagemap_has(entry[j], bit);
	}
	if (fd >= 0)
		close(fd);
	return count;
}

static __maybe_unused size_t buf_swapped(const struct mts_buf *b)
{
	return pagemap_count(b->p, b->pages, PM_SWAP);
}

/* ---- pipes ---- */

static __maybe_unused void splice_in(int fd, void *p, size_t len)
{
	struct iovec iov = { p, len };

	if (vmsplice(fd, &iov, 1, 0) != (ssize_t)len)
		mts_die("vmsplice");
}

/* Is there a module that can fail so? */
static __maybe_unused bool can_inject(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), MTS_DEBUGFS "/%s", name);
	return mts_online() && !access(path, F_OK);
}

/* Has all operations of a kind fail in the module, "fail_reserve" or "fail_migrate" */
static __maybe_unused void inject_failures(const char *name, bool on)
{
	static const char * const files[][2] = { { "verbose", "0" }, { "times", "-1" } };
	char path[128];
	size_t i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), MTS_DEBUGFS "/%s/%s", name, files[i][0]);
		if (mts_write_file(path, files[i][1]))
			mts_die(path);
	}
	snprintf(path, sizeof(path), MTS_DEBUGFS "/%s/probability", name);
	if (mts_write_file(path, on ? "100" : "0"))
		mts_die(path);
}

/*
 * mprotect(PROT_MTE) reserves what it can at once. Here it can't: the entries of
 * all that is there fault on access, as faults_met() tells later, but for pages in
 * blocks that stay reserved, as those of a hypervisor do: @early, at most.
 */
struct late {
	long long faults;
	long early;
	bool must;
};

static __maybe_unused struct late mprotect_late(void *p, size_t len)
{
	struct late late = {
		/* What static storage serves gets its tags at once */
		.must = can_inject("fail_reserve") && !mts_stat("static_bytes"),
	};

	if (late.must) {
		mts_release();
		late.early = mts_pages_taggable(p, len / mts_page_size);
		late.must = late.early < (long)(len / mts_page_size);
	}
	if (late.must)
		inject_failures("fail_reserve", true);
	if (mprotect(p, len, PROT_TAGGED))
		mts_die("mprotect");
	if (late.must)
		inject_failures("fail_reserve", false);
	late.faults = mts_stat("faults_on_access");
	return late;
}

static __maybe_unused bool faults_met(const char *what, const struct late *late)
{
	long long n = mts_stat("faults_on_access") - late->faults;

	if (late->must && n <= 0)
		ktap_note("%s: no entry faulted on access", what);
	return !late->must || n > 0;
}

static __maybe_unused void make_pipe(int *fd)
{
	if (pipe2(fd, O_CLOEXEC))
		mts_die("pipe");
}

/* ---- children ---- */

static __maybe_unused int wait_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		mts_die("waitpid");
	return status;
}

static __maybe_unused bool child_ok(pid_t pid)
{
	int status = wait_status(pid);

	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return true;
	ktap_note("child %d: %s %d", pid,
		  WIFSIGNALED(status) ? "killed by signal" : "exit status",
		  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

/* ---- data in tag storage ---- */

/* As much of tag storage as can be had, and not none of it. */
static __maybe_unused void grab_storage(struct mts_grab *grab)
{
	int tries;

	for (tries = 0; tries < 5; tries++) {
		if (!mts_grab_storage(grab, 1UL << 40))
			return;
		ktap_note("no tag storage was to be had: MemFree %lld, CmaFree %lld KiB",
			  mts_meminfo("MemFree"), mts_meminfo("CmaFree"));
		munmap(grab->base, grab->pages * mts_page_size);
		mts_write_file("/proc/sys/vm/drop_caches", "3");
		usleep(200000);
	}
	printf("Bail out! no data gets into tag storage\n");
	exit(1);
}

/* The pages that lie in tag storage, with known data. */
static __maybe_unused void grab_fill(const struct mts_grab *grab, u64 seed)
{
	u64 pfns[256];
	size_t i, j, n;

	for (i = 0; i < grab->pages; i += n) {
		n = grab->pages - i < 256 ? grab->pages - i : 256;
		mts_pfns(grab->base + i * mts_page_size, n, pfns);
		for (j = 0; j < n; j++)
			if (pfns[j])
				mts_page_fill(grab->base +
					      (i + j) * mts_page_size,
					      seed + (i + j) * 2);
	}
}

/* Wherever they are now. Pages that are not there were never filled. */
static __maybe_unused size_t grab_bad(const char *what,
				      const struct mts_grab *grab, u64 seed)
{
	u64 at = (u64)grab->base / mts_page_size * sizeof(u64), entry[256];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t i, j, n, bad = 0, seen = 0;

	for (i = 0; i < grab->pages && bad < 4; i += n) {
		n = grab->pages - i < 256 ? grab->pages - i : 256;
		if (pread(fd, entry, n * sizeof(u64), at + i * sizeof(u64)) < 0)
			mts_die("pagemap");
		for (j = 0; j < n && bad < 4; j++) {
			if (!(entry[j] & (PM_PRESENT | PM_SWAP)))
				continue;
			seen++;
			bad += !mts_data_ok(what, grab->base +
					    (i + j) * mts_page_size,
					    seed + (i + j) * 2);
		}
	}
	close(fd);
	if (seen < grab->nr) {
		ktap_note("LOST DATA %s: %zu pages of %zu", what, seen,
			  grab->nr);
		bad++;
	}
	return bad;
}

/* The last two results of a program that had grabbed it: the data, and the blocks without */
static __maybe_unused void grab_end(const struct mts_grab *grab, u64 seed)
{
	bool online = mts_online();

	if (online) {
		ktap_result(!grab_bad("data in tag storage", grab, seed),
			    "the data in tag storage");
		munmap(grab->base, grab->pages * mts_page_size);
	} else {
		ktap_skip("module not online", "the data in tag storage");
	}
	mts_blocks_result(online);
}

/* ---- geometry ---- */

/* The first page of the tag block that serves a page, and how many it has. */
static __maybe_unused u64 storage_of(u64 pfn, u64 *nr)
{
	int i;

	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];
		u64 first = r->data_start / mts_page_size;

		if (pfn < first || pfn >= r->data_end / mts_page_size)
			continue;
		*nr = r->block_pages;
		return r->start / mts_page_size +
		       (pfn - first) / (32 * *nr) * *nr;
	}
	return 0;
}

/* The first page that the tag block of a page of tag storage serves */
static __maybe_unused u64 served_by(u64 pfn)
{
	int i;

	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];
		u64 first = r->start / mts_page_size;

		if (pfn >= first && pfn < r->end / mts_page_size)
			return r->data_start / mts_page_size +
			       (pfn - first) / r->block_pages *
			       r->block_pages * 32;
	}
	return 0;
}

/* ---- huge pages ---- */

/* Somebody may have isolated some of the pages, as on any kernel; not for long */
static __maybe_unused int collapse(char *p)
{
	double end = mts_now() + 10;
	int ret;

	while ((ret = madvise(p, mts_huge_size, MADV_COLLAPSE)) &&
	       errno == EAGAIN && mts_now() < end)
		usleep(1000);
	return ret;
}

/* ---- swap ---- */

#define ZRAM		"/dev/zram0"

static __maybe_unused int swap_header(const char *path, u64 bytes)
{
	/* union swap_header of the kernel */
	u32 info[] = { 1, bytes / mts_page_size - 1, 0 };
	int fd = open(path, O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = pwrite(fd, info, sizeof(info), 1024) == sizeof(info) &&
	      pwrite(fd, "SWAPSPACE2", 10, mts_page_size - 10) == 10 &&
	      !fsync(fd) ? 0 : -1;
	close(fd);
	return ret;
}

/* zram0 of that size, with a swap header; -1: there is none */
static __maybe_unused int zram_make(u64 bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	return mts_write_file("/sys/block/zram0/disksize", text) ||
	       swap_header(ZRAM, bytes) ? -1 : 0;
}

/* ---- memory cgroups ---- */

#define CGROUPS		"/tmp/cg"

/* Enter a memory cgroup of that name, which is made if needed, and set `key`. */
static __maybe_unused bool memcg_enter(const char *name, const char *key,
				       const char *value)
{
	char path[128], text[16];

	mkdir(CGROUPS, 0700);
	if (access(CGROUPS "/cgroup.procs", F_OK) &&
	    mount("none", CGROUPS, "cgroup2", 0, NULL))
		return false;
	mts_write_file(CGROUPS "/cgroup.subtree_control", "+memory");
	snprintf(path, sizeof(path), CGROUPS "/%s", name);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), CGROUPS "/%s/%s", name, key);
	if (mts_write_file(path, value))
		return false;
	snprintf(path, sizeof(path), CGROUPS "/%s/cgroup.procs", name);
	snprintf(text, sizeof(text), "%d", getpid());
	return !mts_write_file(path, text);
}

#endif
