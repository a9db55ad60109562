// SPDX-License-Identifier: GPL-2.0
/*
 * Long-term pins whose pages are allocated in the pin's own fault while no tag storage
 * can be had: with a page that is refused the fault goes on, and it is mapped, unmapped
 * and freed like any other.
 */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "mts_contract.h"
#include "mts_uring.h"

#define ROUNDS		60
#define PAGES		8UL
#define FILL_BYTES	(128UL << 20)

/* Pins memory that isn't there yet. Whether that succeeds is not the question. */
static bool pin(void)
{
	struct iovec iov = { .iov_len = PAGES * mts_page_size };
	struct ring ring;
	bool ok;

	if (!ring_make(&ring))
		mts_die("io_uring");
	iov.iov_base = mmap(NULL, iov.iov_len, PROT_TAGGED, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (iov.iov_base == MAP_FAILED)
		mts_die("mmap");
	ok = ring_pin(&ring, &iov, 1);
	if (ok && !ring_unpin(&ring))
		mts_die("IORING_UNREGISTER_BUFFERS");
	munmap(iov.iov_base, iov.iov_len);
	ring_close(&ring);
	return ok;
}

int main(void)
{
	struct rlimit locked = { RLIM_INFINITY, RLIM_INFINITY };
	size_t i, pinned = 0;
	struct mts_buf b;

	mts_need_mte();
	setrlimit(RLIMIT_MEMLOCK, &locked);
	ktap_begin(2);
	if (mts_online())
		inject_failures("fail_reserve", true);
	for (i = 0; i < ROUNDS; i++)
		pinned += pin();
	if (mts_online())
		inject_failures("fail_reserve", false);
	ktap_note("%zu of %d pins with no storage to be had", pinned, ROUNDS);
	ktap_result(pin(), "pin memory that isn't there yet");
	/* What was kept is given back by now, and reclaim finds the lists in order */
	usleep(500000);
	buf_map(&b, FILL_BYTES / mts_page_size, PROT_RW, 0);
	buf_fill(&b, 1, false);
	madvise(b.p, FILL_BYTES, MADV_PAGEOUT);
	ktap_result(!buf_bad("data", &b), "other memory after that");
	buf_unmap(&b);
	return ktap_end();
}
