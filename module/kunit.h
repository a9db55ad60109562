/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KUnit suites share.
 */
#ifndef MTS_KUNIT_H
#define MTS_KUNIT_H

#include "geometry.h"

/* The geometry of one range of storage that serves one bank */
static inline const char *mts_geometry_init(struct mts_geometry *geo,
					    const struct mts_span *storage,
					    const struct mts_span *memory,
					    u64 block_size,
					    unsigned int page_shift)
{
	struct mts_carveout c = {
		.storage = { *storage }, .memory = { *memory },
		.nr_storage = 1, .nr_memory = 1, .block_size = block_size,
	};
	unsigned int nr;

	return mts_carveout_split(&c, page_shift, geo, 1, &nr);
}

#endif /* MTS_KUNIT_H */
