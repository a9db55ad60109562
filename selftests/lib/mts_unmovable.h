/* SPDX-License-Identifier: GPL-2.0 */
/* Memory that can't move, which tag storage is of no use for. */
#ifndef MTS_UNMOVABLE_H
#define MTS_UNMOVABLE_H

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mts_test.h"

/*
 * Page tables and slab by turns, as of many processes and connections: half of it
 * tables of a page each, half of it pipes. Adds to @bytes until the caller is killed.
 */
static inline void mts_take_unmovable(volatile u64 *bytes)
{
	struct rlimit files = { 1 << 20, 1 << 20 };
	size_t step = mts_page_size * mts_page_size / 8, i;
	long long before, slab;
	u64 base;
	char *p;
	int fds[2];

	setrlimit(RLIMIT_NOFILE, &files);
	for (;;) {
		/* A table maps as many pages as it has entries; reading needs no other page */
		p = mmap(NULL, step * 256, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			 -1, 0);
		if (p == MAP_FAILED)
			return;
		madvise(p, step * 256, MADV_NOHUGEPAGE);
		for (i = 0; i < 256; i++) {
			*(volatile char *)(p + i * step);
			*bytes += mts_page_size;
		}
		before = mts_meminfo("SUnreclaim");
		base = *bytes;
		do {
			for (i = 0; i < 16; i++)
				if (pipe(fds))
					return;
			slab = mts_meminfo("SUnreclaim") - before;
			/* As it grows: who takes it is killed in the middle */
			*bytes = base + slab * 1024;
		} while (slab < 1024);
	}
}

#endif
