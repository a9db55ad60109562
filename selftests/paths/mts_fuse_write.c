// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: nobody waits for what only a program can end. Who writes to a page
 * of a FUSE file waits with its folio locked until the server has written back what
 * was there before; it is up to date, so that a migration that may wait waits, too.
 * Such folios lie in tag storage that is wanted for tags, or between pages with tags
 * that are to be moved together. Others' faults, the worker, its files and `offline`
 * go on.
 */
#define _GNU_SOURCE

#include "mts_fuse.h"

#define WRITERS		16UL
/* One page of these is written to later */
#define STEP		64UL
#define FILE_PAGES	(WRITERS * STEP)
#define FILE_BYTES	(FILE_PAGES * mts_page_size)
#define FILE_KEY(i)	(0x77726974UL * 8 + (i) * 8)
#define LATE_PAGES	8192UL
#define TAGGED_OF_24	8
#define OTHER_PAGES	4UL
/* Left beside the memory that is served by the pages of the file */
#define BESIDE_LEFT	(64UL << 20)

static struct shared {
	volatile u64 hold;	/* WRITEs aren't answered */
	volatile u64 held;	/* as many wait */
	volatile u64 answer;	/* they are answered after all */
	volatile u64 written;	/* all of the file was written to once */
	volatile u64 go;	/* write to pages that are being written back */
	volatile u64 ready;	/* all who do that wait */
	volatile u64 steps;
	volatile u64 quit;
	u64 pfns[WRITERS];	/* these pages */
} *sh;

static bool tag_here(size_t i)
{
	return i % 24 < TAGGED_OF_24;
}

/* ---- the server ---- */

static struct fuse_write {
	u64 unique;
	u32 size;
} held[FUSE_MAX_HELD];

static void answer_write(int fd, const struct fuse_write *w)
{
	struct fuse_write_out out = { .size = w->size };

	fuse_reply(fd, w->unique, 0, &out, sizeof(out));
}

static void handle(int fd, const struct fuse_in_header *in)
{
	static const char zero[FUSE_BYTES];
	const struct fuse_write_in *arg = (const void *)(in + 1);
	struct fuse_write w = { .unique = in->unique };

	if (in->opcode == FUSE_READ) {
		fuse_reply(fd, in->unique, 0, zero,
			   ((const struct fuse_read_in *)arg)->size);
	} else if (in->opcode != FUSE_WRITE) {
		fuse_answer(fd, in, FUSE_WRITEBACK_CACHE | FUSE_BIG_WRITES,
			    mts_page_size, FILE_BYTES);
	} else {
		w.size = arg->size;
		if (sh->hold && !sh->answer && sh->held < FUSE_MAX_HELD) {
			held[sh->held] = w;
			sh->held++;
		} else {
			answer_write(fd, &w);
		}
	}
}

static void server(int fd)
{
	size_t i, answered = 0;

	while (!sh->quit) {
		if (!fuse_serve(fd, handle))
			break;
		for (i = answered; sh->answer && i < sh->held; i++)
			answer_write(fd, &held[i]);
		answered = i;
	}
	_exit(0);
}

/* ---- who writes ---- */

static void write_page(int fd, size_t i)
{
	static char page[65536];

	mts_page_fill(page, FILE_KEY(i));
	if (pwrite(fd, page, mts_page_size, i * mts_page_size) !=
	    (ssize_t)mts_page_size)
		mts_die("pwrite");
}

/* Each in a process of its own; done when all of them wait */
static void write_again(int fd, char *file)
{
	double end = mts_now() + patience();
	pid_t pids[WRITERS];
	size_t i, waiting;

	/* The server knows no SETATTR, which comes last */
	if (fsync(fd) && errno != ENOSYS)
		mts_die("fsync");
	for (i = 0; i < WRITERS; i++)
		*(volatile char *)(file + i * STEP * mts_page_size) =
			*(volatile char *)(file + i * STEP * mts_page_size);
	sh->hold = 1;
	for (i = 0; i < WRITERS; i++)
		if (sync_file_range(fd, i * STEP * mts_page_size, mts_page_size,
				    SYNC_FILE_RANGE_WRITE))
			mts_die("sync_file_range");
	while (sh->held < WRITERS && mts_now() < end)
		usleep(5000);
	for (i = 0; i < WRITERS; i++) {
		pids[i] = mts_fork();
		if (!pids[i]) {
			volatile char *p = file + i * STEP * mts_page_size;

			*p = *p;
			_exit(0);
		}
	}
	do {
		usleep(20000);
		for (i = waiting = 0; i < WRITERS; i++)
			waiting += process_state(pids[i]) == 'D';
	} while (waiting < WRITERS && mts_now() < end);
	ktap_note("%zu wait for %llu WRITEs", waiting,
		  (unsigned long long)sh->held);
}

/* Some pages with tags, where they are; between them pages of the file */
static void tag_between(struct mts_buf *late)
{
	size_t i;

	for (i = 0; i < late->pages; i++)
		if (tag_here(i) && mprotect(buf_page(late, i), mts_page_size,
					    PROT_TAGGED))
			mts_die("mprotect");
	for (i = 0; i < late->pages; i++)
		if (tag_here(i))
			mte_stg(mte_ptr(buf_page(late, i), 1 + i % 15));
}

/* The pages of the file lie in tag storage, or (@between) among others' */
static void client(bool between)
{
	struct mts_buf late = { 0 };
	struct at_hand at = { 0 };
	char *file;
	size_t i;
	int fd;

	fd = open(FUSE_FILE, O_RDWR);
	file = fd < 0 ? MAP_FAILED : mmap(NULL, FILE_BYTES, PROT_RW, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		mts_die(FUSE_FILE);
	if (between) {
		buf_map(&late, LATE_PAGES, PROT_RW, 0);
		late.seed = 0x6c617465;
		for (i = 0; i < LATE_PAGES; i++) {
			buf_write(&late, i);
			if (i % (LATE_PAGES / FILE_PAGES) == 0)
				write_page(fd, i / (LATE_PAGES / FILE_PAGES));
		}
	} else {
		storage_first(&at);
		for (i = 0; i < FILE_PAGES; i++)
			write_page(fd, i);
		storage_as_usual(&at);
	}
	for (i = 0; i < WRITERS; i++) {
		char *p = file + i * STEP * mts_page_size;

		*(volatile char *)p;
		sh->pfns[i] = mts_pfn(p);
	}
	sh->written = 1;
	while (!sh->go)
		usleep(5000);
	write_again(fd, file);
	if (between)
		tag_between(&late);
	sh->ready = 1;
	while (!sh->answer)
		usleep(5000);
	/* Writers go on, and then all is written back */
	while (wait(NULL) > 0)
		;
	for (i = 0; i < FILE_PAGES; i++)
		if (!mts_data_ok("file", file + i * mts_page_size, FILE_KEY(i)))
			_exit(1);
	if (between && buf_bad("between", &late))
		_exit(1);
	for (i = 0; i < late.pages; i++)
		if (tag_here(i) && mte_ldg(buf_page(&late, i)) != 1 + i % 15)
			_exit(2);
	_exit(0);
}

/* ---- who has tags ---- */

/*
 * Memory that these pages of storage serve gets tags. One page of it can't move. Return:
 * who wants tags, or -1 if there is no such memory.
 */
static pid_t want_storage(const struct mts_buf *b)
{
	size_t i, j, pin = b->pages, n = 0;
	u64 *pfns = calloc(b->pages, sizeof(*pfns));
	int fd[2];
	pid_t pid;

	if (!pfns || mts_pfns(b->p, b->pages, pfns))
		mts_die("pagemap");
	knob("mprotect_inplace_pages", "0");
	for (i = 0; i < b->pages; i++) {
		for (j = 0; j < WRITERS; j++)
			if (mts_pfn_in_storage(sh->pfns[j]) &&
			    pfns[i] - served_by(sh->pfns[j]) < 32)
				break;
		if (j == WRITERS)
			continue;
		if (pin == b->pages) {
			make_pipe(fd);
			splice_in(fd[1], buf_page(b, i), mts_page_size);
			pin = i;
		}
		if (mprotect(buf_page(b, i), mts_page_size, PROT_TAGGED))
			mts_die("mprotect");
		n++;
	}
	free(pfns);
	ktap_note("%zu pages are served by pages of the file", n);
	if (!n)
		return -1;
	pid = mts_fork();
	if (!pid) {
		for (i = 0; i < b->pages; i++)
			if (i != pin)
				*(volatile char *)buf_page(b, i);
		*(volatile char *)buf_page(b, pin);
		_exit(0);
	}
	return pid;
}

/*
 * Pages of tag storage that were just used on another CPU: light migration doesn't
 * find them, and the faults wait for somebody who does.
 */
static bool other_fault(void)
{
	pid_t pid;

	sh->steps = 0;
	pid = mts_fork();
	if (!pid) {
		size_t pages = (16UL << 20) / mts_page_size, i, run;
		char *p = mts_map(pages * mts_page_size, PROT_RW, 0, 0);

		madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
		mts_pin(mts_cpus() - 1);
		if (mts_online())
			data_use("first");
		for (i = run = 0; i < pages && run < OTHER_PAGES; i++) {
			p[i * mts_page_size] = 1;
			run = in_storage(p + i * mts_page_size, 1) ? run + 1 : 0;
		}
		data_use("balanced");
		mts_pin(0);
		p += (i - OTHER_PAGES) * mts_page_size;
		if (mprotect(p, OTHER_PAGES * mts_page_size, PROT_TAGGED))
			mts_die("mprotect");
		for (i = 0; i < OTHER_PAGES; i++, sh->steps++)
			mte_stg(mte_ptr(p + i * mts_page_size, 1));
		_exit(0);
	}
	return wait_bounded(pid, patience());
}

/* The client has come so far */
static void wait_for(const volatile u64 *flag, pid_t pid)
{
	int status;

	while (!*flag) {
		usleep(5000);
		if (waitpid(pid, &status, WNOHANG) == pid) {
			ktap_note("status %#x", status);
			mts_die("who writes has ended");
		}
	}
}

/* ---- */

static void test(bool between)
{
	static const char * const where[] = { "in tag storage", "between tags" };
	bool ok = true, others = true, contents;
	struct mts_buf work = { 0 };
	pid_t srv, cl, want = -1;
	long long room;
	size_t in, i;
	int fd;

	memset(sh, 0, sizeof(*sh));
	fd = fuse_mount();
	srv = mts_fork();
	if (!srv)
		server(fd);
	close(fd);
	cl = mts_fork();
	if (!cl)
		client(between);
	wait_for(&sh->written, cl);
	for (i = in = 0; i < WRITERS; i++)
		in += mts_pfn_in_storage(sh->pfns[i]);
	ktap_note("%zu of %lu pages are in tag storage", in, WRITERS);
	room = (mts_meminfo("MemFree") - min_free_kib()) * 1024 - BESIDE_LEFT;
	if (!between && room > 0) {
		buf_map(&work, room / mts_page_size, PROT_RW, 0);
		buf_fill(&work, 0x776f726b, false);
	}
	sh->go = 1;
	wait_for(&sh->ready, cl);

	if (!between) {
		if (mts_online() && in)
			want = want_storage(&work);
		/* All who do such work have had time to begin to wait */
		usleep(want > 0 ? 2000000 : 0);
		ok = other_fault();
		ktap_result(ok && (!mts_online() || want > 0),
			    "%s: another program's fault goes on", where[between]);
	} else {
		/* Blocks are looked at more than once before they are emptied */
		for (i = 0; ok && mts_online() && i < 5; i++)
			ok = worker_passes(mts_now() + patience());
		ktap_result(ok, "%s: passes go on", where[between]);
	}
	if (mts_online() && !offline_ends()) {
		ktap_note("going offline does not end");
		others = false;
	}
	ktap_result(others, "%s: going offline ends", where[between]);

	sh->answer = 1;
	if (want > 0) {
		kill(want, SIGKILL);
		wait_bounded(want, patience());
	}
	contents = child_ok(cl);
	sh->quit = 1;
	contents &= child_ok(srv);
	umount2(FUSE_MOUNTPOINT, 0);
	if (mts_online() || !access(MTS_DEBUGFS "/state", W_OK))
		mts_write_file(MTS_DEBUGFS "/state", "online");
	knob("mprotect_inplace_pages", "2");
	ktap_result(contents, "%s: data and tags", where[between]);
	if (work.p)
		buf_unmap(&work);
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	if (access("/dev/fuse", F_OK)) {
		printf("KTAP version 1\n1..0 # SKIP no FUSE\n");
		return KSFT_SKIP;
	}
	ktap_begin(6);
	/* All but one of the tests' processes */
	mts_pin(0);
	sh = shared_memory(mts_page_size);
	test(false);
	test(true);
	return ktap_end();
}
