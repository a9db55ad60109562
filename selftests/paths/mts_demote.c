// SPDX-License-Identifier: GPL-2.0
/*
 * The contract: reclaim demotes memory with tags to another node, and DAMON moves it
 * there and back, although all of the tag storage there is in use for other data.
 * Both do so asynchronously, and with PF_MEMALLOC. Needs two nodes. The machine has
 * one memory tier; a module of the lab makes one node the other's demotion target.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>

#include "mts_contract.h"

#define DAMON		"/sys/kernel/mm/damon/admin/kdamonds/"
#define KDAMOND		DAMON "0/"
#define CONTEXT		KDAMOND "contexts/0/"
#define SCHEME		CONTEXT "schemes/0/"

#define TIERS		"/lib/modules/mts_tiers.ko"
#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"

#define PAGES		2048UL
#define STORAGE		0x64616d6fUL
/* Pages that other CPUs have in their LRU batches are not seen */
#define UNSEEN		64

/* kdamond looks for orders at each sample, and meanwhile files of DAMON say EBUSY */
static void set_word(const char *path, const char *word)
{
	int tries;

	for (tries = 0; mts_write_file(path, word); tries++) {
		if (errno != EBUSY || tries == 100)
			mts_die(path);
		usleep(1000);
	}
}

static void set(const char *path, u64 value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	set_word(path, text);
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

/* From node 0 to node 1 by reclaim or by DAMON, and from node 1 to node 0 */
enum way { DEMOTION_THERE, DAMON_THERE, DAMON_BACK };

/* How many arrive: as long as some do, and for a while after */
static size_t move(const struct mts_buf *b, enum way way)
{
	int to = way != DAMON_BACK;
	size_t now = 0, last = 0;
	double moved = mts_now();

	if (way == DEMOTION_THERE)
		set(DEMOTION, 1);
	else
		damon_start(!to, to);
	while (now < PAGES - UNSEEN && mts_now() < moved + patience()) {
		/* Reclaim of the group fails when it finds less */
		if (way == DEMOTION_THERE)
			mts_write_file(CGROUPS "/demote/memory.reclaim", "1M");
		else
			usleep(50000);
		now = on_node(b, to);
		if (now != last)
			moved = mts_now();
		last = now;
	}
	if (way == DEMOTION_THERE)
		set(DEMOTION, 0);
	else
		set_word(KDAMOND "state", "off");
	return now;
}

static void test(const char *what, int prot, bool huge, enum way way)
{
	const char *how = way == DAMON_THERE ? "DAMON moves" : "reclaim demotes";
	size_t len = PAGES * mts_page_size, before, there, back, bad;
	struct mts_buf b = { .pages = PAGES, .mte = true };
	long long demoted = mts_vmstat("pgdemote_direct");

	bind_to(0);
	b.p = mts_map(len, prot, 0, mts_huge_size);
	madvise(b.p, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	buf_fill(&b, STORAGE + 1, prot & PROT_MTE);
	if (mprotect(b.p, len, PROT_TAGGED))
		mts_die("mprotect");
	bind_nowhere();

	bad = huge && mts_folios(b.p, len, mts_huge_size) != len / mts_huge_size;
	if (bad)
		ktap_note("%s: there are %zu", what, mts_folios(b.p, len, mts_huge_size));
	before = on_node(&b, 0);
	there = move(&b, way);
	demoted = mts_vmstat("pgdemote_direct") - demoted;
	bad += buf_bad("on the other node", &b);
	if (!b.tagged)
		buf_fill(&b, STORAGE + 2, true);
	back = move(&b, DAMON_BACK);
	bad += buf_bad("back", &b) + !buf_taggable(what, &b);
	ktap_note("%s: %zu of %lu pages to begin with, %zu there, %lld demoted, %zu back",
		  what, before, PAGES, there, demoted, back);
	if (way == DEMOTION_THERE)
		bad += demoted < (long long)there - UNSEEN;
	ktap_result(before == PAGES && there >= PAGES - UNSEEN &&
		    back >= PAGES - UNSEEN && !bad,
		    "%s %s to another node, and DAMON back", how, what);
	buf_unmap(&b);
}

static void tests(enum way way)
{
	test("small pages", PROT_TAGGED, false, way);
	test("huge pages", PROT_TAGGED, true, way);
	test("memory that has become PROT_MTE", PROT_RW, false, way);
}

/* NULL, or why nothing can be demoted here */
static const char *make_tiers(void)
{
	char line[256], params[64];
	unsigned long long table = 0;
	FILE *f;
	int fd;

	if (access(DEMOTION, F_OK) ||
	    !memcg_enter("demote", "memory.swap.max", "0"))
		return "no demotion, or no memory cgroup";
	f = fopen("/proc/kallsyms", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, " node_demotion\n"))
			table = strtoull(line, NULL, 16);
	if (f)
		fclose(f);
	fd = open(TIERS, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !table)
		return "no module that makes tiers, or no address for it";
	snprintf(params, sizeof(params), "table=%#llx from=0 to=1", table);
	if (syscall(SYS_finit_module, fd, params, 0))
		mts_die("mts_tiers");
	close(fd);
	return NULL;
}

int main(void)
{
	struct mts_grab grab;
	const char *why;

	mts_need_mte();
	mts_load_regions();
	if (access("/sys/devices/system/node/node1", F_OK) ||
	    access(DAMON, F_OK)) {
		printf("KTAP version 1\n1..0 # SKIP needs DAMON and two nodes\n");
		return KSFT_SKIP;
	}
	ktap_begin(7);
	mts_thp_enable();
	fill_storage(&grab, STORAGE);
	tests(DAMON_THERE);
	why = make_tiers();
	if (why) {
		ktap_skip(why, "reclaim demotes small pages");
		ktap_skip(why, "reclaim demotes huge pages");
		ktap_skip(why, "reclaim demotes memory that has become PROT_MTE");
	} else {
		tests(DEMOTION_THERE);
		if (syscall(SYS_delete_module, "mts_tiers", 0))
			mts_die("mts_tiers");
	}
	ktap_result(fill_ok(&grab, STORAGE), "data in tag storage");
	return ktap_end();
}
