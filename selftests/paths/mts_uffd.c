// SPDX-License-Identifier: GPL-2.0
/*
 * userfaultfd in tagged memory: UFFDIO_COPY and ZEROPAGE give pages with zero
 * tags, MOVE brings a page that never was tagged, and calls that fail leak
 * no tag block.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mts_test.h"

#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE	(1 << 16)
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

#define PAGES	256UL
#define STORM	20000
#define KEY(i)	(0x756666640000UL + (i) * 8 + ((i) & 3))
#define DATA(i)	(0x756666640001UL + (i) * 2)

static int uffd;

static char *area(size_t pages)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *p = mts_map(pages * mts_page_size, PROT_TAGGED, 0, 0);

	madvise(p, pages * mts_page_size, MADV_NOHUGEPAGE);
	reg.range.start = (u64)p;
	reg.range.len = pages * mts_page_size;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		mts_die("UFFDIO_REGISTER");
	return p;
}

static int copy(char *dst, char *src, size_t len)
{
	struct uffdio_copy c = { .dst = (u64)dst, .src = (u64)src, .len = len };

	return ioctl(uffd, UFFDIO_COPY, &c) ? -errno : 0;
}

/* One page may be busy for a moment: EAGAIN tells what is done. */
static long move(char *dst, char *src, size_t len)
{
	size_t done = 0;
	int tries;

	for (tries = 0; done < len && tries < 1000; tries++) {
		struct uffdio_move m = {
			.dst = (u64)dst + done, .src = (u64)src + done,
			.len = len - done,
		};

		if (!ioctl(uffd, UFFDIO_MOVE, &m))
			return 0;
		if (m.move > 0)
			done += m.move;
		else if (errno != EAGAIN)
			break;
	}
	ktap_note("UFFDIO_MOVE: %s after %zu of %zu bytes", strerror(errno),
		  done, len);
	return 1;
}

static long tag_and_check(const char *what, char *p, size_t pages)
{
	long bad = 0;
	size_t i;

	for (i = 0; i < pages; i++)
		mts_page_tag(p + i * mts_page_size, KEY(i));
	for (i = 0; i < pages && bad < 4; i++)
		bad += !mts_tags_ok(what, p + i * mts_page_size, KEY(i));
	return bad + (mts_pages_untaggable(what, p, pages) > 0);
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	long long before, after;
	long bad, wrong_errno = 0;
	char *src, *p;
	size_t i;

	mts_need_mte();
	mts_load_regions();
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd >= 0) {
		api.features = UFFD_FEATURE_MOVE;
		if (ioctl(uffd, UFFDIO_API, &api)) {
			close(uffd);
			uffd = syscall(SYS_userfaultfd,
				       O_CLOEXEC | O_NONBLOCK);
			api.api = UFFD_API;
			api.features = 0;
			if (ioctl(uffd, UFFDIO_API, &api))
				mts_die("UFFDIO_API");
		}
	}
	if (uffd < 0) {
		printf("KTAP version 1\n1..0 # SKIP no userfaultfd\n");
		return KSFT_SKIP;
	}
	ktap_begin(5);
	src = mts_map(PAGES * mts_page_size, PROT_RW, 0, 0);
	madvise(src, PAGES * mts_page_size, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES; i++)
		mts_page_fill(src + i * mts_page_size, DATA(i));

	p = area(PAGES);
	bad = !!copy(p, src, PAGES * mts_page_size);
	for (i = 0; i < PAGES && bad < 4; i++) {
		bad += !mts_data_ok("copy", p + i * mts_page_size, DATA(i));
		bad += !mts_tags_ok("copy", p + i * mts_page_size, 0);
	}
	bad += tag_and_check("copy", p, PAGES);
	ktap_result(!bad, "UFFDIO_COPY");

	/* Every call allocates a page, finds one there and lets it go. */
	if (mts_online())
		mts_release();
	before = mts_stat("blocks_reserved");
	for (i = 0; i < STORM; i++)
		if (copy(p + i % PAGES * mts_page_size, src, mts_page_size) !=
		    -EEXIST)
			wrong_errno++;
	bad = 0;
	for (i = 0; i < PAGES && bad < 4; i++)
		bad += !mts_tags_ok("after the storm", p + i * mts_page_size,
				    KEY(i));
	ktap_result(!bad && !wrong_errno, "%d calls that fail with EEXIST",
		    STORM);
	if (mts_online()) {
		mts_release();
		after = mts_stat("blocks_reserved");
		ktap_result(after - before <= 8,
			    "they leak no blocks: %lld before, %lld after",
			    before, after);
	} else {
		ktap_skip("module not online", "they leak no blocks");
	}
	munmap(p, PAGES * mts_page_size);

	p = area(PAGES);
	bad = 0;
	for (i = 0; i < PAGES; i++) {
		struct uffdio_zeropage z = {
			.range.start = (u64)p + i * mts_page_size,
			.range.len = mts_page_size,
		};

		bad += !!ioctl(uffd, UFFDIO_ZEROPAGE, &z);
	}
	for (i = 0; i < PAGES && bad < 4; i++) {
		bad += !mts_data_ok("zeropage", p + i * mts_page_size, 0);
		bad += !mts_tags_ok("zeropage", p + i * mts_page_size, 0);
	}
	bad += tag_and_check("zeropage", p, PAGES);
	ktap_result(!bad, "UFFDIO_ZEROPAGE");
	munmap(p, PAGES * mts_page_size);

	if (!(api.features & UFFD_FEATURE_MOVE)) {
		ktap_skip("not supported", "UFFDIO_MOVE");
		return ktap_end();
	}
	/*
	 * Only between mappings of the same protection: the second half is
	 * not tagged yet, the first is.
	 */
	if (mprotect(src, PAGES * mts_page_size, PROT_TAGGED))
		mts_die("mprotect");
	for (i = 0; i < PAGES / 2; i++) {
		mts_page_tag(src + i * mts_page_size, KEY(i));
		mts_page_fill(src + i * mts_page_size, DATA(i));
	}
	p = area(PAGES);
	bad = move(p, src, PAGES * mts_page_size);
	for (i = 0; i < PAGES && bad < 4; i++) {
		bad += !mts_data_ok("move", p + i * mts_page_size, DATA(i));
		bad += !mts_tags_ok("move", p + i * mts_page_size,
				    i < PAGES / 2 ? KEY(i) : 0);
	}
	bad += tag_and_check("move", p, PAGES);
	ktap_result(!bad, "UFFDIO_MOVE");
	return ktap_end();
}
