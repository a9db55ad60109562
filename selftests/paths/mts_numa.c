// SPDX-License-Identifier: GPL-2.0
/*
 * NUMA balancing: a program that runs on another node than its memory takes hint
 * faults on it, and its pages follow with data and tags. Among them are pages
 * that mprotect() has made PROT_MTE and nobody has touched since: to the kernel
 * their entries look like hints, too.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>

#include "mts_contract.h"

#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define SCHED		"/sys/kernel/debug/sched/numa_balancing/"
#define PAGES		1024UL
#define SECONDS		20
/* Of each so many pages one is there */
#define SPREAD		8
#define MAX_NODES	8

static long pages_on(const struct mts_buf *b, int node)
{
	size_t i, on = 0;
	void *pages[PAGES];
	int status[PAGES];

	for (i = 0; i < b->pages; i++)
		pages[i] = buf_page(b, i);
	if (syscall(SYS_move_pages, 0, b->pages, pages, NULL, status, 0))
		mts_die("move_pages");
	for (i = 0; i < b->pages; i++)
		on += status[i] == node;
	return on;
}

static size_t bad_pages(const char *what, const struct mts_buf *b, size_t step)
{
	size_t i, bad = 0;

	for (i = 0; i < b->pages && bad < 4; i += step)
		bad += !buf_page_ok(what, b, i);
	return bad;
}

static bool has_memory(int node)
{
	char path[64], text[64];
	long long kib;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 node);
	return mts_read_file(path, text, sizeof(text)) > 0 &&
	       sscanf(text, "Node %*d MemTotal: %lld", &kib) == 1 && kib;
}

int main(void)
{
	int cpu, home = -1, away = -1, node;
	long long hints, moved;
	struct mts_buf tagged, late;
	struct late entries;
	size_t i, bad = 0;
	double end;

	mts_need_mte();
	mts_load_regions();
	ktap_begin(4);
	/* Memory is where no CPU needs to be, and goes to where it can be */
	for (cpu = mts_cpus() - 1; cpu >= 0; cpu--)
		if (has_memory(mts_node_of_cpu(cpu)))
			away = cpu;
	for (node = 0; away >= 0 && node < MAX_NODES; node++)
		if (node != mts_node_of_cpu(away) && has_memory(node))
			home = node;
	if (home < 0 || mts_write_file(BALANCING, "1")) {
		for (i = 0; i < 4; i++)
			ktap_skip(home < 0 ? "one node only" : "no CONFIG_NUMA_BALANCING",
				  "NUMA balancing");
		return ktap_end();
	}
	/* Sooner and faster than usual */
	mts_write_file(SCHED "scan_delay_ms", "1");
	mts_write_file(SCHED "scan_period_min_ms", "20");
	mts_write_file(SCHED "scan_period_max_ms", "50");

	bind_to(home);
	buf_map(&tagged, PAGES, PROT_TAGGED, 0);
	buf_fill(&tagged, 1, true);
	buf_map(&late, PAGES, PROT_RW, 0);
	late.seed = 2;
	for (i = 0; i < PAGES; i += SPREAD)
		buf_write(&late, i);
	entries = mprotect_late(late.p, PAGES * mts_page_size);
	late.mte = true;
	bind_nowhere();
	ktap_note("%ld of %zu tagged pages on node %d", pages_on(&tagged, home),
		  PAGES, home);

	hints = mts_vmstat("numa_hint_faults");
	moved = mts_vmstat("numa_pages_migrated");
	mts_pin(away);
	end = mts_now() + SECONDS;
	while (mts_now() < end && !bad) {
		for (i = 0; i < PAGES; i++)
			*(volatile char *)buf_page(&tagged, i);
		/* Half of them; the others stay as mprotect() left them */
		bad += bad_pages("mprotect() and hints", &late, 2 * SPREAD);
		if (pages_on(&tagged, home) < (long)PAGES / 4)
			break;
		usleep(1000);
	}
	hints = mts_vmstat("numa_hint_faults") - hints;
	moved = mts_vmstat("numa_pages_migrated") - moved;
	ktap_note("%lld hint faults, %lld pages migrated", hints, moved);
	bad += buf_bad("migrated", &tagged);
	ktap_result(!bad && moved > (long long)PAGES / 2,
		    "tagged pages follow the program: %ld of %zu are still on node %d",
		    pages_on(&tagged, home), PAGES, home);
	bad = bad_pages("mprotect() and hints", &late, SPREAD);
	bad += !faults_met("mprotect() and hints", &entries);
	for (i = 0; i < PAGES; i += SPREAD)
		mts_page_tag(buf_page(&late, i), buf_key(&late, i));
	late.tagged = true;
	bad += bad_pages("tagged after hints", &late, SPREAD);
	ktap_result(!bad, "pages that become PROT_MTE meanwhile");
	if (mts_online())
		ktap_result(buf_taggable("migrated", &tagged) &&
			    buf_taggable("mprotect()", &late),
			    "all of them are taggable");
	else
		ktap_skip("module not online", "all of them are taggable");
	ktap_result(!mts_write_file(BALANCING, "0"), "balancing ends");
	return ktap_end();
}
