// SPDX-License-Identifier: GPL-2.0
/*
 * The map between tag storage and the memory it serves: checks and set-up.
 */
#include <linux/align.h>
#include <linux/log2.h>
#include <linux/minmax.h>

#include "geometry.h"

/**
 * mts_geometry_init() - derive the geometry from what firmware describes
 * @geo:	the result
 * @storage:	the tag storage, bytes
 * @memory:	the memory it serves, bytes
 * @block_size:	bytes of tag storage within which the tags of a data block
 *		may be anywhere
 * @page_shift:	log2 of the page size
 *
 * A block is lcm(page size, block size) bytes, which is the larger of the two
 * as both are powers of two.
 *
 * Return: NULL, or what is wrong, to be put behind the name of the node.
 */
const char *mts_geometry_init(struct mts_geometry *geo,
			      const struct mts_span *storage,
			      const struct mts_span *memory,
			      u32 block_size, unsigned int page_shift)
{
	u64 page_size = 1ULL << page_shift;

	if (!is_power_of_2(block_size) || block_size < MTS_BLOCK_SIZE_MIN ||
	    block_size > MTS_BLOCK_SIZE_MAX)
		return "block-size is not a power of two from 128 bytes to 2 MiB";
	if (!IS_ALIGNED(storage->start | storage->size, page_size))
		return "reg is not a multiple of the page size";
	if (!IS_ALIGNED(storage->start | storage->size, block_size))
		return "reg is not a multiple of block-size";
	if (!IS_ALIGNED(memory->start | memory->size, page_size))
		return "tagged-memory is not a multiple of the page size";
	if (memory->size % MTS_RATIO || memory->size / MTS_RATIO != storage->size)
		return "size of reg is not 1/32 of tagged-memory";

	if (!IS_ALIGNED(memory->start, page_size * MTS_RATIO))
		return "tagged-memory does not start at a multiple of 32 pages";

	geo->tag_pfn = storage->start >> page_shift;
	geo->tag_pages = storage->size >> page_shift;
	geo->data_pfn = memory->start >> page_shift;
	geo->block_order = ilog2(max_t(u64, block_size, page_size)) - page_shift;
	return NULL;
}
