/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The map between tag storage and the memory it serves: pure arithmetic.
 */
#ifndef MTS_GEOMETRY_H
#define MTS_GEOMETRY_H

#include <linux/types.h>

#include "mte_tag_storage.h"

/* log2(MTS_RATIO): data pages per page of tag storage */
#define MTS_RATIO_SHIFT		5

/* Ranges that a description, and so a carve-out, can have of either kind */
#define MTS_MAX_SPANS		16

/**
 * struct mts_geometry - a tag-storage range and the memory it serves, in pages
 * @tag_pfn:	first page of the tag storage
 * @tag_pages:	its size; MTS_RATIO times as many pages are served
 * @data_pfn:	first page of the tagged memory
 * @block_order: log2 of the tag-storage pages in a block
 *
 * Block i is [tag_pfn + (i << block_order), 1 << block_order pages) and serves
 * MTS_RATIO times as many pages from data_pfn + MTS_RATIO * (i << block_order).
 */
struct mts_geometry {
	unsigned long tag_pfn;
	unsigned long tag_pages;
	unsigned long data_pfn;
	unsigned int block_order;
};

/**
 * struct mts_span - a range of memory in bytes
 * @start:	first byte
 * @size:	length
 */
struct mts_span {
	u64 start;
	u64 size;
};

/**
 * struct mts_carveout - tag storage as firmware describes it
 * @storage:	its ranges
 * @memory:	the memory it serves, by banks
 * @nr_storage:	length of @storage
 * @nr_memory:	length of @memory
 * @block_size:	bytes of tag storage within which the tags of a data block may
 *		be anywhere
 *
 * The tags of the banks, one after the other in this order, are in the ranges of
 * the storage, one after the other in this order.
 */
struct mts_carveout {
	struct mts_span storage[MTS_MAX_SPANS];
	struct mts_span memory[MTS_MAX_SPANS];
	unsigned int nr_storage;
	unsigned int nr_memory;
	u64 block_size;
};

const char *mts_carveout_split(const struct mts_carveout *c,
			       unsigned int page_shift,
			       struct mts_geometry *geo, unsigned int max,
			       unsigned int *nr);
const char *mts_carveouts_clash(const struct mts_carveout *a,
				const struct mts_carveout *b);

/* ranges.c */
const char *mts_ranges_parse(const char *text, struct mts_carveout *c,
			     unsigned int max, unsigned int *nr,
			     const char **where);

static inline bool mts_span_overlaps(const struct mts_span *a,
				     const struct mts_span *b)
{
	return a->start < b->start + b->size && b->start < a->start + a->size;
}

static inline unsigned long mts_nr_blocks(const struct mts_geometry *geo)
{
	return geo->tag_pages >> geo->block_order;
}

static inline unsigned long mts_data_pages(const struct mts_geometry *geo)
{
	return geo->tag_pages << MTS_RATIO_SHIFT;
}

static inline unsigned long mts_block_pages(const struct mts_geometry *geo)
{
	return 1UL << geo->block_order;
}

static inline unsigned long mts_block_tag_pfn(const struct mts_geometry *geo,
					      unsigned long block)
{
	return geo->tag_pfn + (block << geo->block_order);
}

static inline unsigned long mts_block_data_pages(const struct mts_geometry *geo)
{
	return 1UL << (geo->block_order + MTS_RATIO_SHIFT);
}

static inline unsigned long mts_block_data_pfn(const struct mts_geometry *geo,
					       unsigned long block)
{
	return geo->data_pfn +
		(block << (geo->block_order + MTS_RATIO_SHIFT));
}

/* @pfn must be in the tagged memory */
static inline unsigned long mts_data_pfn_to_block(const struct mts_geometry *geo,
						  unsigned long pfn)
{
	return (pfn - geo->data_pfn) >> (geo->block_order + MTS_RATIO_SHIFT);
}

static inline bool mts_serves_pfn(const struct mts_geometry *geo,
				  unsigned long pfn)
{
	/* What lies before it is far behind it, modulo 2^64 */
	return pfn - geo->data_pfn < mts_data_pages(geo);
}

static inline bool mts_stores_pfn(const struct mts_geometry *geo,
				  unsigned long pfn)
{
	return pfn - geo->tag_pfn < geo->tag_pages;
}

/* Does @block of @geo serve nothing but the tag storage of @storage? */
static inline bool mts_block_serves_storage(const struct mts_geometry *geo,
					    unsigned long block,
					    const struct mts_geometry *storage)
{
	unsigned long first = mts_block_data_pfn(geo, block);
	unsigned long last = first + mts_block_data_pages(geo) - 1;

	return mts_stores_pfn(storage, first) && mts_stores_pfn(storage, last);
}

/**
 * mts_spare_blocks() - find the blocks that mts_block_serves_storage() is true for
 * @geo:	whose blocks
 * @storage:	tag storage, of the same or another region
 * @first:	the first block
 * @end:	the one after the last
 *
 * Return: false if there are others that serve a part of the storage.
 */
static inline bool mts_spare_blocks(const struct mts_geometry *geo,
				    const struct mts_geometry *storage,
				    unsigned long *first, unsigned long *end)
{
	unsigned long from = storage->tag_pfn;
	unsigned long to = from + storage->tag_pages;
	unsigned long size = mts_block_data_pages(geo);

	from = from > geo->data_pfn ? from - geo->data_pfn : 0;
	to = to > geo->data_pfn ? to - geo->data_pfn : 0;
	if (to > mts_data_pages(geo))
		to = mts_data_pages(geo);
	*first = 0;
	*end = 0;
	if (from >= to)
		return true;
	if (to / size > from / size + !!(from % size)) {
		*first = from / size + !!(from % size);
		*end = to / size;
	}
	return !(from % size || to % size);
}

#endif /* MTS_GEOMETRY_H */
