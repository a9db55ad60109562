// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: memory with tags goes to another node when it is told to, by
 * move_pages(), mbind(), migrate_pages() and cpusets, although nothing on that
 * node had tags before. All pages arrive, with data and tags.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>

#include "mts_contract.h"

#define MPOL_MF_STRICT	1
#define MPOL_MF_MOVE	2

/* Of each so many pages one is there */
#define SPREAD		8
/* What is moved needs five times as many blocks */
#define RESERVED_MAX	24

enum kind { SMALL, FOLIO, HUGE, SHARED, LATE, NR_KINDS };

static const char * const kinds[] = {
	"small pages", "64 KiB folios", "huge pages", "shared memory",
	"made PROT_MTE, not touched",
};

static const size_t sizes[] = { 1024, 256, 1024, 256, 1024 };
static struct mts_buf bufs[NR_KINDS];
static struct late late;
static size_t wrong_size;

static bool is_there(enum kind kind, size_t i)
{
	return kind != LATE || i % SPREAD == 0;
}

static size_t present(enum kind kind)
{
	return kind == LATE ? sizes[kind] / SPREAD : sizes[kind];
}

/* A buffer of each kind on node 0 */
static void make_buffers(void)
{
	size_t i, len;
	int kind, fd;

	bind_to(0);
	mts_khugepaged_rest();
	mts_mthp_enable(64);
	mts_thp_enable();
	for (kind = 0; kind < NR_KINDS; kind++) {
		struct mts_buf *b = &bufs[kind];

		memset(b, 0, sizeof(*b));
		b->pages = sizes[kind];
		b->mte = true;
		b->tagged = kind != LATE;
		b->seed = 0x6d6967 + kind;
		len = b->pages * mts_page_size;
		if (kind == SHARED) {
			fd = memfd_create("mts", MFD_CLOEXEC);
			if (fd < 0 || ftruncate(fd, len))
				mts_die("memfd");
			b->p = mmap(NULL, len, PROT_TAGGED, MAP_SHARED, fd, 0);
			if (b->p == MAP_FAILED)
				mts_die("mmap");
			close(fd);
		} else {
			b->p = mts_map(len, kind == LATE ? PROT_RW : PROT_TAGGED,
				       0, mts_huge_size);
			madvise(b->p, len, kind == SMALL || kind == LATE ?
				MADV_NOHUGEPAGE : MADV_HUGEPAGE);
		}
		for (i = 0; i < b->pages; i++)
			if (is_there(kind, i))
				buf_write(b, i);
		if (kind == LATE)
			late = mprotect_late(b->p, len);
		/* Of 64 KiB pages each is as large */
		if ((kind == FOLIO && mts_page_size < 65536 &&
		     mts_folios(b->p, len, 65536) != len / 65536) ||
		    (kind == HUGE && mts_folios(b->p, len, mts_huge_size) !=
		     len / mts_huge_size)) {
			ktap_note("%s: the pages are of another size", kinds[kind]);
			wrong_size++;
		}
	}
	bind_nowhere();
}

static void drop_buffers(void)
{
	int kind;

	for (kind = 0; kind < NR_KINDS; kind++)
		munmap(bufs[kind].p, sizes[kind] * mts_page_size);
}

/* Pages of a buffer that are not on the node */
static size_t elsewhere(enum kind kind, int node)
{
	size_t i, n = 0, other = 0;
	static void *pages[1024];
	static int status[1024];

	for (i = 0; i < sizes[kind]; i++)
		if (is_there(kind, i))
			pages[n++] = buf_page(&bufs[kind], i);
	if (syscall(SYS_move_pages, 0, n, pages, NULL, status, 0))
		mts_die("move_pages");
	for (i = 0; i < n; i++)
		other += status[i] != node;
	return other;
}

static bool on_node(const char *how, int node)
{
	bool ok = true;
	int kind;

	for (kind = 0; kind < NR_KINDS; kind++) {
		size_t other = elsewhere(kind, node);

		if (!other)
			continue;
		ktap_note("%s: %zu of %zu %s are not on node %d", how, other,
			  present(kind), kinds[kind], node);
		ok = false;
	}
	return ok;
}

static bool contents_ok(const char *how)
{
	int kind, bad = 0;
	size_t i;

	for (kind = 0; kind < NR_KINDS; kind++)
		for (i = 0; i < sizes[kind] && bad < 4; i++)
			if (is_there(kind, i) && kind != LATE)
				bad += !buf_page_ok(how, &bufs[kind], i);
	return !bad;
}

/* Pages that nobody touched since they became PROT_MTE: their tags are zero */
static bool late_ok(const char *how)
{
	struct mts_buf *b = &bufs[LATE];
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i += SPREAD)
		bad += !buf_page_ok(how, b, i);
	b->tagged = true;
	for (i = 0; i < b->pages; i += SPREAD)
		buf_write(b, i);
	for (i = 0; i < b->pages && bad < 4; i += SPREAD)
		bad += !buf_page_ok(how, b, i);
	return !bad;
}

/* ---- the ways to move them ---- */

static int by_move_pages(int node)
{
	static void *pages[1024];
	static int nodes[1024], status[1024];
	int kind, ret = 0;
	size_t i, n;

	for (kind = 0; kind < NR_KINDS; kind++) {
		for (i = n = 0; i < sizes[kind]; i++)
			if (is_there(kind, i)) {
				nodes[n] = node;
				pages[n++] = buf_page(&bufs[kind], i);
			}
		ret |= syscall(SYS_move_pages, 0, n, pages, nodes, status,
			       MPOL_MF_MOVE) != 0;
	}
	return ret;
}

static int by_mbind(int node)
{
	unsigned long mask = 1UL << node;
	int kind, ret = 0;

	for (kind = 0; kind < NR_KINDS; kind++)
		if (syscall(SYS_mbind, bufs[kind].p, sizes[kind] * mts_page_size,
			    MPOL_BIND, &mask, 9UL,
			    MPOL_MF_MOVE | MPOL_MF_STRICT)) {
			ktap_note("mbind of %s: %s", kinds[kind],
				  strerror(errno));
			ret = -1;
		}
	return ret;
}

static int by_migrate_pages(int node)
{
	unsigned long to = 1UL << node, from = 1UL << !node;

	/* The number of pages that could not be moved */
	return syscall(SYS_migrate_pages, 0, 9UL, &from, &to);
}

static int by_cpuset(int node)
{
	return mts_write_file(CGROUPS "/migrate/cpuset.mems", node ? "1" : "0");
}

static bool cpuset_enter(void)
{
	mkdir(CGROUPS, 0700);
	if (access(CGROUPS "/cgroup.procs", F_OK) &&
	    mount("none", CGROUPS, "cgroup2", 0, NULL))
		return false;
	mkdir(CGROUPS "/migrate", 0700);
	return !mts_write_file(CGROUPS "/cgroup.subtree_control", "+cpuset") &&
	       !by_cpuset(0) &&
	       !mts_write_file(CGROUPS "/migrate/cgroup.procs", "0");
}

/* Blocks that serve memory of the node and are reserved */
static long long reserved_on(int node)
{
	char path[128], text[1024], *at;
	long long sum = 0;
	int i;

	for (i = 0; i < MTS_MAX_REGIONS; i++) {
		snprintf(path, sizeof(path), MTS_DEBUGFS "/regions/%d/node", i);
		if (mts_read_file(path, text, sizeof(text)) <= 0)
			break;
		if (atoi(text) != node)
			continue;
		snprintf(path, sizeof(path), MTS_DEBUGFS "/regions/%d/states",
			 i);
		if (mts_read_file(path, text, sizeof(text)) <= 0)
			mts_die(path);
		at = strstr(text, "reserved ");
		if (at)
			sum += atoll(at + 9);
	}
	return sum;
}

static void test(const char *how, int (*move)(int node))
{
	long long reserved;
	int ret;
	bool ok;

	make_buffers();
	ok = on_node("before", 0) && !wrong_size;
	/* The kernel itself may have a few */
	reserved = reserved_on(1);
	if (reserved > RESERVED_MAX) {
		ktap_note("%lld blocks of node 1 are reserved", reserved);
		ok = false;
	}
	ret = move(1);
	ok &= on_node(how, 1) && !ret;
	ktap_result(ok, "%s to a node where nothing has tags: returns %d", how,
		    ret);
	ok = contents_ok(how);
	ret = move(0);
	ok &= !ret && on_node(how, 0);
	ok &= contents_ok(how);
	ok &= late_ok(how);
	if (mts_online()) {
		int kind;

		for (kind = 0; kind < LATE; kind++)
			ok &= buf_taggable(how, &bufs[kind]);
	}
	ktap_result(ok, "%s and back: data and tags, returns %d", how, ret);
	drop_buffers();
	/* Nothing on node 1 has tags any more */
	if (mts_online())
		mts_release();
}

int main(void)
{
	mts_need_mte();
	mts_load_regions();
	if (access("/sys/devices/system/node/node1", F_OK)) {
		printf("KTAP version 1\n1..0 # SKIP one node only\n");
		return KSFT_SKIP;
	}
	ktap_begin(8);
	/* What somebody has isolated can't be moved, on any kernel */
	knob("evacuate_percent", "0");
	mts_pin(0);
	test("move_pages()", by_move_pages);
	test("mbind()", by_mbind);
	test("migrate_pages()", by_migrate_pages);
	if (!cpuset_enter())
		mts_die("cpuset");
	test("cpuset", by_cpuset);
	knob("evacuate_percent", "95");
	return ktap_end();
}
