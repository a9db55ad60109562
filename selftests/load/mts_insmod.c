// SPDX-License-Identifier: GPL-2.0
/*
 * insmod when there is no memory: each of its allocations fails, one after the
 * other, and memory is full while it runs. It says so, nothing is left of it, and the
 * next one works. One that loads all the same (a file in debugfs is missing) works,
 * goes offline and is unloaded as any other.
 *
 *	mts_insmod faults	by /proc/PID/fail-nth; needs failslab
 *	mts_insmod full		while the OOM killer is at work
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "mts_paths.h"

#define NAME		"mte_tag_storage"
#define SYSFS		"/sys/kernel/mm/" NAME
#define PAGE_FAULTS	"/sys/kernel/debug/fail_page_alloc/"
#define SLAB_FAULTS	"/sys/kernel/debug/failslab/"

/* insmod works again after every so many failures; and after each that is new */
#define LOAD_EACH	32
#define MAX_NTH		20000
/* What fails does so many times more; what the kernel may have then that it hadn't */
#define AGAIN		8
#define KEPT_KIB	512
#define TAKE_BACK_TRIES	200
#define FULL_SECONDS	20

/* ---- the module ---- */

static char *image;
static size_t image_size;

/*
 * What tracing does for any module with trace events warns when it has no memory (6.12:
 * event_define_fields(), event_file_put()): the section of their names gets another one
 */
static void image_read(bool with_events)
{
	static const char section[] = "_ftrace_events", no_section[] = "_ftrace_absent";
	const char *path = getenv("MTS_KO");
	int fd = open(path ?: "/lib/modules/" NAME ".ko", O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *at, *end;
	int found = 0;

	if (fd < 0 || fstat(fd, &st))
		mts_die("the module");
	image = mmap(NULL, st.st_size, PROT_RW, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (image == MAP_FAILED)
		mts_die("the module");
	image_size = st.st_size;
	close(fd);
	end = image + image_size;
	for (at = image; !with_events && at < end; at += sizeof(section)) {
		at = memmem(at, end - at, section, sizeof(section));
		if (!at)
			break;
		memcpy(at, no_section, sizeof(section));
		found++;
	}
	if (!with_events && !found)
		mts_die(section);
}

static int mts_load(void)
{
	return syscall(SYS_init_module, image, image_size, "") ? errno : 0;
}

static bool exists(const char *path)
{
	return !access(path, F_OK);
}

/* One of the two is there, as no more than one allocation has failed */
static int set_state(const char *word)
{
	const char *file = exists(SYSFS "/state") ? SYSFS "/state" : MTS_DEBUGFS "/state";

	return mts_write_file(file, word) ? errno : 0;
}

/* While memory is full it may fail, never to stay so: 0 or the last error */
static int mts_unload(int tries)
{
	int error, i;

	for (i = 0; i < tries; i++) {
		error = set_state("offline");
		if (!error)
			break;
		usleep(100000);
	}
	if (error)
		return error;
	for (i = 0; i < tries; i++) {
		if (!syscall(SYS_delete_module, NAME, O_NONBLOCK))
			return 0;
		error = errno;
		usleep(20000);
	}
	return error;
}

/* ---- what is left of it ---- */

struct traces {
	long long total;		/* KiB of memory */
	long long cma;			/* KiB of CMA areas */
	unsigned long pageblocks;	/* of CMA areas */
	unsigned long areas;		/* mts-* in sysfs and debugfs */
	unsigned long files;		/* other traces of the module */
};

static unsigned long entries(const char *dir, const char *prefix)
{
	DIR *stream = opendir(dir);
	unsigned long n = 0;
	struct dirent *entry;

	if (!stream)
		return 0;
	while ((entry = readdir(stream)))
		n += !strncmp(entry->d_name, prefix, strlen(prefix));
	closedir(stream);
	return n;
}

/* The sum of the column with that title, of all zones */
static unsigned long cma_pageblocks(void)
{
	FILE *file = fopen("/proc/pagetypeinfo", "r");
	unsigned long n = 0;
	bool counts = false;
	char line[512], *word, *save;
	int at = 0, column = 0;

	if (!file)
		mts_die("/proc/pagetypeinfo");
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "Number of blocks", 16)) {
			counts = true;
			/* "Number of blocks type", then the types */
			for (word = strtok_r(line + 21, "\n ", &save); word;
			     word = strtok_r(NULL, "\n ", &save), at++)
				if (!strcmp(word, "CMA"))
					column = at;
		} else if (counts && strstr(line, "zone")) {
			word = strtok_r(strstr(line, "zone") + 4, "\n ", &save);
			for (at = 0; word && at <= column; at++)
				word = strtok_r(NULL, "\n ", &save);
			n += word ? strtoul(word, NULL, 10) : 0;
		}
	}
	fclose(file);
	return n;
}

static bool in_proc_modules(void)
{
	FILE *file = fopen("/proc/modules", "r");
	bool found = false;
	char line[256];

	if (!file)
		mts_die("/proc/modules");
	while (fgets(line, sizeof(line), file))
		found |= !strncmp(line, NAME " ", sizeof(NAME));
	fclose(file);
	return found;
}

static struct traces look(void)
{
	struct traces t = {
		.total = mts_meminfo("MemTotal"),
		.cma = mts_meminfo("CmaTotal"),
		.pageblocks = cma_pageblocks(),
		.areas = entries("/sys/kernel/mm/cma", "mts-") +
			 entries("/sys/kernel/debug/cma", "mts-"),
		.files = exists("/proc/" NAME) + exists(SYSFS) + exists(MTS_DEBUGFS) +
			 exists("/sys/module/" NAME) + in_proc_modules(),
	};

	return t;
}

static bool same(const char *when, struct traces now, struct traces before)
{
	if (!memcmp(&now, &before, sizeof(now)))
		return true;
	ktap_note("%s: MemTotal %lld, was %lld; CmaTotal %lld, was %lld; CMA pageblocks %lu, were %lu; areas %lu, files %lu",
		  when, now.total, before.total, now.cma, before.cma, now.pageblocks,
		  before.pageblocks, now.areas, now.files);
	return false;
}

/* What the kernel has in slabs, mapped pages and per-CPU memory: the least of some, KiB */
static long long kernel_memory(void)
{
	long long least = -1, now;
	int i;

	for (i = 0; i < 10; i++) {
		mts_write_file("/proc/sys/vm/drop_caches", "2");
		usleep(100000);
		now = mts_meminfo("SUnreclaim") + mts_meminfo("VmallocUsed") +
		      mts_meminfo("Percpu");
		if (least < 0 || now < least)
			least = now;
	}
	return least;
}

/* ---- each allocation fails ---- */

static int nth_fd = -1;

static void set_up(const char *dir, const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "%s%s", dir, name);
	if (mts_write_file(path, value))
		mts_die(path);
}

static void faults_set_up(void)
{
	set_up(PAGE_FAULTS, "probability", "0");
	set_up(PAGE_FAULTS, "verbose", "0");
	set_up(PAGE_FAULTS, "times", "-1");
	set_up(PAGE_FAULTS, "ignore-gfp-wait", "0");
	set_up(PAGE_FAULTS, "ignore-gfp-highmem", "0");
	set_up(PAGE_FAULTS, "min-order", "0");
	set_up(SLAB_FAULTS, "probability", "0");
	set_up(SLAB_FAULTS, "verbose", "0");
	set_up(SLAB_FAULTS, "times", "-1");
	set_up(SLAB_FAULTS, "ignore-gfp-wait", "0");
	nth_fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth_fd < 0)
		mts_die("/proc/self/fail-nth");
}

static void set_nth(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(nth_fd, text, len, 0) != len)
		mts_die("fail-nth");
}

/* Has the allocation been reached? */
static bool hit(void)
{
	char text[16] = "";

	if (pread(nth_fd, text, sizeof(text) - 1, 0) <= 0)
		mts_die("fail-nth");
	return !strtoul(text, NULL, 10);
}

struct outcome {
	unsigned int nth;
	unsigned int failed;		/* insmod said ENOMEM */
	unsigned int loaded;		/* ... it went without that memory */
	unsigned int strange;		/* another error */
	unsigned int left;		/* something was left */
	unsigned int stuck;		/* it loaded, and can't be unloaded */
	unsigned int again;		/* insmod worked afterwards */
	unsigned int not_again;
};

static void load_again(struct outcome *o, struct traces before)
{
	int error = mts_load();

	if (!error)
		error = mts_unload(TAKE_BACK_TRIES);
	if (error) {
		ktap_note("after allocation %u: insmod: %s", o->nth, strerror(error));
		o->not_again++;
	} else {
		o->again++;
		o->left += !same("insmod again", look(), before);
	}
}

/* insmod has failed with that allocation */
static bool essential[MAX_NTH];

/*
 * Fails the first, the second, ... allocation of insmod, until it makes no more;
 * @again: only those that had it fail
 */
static void each_fails(struct outcome *o, struct traces before, bool again)
{
	char when[64];
	int error;

	memset(o, 0, sizeof(*o));
	for (o->nth = 1; o->nth < MAX_NTH && !o->stuck && o->not_again < 4; o->nth++) {
		bool was_hit;

		if (again && !essential[o->nth])
			continue;
		set_nth(o->nth);
		error = mts_load();
		was_hit = hit();
		set_nth(0);
		snprintf(when, sizeof(when), "allocation %u (%s)", o->nth,
			 error ? strerror(error) : "loaded");
		if (error && error != ENOMEM) {
			ktap_note("%s", when);
			o->strange++;
		}
		o->failed += error == ENOMEM;
		essential[o->nth] |= error == ENOMEM;
		o->loaded += !error && was_hit;
		if (!error && mts_unload(TAKE_BACK_TRIES)) {
			ktap_note("%s: it can't be unloaded", when);
			o->stuck++;
			break;
		}
		if (!same(when, look(), before) && ++o->left > 8)
			break;
		if (error && !was_hit) {
			ktap_note("%s, and none has failed", when);
			o->strange++;
			break;
		}
		if (!was_hit)
			break;
		if (o->nth % LOAD_EACH == 0)
			load_again(o, before);
	}
}

static int faults(void)
{
	struct outcome o, again;
	long long kib = 0, grown;
	struct traces before;
	int i, bad = 0;

	if (!exists(SLAB_FAULTS) || !exists(PAGE_FAULTS)) {
		printf("KTAP version 1\n1..0 # SKIP no failslab in this kernel\n");
		return KSFT_SKIP;
	}
	ktap_begin(8);
	image_read(false);
	faults_set_up();
	before = look();
	ktap_result(!mts_load() && !mts_unload(TAKE_BACK_TRIES) &&
		    same("at first", look(), before), "the module loads and unloads");
	each_fails(&o, before, false);
	ktap_note("of %u allocations %u had insmod fail, %u not; %u times in between it worked",
		  o.nth - 1, o.failed, o.loaded, o.again);
	ktap_result(o.nth < MAX_NTH && o.failed > 40 && !o.strange && !o.stuck,
		    "insmod without memory says so, whichever allocation fails");
	ktap_result(!o.left, "nothing is left of it");
	ktap_result(o.loaded && !o.stuck, "one that went without memory works and unloads");
	ktap_result(o.again && !o.not_again, "the next one works");
	/* Again and again: what is lost adds up. The first time the kernel gets some for itself */
	for (i = 0; i <= AGAIN; i++) {
		if (i == 1)
			kib = kernel_memory();
		each_fails(&again, before, true);
		bad += again.failed <= o.failed / 2 || again.strange || again.left ||
		       again.stuck || again.not_again;
	}
	ktap_result(!bad, "those that fail, %d times more", AGAIN + 1);
	grown = kernel_memory() - kib;
	ktap_result(grown <= KEPT_KIB, "the kernel has no memory more for it: %lld KiB, then %lld more",
		    kib, grown);
	ktap_result(!mts_load() && !mts_unload(TAKE_BACK_TRIES) &&
		    same("at last", look(), before), "the module loads and unloads");
	return ktap_end();
}

/* ---- memory is full ---- */

static pid_t hog(void)
{
	pid_t pid = mts_fork();

	if (!pid) {
		size_t bytes = mts_meminfo("MemTotal") * 1024, i;
		volatile char *p;

		if (mts_write_file("/proc/self/oom_score_adj", "1000"))
			_exit(1);
		p = mts_map(bytes * 2, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 0);
		madvise((void *)p, bytes * 2, MADV_NOHUGEPAGE);
		for (i = 0; i < bytes * 2; i += mts_page_size)
			p[i] = 1;
		_exit(0);
	}
	return pid;
}

/* One hog after the other, until it is told to end */
static pid_t hogs(volatile bool *end)
{
	pid_t pid = mts_fork();

	if (!pid) {
		while (!*end)
			wait_status(hog());
		_exit(0);
	}
	return pid;
}

static int full(void)
{
	unsigned int loaded = 0, none = 0, strange = 0, left = 0, busy = 0, stuck = 0;
	volatile bool *end = mmap(NULL, mts_page_size, PROT_RW,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long long kills = mts_vmstat("oom_kill");
	struct traces before;
	double until;
	pid_t pid;

	if (end == MAP_FAILED)
		mts_die("mmap");
	ktap_begin(6);
	image_read(true);
	before = look();
	ktap_result(!mts_load() && !mts_unload(TAKE_BACK_TRIES), "the module loads and unloads");
	pid = hogs(end);
	until = mts_now() + FULL_SECONDS;
	while (mts_now() < until && !stuck) {
		int error = mts_load();

		if (!error) {
			loaded++;
			/* There is no place for what is in tag storage */
			busy += !!mts_unload(1);
			if (exists("/sys/module/" NAME) && mts_unload(TAKE_BACK_TRIES))
				stuck++;
		} else if (error == ENOMEM) {
			none++;
		} else {
			ktap_note("insmod: %s", strerror(error));
			strange++;
		}
		left += !same("memory is full", look(), before);
	}
	*end = true;
	ktap_result(child_ok(pid), "all was in use all the time");
	kills = mts_vmstat("oom_kill") - kills;
	ktap_note("insmod: %u times loaded, of which %u were busy at first, %u times no memory; %lld programs killed",
		  loaded, busy, none, kills);
	ktap_result(kills > 0 && loaded + none > 3, "the OOM killer was at work");
	ktap_result(!strange && !stuck, "insmod works, or says that there is no memory");
	ktap_result(!left, "nothing is left of it");
	ktap_result(!mts_load() && !mts_unload(TAKE_BACK_TRIES) &&
		    same("at last", look(), before), "the module loads and unloads");
	return ktap_end();
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "full"))
		return full();
	if (argc == 1 || !strcmp(argv[1], "faults"))
		return faults();
	fprintf(stderr, "usage: mts_insmod [faults | full]\n");
	return 2;
}
