// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: nobody waits for what only he can end. A FUSE server with tagged
 * memory has READs to answer; the folios that wait for them, locked, fill half of
 * tag storage. The server touches new tagged memory before it answers: by plain
 * access, as I/O flusher, by mprotect() and by ptrace. It must get it, and
 * meanwhile another fault, who looks at the server, the worker and `offline` must
 * go on.
 */
#define _GNU_SOURCE
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "mts_fuse.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER	57
#endif
#ifndef PTRACE_POKEMTETAGS
#define PTRACE_POKEMTETAGS	34
#endif

#define STATE		MTS_DEBUGFS "/state"
#define FILE_BYTES	(64 * FUSE_BYTES)
#define WORK_PAGES	((128UL << 20) / mts_page_size)
/* One call of mprotect(): a step that is seen on slow machines, too */
#define PIECE		(8UL << 20)
#define OTHER_PAGES	((8UL << 20) / mts_page_size)
#define FILE_KEY(i)	(0x66757365UL * 8 + (i) * 8)
#define WORD(i)		((i) * 2 + 1)
#define TAG(i)		(1 + (i) % 15)
#define KPF_LOCKED	(1UL << 0)

enum how { TOUCH, FLUSHER, LATE, TRACER, NR_HOWS };

static const char * const hows[] = {
	"by an access", "by an access of an I/O flusher", "by mprotect()",
	"by ptrace",
};

static struct shared {
	volatile u64 held;	/* READs that wait for an answer */
	volatile u64 steps;	/* pages that got tags */
	volatile u64 pieces;	/* calls of madvise() and mprotect() before that */
	volatile u64 go;	/* start */
	volatile u64 alone;	/* the others have gone */
	volatile u64 done;	/* all of them have */
	volatile u64 answer;	/* no READ waits any more */
	volatile u64 quit;
} *sh;

/* ---- the work of a request: memory with tags ---- */

static char *work;
static pid_t traced;

static bool page_ok(const char *page, size_t i, bool data)
{
	if ((!data || *(const volatile u64 *)page == WORD(i)) &&
	    mte_ldg(page) == TAG(i))
		return true;
	ktap_note("WRONG page %zu: word %#llx, tag %u", i,
		  (unsigned long long)*(const u64 *)page, mte_ldg(page));
	return false;
}

static size_t work_bad(size_t pages, bool data)
{
	size_t i, bad = 0;

	for (i = 0; i < pages && bad < 4; i++)
		bad += !page_ok(work + i * mts_page_size, i, data);
	return bad;
}

/* Who is traced never touches its memory before it is told to look at it */
static void start_tracee(void)
{
	int status;

	work = mts_map(WORK_PAGES * mts_page_size, PROT_TAGGED, 0, 0);
	madvise(work, WORK_PAGES * mts_page_size, MADV_NOHUGEPAGE);
	traced = mts_fork();
	if (!traced) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(!!work_bad(WORK_PAGES, false));
	}
	if (waitpid(traced, &status, 0) != traced || !WIFSTOPPED(status))
		mts_die("the tracee did not stop");
}

static void work_by_ptrace(void)
{
	static u8 tags[4096];
	size_t i;

	for (i = 0; i < WORK_PAGES; i++) {
		struct iovec iov = { tags, mts_page_granules };

		memset(tags, TAG(i), mts_page_granules);
		if (ptrace(PTRACE_POKEMTETAGS, traced,
			   work + i * mts_page_size, &iov))
			mts_die("PTRACE_POKEMTETAGS");
		sh->steps++;
	}
}

/* More are a full batch, which is drained */
#define BATCH_PAGES	16

/*
 * Some pages are in the LRU batch of a CPU that has no reason to drain it, and can't
 * move from where they are; those of them must that are served by storage which is
 * locked. Whoever ends drains the batch of his CPU.
 */
static void put_into_batch(void)
{
	size_t step = WORK_PAGES / BATCH_PAGES * mts_page_size;
	double end = mts_now() + patience();
	int i, pass;
	char byte;

	while (!sh->alone && mts_now() < end)
		usleep(5000);
	mts_pin(mts_cpus() - 1);
	/* The kernel looks at them for the first time, and for the second */
	for (pass = 0; pass < 2; pass++)
		for (i = 0; i < BATCH_PAGES; i++) {
			struct iovec there = { work + i * step, 1 };
			struct iovec here = { &byte, 1 };

			if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != 1)
				mts_die("process_vm_readv");
		}
	mts_pin(0);
}

static void touch_pages(size_t first, size_t each)
{
	size_t i;

	for (i = first; i < WORK_PAGES; i += each) {
		char *page = work + i * mts_page_size;

		*(volatile u64 *)page = WORD(i);
		mte_stg(mte_ptr(page, TAG(i)));
		sh->steps++;
	}
}

static void work_by_touch(enum how how)
{
	size_t len = WORK_PAGES * mts_page_size, i;

	work = mts_map(len, how == LATE ? PROT_RW : PROT_TAGGED, 0, 0);
	madvise(work, len, MADV_NOHUGEPAGE);
	if (how != LATE) {
		touch_pages(0, 1);
		return;
	}
	for (i = 0; i < len; i += PIECE) {
		if (madvise(work + i, PIECE, MADV_POPULATE_WRITE))
			mts_die("populate");
		sh->pieces++;
	}
	for (i = 0; i < len; i += PIECE) {
		if (mprotect(work + i, PIECE, PROT_TAGGED))
			mts_die("mprotect");
		sh->pieces++;
	}
	touch_pages(1, 2);
	put_into_batch();
	touch_pages(0, 2);
}

static bool work_ok(enum how how)
{
	int status;

	if (how != TRACER)
		return !work_bad(WORK_PAGES, true);
	ptrace(PTRACE_CONT, traced, NULL, NULL);
	return waitpid(traced, &status, 0) == traced && WIFEXITED(status) &&
	       !WEXITSTATUS(status);
}

/* ---- the server: one process, one thread, one file ---- */

static struct fuse_read {
	u64 unique;
	u64 offset;
	u32 size;
} held[FUSE_MAX_HELD];

static void answer_read(int fd, const struct fuse_read *r)
{
	static char data[FUSE_BYTES];
	size_t i, len = 0;

	if (r->offset < FILE_BYTES)
		len = r->size < FILE_BYTES - r->offset ?
		      r->size : FILE_BYTES - r->offset;
	for (i = 0; i < len; i += mts_page_size)
		mts_page_fill(data + i,
			      FILE_KEY((r->offset + i) / mts_page_size));
	fuse_reply(fd, r->unique, 0, data, len);
}

static void handle(int fd, const struct fuse_in_header *in)
{
	const struct fuse_read_in *r = (const void *)(in + 1);
	struct fuse_read read = { in->unique, r->offset, r->size };

	if (in->opcode != FUSE_READ) {
		fuse_answer(fd, in, FUSE_ASYNC_READ, FUSE_BYTES, FILE_BYTES);
		return;
	}
	if (sh->answer || sh->held == FUSE_MAX_HELD) {
		answer_read(fd, &read);
		return;
	}
	held[sh->held] = read;
	sh->held++;
}

static void server(int fd, enum how how)
{
	size_t i, answered = 0;

	if (how == FLUSHER && prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
		mts_die("PR_SET_IO_FLUSHER");
	if (how == TRACER)
		start_tracee();
	while (!sh->quit) {
		if (!fuse_serve(fd, handle))
			break;
		if (sh->go && !sh->done) {
			if (how == TRACER)
				work_by_ptrace();
			else
				work_by_touch(how);
			sh->done = 1;
		}
		for (i = answered; sh->answer && i < sh->held; i++)
			answer_read(fd, &held[i]);
		answered = i;
	}
	_exit(!work_ok(how));
}

/* ---- the others ---- */

static size_t locked_in_storage(void)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC), i;
	size_t locked = 0;
	u64 flags[512];

	for (i = 0; fd >= 0 && i < mts_nr_regions; i++) {
		u64 pfn = mts_regions[i].start / mts_page_size;
		u64 end = mts_regions[i].end / mts_page_size;
		ssize_t n, j;

		for (; pfn < end; pfn += n / sizeof(u64)) {
			n = pread(fd, flags, sizeof(flags), pfn * sizeof(u64));
			if (n <= 0)
				break;
			for (j = 0; j < n / (ssize_t)sizeof(u64); j++)
				locked += pfn + j < end &&
					  (flags[j] & KPF_LOCKED);
		}
	}
	if (fd >= 0)
		close(fd);
	return locked;
}

/* Another program's new memory */
static pid_t start_other_fault(void)
{
	pid_t pid = mts_fork();
	struct mts_buf b;

	if (!pid) {
		buf_map(&b, OTHER_PAGES, PROT_TAGGED, 0);
		buf_fill(&b, 0x6f746865, true);
		_exit(!!buf_bad("another program", &b));
	}
	return pid;
}

/* As ps does: takes the server's mmap lock */
static pid_t start_looking_at(pid_t server)
{
	pid_t pid = mts_fork();

	if (!pid) {
		char path[64], text[256];

		snprintf(path, sizeof(path), "/proc/%d/cmdline", server);
		_exit(mts_read_file(path, text, sizeof(text)) <= 0);
	}
	return pid;
}

static bool others_go_on(pid_t server)
{
	pid_t fault = start_other_fault(), look = start_looking_at(server);
	double end = mts_now() + patience();
	bool ok = true;

	if (mts_online() && !worker_passes(end)) {
		ktap_note("the worker does not go on");
		ok = false;
	}
	if (!wait_bounded(fault, end - mts_now())) {
		ktap_note("another program's fault does not go on");
		ok = false;
	}
	if (!wait_bounded(look, end - mts_now())) {
		ktap_note("nobody can look at the server");
		ok = false;
	}
	return ok;
}

/* All of the file is asked for at once, and nobody waits for it */
static int read_ahead(void)
{
	int fd = open(FUSE_FILE, O_RDONLY | O_CLOEXEC);
	double end = mts_now() + patience();
	struct at_hand at;
	size_t i;

	if (fd < 0)
		mts_die(FUSE_FILE);
	/* The server has no FLUSH, so that a child's exit doesn't wait for it */
	close(dup(fd));
	storage_first(&at);
	for (i = 0; i < FILE_BYTES; i += FUSE_BYTES)
		if (posix_fadvise(fd, i, FUSE_BYTES, POSIX_FADV_WILLNEED))
			mts_die("fadvise");
	while (sh->held < FILE_BYTES / FUSE_BYTES && mts_now() < end)
		usleep(5000);
	storage_as_usual(&at);
	return fd;
}

static bool file_ok(int fd)
{
	static char page[4096];
	size_t i, bad = 0;

	for (i = 0; i < FILE_BYTES / mts_page_size && bad < 4; i++) {
		if (pread(fd, page, mts_page_size, i * mts_page_size) !=
		    (ssize_t)mts_page_size) {
			ktap_note("page %zu: %s", i, strerror(errno));
			return false;
		}
		bad += !mts_data_ok("file", page, FILE_KEY(i));
	}
	return !bad;
}

/* It goes on as long as it takes steps */
static bool server_done(pid_t pid)
{
	double moved = mts_now();
	u64 last = 0, now;

	while (!sh->done && mts_now() < moved + patience()) {
		now = sh->pieces + sh->steps;
		if (now != last) {
			last = now;
			moved = mts_now();
		}
		usleep(10000);
	}
	if (!sh->done) {
		ktap_note("the server: state %c, page %llu of %zu",
			  process_state(pid), (unsigned long long)sh->steps,
			  WORK_PAGES);
		process_stack(pid);
	}
	return sh->done;
}

static void test(enum how how)
{
	bool ok, others, contents = false;
	size_t locked;
	int fd, file;
	pid_t pid;

	memset(sh, 0, sizeof(*sh));
	fd = fuse_mount();
	pid = mts_fork();
	if (!pid)
		server(fd, how);
	close(fd);
	file = read_ahead();
	locked = locked_in_storage();
	sh->go = 1;
	others = others_go_on(pid);
	sh->alone = 1;
	ok = server_done(pid);
	if (mts_online() && locked < FILE_BYTES / mts_page_size / 2) {
		ktap_note("too few folios in tag storage to show anything");
		ok = false;
	}
	ktap_result(ok, "%s: tags for %llu of %zu pages while %llu READs wait, %zu locked pages in tag storage",
		    hows[how], (unsigned long long)sh->steps, WORK_PAGES,
		    (unsigned long long)sh->held, locked);
	/* Last: what comes after it would find other storage */
	if (mts_online() && !offline_ends()) {
		ktap_note("going offline does not end");
		others = false;
	}
	ktap_result(others, "%s: others go on meanwhile", hows[how]);
	if (ok) {
		sh->answer = 1;
		contents = file_ok(file);
		sh->quit = 1;
		contents &= child_ok(pid);
	}
	close(file);
	/* Ends all requests, should the server not have */
	umount2(FUSE_MOUNTPOINT, ok ? 0 : MNT_FORCE | MNT_DETACH);
	if (!ok) {
		kill(pid, SIGKILL);
		wait_bounded(pid, patience());
	}
	if (!access(STATE, W_OK))
		mts_write_file(STATE, "online");
	ktap_result(contents, "%s: data and tags", hows[how]);
}

int main(void)
{
	int how;

	mts_need_mte();
	mts_load_regions();
	if (access("/dev/fuse", F_OK)) {
		printf("KTAP version 1\n1..0 # SKIP no FUSE\n");
		return KSFT_SKIP;
	}
	/* Before each of its rounds it has all CPUs drain their LRU batches */
	mts_khugepaged_rest();
	ktap_begin(3 * NR_HOWS);
	sh = shared_memory(mts_page_size);
	for (how = 0; how < NR_HOWS; how++)
		test(how);
	return ktap_end();
}
