// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own accesses to memory of programs: O_DIRECT, process_vm_*,
 * vmsplice, io_uring's fixed buffers, read and write, futexes, core dumps.
 * Pages that must move out of tag storage while somebody holds them, and pages
 * whose tag storage somebody holds.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "mts_paths.h"
#include "mts_uring.h"

#ifndef PT_AARCH64_MEMTAG_MTE
#define PT_AARCH64_MEMTAG_MTE	0x70000002
#endif

#define DISK		"/dev/loop6"
#define DISK_PAGES	64
#define DISK_BYTES	(4 * DISK_PAGES * mts_page_size)
#define GRAB_SEED	0x677570UL
#define PIN_SECONDS	0.3
#define WORK_SEED	0x67757000UL

static struct mts_grab grab;
static struct mts_buf work;
static u64 *grab_pfns;
static size_t grab_next;

/* ---- pages in tag storage ---- */

/* A page with data that lies in tag storage, each one once. */
static char *grab_page(size_t *index)
{
	if (!grab.nr)
		return NULL;
	mts_pfns(grab.base, grab.pages, grab_pfns);
	for (; grab_next < grab.pages; grab_next++)
		if (mts_pfn_in_storage(grab_pfns[grab_next])) {
			*index = grab_next++;
			return grab.base + *index * mts_page_size;
		}
	return NULL;
}

static u64 grab_key(size_t index)
{
	return GRAB_SEED + index * 2;
}

/* Back to what it was for the check of all of them. */
static void grab_restore(size_t index)
{
	char *p = grab.base + index * mts_page_size;

	if (mmap(p, mts_page_size, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_FIXED, -1, 0) != p)
		mts_die("mmap");
	mts_page_fill(p, grab_key(index));
}

/* A page of WORK and the page of GRAB that is its tag storage. */
static bool find_pair(size_t *w, size_t *g)
{
	u64 first, nr;
	size_t i, j;

	mts_pfns(grab.base, grab.pages, grab_pfns);
	for (i = 0; i < work.pages; i++) {
		first = storage_of(mts_pfn(buf_page(&work, i)), &nr);
		for (j = 0; first && j < grab.pages; j++)
			if (grab_pfns[j] >= first && grab_pfns[j] < first + nr) {
				*w = i;
				*g = j;
				return true;
			}
	}
	return false;
}

/* ---- pins ---- */

static volatile bool drained;

static void *drain_later(void *arg)
{
	char *buf = malloc(mts_page_size);
	int fd = *(int *)arg;

	usleep(PIN_SECONDS * 1000000);
	drained = true;
	if (read(fd, buf, mts_page_size) != (ssize_t)mts_page_size)
		mts_die("read");
	free(buf);
	return NULL;
}

/* A page in tag storage, held for a moment, becomes one of an MTE mapping. */
static void test_short_pin(void)
{
	struct mts_buf b = { .pages = 1, .mte = true };
	pthread_t thread;
	double start, took;
	size_t g, bad = 0;
	bool waited;
	int fd[2];

	b.p = grab_page(&g);
	if (!b.p) {
		ktap_skip("no data in tag storage", "short pin");
		return;
	}
	make_pipe(fd);
	splice_in(fd[1], b.p, mts_page_size);
	if (mprotect(b.p, mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	if (pthread_create(&thread, NULL, drain_later, &fd[0]))
		mts_die("thread");
	start = mts_now();
	bad += !mts_data_ok("short pin", b.p, grab_key(g));
	waited = drained;
	took = mts_now() - start;
	ktap_note("the page could be used after %.2f s", took);
	/* Not before the pipe lets it go */
	bad += !waited;
	pthread_join(thread, NULL);
	bad += !mts_tags_ok("short pin", b.p, 0);
	buf_fill(&b, 20, true);
	bad += buf_bad("short pin", &b);
	bad += !buf_taggable("short pin", &b);
	grab_restore(g);
	close(fd[0]);
	close(fd[1]);
	ktap_result(!bad, "short pin of a page in tag storage");
}

static int touch_page(void *p)
{
	*(volatile char *)p = 1;
	return 2;
}

/*
 * The pin stays: who touches the page waits, and can be killed. When the pin
 * has gone, the page can be used.
 */
static void test_long_pin(void)
{
	size_t g, bad = 0, stack = 65536;
	char *p = grab_page(&g), *top;
	int fd[2], status, tries;
	long long faults;
	double start;
	pid_t pid;

	if (!p) {
		ktap_skip("no data in tag storage", "pin that stays");
		return;
	}
	make_pipe(fd);
	splice_in(fd[1], p, mts_page_size);
	if (mprotect(p, mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	/* Another process of the same memory: fork() would copy */
	top = mts_map(stack, PROT_RW, 0, 0);
	pid = clone(touch_page, top + stack, CLONE_VM | SIGCHLD, p);
	if (pid < 0)
		mts_die("clone");
	faults = mts_stat("faults_on_access");
	start = mts_now();
	usleep(500000);
	/* Each waits for fault_wait_ms, 20 ms */
	faults = mts_stat("faults_on_access") - faults;
	if (faults > 32 + 100 * (mts_now() - start)) {
		ktap_note("%lld faults in %.1f s", faults, mts_now() - start);
		bad++;
	}
	if (waitpid(pid, &status, WNOHANG)) {
		ktap_note("the page could be used: status %#x", status);
		bad++;
	} else {
		kill(pid, SIGKILL);
		for (tries = 0; tries < 1000; tries++) {
			if (waitpid(pid, &status, WNOHANG) == pid)
				break;
			usleep(10000);
		}
		if (tries == 1000) {
			ktap_note("not dead 10 s after SIGKILL");
			bad++;
		} else if (!WIFSIGNALED(status)) {
			ktap_note("status %#x", status);
			bad++;
		}
	}
	close(fd[0]);
	close(fd[1]);
	bad += !mts_data_ok("pin that stayed", p, grab_key(g));
	bad += !mts_tags_ok("pin that stayed", p, 0);
	bad += mts_pages_untaggable("pin that stayed", p, 1) > 0;
	munmap(top, stack);
	grab_restore(g);
	ktap_result(!bad, "pin that stays: the program waits and can be killed");
}

/* The tag storage of a page is held: the page moves to where it can. */
static void test_pinned_storage(void)
{
	struct mts_buf b = { .pages = 1, .mte = true };
	size_t w, g, bad = 0;
	int fd[2];
	u64 pfn;

	if (!find_pair(&w, &g)) {
		ktap_skip("no data in tag storage", "pinned tag storage");
		return;
	}
	make_pipe(fd);
	splice_in(fd[1], grab.base + g * mts_page_size, mts_page_size);
	b.p = buf_page(&work, w);
	pfn = mts_pfn(b.p);
	if (mprotect(b.p, mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	bad += !mts_data_ok("pinned storage", b.p, buf_key(&work, w));
	bad += !mts_tags_ok("pinned storage", b.p, 0);
	buf_fill(&b, 21, true);
	bad += buf_bad("pinned storage", &b);
	bad += !buf_taggable("pinned storage", &b);
	if (mts_pfn(b.p) == pfn) {
		ktap_note("the page is where it was");
		bad++;
	}
	/* The pipe has what was written to it */
	bad += !mts_data_ok("pinned storage, grab",
			    grab.base + g * mts_page_size, grab_key(g));
	close(fd[0]);
	close(fd[1]);
	if (mmap(b.p, mts_page_size, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_FIXED, -1, 0) != b.p)
		mts_die("mmap");
	mts_page_fill(b.p, buf_key(&work, w));
	ktap_result(!bad, "pinned tag storage");
}

/* ---- I/O ---- */

/* MTE pages of three kinds: tagged, mapped but not tagged, never touched. */
static void three_kinds(struct mts_buf *b, size_t pages, u64 seed)
{
	size_t i;

	buf_map(b, pages, PROT_TAGGED, 0);
	b->seed = seed;
	b->tagged = true;
	for (i = 0; i < pages; i++) {
		if (i % 3 == 0)
			mts_page_tag(buf_page(b, i), buf_key(b, i));
		else if (i % 3 == 1)
			*(volatile char *)buf_page(b, i) = 1;
	}
}

static size_t three_kinds_bad(const char *what, const struct mts_buf *b,
			      const struct mts_buf *data)
{
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i++) {
		bad += !mts_data_ok(what, buf_page(b, i), buf_key(data, i));
		bad += !mts_tags_ok(what, buf_page(b, i),
				    i % 3 ? 0 : buf_key(b, i));
	}
	return bad + !buf_taggable(what, b);
}

static bool disk_make(void)
{
	char command[96];
	struct stat st;

	mkdir("/tmp/disk6", 0700);
	if (mount("none", "/tmp/disk6", "ramfs", 0, NULL))
		return false;
	snprintf(command, sizeof(command), "truncate -s %zu /tmp/disk6/disk && losetup "
		 DISK " /tmp/disk6/disk", DISK_BYTES);
	if (system(command))
		return false;
	return !stat(DISK, &st);
}

static void disk_unmake(void)
{
	if (system("losetup -d " DISK))
		ktap_note("losetup -d failed");
	umount("/tmp/disk6");
}

static void test_direct(void)
{
	size_t len = DISK_PAGES * mts_page_size;
	struct mts_buf b, source, sink;
	size_t bad = 0;
	int fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		mts_die(DISK);
	/* Tagged memory to disk and back to other memory */
	buf_map(&source, DISK_PAGES, PROT_TAGGED, 0);
	buf_fill(&source, 30, true);
	if (pwrite(fd, source.p, len, 0) != (ssize_t)len)
		mts_die("O_DIRECT write");
	three_kinds(&b, DISK_PAGES, 31);
	if (pread(fd, b.p, len, 0) != (ssize_t)len)
		mts_die("O_DIRECT read");
	bad += three_kinds_bad("O_DIRECT read", &b, &source);
	bad += buf_bad("O_DIRECT source", &source);
	/* Memory that is freed while the next read is under way elsewhere */
	buf_unmap(&b);
	buf_map(&sink, DISK_PAGES, PROT_RW, 0);
	if (pread(fd, sink.p, len, 0) != (ssize_t)len)
		mts_die("O_DIRECT read");
	sink.seed = source.seed;
	bad += buf_bad("O_DIRECT, untagged", &sink);
	buf_unmap(&sink);
	buf_unmap(&source);
	close(fd);
	ktap_result(!bad, "O_DIRECT");
}

static void test_process_vm(void)
{
	size_t len = DISK_PAGES * mts_page_size, bad = 0;
	struct mts_buf b, data, back;
	struct iovec local, remote;
	int go[2], done[2];
	pid_t pid;
	char c;

	make_pipe(go);
	make_pipe(done);
	three_kinds(&b, DISK_PAGES, 40);
	buf_map(&data, DISK_PAGES, PROT_RW, 0);
	buf_fill(&data, 41, false);
	pid = fork();
	if (!pid) {
		close(go[1]);
		if (write(done[1], "x", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(three_kinds_bad("process_vm_writev", &b, &data) ||
		      three_kinds_bad("process_vm_readv", &b, &data));
	}
	if (read(done[0], &c, 1) != 1)
		mts_die("child");
	local = (struct iovec){ data.p, len };
	remote = (struct iovec){ b.p, len };
	if (process_vm_writev(pid, &local, 1, &remote, 1, 0) != (ssize_t)len)
		mts_die("process_vm_writev");
	buf_map(&back, DISK_PAGES, PROT_TAGGED, 0);
	local.iov_base = back.p;
	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != (ssize_t)len)
		mts_die("process_vm_readv");
	back.seed = data.seed;
	bad += buf_bad("process_vm_readv", &back);
	if (write(go[1], "x", 1) != 1)
		mts_die("write");
	bad += !child_ok(pid);
	buf_unmap(&b);
	buf_unmap(&data);
	buf_unmap(&back);
	ktap_result(!bad, "process_vm_readv and process_vm_writev");
}

/* read() and write() where the kernel faults, on pages that fault on access. */
static void test_pipe(void)
{
	size_t i, g, bad = 0;
	struct mts_buf b, data;
	int fd[2];

	make_pipe(fd);
	three_kinds(&b, 12, 50);
	buf_map(&data, 12, PROT_RW, 0);
	buf_fill(&data, 51, false);
	for (i = 0; i < 12; i++) {
		char *p = buf_page(&b, i);

		if (write(fd[1], buf_page(&data, i), mts_page_size) < 0 ||
		    read(fd[0], p, mts_page_size) != (ssize_t)mts_page_size)
			mts_die("pipe");
	}
	bad += three_kinds_bad("read()", &b, &data);
	/* Pages in tag storage that became an MTE mapping, not touched since */
	for (i = 0; i < 4; i++) {
		char *p = grab_page(&g), *copy = buf_page(&data, 0);

		if (!p)
			break;
		if (mprotect(p, mts_page_size, PROT_TAGGED))
			mts_die("mprotect");
		if (i & 1) {
			if (write(fd[1], p, mts_page_size) < 0 ||
			    read(fd[0], copy, mts_page_size) < 0)
				mts_die("pipe");
			bad += !mts_data_ok("write()", copy, grab_key(g));
		} else {
			mts_page_fill(copy, 99);
			if (write(fd[1], copy, mts_page_size) < 0 ||
			    read(fd[0], p, mts_page_size) < 0)
				mts_die("pipe");
			bad += !mts_data_ok("read()", p, 99);
		}
		bad += !mts_tags_ok("read() and write()", p, 0);
		bad += mts_pages_untaggable("read() and write()", p, 1) > 0;
		grab_restore(g);
	}
	/* vmsplice of tagged pages, and what is in the pipe outlives them */
	buf_fill(&b, 52, true);
	for (i = 0; i < 8; i++)
		splice_in(fd[1], buf_page(&b, i), mts_page_size);
	for (i = 0; i < 8; i++) {
		if (read(fd[0], buf_page(&data, i), mts_page_size) < 0)
			mts_die("pipe");
		bad += !mts_data_ok("vmsplice", buf_page(&data, i),
				    buf_key(&b, i));
	}
	bad += buf_bad("vmsplice", &b);
	splice_in(fd[1], buf_page(&b, 0), mts_page_size);
	buf_unmap(&b);
	buf_unmap(&data);
	close(fd[0]);
	close(fd[1]);
	ktap_result(!bad, "read(), write() and vmsplice()");
}

/* ---- io_uring ---- */

static void test_uring(void)
{
	struct mts_buf tagged, fresh, plain, data;
	size_t pages = 8, len = pages * mts_page_size, g = 0, bad = 0, i;
	char *stored = grab_page(&g);
	struct iovec iov[4];
	struct ring r;
	int fd, nr = 3;
	pid_t pid;

	if (!ring_make(&r)) {
		ktap_skip(strerror(errno), "io_uring");
		return;
	}
	fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		mts_die(DISK);
	buf_map(&tagged, pages, PROT_TAGGED, 0);
	buf_fill(&tagged, 60, true);
	buf_map(&fresh, pages, PROT_TAGGED, 0);
	buf_map(&plain, pages, PROT_RW, 0);
	buf_fill(&plain, 61, false);
	buf_map(&data, pages, PROT_RW, 0);
	iov[0] = (struct iovec){ tagged.p, len };
	iov[1] = (struct iovec){ fresh.p, len };
	iov[2] = (struct iovec){ plain.p, len };
	iov[3] = (struct iovec){ stored, mts_page_size };
	if (stored)
		nr = 4;
	if (!ring_pin(&r, iov, nr))
		mts_die("IORING_REGISTER_BUFFERS");
	/* A long-term pin isn't given on memory that must be movable */
	if (stored) {
		bad += mts_pfn_in_storage(mts_pfn(stored));
		bad += !mts_data_ok("pinned", stored, grab_key(g));
	}
	if (ring_io(&r, IORING_OP_WRITE_FIXED, fd, tagged.p, len, 0, 0) !=
	    (int)len ||
	    ring_io(&r, IORING_OP_READ_FIXED, fd, fresh.p, len, 0, 1) !=
	    (int)len)
		mts_die("io_uring");
	fresh.seed = tagged.seed;
	bad += buf_bad("fixed buffer, tagged", &tagged);
	bad += buf_bad("fixed buffer, not tagged", &fresh);
	/* Pinned memory becomes an MTE mapping, and its tags stay */
	if (mprotect(plain.p, len, PROT_TAGGED))
		mts_die("mprotect");
	plain.mte = true;
	bad += buf_bad("pinned, then PROT_MTE", &plain);
	for (i = 0; i < pages; i++)
		mts_page_tag(buf_page(&plain, i), buf_key(&tagged, i));
	if (ring_io(&r, IORING_OP_READ_FIXED, fd, plain.p, len, 0, 2) !=
	    (int)len)
		mts_die("io_uring");
	plain.seed = tagged.seed;
	plain.tagged = true;
	bad += buf_bad("read into it", &plain);
	bad += !buf_taggable("pinned", &plain);
	if (stored) {
		if (mprotect(stored, mts_page_size, PROT_TAGGED))
			mts_die("mprotect");
		mts_page_tag(stored, 1000);
		if (ring_io(&r, IORING_OP_READ_FIXED, fd, stored, mts_page_size,
			    0, 3) != (int)mts_page_size)
			mts_die("io_uring");
		bad += !mts_tags_ok("moved, pinned", stored, 1000);
		bad += !mts_data_ok("moved, pinned", stored,
				    buf_key(&tagged, 0));
	}
	/* fork() copies pinned pages at once */
	pid = fork();
	if (!pid) {
		bad += buf_bad("child", &tagged) + buf_bad("child", &plain);
		_exit(!!bad);
	}
	bad += !child_ok(pid);
	buf_fill(&tagged, 62, true);
	if (ring_io(&r, IORING_OP_WRITE_FIXED, fd, tagged.p, len, 0, 0) !=
	    (int)len || pread(fd, data.p, len, 0) != (ssize_t)len)
		mts_die("io_uring");
	data.seed = tagged.seed;
	bad += buf_bad("after fork", &data);
	bad += buf_bad("after fork", &tagged);
	close(fd);
	ring_close(&r);
	if (stored)
		grab_restore(g);
	buf_unmap(&tagged);
	buf_unmap(&fresh);
	buf_unmap(&plain);
	buf_unmap(&data);
	ktap_result(!bad, "io_uring fixed buffers");
}

/* ---- accesses with page faults disabled ---- */

static long futex(void *p, int op, u32 val, void *p2, u32 val3)
{
	struct timespec ts = { .tv_nsec = 1000000 };
	u64 arg = op == FUTEX_WAKE_OP ? 0 : (u64)&ts;

	return syscall(__NR_futex, p, op, val, arg, p2, val3);
}

static size_t futex_bad(const char *what, u32 *p, u32 *p2, u32 now)
{
	/* *p2 = old + 1; then wake if old == now */
	u32 op = FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, now);
	size_t bad = 0;

	if (futex(p2, FUTEX_WAKE_OP, 1, p2, op) < 0) {
		ktap_note("%s: FUTEX_WAKE_OP: %s", what, strerror(errno));
		bad++;
	} else if (*p2 != now + 1) {
		ktap_note("%s: %u after %u", what, *p2, now);
		bad++;
	}
	if (futex(p, FUTEX_WAIT, now + 7, NULL, 0) != -1 || errno != EAGAIN) {
		ktap_note("%s: FUTEX_WAIT: %s", what, strerror(errno));
		bad++;
	}
	return bad;
}

static void test_futex(void)
{
	struct mts_buf b;
	size_t bad = 0, i, g;

	/* Never touched; then fault-on-access after mprotect() */
	buf_map(&b, 16, PROT_TAGGED, 0);
	for (i = 0; i < 16; i += 2)
		bad += futex_bad("fresh", (u32 *)buf_page(&b, i),
				 (u32 *)buf_page(&b, i + 1), 0);
	buf_unmap(&b);
	buf_map(&b, 64, PROT_RW, 0);
	buf_fill(&b, 70, false);
	if (mprotect(b.p, 64 * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	for (i = 0; i < 64; i += 32)
		bad += futex_bad("mprotect", (u32 *)buf_page(&b, i),
				 (u32 *)buf_page(&b, i + 1),
				 (u32)buf_key(&b, i + 1));
	buf_unmap(&b);
	for (i = 0; i < 3; i++) {
		u32 *p = (u32 *)grab_page(&g);

		if (!p)
			break;
		if (mprotect(p, mts_page_size, PROT_TAGGED))
			mts_die("mprotect");
		bad += futex_bad("in tag storage", p + 1, p,
				 (u32)grab_key(g));
		bad += mts_pfn_in_storage(mts_pfn(p));
		grab_restore(g);
	}
	ktap_result(!bad, "futexes in memory that faults on access");
}

/* ---- core dumps ---- */

static size_t core_bad(const char *path, const struct mts_buf *b)
{
	size_t i, g, bad = 0, segments = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf64_Phdr phdr;
	Elf64_Ehdr ehdr;

	if (fd < 0 || pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr)) {
		ktap_note("no core dump: %s", strerror(errno));
		return 1;
	}
	for (i = 0; i < ehdr.e_phnum; i++) {
		u64 at = (u64)b->p, off;
		size_t page;
		/* Two in a byte; pages have up to 64 KiB */
		u8 tags[2048];

		if (pread(fd, &phdr, sizeof(phdr), ehdr.e_phoff +
			  i * sizeof(phdr)) != sizeof(phdr))
			mts_die("core dump");
		if (phdr.p_type != PT_AARCH64_MEMTAG_MTE ||
		    phdr.p_vaddr > at ||
		    phdr.p_vaddr + phdr.p_memsz < at + b->pages * mts_page_size)
			continue;
		segments++;
		for (page = 0; page < b->pages && bad < 4; page++) {
			u64 key = page % 3 ? 0 : buf_key(b, page);

			off = at - phdr.p_vaddr + page * mts_page_size;
			if (pread(fd, tags, mts_page_granules / 2,
				  phdr.p_offset + off / 32) !=
			    (ssize_t)mts_page_granules / 2)
				mts_die("core dump");
			for (g = 0; g < mts_page_granules; g++) {
				u8 tag = tags[g / 2] >> (g % 2 * 4) & 0xf;

				if (tag == mts_tag_of(key, g))
					continue;
				ktap_note("core dump: page %zu granule %zu expected %u actual %u",
					  page, g, mts_tag_of(key, g), tag);
				bad++;
				break;
			}
		}
	}
	close(fd);
	if (segments != 1) {
		ktap_note("core dump: %zu segments with tags of the buffer",
			  segments);
		bad++;
	}
	return bad;
}

static void test_core(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	char old[256], path[64];
	struct mts_buf b;
	size_t bad = 0;
	pid_t pid;

	if (mts_read_file("/proc/sys/kernel/core_pattern", old,
			  sizeof(old)) < 0 ||
	    mts_write_file("/proc/sys/kernel/core_pattern", "/tmp/core.%p")) {
		ktap_skip("no core dumps", "core dump");
		return;
	}
	three_kinds(&b, 48, 80);
	/* Some pages come into the mapping without being touched */
	pid = fork();
	if (!pid) {
		madvise(grab.base, grab.pages * mts_page_size, MADV_DONTDUMP);
		madvise(work.p, work.pages * mts_page_size, MADV_DONTDUMP);
		setrlimit(RLIMIT_CORE, &limit);
		abort();
	}
	if (!WCOREDUMP(wait_status(pid))) {
		ktap_note("no core was dumped");
		bad++;
	}
	snprintf(path, sizeof(path), "/tmp/core.%d", pid);
	bad += core_bad(path, &b);
	unlink(path);
	old[strcspn(old, "\n")] = '\0';
	mts_write_file("/proc/sys/kernel/core_pattern", old);
	buf_unmap(&b);
	ktap_result(!bad, "core dump with tags");
}

int main(void)
{
	bool online;

	mts_need_mte();
	mts_load_regions();
	online = mts_online();
	ktap_begin(11);
	if (!disk_make())
		mts_die(DISK);
	buf_map(&work, 1024, PROT_RW, 0);
	buf_fill(&work, WORK_SEED, false);
	if (online) {
		grab_storage(&grab);
		grab_fill(&grab, GRAB_SEED);
		grab_pfns = calloc(grab.pages, sizeof(*grab_pfns));
		if (!grab_pfns)
			mts_die("calloc");
		ktap_note("%zu pages of data in tag storage", grab.nr);
	}
	test_short_pin();
	test_long_pin();
	test_pinned_storage();
	test_direct();
	test_process_vm();
	test_pipe();
	test_uring();
	test_futex();
	test_core();
	disk_unmake();
	if (online) {
		size_t bad = grab_bad("data in tag storage", &grab, GRAB_SEED);

		bad += buf_bad("data", &work);
		ktap_result(!bad, "the data in tag storage");
		munmap(grab.base, grab.pages * mts_page_size);
		buf_unmap(&work);
	} else {
		ktap_skip("module not online", "the data in tag storage");
	}
	mts_blocks_result(online);
	return ktap_end();
}
