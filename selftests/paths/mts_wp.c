// SPDX-License-Identifier: GPL-2.0
/*
 * Write protection by userfaultfd of memory that becomes tagged, is tagged, is
 * swapped out or forked: each first write, of data or of a tag, is
 * reported once and waits; reads aren't; data and tags stay what they were.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "mts_paths.h"

#define PAGES		256UL
#define SEED		0x7770UL
#define GRAB_SEED	0x77706772UL

static int uffd;
static struct mts_buf buf;
static size_t reported[PAGES];
static size_t surprises;

/* Looks at the page that is to be written, then lets the writer go on. */
static void *monitor(void *unused)
{
	struct uffd_msg msg;

	(void)unused;
	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		u64 addr = msg.arg.pagefault.address & ~(0xffUL << 56);
		size_t i = (addr - (u64)buf.p) / mts_page_size;

		if (msg.event != UFFD_EVENT_PAGEFAULT || i >= PAGES ||
		    !(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)) {
			surprises++;
			continue;
		}
		reported[i]++;
		uffd_protect(uffd, buf_page(&buf, i), mts_page_size, false);
	}
	return NULL;
}

static bool begin(const char *what, int prot)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };

	buf_map(&buf, PAGES, prot, 0);
	reg.range.start = (u64)buf.p;
	reg.range.len = PAGES * mts_page_size;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg)) {
		ktap_skip(strerror(errno), "%s", what);
		return false;
	}
	buf_fill(&buf, SEED, prot & PROT_MTE);
	memset(reported, 0, sizeof(reported));
	surprises = 0;
	return true;
}

/*
 * Reads all, writes two of three pages: one its data, one a tag. Then turns
 * protection off.
 */
static size_t use(const char *what)
{
	size_t i, bad = 0;

	bad += buf_bad(what, &buf);
	for (i = 0; i < PAGES; i++)
		if (reported[i])
			bad++;
	if (bad)
		ktap_note("%s: reads were reported", what);
	for (i = 0; i < PAGES; i++) {
		u64 key = buf_key(&buf, i);

		if (i % 3 == 0)
			*(volatile u64 *)buf_page(&buf, i) =
				*(u64 *)buf_page(&buf, i);
		else if (i % 3 == 1)
			mte_stg(mte_ptr(buf_page(&buf, i),
					buf.tagged ? mts_tag_of(key, 0) : 0));
	}
	for (i = 0; i < PAGES && bad < 4; i++) {
		if (reported[i] == (i % 3 != 2))
			continue;
		ktap_note("%s: page %zu was reported %zu times", what, i,
			  reported[i]);
		bad++;
	}
	bad += surprises;
	bad += buf_bad(what, &buf);
	uffd_protect(uffd, buf.p, PAGES * mts_page_size, false);
	buf_fill(&buf, SEED + 1, true);
	bad += buf_bad(what, &buf);
	bad += !buf_taggable(what, &buf);
	return bad;
}

static void test_tagged(void)
{
	const char *what = "tagged memory";

	if (!begin(what, PROT_TAGGED))
		return;
	uffd_protect(uffd, buf.p, PAGES * mts_page_size, true);
	ktap_result(!use(what), "%s", what);
	buf_unmap(&buf);
}

/* Protected entries become fault-on-access, and protected ones again. */
static void test_mprotect(void)
{
	const char *what = "mprotect(PROT_MTE) of protected memory";
	struct late late;

	if (!begin(what, PROT_RW))
		return;
	uffd_protect(uffd, buf.p, PAGES * mts_page_size, true);
	late = mprotect_late(buf.p, PAGES * mts_page_size);
	buf.mte = true;
	ktap_result(!use(what) && faults_met(what, &late), "%s", what);
	buf_unmap(&buf);
}

/* The other way round: what is protected is fault-on-access already. */
static void test_protect_late(void)
{
	const char *what = "protection after mprotect(PROT_MTE)";
	struct late late;

	if (!begin(what, PROT_RW))
		return;
	late = mprotect_late(buf.p, PAGES * mts_page_size);
	buf.mte = true;
	uffd_protect(uffd, buf.p, PAGES * mts_page_size, true);
	ktap_result(!use(what) && faults_met(what, &late), "%s", what);
	buf_unmap(&buf);
}

/* A page that is moved because its tag storage can't be had, or by fork. */
static void test_fork(void)
{
	const char *what = "fork of protected memory";
	size_t bad;
	pid_t pid;

	if (!begin(what, PROT_TAGGED))
		return;
	uffd_protect(uffd, buf.p, PAGES * mts_page_size, true);
	pid = fork();
	if (!pid) {
		/* The child isn't monitored */
		bad = buf_bad("child", &buf);
		buf_fill(&buf, SEED + 2, true);
		_exit(bad || buf_bad("child, later", &buf));
	}
	bad = !child_ok(pid);
	bad += use(what);
	ktap_result(!bad, "%s", what);
	buf_unmap(&buf);
}

int main(void)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct mts_grab grab = { 0 };
	pthread_t thread;

	mts_need_mte();
	mts_load_regions();
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
		printf("KTAP version 1\n1..0 # SKIP no write protection by userfaultfd\n");
		return KSFT_SKIP;
	}
	if (pthread_create(&thread, NULL, monitor, NULL))
		mts_die("pthread_create");
	ktap_begin(6);
	if (mts_online()) {
		grab_storage(&grab);
		grab_fill(&grab, GRAB_SEED);
		ktap_note("%zu pages of data in tag storage", grab.nr);
	}
	test_tagged();
	test_mprotect();
	test_protect_late();
	test_fork();
	grab_end(&grab, GRAB_SEED);
	return ktap_end();
}
