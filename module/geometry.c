// SPDX-License-Identifier: GPL-2.0
/*
 * The map between tag storage and the memory it serves: checks and set-up.
 */
#include <linux/align.h>
#include <linux/log2.h>
#include <linux/minmax.h>

#include "geometry.h"

/* The memory that the smallest block serves; no bank is cut any finer */
#define MTS_BANK_ALIGN	(MTS_RATIO * MTS_BLOCK_SIZE_MIN)

/* Tag storage in one piece that serves memory in one piece, in bytes */
struct piece {
	u64 storage;
	u64 memory;
	u64 size;	/* of the storage */
};

static const char *check_storage(const struct mts_carveout *c, u64 page_size)
{
	u64 total = 0;
	unsigned int i, j;

	for (i = 0; i < c->nr_storage; i++) {
		const struct mts_span *s = &c->storage[i];

		if (!s->size)
			return "has an empty reg";
		if (s->start + s->size < s->start)
			return "reg goes beyond all addresses";
		if (!IS_ALIGNED(s->start | s->size, page_size))
			return "reg is not a multiple of the page size";
		if (!IS_ALIGNED(s->start | s->size, c->block_size))
			return "reg is not a multiple of block-size";
		for (j = 0; j < i; j++)
			if (mts_span_overlaps(s, &c->storage[j]))
				return "reg overlaps itself";
		total += s->size;
	}
	return total ? NULL : "has no reg entry";
}

static const char *check_memory(const struct mts_carveout *c)
{
	unsigned int i, j;

	for (i = 0; i < c->nr_memory; i++) {
		const struct mts_span *m = &c->memory[i];

		if (!m->size)
			return "tagged-memory has an empty range";
		if (m->start + m->size < m->start)
			return "tagged-memory goes beyond all addresses";
		if (!IS_ALIGNED(m->start | m->size, MTS_BANK_ALIGN))
			return "tagged-memory is not a multiple of 4 KiB";
		for (j = 0; j < i; j++)
			if (mts_span_overlaps(m, &c->memory[j]))
				return "tagged-memory is served twice";
	}
	return NULL;
}

/* Spans don't overlap: the sum is less than the number of addresses */
static u64 sum(const struct mts_span *spans, unsigned int nr)
{
	u64 size = 0;

	while (nr)
		size += spans[--nr].size;
	return size;
}

/* Cut where a range of either side ends, unless both go on right there */
static unsigned int cut(const struct mts_carveout *c, struct piece *pieces)
{
	unsigned int s = 0, m = 0, nr = 0;
	u64 storage_at = 0, memory_at = 0;

	while (s < c->nr_storage && m < c->nr_memory) {
		struct piece p = {
			.storage = c->storage[s].start + storage_at,
			.memory = c->memory[m].start + memory_at,
			.size = min(c->storage[s].size - storage_at,
				    (c->memory[m].size - memory_at) / MTS_RATIO),
		};
		struct piece *last = &pieces[nr - 1];

		if (nr && last->storage + last->size == p.storage &&
		    last->memory + last->size * MTS_RATIO == p.memory)
			last->size += p.size;
		else
			pieces[nr++] = p;

		storage_at += p.size;
		memory_at += p.size * MTS_RATIO;
		if (storage_at == c->storage[s].size) {
			storage_at = 0;
			s++;
		}
		if (memory_at == c->memory[m].size) {
			memory_at = 0;
			m++;
		}
	}
	return nr;
}

/**
 * mts_carveout_split() - derive the geometry from what firmware describes
 * @c:		what it describes
 * @page_shift:	log2 of the page size
 * @geo:	the result: parts in which the map is linear
 * @max:	length of @geo
 * @nr:		how many there are
 *
 * A block is lcm(page size, block size) bytes, which is the larger of the two
 * as both are powers of two. Blocks that serve memory of two banks, or data
 * pages that don't begin at a multiple of MTS_RATIO pages, are in no part: they
 * stay what firmware made of them, tag storage that nobody else uses.
 *
 * Return: NULL, or what is wrong, to be put behind the name of the node.
 */
const char *mts_carveout_split(const struct mts_carveout *c,
			       unsigned int page_shift,
			       struct mts_geometry *geo, unsigned int max,
			       unsigned int *nr)
{
	struct piece pieces[2 * MTS_MAX_SPANS];
	u64 page_size = 1ULL << page_shift;
	const char *error, *none = "reg has no whole block of one bank";
	unsigned int i, n;
	u64 block;

	*nr = 0;
	if (!is_power_of_2(c->block_size) || c->block_size < MTS_BLOCK_SIZE_MIN ||
	    c->block_size > MTS_BLOCK_SIZE_MAX)
		return "block-size is not a power of two from 128 bytes to 2 MiB";
	block = max(c->block_size, page_size);
	error = check_storage(c, page_size);
	if (!error)
		error = check_memory(c);
	if (error)
		return error;
	if (sum(c->memory, c->nr_memory) / MTS_RATIO !=
	    sum(c->storage, c->nr_storage))
		return "size of reg is not 1/32 of tagged-memory";

	n = cut(c, pieces);
	for (i = 0; i < n; i++) {
		const struct piece *p = &pieces[i];
		u64 first = ALIGN(p->storage, block);
		u64 end = ALIGN_DOWN(p->storage + p->size, block);
		u64 memory = p->memory + (first - p->storage) * MTS_RATIO;

		if (first >= end)
			continue;
		if (!IS_ALIGNED(memory, page_size * MTS_RATIO)) {
			none = "tagged-memory does not start at a multiple of 32 pages";
			continue;
		}
		if (*nr == max)
			return "has more parts than there is room for";
		geo[(*nr)++] = (struct mts_geometry) {
			.tag_pfn = first >> page_shift,
			.tag_pages = (end - first) >> page_shift,
			.data_pfn = memory >> page_shift,
			.block_order = ilog2(block) - page_shift,
		};
	}
	return *nr ? NULL : none;
}

static bool any_overlap(const struct mts_span *a, unsigned int nr_a,
			const struct mts_span *b, unsigned int nr_b)
{
	unsigned int i, j;

	for (i = 0; i < nr_a; i++)
		for (j = 0; j < nr_b; j++)
			if (mts_span_overlaps(&a[i], &b[j]))
				return true;
	return false;
}

/**
 * mts_carveouts_clash() - can both be true?
 * @a:	a carve-out
 * @b:	another one; mts_carveout_split() has found each of them good
 *
 * Return: NULL, or what is wrong, to be put behind the name of either.
 */
const char *mts_carveouts_clash(const struct mts_carveout *a,
				const struct mts_carveout *b)
{
	if (any_overlap(a->storage, a->nr_storage, b->storage, b->nr_storage))
		return "reg overlaps another range of tag storage";
	if (any_overlap(a->memory, a->nr_memory, b->memory, b->nr_memory))
		return "tagged-memory is served twice";
	return NULL;
}
