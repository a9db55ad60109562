// SPDX-License-Identifier: GPL-2.0
/*
 * The global audit: every page of the machine, as /proc/kpageflags and
 * /proc/kpagecount show it, against the states that the module says its blocks
 * have, the geometry that the firmware describes, and all sums of them. The
 * module's own audit (debugfs trigger/audit) is asked, too.
 *
 * usage: mts_audit [--busy] [--after=WHAT]
 *
 *   --busy	others use memory at the same time: no sums, no release pass
 *   --after	for the messages
 *
 * The files are no snapshot. What looks wrong is looked at again; what is wrong
 * every time is.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mts_test.h"

/* Anybody's or free, but not the module's */
#define KPF_NOT_OURS	(KPF_SLAB | KPF_LRU | KPF_BUDDY | KPF_MMAP | KPF_ANON | \
			 KPF_SWAPCACHE | KPF_COMPOUND_HEAD |		\
			 KPF_COMPOUND_TAIL | KPF_PGTABLE)

#define LOOKS		40
#define LOOK_MS		25
#define MAX_BAD		256
#define MAX_SHOWN	4

/*
 * How often a fault may come again while it waits for what others hold. Without
 * waiting it is as many in some milliseconds.
 */
#define MAX_REPEATED	1024

/* What can be wrong; a result each */
enum check {
	OWNED, LENT, STATIC, BAD, UNTAGGED, TAGGED, IDLE, STATES, HOLDERS,
	MANAGED, ZONES, FREE, FREE_CMA, REPEATED, MODULE, NR_CHECKS
};

static const char * const names[NR_CHECKS] = {
	[OWNED] = "reserved tag storage is in nobody else's use",
	[LENT] = "released tag storage has only what can be moved",
	[STATIC] = "static tag storage was never given away",
	[BAD] = "bad blocks have a poisoned page",
	[UNTAGGED] = "no page of tag storage has tags",
	[TAGGED] = "what has tags has tag storage",
	[IDLE] = "what has tag storage has tags",
	[STATES] = "the states add up",
	[HOLDERS] = "those who hold storage add up",
	[MANAGED] = "managed memory adds up",
	[ZONES] = "each CMA area lies in one zone",
	[FREE] = "free lists and free pages agree",
	[FREE_CMA] = "free lists and free pages of CMA areas agree",
	[REPEATED] = "no fault on access comes again and again",
	[MODULE] = "the module's own audit",
};

/*
 * Offenders of a look, by page frame (or 0); only who is one in each counts, or that
 * there were too many in each
 */
struct bad {
	size_t nr;
	bool too_many;
	u64 pfn[MAX_BAD];
	char why[MAX_BAD][80];
};

static struct bad now[NR_CHECKS], before[NR_CHECKS];
static bool skipped[NR_CHECKS];
/* The module couldn't compare its sums, as others are busy */
static bool unsettled;
static int flags_fd, count_fd;

/* What a crash kernel does in its memory nobody sees: it keeps its storage */
static u64 crash_start, crash_end;

/* A zone's span, and what is counted there */
struct span {
	u64 start;
	u64 pages;
	u64 managed;
	long long free;		/* nr_free_pages */
	long long free_cma;
	u64 lists;		/* pages on the free lists, /proc/buddyinfo */
	u64 buddy;		/* the same by the flags of the pages */
	u64 buddy_cma;
	u64 per_cpu;		/* free, on the lists of CPUs */
	u64 private;		/* in use, and nobody says for what */
};

static struct span spans[16];
static int nr_spans;

/* CMA areas of all kinds */
static struct area {
	u64 pfn;
	u64 pages;
} areas[64];
static int nr_areas;
/* The module, when the audit began */
static bool online_now;

__attribute__((format(printf, 3, 4)))
static void wrong(enum check check, u64 pfn, const char *fmt, ...)
{
	struct bad *b = &now[check];
	va_list ap;

	if (b->nr == MAX_BAD) {
		b->too_many = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(b->why[b->nr], sizeof(b->why[0]), fmt, ap);
	va_end(ap);
	b->pfn[b->nr++] = pfn;
}

static void read_crash_memory(void)
{
	unsigned long long start, end;
	FILE *f = fopen("/proc/iomem", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, " : Crash kernel") ||
		    sscanf(line, " %llx-%llx", &start, &end) != 2)
			continue;
		crash_start = start / mts_page_size;
		crash_end = (end + 1) / mts_page_size;
	}
	if (f)
		fclose(f);
}

/* The flags and map counts of a run of pages; beyond memory there is no page */
static void look(u64 pfn, size_t nr, u64 *flags, u64 *counts)
{
	size_t len = nr * sizeof(u64), i;
	ssize_t n = pread(flags_fd, flags, len, pfn * sizeof(u64));

	for (i = n > 0 ? n / sizeof(u64) : 0; i < nr; i++)
		flags[i] = KPF_NOPAGE;
	if (!counts)
		return;
	n = pread(count_fd, counts, len, pfn * sizeof(u64));
	for (i = n > 0 ? n / sizeof(u64) : 0; i < nr; i++)
		counts[i] = 0;
}

/* ---- blocks ---- */

static void audit_storage_page(const char *state, u64 pfn, u64 flags, u64 count)
{
	if (flags & KPF_HAS_TAGS && !(flags & KPF_COMPOUND_TAIL))
		wrong(UNTAGGED, pfn, "%s, flags %#llx", state,
		      (unsigned long long)flags);
	if (!strcmp(state, "reserved") || !strcmp(state, "closing")) {
		if (flags & (KPF_NOT_OURS | KPF_RESERVED | KPF_NOPAGE) || count)
			wrong(OWNED, pfn, "%s, flags %#llx, mapped %llu times",
			      state, (unsigned long long)flags,
			      (unsigned long long)count);
	} else if (!strcmp(state, "released") || !strcmp(state, "spare")) {
		if (flags & (KPF_SLAB | KPF_PGTABLE | KPF_RESERVED | KPF_NOPAGE))
			wrong(LENT, pfn, "%s, flags %#llx", state,
			      (unsigned long long)flags);
	} else if (!strcmp(state, "static")) {
		/* Reserved by firmware, or not even a page */
		if (!(flags & (KPF_RESERVED | KPF_NOPAGE)))
			wrong(STATIC, pfn, "%s, flags %#llx", state,
			      (unsigned long long)flags);
	} else if (strcmp(state, "bad")) {
		/* "changing" is what no block is for long */
		wrong(STATES, pfn, "the state is '%s'", state);
	}
}

/*
 * A tag block and its data block. Of a folio the flags are the first page's:
 * its other pages tell nothing.
 */
static void audit_block(const struct mts_region *r, u64 block,
			const char *state)
{
	u64 data = r->data_start / mts_page_size + block * 32 * r->block_pages;
	u64 pfn = r->start / mts_page_size + block * r->block_pages, i;
	u64 nr = 32 * r->block_pages;
	bool may = !strcmp(state, "reserved") || !strcmp(state, "closing") ||
		   !strcmp(state, "static");
	bool tagged = false, poisoned = false;
	u64 flags[4096], counts[4096];

	if (nr > ARRAY_SIZE(flags))
		mts_die("blocks are too large");
	look(pfn, r->block_pages, flags, counts);
	for (i = 0; i < r->block_pages; i++) {
		audit_storage_page(state, pfn + i, flags[i], counts[i]);
		poisoned |= flags[i] & KPF_HWPOISON;
	}
	if (!strcmp(state, "bad") && !poisoned)
		wrong(BAD, pfn, "no page of the block is poisoned");

	look(data, nr, flags, NULL);
	for (i = 0; i < nr; i++) {
		/* What isn't the kernel's looks reserved: its storage is never lent */
		if (flags[i] & (KPF_HAS_TAGS | KPF_ZERO_PAGE | KPF_RESERVED |
				KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL))
			tagged = true;
		if (flags[i] & KPF_COMPOUND_TAIL || !(flags[i] & KPF_HAS_TAGS))
			continue;
		if (!may && !mts_pfn_in_storage(data + i))
			wrong(TAGGED, data + i, "block %llu is %s, flags %#llx",
			      (unsigned long long)block, state,
			      (unsigned long long)flags[i]);
	}
	if (data < crash_end && data + nr > crash_start)
		tagged = true;
	if (!strcmp(state, "reserved") && !tagged)
		wrong(IDLE, pfn, "block %llu is reserved, nothing has tags",
		      (unsigned long long)block);
}

static void audit_blocks(void)
{
	struct mts_blocks *b = mts_blocks_read();
	static const char * const states[] = {
		"static", "reserved", "closing", "changing", "released",
		"spare", "bad",
	};
	long long nr[ARRAY_SIZE(states)] = { 0 }, total = 0, want;
	char key[32];
	size_t s;
	int i;

	if (!b)
		mts_die("no blocks");
	for (i = 0; i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];
		u64 block, n = (r->end - r->start) / mts_page_size /
			       r->block_pages;

		for (block = 0; block < n; block++) {
			const char *state = mts_block_state(b,
				r->data_start / mts_page_size +
				block * 32 * r->block_pages);

			/* What is described twice, or serves no memory */
			if (!state)
				state = "static";
			audit_block(r, block, state);
			total++;
			for (s = 0; s < ARRAY_SIZE(states); s++)
				nr[s] += !strcmp(state, states[s]);
		}
	}
	mts_blocks_free(b);
	if (total != mts_stat("blocks_total"))
		wrong(STATES, 0, "%lld blocks by the firmware, %lld in stats",
		      total, mts_stat("blocks_total"));
	for (s = 0; s < ARRAY_SIZE(states); s++) {
		snprintf(key, sizeof(key), "blocks_%s", states[s]);
		want = mts_stat(key);
		if (nr[s] != want)
			wrong(STATES, 0, "%lld blocks are %s, %lld in stats",
			      nr[s], states[s], want);
	}
}

/* ---- who holds storage ---- */

static void audit_holders(void)
{
	FILE *f = fopen("/proc/mte_tag_storage", "re");
	long long sum = 0, bytes, want;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, " tagged\n") || !strstr(line, " func:"))
			continue;
		if (sscanf(line, "%lld", &bytes) == 1)
			sum += bytes;
	}
	if (f)
		fclose(f);
	want = mts_stat("reserved_bytes");
	if (sum != want)
		wrong(HOLDERS, 0, "/proc/mte_tag_storage %lld bytes, stats %lld",
		      sum, want);
}

/* ---- faults ---- */

static void audit_faults(void)
{
	long long nr = mts_stat("faults_repeated_max");

	if (nr < 0 || nr > MAX_REPEATED)
		wrong(REPEATED, 0, "one has come again %lld times", nr);
}

/* ---- zones ---- */

/*
 * A file of /proc that stays open. Opening one allocates memory, and with KASAN what
 * is freed then isn't free for a while: while sums are read nothing may be opened.
 */
struct proc_file {
	const char *path;
	int fd;
	char text[1 << 16];
	char *at;
};

static struct proc_file zoneinfo = { .path = "/proc/zoneinfo", .fd = -1 };
static struct proc_file buddyinfo = { .path = "/proc/buddyinfo", .fd = -1 };
static struct proc_file stat_refresh = { .path = "/proc/sys/vm/stat_refresh", .fd = -1 };

static void proc_read(struct proc_file *f, size_t most)
{
	size_t len = 0;
	ssize_t n = 0;

	if (f->fd < 0)
		f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0)
		mts_die(f->path);
	while (len < most && (n = pread(f->fd, f->text + len, most - len, len)) > 0)
		len += n;
	if (n < 0)
		mts_die(f->path);
	f->text[len] = '\0';
	f->at = f->text;
}

/* The next line, or NULL */
static char *proc_line(struct proc_file *f)
{
	char *line = f->at, *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	f->at = end + 1;
	return line;
}

static void read_zoneinfo(void)
{
	struct span *s = &spans[0];
	unsigned long long n;
	char *line;

	memset(spans, 0, sizeof(spans));
	nr_spans = 0;
	proc_read(&zoneinfo, sizeof(zoneinfo.text) - 1);
	while ((line = proc_line(&zoneinfo))) {
		if (!strncmp(line, "Node ", 5) && strstr(line, ", zone ") &&
		    nr_spans < (int)ARRAY_SIZE(spans))
			s = &spans[nr_spans++];
		if (sscanf(line, " pages free %llu", &n) == 1)
			s->free = n;
		else if (sscanf(line, " spanned %llu", &n) == 1)
			s->pages = n;
		else if (sscanf(line, " managed %llu", &n) == 1)
			s->managed = n;
		else if (sscanf(line, " nr_free_cma %llu", &n) == 1)
			s->free_cma = n;
		else if (sscanf(line, " start_pfn: %llu", &n) == 1)
			s->start = n;
		else if (sscanf(line, " count: %llu", &n) == 1)
			s->per_cpu += n;
	}
}

/* A line for each populated zone, in the order of /proc/zoneinfo */
static void read_buddyinfo(void)
{
	char *line, *at, *end;
	int i = 0, order;

	proc_read(&buddyinfo, sizeof(buddyinfo.text) - 1);
	while ((line = proc_line(&buddyinfo))) {
		while (i < nr_spans && !spans[i].managed)
			i++;
		at = strstr(line, "zone ");
		if (!at || i == nr_spans)
			break;
		at += strcspn(at, " ");
		at += strspn(at, " ");
		at += strcspn(at, " ");
		for (order = 0; ; order++) {
			u64 n = strtoull(at, &end, 10);

			if (end == at)
				break;
			spans[i].lists += n << order;
			at = end;
		}
		i++;
	}
}

/* The module's areas are not in the kernel's debugfs: what is not static */
static void add_blocks(void)
{
	struct mts_blocks *b = online_now ? mts_blocks_read() : NULL;
	u64 block, n;
	int i;

	for (i = 0; b && i < mts_nr_regions; i++) {
		const struct mts_region *r = &mts_regions[i];

		n = (r->end - r->start) / mts_page_size / r->block_pages;
		for (block = 0; block < n; block++) {
			u64 pfn = r->start / mts_page_size + block * r->block_pages;
			const char *state = mts_block_state(b,
				r->data_start / mts_page_size +
				block * 32 * r->block_pages);
			int last = nr_areas - 1;

			if (!state || !strcmp(state, "static"))
				continue;
			if (last >= 0 && areas[last].pfn + areas[last].pages == pfn)
				areas[last].pages += r->block_pages;
			else if (nr_areas < (int)ARRAY_SIZE(areas))
				areas[nr_areas++] = (struct area){
					.pfn = pfn, .pages = r->block_pages,
				};
		}
	}
	if (b)
		mts_blocks_free(b);
}

static void read_areas(void)
{
	DIR *dir = opendir("/sys/kernel/debug/cma");
	char path[512], text[32];
	struct dirent *e;

	nr_areas = 0;
	while (dir && nr_areas < (int)ARRAY_SIZE(areas) && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/cma/%s/base_pfn",
			 e->d_name);
		if (e->d_name[0] == '.' ||
		    mts_read_file(path, text, sizeof(text)) <= 0)
			continue;
		areas[nr_areas].pfn = strtoull(text, NULL, 0);
		snprintf(path, sizeof(path), "/sys/kernel/debug/cma/%s/count",
			 e->d_name);
		if (mts_read_file(path, text, sizeof(text)) <= 0)
			continue;
		areas[nr_areas++].pages = strtoull(text, NULL, 0);
	}
	if (dir)
		closedir(dir);
}

/* As alloc_contig_range() needs it; before add_blocks() makes areas up */
static void audit_areas(void)
{
	int i, j;

	for (i = 0; i < nr_areas; i++) {
		const struct area *a = &areas[i];

		for (j = 0; j < nr_spans; j++)
			if (a->pfn >= spans[j].start && a->pfn + a->pages <=
			    spans[j].start + spans[j].pages)
				break;
		if (j == nr_spans)
			wrong(ZONES, a->pfn, "an area of %llu pages is in no single zone",
			      (unsigned long long)a->pages);
	}
}

static bool in_area(u64 pfn)
{
	int i;

	for (i = 0; i < nr_areas; i++)
		if (pfn >= areas[i].pfn && pfn - areas[i].pfn < areas[i].pages)
			return true;
	return false;
}

static void count_buddy(struct span *s)
{
	u64 flags[4096], counts[4096], pfn, end = s->start + s->pages;
	size_t i, n;

	for (pfn = s->start; pfn < end; pfn += n) {
		n = end - pfn < ARRAY_SIZE(flags) ? end - pfn :
						    ARRAY_SIZE(flags);
		look(pfn, n, flags, counts);
		for (i = 0; i < n; i++) {
			if (!(flags[i] & ~KPF_HAS_TAGS) && !counts[i])
				s->private++;
			if (!(flags[i] & KPF_BUDDY))
				continue;
			s->buddy++;
			s->buddy_cma += in_area(pfn + i);
		}
	}
}

/* An eighth of a long per-CPU list leaves it each time, and is counted the next time */
#define REFRESHES	128

/* The counters of all CPUs, into one */
static void refresh_stats(void)
{
	u64 before, now = UINT64_MAX;
	int tries, i;

	for (tries = 0; tries < REFRESHES; tries++) {
		proc_read(&stat_refresh, 1);
		read_zoneinfo();
		before = now;
		for (now = 0, i = 0; i < nr_spans; i++)
			now += spans[i].per_cpu;
		if (now >= before)
			return;
	}
}

/* Sums of the whole machine; nobody allocates or frees meanwhile, in one look */
static void audit_zones(void)
{
	u64 managed = 0, private = 0;
	int i;

	read_areas();
	read_zoneinfo();
	audit_areas();
	add_blocks();
	refresh_stats();
	read_buddyinfo();
	for (i = 0; i < nr_spans; i++) {
		struct span *s = &spans[i];

		managed += s->managed;
		if (!s->managed)
			continue;
		count_buddy(s);
		private += s->private - s->per_cpu;
		if ((long long)s->lists != s->free || s->buddy != s->lists)
			wrong(FREE, s->start,
			      "nr_free_pages %lld, on lists %llu, by flags %llu",
			      s->free, (unsigned long long)s->lists,
			      (unsigned long long)s->buddy);
		/* Without CONFIG_CMA_DEBUGFS nobody tells where others are */
		if ((long long)s->buddy_cma != s->free_cma &&
		    !access("/sys/kernel/debug/cma", F_OK))
			wrong(FREE_CMA, s->start,
			      "nr_free_cma %lld, by flags %llu", s->free_cma,
			      (unsigned long long)s->buddy_cma);
	}
	/* For cycles.sh: what only leaks make grow */
	ktap_note("private %llu pages", (unsigned long long)private);
	if (managed * mts_page_size / 1024 != (u64)mts_meminfo("MemTotal"))
		wrong(MANAGED, 0, "MemTotal %lld KiB, zones %llu pages",
		      mts_meminfo("MemTotal"), (unsigned long long)managed);
}

/* ---- all of it ---- */

static bool policy_has(const char *knob, const char *word)
{
	char path[128], text[128];

	snprintf(path, sizeof(path), MTS_DEBUGFS "/policy/%s", knob);
	return mts_read_file(path, text, sizeof(text)) > 0 &&
	       strstr(text, word);
}

/* Does the policy have blocks reserved that nothing with tags needs? */
static bool reserves_ahead(void)
{
	return policy_has("data_use", "[off]") ||
	       policy_has("reserve", "[at-first-use]");
}

/* Who was an offender in every look so far */
static bool still_bad(enum check check)
{
	struct bad *b = &before[check], *n = &now[check];
	size_t i, j, kept = 0;

	for (i = 0; i < n->nr; i++) {
		for (j = 0; j < b->nr; j++)
			if (n->pfn[i] == b->pfn[j])
				break;
		if (j == b->nr)
			continue;
		n->pfn[kept] = n->pfn[i];
		memmove(n->why[kept++], n->why[i], sizeof(n->why[0]));
	}
	n->nr = kept;
	n->too_many &= b->too_many;
	return kept || n->too_many;
}

static void audit_module(bool busy)
{
	unsettled = false;
	if (access(MTS_DEBUGFS "/trigger/audit", F_OK))
		skipped[MODULE] = true;
	else if (!mts_write_file(MTS_DEBUGFS "/trigger/audit", "1"))
		return;
	else if (busy && errno == EAGAIN)
		unsettled = true;
	else
		wrong(MODULE, 0, "%s%s", strerror(errno),
		      errno == EAGAIN ? ", nothing stands still" : ", see the log");
}

static void one_look(bool online, bool busy)
{
	if (online) {
		if (!busy)
			mts_release();
		audit_blocks();
		audit_holders();
		audit_faults();
		audit_module(busy);
	}
	if (!busy)
		audit_zones();
}

/* Some memory with tags: with none there is little that can be wrong */
#define TAGGED_PAGES	64

static void make_tags(void)
{
	char *p = mts_map(TAGGED_PAGES * mts_page_size, PROT_RW, 0, 0);
	size_t i;

	/* Without MTE there are none */
	if (mprotect(p, TAGGED_PAGES * mts_page_size, PROT_RW | PROT_MTE))
		return;
	for (i = 0; i < TAGGED_PAGES; i++)
		mte_stg(mte_ptr(p + i * mts_page_size, i % 15 + 1));
}

int main(int argc, char **argv)
{
	bool online, busy = false, bad = true;
	const char *after = NULL;
	enum check c;
	int i, looks;
	size_t j;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--busy"))
			busy = true;
		else if (!strncmp(argv[i], "--after=", 8))
			after = argv[i] + 8;
	}
	flags_fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	count_fd = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	if (flags_fd < 0 || count_fd < 0) {
		printf("KTAP version 1\n1..0 # SKIP no CONFIG_PROC_PAGE_MONITOR\n");
		return KSFT_SKIP;
	}
	online = mts_online();
	online_now = online;
	mts_load_regions();
	read_crash_memory();
	if (online && !busy)
		make_tags();
	ktap_begin(NR_CHECKS);
	for (c = 0; c < NR_CHECKS; c++)
		skipped[c] = !online && (c < MANAGED || c > FREE_CMA);
	if (online && reserves_ahead())
		skipped[IDLE] = true;
	for (c = IDLE; busy && c <= FREE_CMA; c++)
		skipped[c] = true;
	for (looks = 0; looks < LOOKS && bad; looks++) {
		if (looks)
			usleep(LOOK_MS * 1000);
		memset(now, 0, sizeof(now));
		one_look(online, busy);
		bad = false;
		for (c = 0; c < NR_CHECKS; c++) {
			if (skipped[c])
				memset(&now[c], 0, sizeof(now[c]));
			bad |= looks ? still_bad(c) : now[c].nr;
		}
		bad |= unsettled;
		memcpy(before, now, sizeof(now));
	}
	skipped[MODULE] |= unsettled && !now[MODULE].nr;
	for (c = 0; c < NR_CHECKS; c++) {
		if (skipped[c]) {
			ktap_skip(!online ? "module not online" :
				  c == MODULE && !unsettled ? "not in this module" :
				  busy ? "others are busy" :
				  "the policy reserves ahead", "%s", names[c]);
			continue;
		}
		for (j = 0; j < now[c].nr && j < MAX_SHOWN; j++)
			ktap_note("AUDIT%s%s: pfn %#llx: %s",
				  after ? " after " : "", after ?: "",
				  (unsigned long long)now[c].pfn[j],
				  now[c].why[j]);
		ktap_result(!now[c].nr && !now[c].too_many, "%s%s", names[c],
			    now[c].too_many ? ": very many don't" : "");
	}
	return ktap_end();
}
