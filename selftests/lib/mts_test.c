// SPDX-License-Identifier: GPL-2.0
/* Helpers shared by the tag storage selftests; see mts_test.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mts_test.h"

#ifndef HWCAP2_MTE
#define HWCAP2_MTE	(1UL << 18)
#endif

#define DT_ROOT		"/proc/device-tree"
#define MIN_FREE	"/proc/sys/vm/min_free_kbytes"
#define PCP_FRACTION	"/proc/sys/vm/percpu_pagelist_high_fraction"
#define BOOST_FACTOR	"/proc/sys/vm/watermark_boost_factor"
#define THP_SYSFS	"/sys/kernel/mm/transparent_hugepage"

size_t mts_page_size = 4096;
size_t mts_page_granules = 256;
size_t mts_huge_size = SZ_2M;
struct mts_region mts_regions[MTS_MAX_REGIONS];
int mts_nr_regions;

static int ktap_plan, ktap_count, ktap_failed, ktap_skipped;

static size_t mts_pmd_size(void)
{
	char text[32];

	if (mts_read_file(THP_SYSFS "/hpage_pmd_size", text, sizeof(text)) <= 0)
		return 0;
	return strtoull(text, NULL, 10);
}

/* What a PMD maps, if the machine has memory for more than a few of them */
static void mts_huge_init(void)
{
	size_t size = mts_pmd_size();

	if (size && size <= (size_t)mts_meminfo("MemTotal") * 1024 / 16)
		mts_huge_size = size;
}

bool mts_huge_is_pmd(void)
{
	return mts_pmd_size() == mts_huge_size;
}

__attribute__((constructor)) static void mts_init(void)
{
	mts_page_size = sysconf(_SC_PAGESIZE);
	mts_page_granules = mts_page_size / MTE_GRANULE;
	mts_huge_init();
	setvbuf(stdout, NULL, _IOLBF, 0);
}

/* ---- KTAP ---- */

void ktap_begin(int plan)
{
	ktap_plan = plan;
	printf("KTAP version 1\n1..%d\n", plan);
}

bool ktap_result(bool ok, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ktap_count++;
	if (!ok)
		ktap_failed++;
	printf("%sok %d %s\n", ok ? "" : "not ", ktap_count, text);
	return ok;
}

void ktap_skip(const char *why, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ktap_count++;
	ktap_skipped++;
	printf("ok %d %s # SKIP %s\n", ktap_count, text, why);
}

void ktap_note(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* One write: several processes share the stream. */
	printf("# %s\n", text);
	fflush(stdout);
}

int ktap_end(void)
{
	if (ktap_count != ktap_plan) {
		printf("# planned %d results, got %d\n", ktap_plan, ktap_count);
		return 1;
	}
	if (ktap_failed)
		return 1;
	return ktap_count && ktap_skipped == ktap_count ? KSFT_SKIP : 0;
}

void mts_need_mte(void)
{
	if (getauxval(AT_HWCAP2) & HWCAP2_MTE)
		return;
	printf("KTAP version 1\n1..0 # SKIP the machine has no MTE\n");
	exit(KSFT_SKIP);
}

void mts_die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

pid_t mts_fork(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		mts_die("fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* ---- known contents ---- */

unsigned int mts_tag_of(u64 key, size_t granule)
{
	if (!key)
		return 0;
	if (key & 1)
		granule &= ~1UL;
	return (mts_mix(key + (granule >> 4)) >> ((granule & 15) * 4)) & 0xf;
}

void mts_page_fill(void *page, u64 key)
{
	size_t i, n = mts_page_size / sizeof(u64);
	u64 *p = page, v = key;

	if (!key) {
		memset(page, 0, mts_page_size);
		return;
	}
	for (i = 0; i < n; i++, v += 0x9e3779b97f4a7c15UL)
		p[i] = v;
}

void mts_page_tag(void *page, u64 key)
{
	size_t g, step = key & 1 ? 2 : 1;
	bool zero = key & 2;

	for (g = 0; g < mts_page_granules; g += step) {
		void *p = mte_ptr((char *)page + g * MTE_GRANULE,
				  mts_tag_of(key, g));

		if (step == 1 && !zero)
			mte_stg(p);
		else if (step == 1)
			mte_stzg(p);
		else if (!zero)
			mte_st2g(p);
		else
			mte_stz2g(p);
	}
}

long mts_page_bad_word(const void *page, u64 key)
{
	size_t i, n = mts_page_size / sizeof(u64);
	u64 step = key ? 0x9e3779b97f4a7c15UL : 0, v = key;
	const volatile u64 *p = page;

	for (i = 0; i < n; i++, v += step)
		if (p[i] != v)
			return i;
	return -1;
}

long mts_page_bad_granule(const void *page, u64 key)
{
	return mts_page_bad_granule_step(page, key, 0, 1);
}

long mts_page_bad_granule_step(const void *page, u64 key, size_t first,
			       size_t step)
{
	size_t g;

	for (g = first; g < mts_page_granules; g += step) {
		const char *p = (const char *)page + g * MTE_GRANULE;

		if (mte_ldg(p) != mts_tag_of(key, g))
			return g;
	}
	return -1;
}

bool mts_data_ok(const char *what, const void *page, u64 key)
{
	u64 step = key ? 0x9e3779b97f4a7c15UL : 0, pfn;
	size_t i, bad = 0, last = 0, n = mts_page_size / sizeof(u64);
	const volatile u64 *p = page;
	long w = mts_page_bad_word(page, key);

	if (w < 0)
		return true;
	for (i = w; i < n; i++) {
		if (p[i] != key + i * step) {
			bad++;
			last = i;
		}
	}
	pfn = mts_pfn(page);
	ktap_note("WRONG DATA %s: address %p pfn %#llx%s: word %ld expected %#llx actual %#llx; %zu wrong words, last %zu",
		  what, (void *)&p[w], (unsigned long long)pfn,
		  mts_pfn_in_storage(pfn) ? " (in tag storage)" : "", w,
		  (unsigned long long)(key + w * step),
		  (unsigned long long)p[w], bad, last);
	return false;
}

bool mts_tags_ok(const char *what, const void *page, u64 key)
{
	long g = mts_page_bad_granule(page, key);
	const char *p = page;
	size_t i, bad = 0;
	u64 pfn;

	if (g < 0)
		return true;
	for (i = g; i < mts_page_granules; i++)
		bad += mte_ldg(p + i * MTE_GRANULE) != mts_tag_of(key, i);
	pfn = mts_pfn(page);
	ktap_note("WRONG TAG %s: address %p pfn %#llx%s: granule %ld expected %u actual %u; %zu wrong tags",
		  what, (void *)(p + g * MTE_GRANULE), (unsigned long long)pfn,
		  mts_pfn_in_storage(pfn) ? " (in tag storage)" : "", g,
		  mts_tag_of(key, g), mte_ldg(p + g * MTE_GRANULE), bad);
	return false;
}

/* ---- page frames ---- */

int mts_pfns(const void *addr, size_t pages, u64 *pfns)
{
	static int fd = -1;
	static pid_t owner;
	size_t i;
	ssize_t n;
	off_t at;

	/* An inherited descriptor still shows the parent's memory. */
	if (owner != getpid()) {
		if (fd >= 0)
			close(fd);
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		owner = getpid();
	}
	at = ((u64)addr & ~(0xffUL << 56)) / mts_page_size * sizeof(u64);
	n = fd < 0 ? -1 : pread(fd, pfns, pages * sizeof(u64), at);
	if (n != (ssize_t)(pages * sizeof(u64))) {
		memset(pfns, 0, pages * sizeof(u64));
		return -1;
	}
	for (i = 0; i < pages; i++)
		pfns[i] = pfns[i] >> 63 ? pfns[i] & ((1UL << 55) - 1) : 0;
	return 0;
}

u64 mts_pfn(const void *addr)
{
	u64 pfn;

	mts_pfns(addr, 1, &pfn);
	return pfn;
}

/* ---- files ---- */

int mts_read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = '\0';
	return len;
}

int mts_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static long long mts_file_key(const char *path, const char *key)
{
	char buf[16384], *line, *save;
	size_t len = strlen(key);

	if (mts_read_file(path, buf, sizeof(buf)) < 0)
		return -1;
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, key, len) &&
		    (line[len] == ' ' || line[len] == ':'))
			return strtoll(line + len + 1, NULL, 10);
	return -1;
}

long long mts_meminfo(const char *key)
{
	return mts_file_key("/proc/meminfo", key);
}

long long mts_vmstat(const char *key)
{
	return mts_file_key("/proc/vmstat", key);
}

bool mts_blocks_add_up(void)
{
	char buf[8192], *line, *save;
	long long sum = 0, total = -1;

	if (mts_read_file(MTS_DEBUGFS "/stats", buf, sizeof(buf)) < 0)
		return false;
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value || strncmp(line, "blocks_", 7))
			continue;
		if (!strncmp(line, "blocks_total ", 13))
			total = atoll(value);
		else
			sum += atoll(value);
	}
	if (sum != total)
		ktap_note("blocks: %lld in all states, %lld in all", sum,
			  total);
	return sum == total;
}

long long mts_stat(const char *key)
{
	return mts_file_key(MTS_DEBUGFS "/stats", key);
}

bool mts_online(void)
{
	char buf[64];

	return mts_read_file(MTS_DEBUGFS "/state", buf, sizeof(buf)) > 0 &&
	       strstr(buf, "[online]");
}

bool mts_kernel_patched(void)
{
	static int patched = -1;
	char line[256];
	FILE *f;

	if (patched >= 0)
		return patched;
	patched = 0;
	f = fopen("/proc/kallsyms", "re");
	while (f && !patched && fgets(line, sizeof(line), f))
		patched = strstr(line, " tag_storage_enable\n") &&
			  !strchr(line, '[');
	if (f)
		fclose(f);
	return patched;
}

int mts_release(void)
{
	return mts_write_file(MTS_DEBUGFS "/trigger/release", "1");
}

void mts_blocks_result(bool online)
{
	if (online)
		ktap_result(!mts_release() && mts_blocks_add_up(),
			    "the blocks add up");
	else
		ktap_skip("module not online", "the blocks add up");
}

double mts_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int mts_cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

void mts_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % mts_cpus(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int mts_node_of_cpu(int cpu)
{
	unsigned int node;

	mts_pin(cpu);
	if (syscall(SYS_getcpu, NULL, &node, NULL))
		mts_die("getcpu");
	return node;
}

/* ---- geometry ---- */

static u32 dt_u32(const char *path, u32 otherwise)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	u8 b[4];
	ssize_t n;

	if (fd < 0)
		return otherwise;
	n = read(fd, b, sizeof(b));
	close(fd);
	if (n != 4)
		return otherwise;
	return (u32)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

struct dt_span {
	u64 start;
	u64 size;
};

/* Numbers of so many cells, as many as fit. Returns how many there are. */
static int dt_cells(const char *path, u32 cells, u64 *values, int max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), n = 0;
	u8 b[16];

	if (fd < 0)
		return 0;
	while (n < max && read(fd, b, cells * 4) == (ssize_t)cells * 4) {
		values[n] = 0;
		for (u32 i = 0; i < cells * 4; i++)
			values[n] = values[n] << 8 | b[i];
		n++;
	}
	close(fd);
	return n;
}

/* The entries of a reg that aren't empty, added to spans[]. */
static int dt_reg(const char *path, u32 acells, u32 scells,
		  struct dt_span *spans, int nr)
{
	u32 cells = acells + scells;
	u64 words[MTS_MAX_REGIONS * 4];
	int n = dt_cells(path, 1, words, ARRAY_SIZE(words));

	for (int i = 0; i + (int)cells <= n && nr < MTS_MAX_REGIONS; i += cells) {
		struct dt_span *s = &spans[nr];

		*s = (struct dt_span) {};
		for (u32 j = 0; j < acells; j++)
			s->start = s->start << 32 | words[i + j];
		for (u32 j = acells; j < cells; j++)
			s->size = s->size << 32 | words[i + j];
		nr += s->size != 0;
	}
	return nr;
}

/* The ranges of the memory node that has the phandle, added to spans[]. */
static int dt_memory(u32 phandle, struct dt_span *spans, int nr)
{
	u32 ac = dt_u32(DT_ROOT "/#address-cells", 2);
	u32 sc = dt_u32(DT_ROOT "/#size-cells", 2);
	char path[512], type[8];
	struct dirent *e;
	DIR *dir = opendir(DT_ROOT);

	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof(path), DT_ROOT "/%s/device_type", e->d_name);
		if (mts_read_file(path, type, sizeof(type)) <= 0 ||
		    strcmp(type, "memory"))
			continue;
		snprintf(path, sizeof(path), DT_ROOT "/%s/phandle", e->d_name);
		if (dt_u32(path, 0) != phandle)
			continue;
		snprintf(path, sizeof(path), DT_ROOT "/%s/reg", e->d_name);
		nr = dt_reg(path, ac, sc, spans, nr);
	}
	if (dir)
		closedir(dir);
	return nr;
}

static u64 gcd(u64 a, u64 b)
{
	return b ? gcd(b, a % b) : a;
}

static u64 round_to(u64 x, u64 unit)
{
	return (x + unit - 1) / unit * unit;
}

/*
 * A region for each part of the storage whose map is linear, cut down to whole
 * blocks with data that begins at a multiple of 32 pages.
 */
static void add_regions(const struct dt_span *storage, int nr_storage,
			const struct dt_span *memory, int nr_memory,
			u64 block_size)
{
	u64 block = block_size / gcd(block_size, mts_page_size) * mts_page_size;
	u64 done = 0, memory_done = 0;
	struct mts_region part = {};
	int s = 0, m = 0;

	for (;;) {
		bool more = s < nr_storage && m < nr_memory;
		u64 start = more ? storage[s].start + done : 0;
		u64 data = more ? memory[m].start + memory_done : 0;
		u64 size;

		if (!more || start != part.end || data != part.data_end) {
			/* What there is so far is a part */
			u64 from = round_to(part.start, block);
			u64 end = part.end / block * block;
			u64 data_start = part.data_start + (from - part.start) * 32;

			if (from < end && !(data_start % (32 * mts_page_size)) &&
			    mts_nr_regions < MTS_MAX_REGIONS)
				mts_regions[mts_nr_regions++] = (struct mts_region) {
					.start = from,
					.end = end,
					.data_start = data_start,
					.data_end = data_start + (end - from) * 32,
					.block_size = block_size,
					.block_pages = block / mts_page_size,
				};
			part = (struct mts_region) {
				.start = start, .end = start,
				.data_start = data, .data_end = data,
			};
		}
		if (!more)
			return;
		size = storage[s].size - done;
		if (size > (memory[m].size - memory_done) / 32)
			size = (memory[m].size - memory_done) / 32;
		if (!size)
			return;
		part.end += size;
		part.data_end += size * 32;
		done += size;
		memory_done += size * 32;
		if (done == storage[s].size) {
			done = 0;
			s++;
		}
		if (memory_done == memory[m].size) {
			memory_done = 0;
			m++;
		}
	}
}

/* "START+SIZE", numbers as the lab writes them. Returns what is behind it, or NULL. */
static const char *read_span(const char *text, struct dt_span *span)
{
	char *end;

	span->start = strtoull(text, &end, 0);
	if (end == text || *end != '+')
		return NULL;
	text = end + 1;
	span->size = strtoull(text, &end, 0);
	return end == text ? NULL : end;
}

/*
 * A machine without a device tree: mts.ranges= on the kernel's command line, as in the
 * module's parameter, but with plain numbers. Not the module's reader: it is tested.
 */
static void load_cmdline_regions(void)
{
	struct dt_span storage, memory[MTS_MAX_REGIONS];
	char line[4096], *end;
	const char *at;
	u64 block_size;
	int nr;

	if (mts_read_file("/proc/cmdline", line, sizeof(line)) <= 0)
		return;
	at = strstr(line, " mts.ranges=");
	if (!at)
		return;
	at += strlen(" mts.ranges=");
	do {
		at = read_span(at, &storage);
		for (nr = 0; at && *at == '@' && nr < MTS_MAX_REGIONS; nr++)
			at = read_span(at + 1, &memory[nr]);
		if (!at || *at != '/')
			mts_die("mts.ranges= can't be read");
		block_size = strtoull(at + 1, &end, 0);
		add_regions(&storage, 1, memory, nr, block_size);
		at = end + 1;
	} while (*end == ',');
}

int mts_load_regions(void)
{
	u32 ac = dt_u32(DT_ROOT "/reserved-memory/#address-cells", 2);
	u32 sc = dt_u32(DT_ROOT "/reserved-memory/#size-cells", 2);
	DIR *dir = opendir(DT_ROOT "/reserved-memory");
	struct dirent *e;
	char path[512];

	mts_nr_regions = 0;
	while (dir && (e = readdir(dir))) {
		struct dt_span storage[MTS_MAX_REGIONS], memory[MTS_MAX_REGIONS];
		int nr_storage, nr_memory = 0, n, i;
		u64 handles[MTS_MAX_REGIONS];
		u32 block_size;

		if (strncmp(e->d_name, "tag-storage@", 12))
			continue;
		snprintf(path, sizeof(path),
			 DT_ROOT "/reserved-memory/%s/reg", e->d_name);
		nr_storage = dt_reg(path, ac, sc, storage, 0);
		snprintf(path, sizeof(path),
			 DT_ROOT "/reserved-memory/%s/block-size", e->d_name);
		block_size = dt_u32(path, 0);
		snprintf(path, sizeof(path),
			 DT_ROOT "/reserved-memory/%s/tagged-memory",
			 e->d_name);
		n = dt_cells(path, 1, handles, ARRAY_SIZE(handles));
		for (i = 0; i < n; i++)
			nr_memory = dt_memory(handles[i], memory, nr_memory);
		if (block_size)
			add_regions(storage, nr_storage, memory, nr_memory,
				    block_size);
	}
	if (dir)
		closedir(dir);
	else
		load_cmdline_regions();
	return mts_nr_regions;
}

static bool in_range(u64 pfn, u64 start, u64 end)
{
	u64 addr = pfn * mts_page_size;

	return addr >= start && addr < end;
}

bool mts_pfn_in_storage(u64 pfn)
{
	static bool loaded;
	int i;

	if (!loaded) {
		mts_load_regions();
		loaded = true;
	}
	for (i = 0; pfn && i < mts_nr_regions; i++)
		if (in_range(pfn, mts_regions[i].start, mts_regions[i].end))
			return true;
	return false;
}

/* The region and number of the tag block that serves the page. */
static int mts_block_of(u64 pfn, u64 *block)
{
	int i;

	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];

		if (!in_range(pfn, r->data_start, r->data_end))
			continue;
		*block = (pfn - r->data_start / mts_page_size) /
			 (32 * r->block_pages);
		return i;
	}
	return -1;
}

/* ---- the states of the blocks ---- */

struct mts_run {
	u64 first;
	u64 count;
	int region;		/* index into mts_regions[] */
	char state[20];
};

struct mts_blocks {
	size_t nr;
	struct mts_run run[];
};

/*
 * The module numbers its regions as it likes; `regions` says which storage
 * range each number stands for: the first hexadecimal number of a line.
 */
static void mts_map_region_numbers(int *map, size_t nr)
{
	char line[512];
	FILE *f = fopen(MTS_DEBUGFS "/regions/summary", "re");
	size_t i;

	for (i = 0; i < nr; i++)
		map[i] = -1;
	while (f && fgets(line, sizeof(line), f)) {
		char *end, *hex;
		unsigned long index = strtoul(line, &end, 10);
		u64 start;
		int r;

		hex = strstr(line, "0x");
		if (end == line || index >= nr || !hex)
			continue;
		start = strtoull(hex, NULL, 16);
		for (r = 0; r < mts_nr_regions; r++)
			if (mts_regions[r].start == start)
				map[index] = r;
	}
	if (f)
		fclose(f);
}

struct mts_blocks *mts_blocks_read(void)
{
	struct mts_blocks *b;
	int map[MTS_MAX_REGIONS];
	size_t room = 1024;
	char line[256];
	FILE *f;

	mts_load_regions();
	if (!mts_nr_regions)
		return NULL;
	f = fopen(MTS_DEBUGFS "/blocks", "re");
	if (!f)
		return NULL;
	mts_map_region_numbers(map, ARRAY_SIZE(map));
	b = malloc(sizeof(*b) + room * sizeof(b->run[0]));
	if (!b)
		mts_die("malloc");
	b->nr = 0;
	while (fgets(line, sizeof(line), f)) {
		struct mts_run *run;
		unsigned long long first, count;
		unsigned int region;
		char state[20];

		if (sscanf(line, "%u %llu %llu %19s", &region, &first, &count,
			   state) != 4)
			continue;
		if (region >= ARRAY_SIZE(map) || map[region] < 0)
			continue;
		if (b->nr == room) {
			room *= 2;
			b = realloc(b, sizeof(*b) + room * sizeof(b->run[0]));
			if (!b)
				mts_die("realloc");
		}
		run = &b->run[b->nr++];
		run->first = first;
		run->count = count;
		run->region = map[region];
		strcpy(run->state, state);
	}
	fclose(f);
	return b;
}

void mts_blocks_free(struct mts_blocks *b)
{
	free(b);
}

const char *mts_block_state(const struct mts_blocks *b, u64 pfn)
{
	u64 block;
	int region = mts_block_of(pfn, &block);
	size_t i;

	if (region < 0)
		return NULL;
	for (i = 0; i < b->nr; i++) {
		const struct mts_run *run = &b->run[i];

		if (run->region == region && block >= run->first &&
		    block - run->first < run->count)
			return run->state;
	}
	return "unlisted";
}

static bool is_taggable(const struct mts_blocks *b, u64 pfn)
{
	const char *state = mts_block_state(b, pfn);

	return !state || !strcmp(state, "reserved") || !strcmp(state, "closing") ||
		!strcmp(state, "static");
}

long mts_pages_taggable(const void *addr, size_t pages)
{
	u64 *pfns = calloc(pages, sizeof(u64));
	struct mts_blocks *b = mts_blocks_read();
	long nr = b ? 0 : -1;
	size_t i;

	if (!pfns)
		mts_die("calloc");
	mts_pfns(addr, pages, pfns);
	for (i = 0; b && i < pages; i++)
		nr += pfns[i] && !mts_pfn_in_storage(pfns[i]) && is_taggable(b, pfns[i]);
	mts_blocks_free(b);
	free(pfns);
	return nr;
}

long mts_pages_untaggable(const char *what, const void *addr, size_t pages)
{
	u64 *before = calloc(pages, sizeof(u64));
	u64 *after = calloc(pages, sizeof(u64));
	struct mts_blocks *b;
	long bad = 0;
	int tries;
	size_t i;

	if (!before || !after)
		mts_die("calloc");
	for (tries = 0; tries < 10; tries++) {
		bad = 0;
		mts_pfns(addr, pages, before);
		b = mts_blocks_read();
		mts_pfns(addr, pages, after);
		if (!b) {
			bad = -1;
			break;
		}
		for (i = 0; i < pages; i++) {
			bool storage = mts_pfn_in_storage(before[i]);

			if (!before[i])
				continue;
			/* Moved meanwhile: the snapshot says nothing. */
			if (before[i] != after[i])
				continue;
			if (!storage && is_taggable(b, before[i]))
				continue;
			bad++;
			if (bad < 4 && tries == 9)
				ktap_note("NOT TAGGABLE %s: page %zu pfn %#llx is %s",
					  what, i, (unsigned long long)before[i],
					  storage ? "tag storage itself" :
					  mts_block_state(b, before[i]));
		}
		mts_blocks_free(b);
		if (!bad)
			break;
		usleep(1000);
	}
	free(before);
	free(after);
	return bad;
}

/* ---- flags of pages ---- */

static u64 mts_pfn_flags(u64 pfn)
{
	static int fd = -1;
	u64 flags;

	if (fd < 0)
		fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (!pfn || fd < 0 || pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) !=
	    sizeof(flags))
		return KPF_NOPAGE;
	return flags;
}

u64 mts_page_flags(const void *addr)
{
	return mts_pfn_flags(mts_pfn(addr));
}

size_t mts_pages_with(const void *addr, size_t pages, u64 flags)
{
	size_t i, nr = 0;

	for (i = 0; i < pages; i++)
		nr += (mts_page_flags((const char *)addr + i * mts_page_size) & flags) == flags;
	return nr;
}

/* Pages [0, pages) of one folio, and no more of it */
static bool mts_is_folio(u64 pfn, size_t pages)
{
	size_t i;

	if (!(mts_pfn_flags(pfn) & KPF_COMPOUND_HEAD))
		return false;
	for (i = 1; i < pages; i++)
		if (!(mts_pfn_flags(pfn + i) & KPF_COMPOUND_TAIL))
			return false;
	return !(mts_pfn_flags(pfn + pages) & KPF_COMPOUND_TAIL);
}

size_t mts_folios(const void *addr, size_t len, size_t folio)
{
	size_t pages = folio / mts_page_size, i, nr = 0;

	for (i = 0; i < len / mts_page_size; i += pages) {
		u64 pfn = mts_pfn((const char *)addr + i * mts_page_size);

		nr += pfn && mts_is_folio(pfn, pages);
	}
	return nr;
}

static int cmp_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

long mts_blocks_of(const void *addr, size_t pages)
{
	u64 *pfns, block;
	long nr = 0;
	size_t i, n = 0;

	if (mts_load_regions() <= 0)
		return -1;
	pfns = calloc(pages, sizeof(u64));
	if (!pfns)
		mts_die("calloc");
	mts_pfns(addr, pages, pfns);
	for (i = 0; i < pages; i++) {
		int region = pfns[i] ? mts_block_of(pfns[i], &block) : -1;

		if (region >= 0)
			pfns[n++] = (u64)region << 56 | block;
	}
	qsort(pfns, n, sizeof(u64), cmp_u64);
	for (i = 0; i < n; i++)
		nr += !i || pfns[i] != pfns[i - 1];
	free(pfns);
	return nr;
}

/* ---- mappings ---- */

void *mts_map(size_t bytes, int prot, int flags, size_t align)
{
	size_t extra = align > mts_page_size ? align : 0;
	char *p, *at;

	p = mmap(NULL, bytes + extra, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags,
		 -1, 0);
	if (p == MAP_FAILED)
		mts_die("mmap");
	if (!extra)
		return p;
	at = (char *)(((u64)p + align - 1) & ~(align - 1));
	if (at > p)
		munmap(p, at - p);
	if (at + bytes < p + bytes + extra)
		munmap(at + bytes, p + bytes + extra - (at + bytes));
	return at;
}

/* What is to stay free, KiB, of what unmovable allocations can use. */
static long long free_floor(void)
{
	return mts_meminfo("MemTotal") / 400 + 1024;
}

/*
 * Each CPU frees some: then its list is as long as it may be by now, and no longer.
 * What has filled it, as insmod does, may have been long ago.
 */
static void shorten_lists(void)
{
	size_t bytes = 256 * mts_page_size;
	cpu_set_t before;
	int cpu;

	sched_getaffinity(0, sizeof(before), &before);
	for (cpu = 0; cpu < mts_cpus(); cpu++) {
		char *p = mts_map(bytes, PROT_RW, 0, 0);

		mts_pin(cpu);
		madvise(p, bytes, MADV_NOHUGEPAGE);
		madvise(p, bytes, MADV_POPULATE_WRITE);
		munmap(p, bytes);
	}
	sched_setaffinity(0, sizeof(before), &before);
}

void mts_fill_begin(struct mts_fill *fill)
{
	char kib[32];

	/*
	 * With huge pages enabled the kernel keeps up to 5 % of memory free,
	 * which is more than all of tag storage: it would never be used.
	 */
	if (mts_read_file(MIN_FREE, fill->min_free, sizeof(fill->min_free)) < 0)
		fill->min_free[0] = '\0';
	snprintf(kib, sizeof(kib), "%lld", free_floor() / 3);
	mts_write_file(MIN_FREE, kib);
	/*
	 * A fallback to pageblocks of another type keeps as much as one of them free
	 * until reclaim has been there, which with pages of 16 KiB is 32 MiB.
	 */
	if (mts_read_file(BOOST_FACTOR, fill->boost, sizeof(fill->boost)) < 0)
		fill->boost[0] = '\0';
	mts_write_file(BOOST_FACTOR, "0");
	/* Nor shall per-CPU lists have what MemFree doesn't tell of */
	mts_write_file(PCP_FRACTION, "1000");
	shorten_lists();
}

void mts_fill_end(const struct mts_fill *fill)
{
	mts_write_file(PCP_FRACTION, "0");
	if (fill->boost[0])
		mts_write_file(BOOST_FACTOR, fill->boost);
	if (fill->min_free[0])
		mts_write_file(MIN_FREE, fill->min_free);
}

size_t mts_fill_room(void)
{
	long long cma = mts_meminfo("CmaFree");
	long long room = mts_meminfo("MemFree") - cma - free_floor();

	/* Half: the kernel's figures are not exact, and others work too. */
	if (room < 512 || cma <= mts_meminfo("CmaTotal") / 64)
		return 0;
	return room / 2 * 1024 / mts_page_size;
}

void mts_balloon_inflate(struct mts_balloon *balloon)
{
	long long spare = mts_meminfo("MemFree") - free_floor() -
			  3 * mts_meminfo("CmaTotal");
	size_t i;
	u64 pfn;

	balloon->len = spare > 0 ? spare * 1024 / mts_huge_size * mts_huge_size : 0;
	if (!balloon->len)
		return;
	balloon->base = mts_map(balloon->len, PROT_RW, MAP_NORESERVE, mts_huge_size);
	madvise(balloon->base, balloon->len, MADV_HUGEPAGE);
	/* Compaction moves what there is to the end of memory: tag storage */
	mts_write_file(THP_SYSFS "/defrag", "never");
	madvise(balloon->base, balloon->len, MADV_POPULATE_WRITE);
	mts_write_file(THP_SYSFS "/defrag", "madvise");
	/* In a zone that is full early that is tag storage, too: not for us */
	for (i = 0; i < balloon->len; i += mts_huge_size)
		if (!mts_pfns(balloon->base + i, 1, &pfn) && mts_pfn_in_storage(pfn))
			madvise(balloon->base + i, mts_huge_size, MADV_DONTNEED);
}

void mts_balloon_deflate(struct mts_balloon *balloon)
{
	if (balloon->len)
		munmap(balloon->base, balloon->len);
}

int mts_grab_storage(struct mts_grab *grab, size_t want)
{
	size_t i, j, n, found = 0, room = 0;
	struct mts_balloon balloon;
	struct mts_fill fill;
	u64 pfns[256];

	grab->pages = mts_meminfo("MemTotal") * 1024 / mts_page_size;
	grab->base = mts_map(grab->pages * mts_page_size, PROT_RW,
			     MAP_NORESERVE, 0);
	madvise(grab->base, grab->pages * mts_page_size, MADV_NOHUGEPAGE);
	mts_fill_begin(&fill);
	mts_balloon_inflate(&balloon);
	for (i = 0; i < grab->pages && found < want; i += n) {
		char *p = grab->base + i * mts_page_size;

		if (!room)
			room = mts_fill_room();
		n = grab->pages - i;
		if (n > ARRAY_SIZE(pfns))
			n = ARRAY_SIZE(pfns);
		if (n > room)
			n = room;
		if (!n || madvise(p, n * mts_page_size, MADV_POPULATE_WRITE))
			break;
		room -= n;
		mts_pfns(p, n, pfns);
		for (j = 0; j < n; j++)
			found += mts_pfn_in_storage(pfns[j]);
	}
	mts_balloon_deflate(&balloon);
	grab->nr = 0;
	for (i = 0; i < grab->pages; i += n) {
		char *p = grab->base + i * mts_page_size;

		n = grab->pages - i;
		if (n > ARRAY_SIZE(pfns))
			n = ARRAY_SIZE(pfns);
		if (mts_pfns(p, n, pfns))
			mts_die("pagemap");
		for (j = 0; j < n; j++) {
			if (mts_pfn_in_storage(pfns[j]))
				grab->nr++;
			else if (pfns[j])
				madvise(p + j * mts_page_size, mts_page_size,
					MADV_DONTNEED);
		}
	}
	mts_fill_end(&fill);
	return grab->nr ? 0 : -1;
}

bool mts_is_thp(const void *addr)
{
	unsigned long start, end, value;
	bool inside = false, huge = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 &&
		    strchr(line, '-'))
			inside = (u64)addr >= start && (u64)addr < end;
		else if (inside &&
			 sscanf(line, "AnonHugePages: %lu", &value) == 1)
			huge = value >= mts_huge_size / 1024;
	}
	if (f)
		fclose(f);
	return huge;
}

bool mts_thp_enable(void)
{
	char path[128];

	/* Machines with less than 512 MiB have none of it by default. */
	mts_write_file(THP_SYSFS "/enabled", "madvise");
	mts_write_file(THP_SYSFS "/use_zero_page", "1");
	snprintf(path, sizeof(path), THP_SYSFS "/hugepages-%zukB/enabled",
		 mts_huge_size / 1024);
	mts_write_file(path, "inherit");
	/* Off, as all of THP is, on machines with less than 512 MiB. */
	mts_write_file(THP_SYSFS "/use_zero_page", "1");
	return !mts_write_file(THP_SYSFS "/defrag", "madvise");
}

static const char * const khugepaged[] = {
	THP_SYSFS "/khugepaged/pages_to_scan",
	/* What changes this wakes it up, for as many pages */
	THP_SYSFS "/khugepaged/scan_sleep_millisecs",
};

static char khugepaged_was[ARRAY_SIZE(khugepaged)][32];

static void khugepaged_goes_on(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(khugepaged); i++)
		mts_write_file(khugepaged[i], khugepaged_was[i]);
}

void mts_khugepaged_rest(void)
{
	size_t i;

	if (khugepaged_was[0][0])
		return;
	for (i = 0; i < ARRAY_SIZE(khugepaged); i++)
		if (mts_read_file(khugepaged[i], khugepaged_was[i],
				  sizeof(khugepaged_was[i])) <= 0)
			return;
	mts_write_file(khugepaged[0], "1");
	mts_write_file(khugepaged[1], "1000000");
	atexit(khugepaged_goes_on);
}

bool mts_mthp_enable(unsigned int kib)
{
	char path[128];

	snprintf(path, sizeof(path), THP_SYSFS "/hugepages-%ukB/enabled", kib);
	return !mts_write_file(path, "madvise");
}

void *mts_map_thp(int prot, bool *is_huge)
{
	char *p;

	mts_thp_enable();
	p = mts_map(mts_huge_size, prot, 0, mts_huge_size);
	if (madvise(p, mts_huge_size, MADV_HUGEPAGE)) {
		*is_huge = false;
		return p;
	}
	*(volatile char *)p = 0;
	*is_huge = mts_is_thp(p);
	return p;
}

/* ---- tag checks ---- */

static sigjmp_buf check_env;
static volatile sig_atomic_t check_code;

static void check_handler(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	check_code = si->si_code;
	siglongjmp(check_env, 1);
}

int mts_checked_load(const void *p, unsigned int tag)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO }, old;
	const void *tagged = mte_ptr(p, tag);
	volatile int ret = 0;
	unsigned int value;

	sa.sa_sigaction = check_handler;
	sigaction(SIGSEGV, &sa, &old);
	if (!sigsetjmp(check_env, 1)) {
		if (prctl(PR_SET_TAGGED_ADDR_CTRL,
			  PR_TAGGED_ADDR_ENABLE | PR_MTE_TCF_SYNC |
			  (0xfffeUL << PR_MTE_TAG_SHIFT), 0, 0, 0))
			ret = -1;
		else
			asm volatile("ldrb %w0, [%1]"
				     : "=r"(value) : "r"(tagged) : "memory");
	} else {
		ret = check_code;
	}
	prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE | PR_MTE_TCF_NONE,
	      0, 0, 0);
	sigaction(SIGSEGV, &old, NULL);
	return ret;
}
