// SPDX-License-Identifier: GPL-2.0
/*
 * Fault-on-access entries: memory of small pages, 64 KiB folios and huge pages
 * becomes PROT_MTE while no tag storage can be had, so that its entries fault on
 * access; then everything that meets such entries meets these. Data stay, tags
 * are zero and can be set, and the faults are counted: a test that met none
 * fails.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "mts_paths.h"

#ifndef PTRACE_PEEKMTETAGS
#define PTRACE_PEEKMTETAGS	33
#define PTRACE_POKEMTETAGS	34
#endif

#define INJECT		MTS_DEBUGFS "/fail_reserve/"
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define SCHED		"/sys/kernel/debug/sched/numa_balancing/"
#define NUMA_SECONDS	20
#define NUMA_HINTS	512
#define SEED		0x656e7472UL

enum size { PTES, CONT, PMD, NR_SIZES };

static const char * const size_names[NR_SIZES] = {
	[PTES] = "small pages", [CONT] = "64 KiB", [PMD] = "huge page",
};

/* Why a case can't be; NULL: it can */
static const char *size_missing[NR_SIZES];

/* One case: memory, of which size, and the faults counted before */
struct entries {
	struct mts_buf b;
	enum size size;
	long long faults;
	bool folios;	/* all of it, before and after it became PROT_MTE */
};

static bool online;

static void inject(bool on)
{
	if (online)
		inject_failures("fail_reserve", on);
}

/* Have the tag storage of the block that the first page is in, but no other */
static void reserve_first(const void *p)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu 1", (unsigned long long)mts_pfn(p));
	if (mts_write_file(MTS_DEBUGFS "/trigger/reserve", text))
		mts_die("trigger/reserve");
}

static bool has_folios(const struct entries *e)
{
	size_t len = e->b.pages * mts_page_size, pages = 65536 / mts_page_size;

	if (e->size == PMD)
		return mts_is_thp(e->b.p) && mts_folios(e->b.p, len, len) == 1;
	/* With pages of 64K it is one */
	if (e->size == CONT && pages > 1)
		return mts_folios(e->b.p, len, 65536) == e->b.pages / pages;
	return !mts_pages_with(e->b.p, e->b.pages, KPF_COMPOUND_HEAD);
}

static void make(struct entries *e, bool first, enum size size)
{
	size_t pages = size == PMD ? mts_huge_size / mts_page_size : 256;

	memset(e, 0, sizeof(*e));
	e->size = size;
	e->b.pages = pages;
	if (online)
		mts_release();
	e->b.p = mts_map(pages * mts_page_size, PROT_RW, 0,
			 size == PMD ? mts_huge_size : 65536);
	madvise(e->b.p, pages * mts_page_size,
		size == PTES ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	buf_fill(&e->b, SEED, false);
	e->folios = has_folios(e);
	if (first)
		reserve_first(e->b.p);
	inject(true);
	if (mprotect(e->b.p, pages * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	/* Also as entries that fault on access */
	e->folios &= has_folios(e);
	e->b.mte = true;
	e->faults = mts_stat("faults_on_access");
}

static void drop(struct entries *e)
{
	inject(false);
	munmap(e->b.p, e->b.pages * mts_page_size);
}

/* Data and zero tags as they were, then tags; in [first, first + pages) */
static size_t use(const char *what, struct entries *e, size_t first,
		  size_t pages)
{
	struct mts_buf part = e->b;
	size_t i, bad = 0;

	for (i = first; i < first + pages && bad < 4; i++)
		bad += !buf_page_ok(what, &e->b, i);
	part.tagged = true;
	part.seed = SEED + 1;
	for (i = first; i < first + pages; i++)
		buf_write(&part, i);
	for (i = first; i < first + pages && bad < 4; i++)
		bad += !buf_page_ok(what, &part, i);
	if (mts_pages_untaggable(what, buf_page(&e->b, first), pages) > 0)
		bad++;
	return bad;
}

static size_t use_all(const char *what, struct entries *e)
{
	return use(what, e, 0, e->b.pages);
}

/* Did the case meet what it is made for? A fault may resolve 32 entries, or all. */
static bool met(const char *what, const struct entries *e)
{
	long long n = mts_stat("faults_on_access") - e->faults;

	if (!e->folios) {
		ktap_note("%s: the pages were of another size", what);
		return false;
	}
	if (!online)
		return true;
	if (n <= 0)
		ktap_note("%s: no entry faulted on access", what);
	return n > 0;
}

/* ---- the cases; each returns the number of things that are wrong ---- */

static size_t touch(const char *what, struct entries *e)
{
	size_t bad;

	inject(false);
	bad = use_all(what, e);
	/* All storage could be had: there was no need to split it */
	if (online && e->size == PMD && !mts_is_thp(e->b.p)) {
		ktap_note("%s: the huge page was split", what);
		bad++;
	}
	return bad;
}

/* Both have such entries; who comes first copies */
static size_t fork_then_touch(const char *what, struct entries *e)
{
	size_t bad = 0;
	int go[2];
	pid_t pid;
	char c;

	make_pipe(go);
	pid = mts_fork();
	if (!pid) {
		close(go[1]);
		if (read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(!!use_all("child", e));
	}
	inject(false);
	bad += use(what, e, 0, e->b.pages / 2);
	if (write(go[1], "", 1) != 1)
		mts_die("write");
	bad += !child_ok(pid);
	bad += use(what, e, e->b.pages / 2, e->b.pages - e->b.pages / 2);
	close(go[0]);
	close(go[1]);
	return bad;
}

static int uffd = -1;
static size_t reported;

static void *monitor(void *unused)
{
	struct uffd_msg msg;
	u64 at;

	(void)unused;
	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		if (msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		__atomic_add_fetch(&reported, 1, __ATOMIC_SEQ_CST);
		at = msg.arg.pagefault.address & ~(mts_page_size - 1);
		uffd_protect(uffd, (void *)at, mts_page_size, false);
	}
	return NULL;
}

/* Protected entries that fault on access, too: reads go through, writes wait */
static size_t write_protect(const char *what, struct entries *e)
{
	size_t i, bad = 0, writes = 0;
	pthread_t thread;

	uffd = uffd_open_wp();
	uffd_watch(uffd, e->b.p, e->b.pages * mts_page_size);
	reported = 0;
	uffd_protect(uffd, e->b.p, e->b.pages * mts_page_size, true);
	if (pthread_create(&thread, NULL, monitor, NULL))
		mts_die("pthread_create");
	inject(false);
	for (i = 0; i < e->b.pages && bad < 4; i++)
		bad += !buf_page_ok(what, &e->b, i);
	if (reported) {
		ktap_note("%s: %zu reads were reported", what, reported);
		bad++;
	}
	for (i = 0; i < e->b.pages; i += 3, writes++) {
		u64 *p = (u64 *)buf_page(&e->b, i);

		if (i % 2)
			mte_stg(p);
		else
			*(volatile u64 *)p = *p;
	}
	if (reported != writes) {
		ktap_note("%s: %zu of %zu writes were reported", what,
			  reported, writes);
		bad++;
	}
	uffd_protect(uffd, e->b.p, e->b.pages * mts_page_size, false);
	bad += use_all(what, e);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	close(uffd);
	return bad;
}

/*
 * A tracer reads and writes tags and data of a tracee that never touches them.
 * Nothing may be refused: all storage can be had.
 */
static size_t ptraced(const char *what, struct entries *e)
{
	size_t i, g, bad = 0, refused = 0;
	u8 tags[4096];
	struct iovec iov;
	int status;
	pid_t pid;

	pid = mts_fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		for (i = 0; i < e->b.pages && bad < 4; i++) {
			char *p = buf_page(&e->b, i);

			bad += !mts_data_ok("tracee", p, buf_key(&e->b, i));
			for (g = 0; g < mts_page_granules && bad < 4; g++)
				bad += mte_ldg(p + g * MTE_GRANULE) !=
				       (i % 2 ? 0 : 1 + (i + g) % 15);
		}
		_exit(!!bad);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		mts_die("the tracee did not stop");
	inject(false);
	for (i = 0; i < e->b.pages; i++) {
		char *p = buf_page(&e->b, i);
		long word;

		errno = 0;
		word = ptrace(PTRACE_PEEKDATA, pid, p, NULL);
		if (errno || (u64)word != buf_key(&e->b, i))
			bad++;
		memset(tags, 0xee, sizeof(tags));
		iov = (struct iovec){ tags, mts_page_granules };
		if (ptrace(PTRACE_PEEKMTETAGS, pid, p, &iov)) {
			refused++;
		} else {
			for (g = 0; g < mts_page_granules; g++)
				bad += tags[g] != 0;
			bad += iov.iov_len != mts_page_granules;
		}
		if (i % 2)
			continue;
		for (g = 0; g < mts_page_granules; g++)
			tags[g] = 1 + (i + g) % 15;
		iov = (struct iovec){ tags, mts_page_granules };
		if (ptrace(PTRACE_POKEMTETAGS, pid, p, &iov))
			refused++;
	}
	if (bad || refused)
		ktap_note("%s: %zu wrong, %zu refused", what, bad, refused);
	bad += refused;
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	bad += !child_ok(pid);
	/* Nothing of that is ours */
	return bad + use_all(what, e);
}

/* Others' hands: copies by GUP, and pages that go into a pipe */
static size_t gup(const char *what, struct entries *e)
{
	size_t len = e->b.pages * mts_page_size, i, bad = 0, n = 8;
	char *copy = mts_map(len, PROT_RW, 0, 0), page[65536];
	struct iovec local = { copy, len }, remote = { e->b.p, len };
	int fds[2];

	inject(false);
	if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) !=
	    (ssize_t)len) {
		ktap_note("%s: process_vm_readv: %s", what, strerror(errno));
		bad++;
	}
	for (i = 0; i < e->b.pages && bad < 4; i++)
		bad += !mts_data_ok("copy", copy + i * mts_page_size,
				    buf_key(&e->b, i));
	make_pipe(fds);
	splice_in(fds[1], e->b.p, n * mts_page_size);
	for (i = 0; i < n; i++) {
		if (read(fds[0], page, mts_page_size) != (ssize_t)mts_page_size)
			mts_die("read");
		bad += !mts_data_ok("pipe", page, buf_key(&e->b, i));
	}
	close(fds[0]);
	close(fds[1]);
	munmap(copy, len);
	return bad + use_all(what, e);
}

/* A CPU of another node than the first CPU's, or -1 */
static int far_cpu(void)
{
	int cpu, home = mts_node_of_cpu(0), far = -1;

	for (cpu = 1; cpu < mts_cpus() && far < 0; cpu++)
		if (mts_node_of_cpu(cpu) != home)
			far = cpu;
	mts_pin(0);
	return far;
}

/* The scanner of NUMA balancing goes over them before they are touched */
static size_t numa_hint(const char *what, struct entries *e)
{
	long long before = mts_vmstat("numa_pte_updates"), after = before;
	double end = mts_now() + NUMA_SECONDS;
	struct mts_buf other;
	size_t bad = 0;

	/*
	 * Memory that it does make hints of tells that it was here. It looks at
	 * what is on another node than the program.
	 */
	mts_pin(0);
	buf_map(&other, 512, PROT_RW, 0);
	buf_fill(&other, SEED + 2, false);
	mts_pin(far_cpu());
	mts_write_file(BALANCING, "1");
	while (mts_now() < end && after - before < NUMA_HINTS) {
		bad += buf_bad("other memory", &other);
		usleep(1000);
		after = mts_vmstat("numa_pte_updates");
	}
	inject(false);
	bad += use_all(what, e);
	mts_write_file(BALANCING, "0");
	buf_unmap(&other);
	mts_pin(0);
	if (after - before < NUMA_HINTS) {
		ktap_note("%s: %lld hints only", what, after - before);
		bad++;
	}
	return bad;
}

static size_t moved(const char *what, struct entries *e)
{
	size_t len = e->b.pages * mts_page_size;
	char *to = mts_map(len, PROT_NONE, 0, mts_huge_size);

	if (mremap(e->b.p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		mts_die("mremap");
	e->b.p = to;
	inject(false);
	return use_all(what, e);
}

/* One half is swapped out, the other stays */
static size_t swapped(const char *what, struct entries *e)
{
	size_t half = e->b.pages / 2, out, bad = 0, tries;

	for (tries = 0; tries < 5; tries++) {
		madvise(e->b.p, half * mts_page_size, MADV_PAGEOUT);
		out = pagemap_count(e->b.p, half, PM_SWAP);
		if (out >= half / 2)
			break;
		usleep(100000);
	}
	if (out < half / 2) {
		ktap_note("%s: %zu of %zu pages were swapped out", what, out,
			  half);
		bad++;
	}
	inject(false);
	return bad + use_all(what, e);
}

/* One half goes as it is, the other is used */
static size_t unmapped(const char *what, struct entries *e)
{
	size_t half = e->b.pages / 2;

	munmap(e->b.p, half * mts_page_size);
	inject(false);
	return use(what, e, half, e->b.pages - half);
}

struct discard {
	struct entries *e;
	unsigned int after_us;
	atomic_bool go;
};

static void *discard(void *arg)
{
	struct discard *d = arg;

	while (!atomic_load(&d->go))
		;
	usleep(d->after_us);
	if (madvise(d->e->b.p, d->e->b.pages * mts_page_size, MADV_DONTNEED))
		mts_die("MADV_DONTNEED");
	return NULL;
}

/*
 * All of it is discarded while a fault on its first page waits for tag storage: what
 * was there must not come back. The window is some instructions long, but where the
 * CPU rests in it (entry delay-entries of the list of tests).
 */
static size_t discarded(const char *what, struct entries *e)
{
	static const unsigned int after_us[] = { 0, 20, 100, 2000, 10000 };
	size_t i, page, bad = 0;

	inject(false);
	for (i = 0; i < ARRAY_SIZE(after_us); i++) {
		struct entries mine;
		struct discard d = { &mine, after_us[i], false };
		pthread_t thread;

		make(&mine, false, e->size);
		inject(false);
		if (pthread_create(&thread, NULL, discard, &d))
			mts_die("pthread_create");
		atomic_store(&d.go, true);
		(void)*(volatile char *)mine.b.p;
		pthread_join(thread, NULL);
		for (page = 0; page < mine.b.pages && bad < 4; page++) {
			if (!*(volatile u64 *)buf_page(&mine.b, page))
				continue;
			ktap_note("%s: page %zu is back", what, page);
			bad++;
		}
		drop(&mine);
	}
	return bad + use_all(what, e);
}

/* Of a huge page the first block can have tags, and the others can't */
static void test_first(void)
{
	const char *what = "huge page: only its first block is taggable";
	struct entries e;
	size_t bad;

	make(&e, true, PMD);
	bad = touch(what, &e);
	ktap_result(!bad && met(what, &e), "%s", what);
	drop(&e);
}

static const struct op {
	const char *name;
	size_t (*run)(const char *what, struct entries *e);
} ops[] = {
	{ "touch", touch },
	{ "fork", fork_then_touch },
	{ "write protection", write_protect },
	{ "ptrace", ptraced },
	{ "GUP", gup },
	{ "NUMA hints", numa_hint },
	{ "mremap", moved },
	{ "swap", swapped },
	{ "munmap", unmapped },
	{ "discarded", discarded },
};

static const char *op_missing(const struct op *op, bool zram)
{
	if (op->run == numa_hint && far_cpu() < 0)
		return "one node only";
	if (op->run == numa_hint && access(BALANCING, W_OK))
		return "no CONFIG_NUMA_BALANCING";
	if (op->run == swapped && !zram)
		return "no zram";
	return NULL;
}

/* The name of a case: that only, for each size */
int main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : NULL;
	const char *why;
	char what[64];
	enum size size;
	bool zram;
	size_t i;

	mts_need_mte();
	mts_load_regions();
	online = mts_online();
	if (online && (mts_write_file(INJECT "verbose", "0") ||
		       mts_write_file(INJECT "times", "-1"))) {
		printf("KTAP version 1\n1..0 # SKIP no fault injection\n");
		return KSFT_SKIP;
	}
	zram = !zram_make(64UL << 20) && !swapon(ZRAM, 0);
	mts_thp_enable();
	mts_khugepaged_rest();
	if (!mts_mthp_enable(64))
		size_missing[CONT] = "no 64 KiB folios";
	if (!mts_huge_is_pmd())
		size_missing[PMD] = "no huge page";
	/* Sooner and faster than usual */
	mts_write_file(SCHED "scan_delay_ms", "1");
	mts_write_file(SCHED "scan_period_min_ms", "20");
	mts_write_file(SCHED "scan_period_max_ms", "50");

	ktap_begin(NR_SIZES * (only ? 1 : ARRAY_SIZE(ops)) + 2);
	for (size = 0; size < NR_SIZES; size++) {
		for (i = 0; i < ARRAY_SIZE(ops); i++) {
			struct entries e;
			size_t bad;

			if (only && strcmp(only, ops[i].name))
				continue;
			snprintf(what, sizeof(what), "%s: %s",
				 size_names[size], ops[i].name);
			why = size_missing[size] ?: op_missing(&ops[i], zram);
			if (why) {
				ktap_skip(why, "%s", what);
				continue;
			}
			make(&e, false, size);
			bad = ops[i].run(what, &e);
			bad += !met(what, &e);
			ktap_result(!bad, "%s", what);
			drop(&e);
		}
	}
	if (online && !size_missing[PMD])
		test_first();
	else
		ktap_skip(size_missing[PMD] ?: "module not online",
			  "huge page: only its first block is taggable");
	if (zram && (swapoff(ZRAM) ||
		     mts_write_file("/sys/block/zram0/reset", "1")))
		mts_die("zram");
	mts_blocks_result(online);
	return ktap_end();
}
