// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: DAMON moves memory with tags to another node, and back, although
 * all of the tag storage there is in use for other data. It does so as reclaim
 * demotes memory: asynchronously, and with PF_MEMALLOC. Needs two nodes.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <sys/syscall.h>

#include "mts_contract.h"

#define DAMON		"/sys/kernel/mm/damon/admin/kdamonds/"
#define KDAMOND		DAMON "0/"
#define CONTEXT		KDAMOND "contexts/0/"
#define SCHEME		CONTEXT "schemes/0/"

#define PAGES		2048UL
#define STORAGE		0x64616d6fUL
#define MPOL_BIND	2
/* Pages that other CPUs have in their LRU batches are not seen */
#define UNSEEN		64

static void set(const char *path, u64 value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	if (mts_write_file(path, text))
		mts_die(path);
}

static void set_word(const char *path, const char *word)
{
	if (mts_write_file(path, word))
		mts_die(path);
}

/* First page of a node, and the one after the last */
static void node_range(int node, u64 *first, u64 *end)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	unsigned long long value, spanned = 0;
	char line[256];
	int nid = -1;

	*first = ULONG_MAX;
	*end = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone", &nid) == 1)
			spanned = 0;
		if (sscanf(line, " spanned %llu", &value) == 1)
			spanned = value;
		if (nid != node || !spanned ||
		    sscanf(line, " start_pfn: %llu", &value) != 1)
			continue;
		*first = value < *first ? value : *first;
		*end = value + spanned > *end ? value + spanned : *end;
	}
	if (f)
		fclose(f);
}

/* All memory of a node is to go to another, whether it is used or not */
static void damon_start(int from, int to)
{
	u64 first, end;

	node_range(from, &first, &end);
	set(DAMON "nr_kdamonds", 1);
	set(KDAMOND "contexts/nr_contexts", 1);
	set_word(CONTEXT "operations", "paddr");
	set(CONTEXT "monitoring_attrs/intervals/sample_us", 5000);
	set(CONTEXT "monitoring_attrs/intervals/aggr_us", 50000);
	set(CONTEXT "monitoring_attrs/intervals/update_us", 200000);
	set(CONTEXT "targets/nr_targets", 1);
	set(CONTEXT "targets/0/regions/nr_regions", 1);
	set(CONTEXT "targets/0/regions/0/start", first * mts_page_size);
	set(CONTEXT "targets/0/regions/0/end", end * mts_page_size);
	set(CONTEXT "schemes/nr_schemes", 1);
	set_word(SCHEME "action", "migrate_cold");
	set(SCHEME "target_nid", to);
	set(SCHEME "access_pattern/sz/max", ULONG_MAX);
	set(SCHEME "access_pattern/nr_accesses/max", UINT_MAX);
	set(SCHEME "access_pattern/age/max", UINT_MAX);
	set_word(KDAMOND "state", "on");
}

static void bind_to(int node)
{
	unsigned long mask = 1UL << node;

	if (syscall(SYS_set_mempolicy, node < 0 ? 0 : MPOL_BIND,
		    node < 0 ? NULL : &mask, node < 0 ? 0 : 9UL))
		mts_die("set_mempolicy");
}

static size_t on_node(const struct mts_buf *b, int node)
{
	static void *pages[PAGES];
	static int status[PAGES];
	size_t i, n = 0;

	for (i = 0; i < PAGES; i++)
		pages[i] = buf_page(b, i);
	if (syscall(SYS_move_pages, 0, PAGES, pages, NULL, status, 0))
		mts_die("move_pages");
	for (i = 0; i < PAGES; i++)
		n += status[i] == node;
	return n;
}

/* How many arrive: as long as some do, and for a while after */
static size_t damon_move(const struct mts_buf *b, int from, int to)
{
	size_t now = 0, last = 0;
	double moved = mts_now();

	damon_start(from, to);
	while (now < PAGES - UNSEEN && mts_now() < moved + patience()) {
		usleep(50000);
		now = on_node(b, to);
		if (now != last)
			moved = mts_now();
		last = now;
	}
	set_word(KDAMOND "state", "off");
	return now;
}

static void test(const char *what, int prot, bool huge)
{
	size_t len = PAGES * mts_page_size, before, there, back, bad;
	struct mts_buf b = { .pages = PAGES, .mte = true };

	bind_to(0);
	b.p = mts_map(len, prot, 0, mts_huge_size);
	madvise(b.p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	buf_fill(&b, STORAGE + 1, prot & PROT_MTE);
	if (mprotect(b.p, len, PROT_TAGGED))
		mts_die("mprotect");
	bind_to(-1);

	before = on_node(&b, 0);
	there = damon_move(&b, 0, 1);
	bad = buf_bad("on the other node", &b);
	if (!b.tagged)
		buf_fill(&b, STORAGE + 2, true);
	back = damon_move(&b, 1, 0);
	bad += buf_bad("back", &b) + !buf_taggable(what, &b);
	ktap_note("%s: %zu of %lu pages to begin with, %zu there, %zu back",
		  what, before, PAGES, there, back);
	ktap_result(before == PAGES && there >= PAGES - UNSEEN &&
		    back >= PAGES - UNSEEN && !bad,
		    "DAMON moves %s to another node and back", what);
	buf_unmap(&b);
}

int main(void)
{
	struct mts_grab grab;

	mts_need_mte();
	mts_load_regions();
	if (access("/sys/devices/system/node/node1", F_OK) ||
	    access(DAMON, F_OK)) {
		printf("KTAP version 1\n1..0 # SKIP needs DAMON and two nodes\n");
		return KSFT_SKIP;
	}
	ktap_begin(4);
	mts_thp_enable();
	fill_storage(&grab, STORAGE);
	test("small pages", PROT_TAGGED, false);
	test("huge pages", PROT_TAGGED, true);
	test("memory that has become PROT_MTE", PROT_RW, false);
	ktap_result(fill_ok(&grab, STORAGE), "data in tag storage");
	return ktap_end();
}
