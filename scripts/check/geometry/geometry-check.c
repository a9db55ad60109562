// SPDX-License-Identifier: GPL-2.0
/*
 * The module's rules of geometry (module/geometry.c) for scripts/check/dt-check:
 *
 *	geometry-check PAGE_SHIFT
 *
 * Standard input has a line of decimal numbers for each carve-out: the block size,
 * how many ranges of storage there are and of memory, then start and size of each
 * of them. For each line, counted from 0, it prints what the module finds:
 *
 *	part LINE START SIZE MEMORY	of the tag storage that can be lent, in bytes
 *	error LINE WHAT			the carve-out is bad
 *	clash LINE LINE WHAT		it and one before can't both be true
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../../module/geometry.c"

/* As many as the module has regions (MTS_MAX_REGIONS) */
#define MAX_CARVEOUTS	16

static bool read_number(u64 *to)
{
	return scanf("%" SCNu64, to) == 1;
}

static bool read_spans(struct mts_span *spans, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (!read_number(&spans[i].start) || !read_number(&spans[i].size))
			return false;
	return true;
}

/* False at the end of the input, and where it can't be read */
static bool read_carveout(struct mts_carveout *c)
{
	u64 storage, memory;

	if (!read_number(&c->block_size) || !read_number(&storage) ||
	    !read_number(&memory) || storage > MTS_MAX_SPANS ||
	    memory > MTS_MAX_SPANS)
		return false;
	c->nr_storage = storage;
	c->nr_memory = memory;
	return read_spans(c->storage, storage) && read_spans(c->memory, memory);
}

int main(int argc, char **argv)
{
	static struct mts_carveout all[MAX_CARVEOUTS];
	struct mts_geometry geo[MAX_CARVEOUTS];
	unsigned int i, j, n, shift, used = 0;
	bool good[MAX_CARVEOUTS] = {};
	const char *error;

	if (argc != 2)
		return 2;
	shift = atoi(argv[1]);
	for (i = 0; i < MAX_CARVEOUTS && read_carveout(&all[i]); i++) {
		error = mts_carveout_split(&all[i], shift, geo,
					   MAX_CARVEOUTS - used, &n);
		if (error) {
			printf("error %u %s\n", i, error);
			continue;
		}
		good[i] = true;
		used += n;
		for (j = 0; j < n; j++)
			printf("part %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", i,
			       (u64)geo[j].tag_pfn << shift,
			       (u64)geo[j].tag_pages << shift,
			       (u64)geo[j].data_pfn << shift);
		for (j = 0; j < i; j++) {
			error = good[j] ? mts_carveouts_clash(&all[j], &all[i]) :
					  NULL;
			if (error)
				printf("clash %u %u %s\n", i, j, error);
		}
	}
	return i == MAX_CARVEOUTS || feof(stdin) ? 0 : 2;
}
