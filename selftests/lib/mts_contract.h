/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers of the tests of the contract (docs/paths.md, "The contract"): what the
 * unmodified kernel lets live, goes on and succeeds. The programs run on the
 * unmodified kernel, too; what they ask for is no more than what it does.
 */
#ifndef MTS_CONTRACT_H
#define MTS_CONTRACT_H

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "mts_paths.h"

#define MPOL_DEFAULT	0
#define MPOL_BIND	2

#define THP		"/sys/kernel/mm/transparent_hugepage/"

/* Faults on access until a page can be used, of many and of one */
#define FAULTS_PER_PAGE	4
#define FAULTS_SPARE	512
#define FAULTS_PER_STEP	128

/*
 * Faults on pages that could not be mapped with tags, since boot. The one place
 * that knows where they are counted.
 */
static __maybe_unused long long faults_on_access(void)
{
	long long faults = mts_stat("faults_on_access");

	if (faults < 0)
		faults = mts_vmstat("tag_fault");
	return faults < 0 ? 0 : faults;
}

/* When data is put into tag storage; nothing without the module */
static __maybe_unused void data_use(const char *when)
{
	if (mts_online() &&
	    mts_write_file(MTS_DEBUGFS "/policy/data_use", when))
		mts_die("policy");
}

/* A knob that a test can do without; it may go */
static __maybe_unused void knob(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), MTS_DEBUGFS "/policy/%s", name);
	mts_write_file(path, value);
}

/* What the kernel keeps free, KiB: where pageblocks are large a twentieth of memory */
static __maybe_unused long long min_free_kib(void)
{
	char text[32];

	return mts_read_file("/proc/sys/vm/min_free_kbytes", text,
			     sizeof(text)) > 0 ? atoll(text) : 0;
}

/* Seconds without any progress that are no accident on this machine */
static __maybe_unused double patience(void)
{
	const char *scale = getenv("MTS_SCALE");
	int tenths = scale ? atoi(scale) : 10;

	return tenths > 10 ? tenths : 10;
}

static __maybe_unused size_t in_storage(const void *p, size_t pages)
{
	size_t i, j, n, in = 0;
	u64 pfns[256];

	for (i = 0; i < pages; i += n) {
		n = pages - i < 256 ? pages - i : 256;
		if (mts_pfns((const char *)p + i * mts_page_size, n, pfns))
			mts_die("pagemap");
		for (j = 0; j < n; j++)
			in += mts_pfn_in_storage(pfns[j]);
	}
	return in;
}

/*
 * Pages that this CPU has at hand lie anywhere, also when tag storage comes
 * first. They are taken away until pages do come from there.
 */
struct at_hand {
	cpu_set_t cpus;
	char *base;
	size_t len;
};

static __maybe_unused void storage_first(struct at_hand *at)
{
	size_t i, run;

	at->len = 0;
	if (!mts_online())
		return;
	/* Storage whose tags have gone is free before it is used */
	mts_release();
	data_use("first");
	sched_getaffinity(0, sizeof(at->cpus), &at->cpus);
	mts_pin(0);
	at->len = 64UL << 20;
	at->base = mts_map(at->len, PROT_RW, MAP_NORESERVE, 0);
	madvise(at->base, at->len, MADV_NOHUGEPAGE);
	for (i = run = 0; i < at->len && run < 8; i += mts_page_size) {
		at->base[i] = 1;
		run = in_storage(at->base + i, 1) ? run + 1 : 0;
	}
	if (run < 8)
		ktap_note("no pages come from tag storage");
}

/* They are given back when what was to lie there does */
static __maybe_unused void storage_as_usual(struct at_hand *at)
{
	data_use("balanced");
	if (!at->len)
		return;
	munmap(at->base, at->len);
	sched_setaffinity(0, sizeof(at->cpus), &at->cpus);
}

/* As many bytes of tag storage are lent now, or could be */
static __maybe_unused u64 lent_bytes(void)
{
	long long bytes = mts_stat("released_bytes");

	return bytes < 0 ? 0 : bytes;
}

/* What the task allocates comes from one node, or as it is by default */
static __maybe_unused void bind_to(int node)
{
	unsigned long mask = 1UL << node;

	if (syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 9UL))
		mts_die("set_mempolicy");
}

static __maybe_unused void bind_nowhere(void)
{
	if (syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0UL))
		mts_die("set_mempolicy");
}

/* Memory that several processes look at */
static __maybe_unused void *shared_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		mts_die("mmap");
	return p;
}

/* The state that /proc has of a process; 0: it has gone */
static __maybe_unused char process_state(pid_t pid)
{
	char path[64], text[512], *end;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (mts_read_file(path, text, sizeof(text)) <= 0)
		return 0;
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : 0;
}

static __maybe_unused void process_stack(pid_t pid)
{
	char path[64], text[4096], *line, *save;

	snprintf(path, sizeof(path), "/proc/%d/stack", pid);
	if (mts_read_file(path, text, sizeof(text)) <= 0)
		return;
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		ktap_note("  %s", line);
}

/* Wait a bounded time for a child, then for its death. True: it ended well */
static __maybe_unused bool wait_bounded(pid_t pid, double seconds)
{
	double end = mts_now() + seconds;
	bool killed = false;
	int status;

	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
		if (mts_now() > end && killed) {
			ktap_note("child %d can't be killed, state %c", pid,
				  process_state(pid));
			return false;
		}
		if (mts_now() > end) {
			ktap_note("child %d does not end, state %c", pid,
				  process_state(pid));
			process_stack(pid);
			kill(pid, SIGKILL);
			killed = true;
			end = mts_now() + 3;
		}
		usleep(5000);
	}
	if (!killed && WIFEXITED(status) && !WEXITSTATUS(status))
		return true;
	if (!killed)
		ktap_note("child %d: %s %d", pid,
			  WIFSIGNALED(status) ? "signal" : "exit status",
			  WIFSIGNALED(status) ? WTERMSIG(status) :
						WEXITSTATUS(status));
	return false;
}

/*
 * Wait for a child that counts its steps. It must not take more faults on
 * access than `limit`, and not stay on one step.
 */
static __maybe_unused bool watch_child(pid_t pid, const volatile u64 *steps,
				       long long limit)
{
	long long first = faults_on_access(), faults = 0, before = 0;
	double moved = mts_now();
	u64 last = *steps;
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		u64 now = *steps;

		faults = faults_on_access() - first;
		if (now != last) {
			last = now;
			moved = mts_now();
			before = faults;
		}
		/* To read them takes a while, in which it may have gone on */
		if (faults > limit || mts_now() > moved + patience() ||
		    (faults > before + FAULTS_PER_STEP && *steps == last)) {
			ktap_note("step %llu: %lld faults on access (%lld allowed), %lld of them and %.1f s since the last step",
				  (unsigned long long)*steps, faults, limit,
				  faults - before, mts_now() - moved);
			process_stack(pid);
			kill(pid, SIGKILL);
			wait_bounded(pid, 3);
			return false;
		}
		usleep(20000);
	}
	faults = faults_on_access() - first;
	ktap_note("%llu steps, %lld faults on access",
		  (unsigned long long)*steps, faults);
	if (WIFSIGNALED(status) || WEXITSTATUS(status)) {
		ktap_note("child: %s %d",
			  WIFSIGNALED(status) ? "signal" : "exit status",
			  WIFSIGNALED(status) ? WTERMSIG(status) :
						WEXITSTATUS(status));
		return false;
	}
	return faults <= limit;
}

static __maybe_unused long long faults_allowed(size_t pages)
{
	return FAULTS_PER_PAGE * pages + FAULTS_SPARE;
}

/* All of tag storage in use for other data, if there is a module */
static __maybe_unused void fill_storage(struct mts_grab *grab, u64 seed)
{
	memset(grab, 0, sizeof(*grab));
	if (!mts_online())
		return;
	grab_storage(grab);
	grab_fill(grab, seed);
	ktap_note("other data in %zu pages of tag storage", grab->nr);
}

/* Is that data as it was? It is given up. */
static __maybe_unused bool fill_ok(struct mts_grab *grab, u64 seed)
{
	bool ok;

	if (!grab->base)
		return true;
	ok = !grab_bad("data in tag storage", grab, seed);
	munmap(grab->base, grab->pages * mts_page_size);
	grab->base = NULL;
	return ok;
}

#endif
