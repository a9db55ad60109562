// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: the map between tag storage and memory, for all page sizes.
 */
#include <kunit/test.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/sizes.h>

#include "kunit.h"

static const unsigned int page_shifts[] = { 12, 14, 16 };

static void page_shift_desc(const unsigned int *shift, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%uK pages", 1U << (*shift - 10));
}

KUNIT_ARRAY_PARAM(page_shift, page_shifts, page_shift_desc);

/* 1 GiB at 1 GiB, its storage in its last 1/32, as firmware carves it out */
static const struct mts_span memory = { SZ_1G, SZ_1G };
static const struct mts_span storage = { SZ_2G - SZ_32M, SZ_32M };

static void mts_geometry_block_size(struct kunit *test)
{
	unsigned int shift = *(const unsigned int *)test->param_value;
	u64 page_size = 1ULL << shift;
	u32 size;

	for (size = MTS_BLOCK_SIZE_MIN; size <= MTS_BLOCK_SIZE_MAX; size *= 2) {
		u64 block = max_t(u64, size, page_size);
		struct mts_geometry geo;

		KUNIT_ASSERT_NULL(test, mts_geometry_init(&geo, &storage,
							  &memory, size, shift));
		KUNIT_EXPECT_EQ(test, mts_block_pages(&geo) << shift, block);
		KUNIT_EXPECT_EQ(test, mts_nr_blocks(&geo), SZ_32M / block);
		KUNIT_EXPECT_EQ(test, mts_block_data_pages(&geo) << shift,
				32 * block);
		KUNIT_EXPECT_EQ(test, mts_data_pages(&geo) << shift, SZ_1G);
	}
}

/* Every page is served by the block whose storage has its tag address */
static void mts_geometry_linear(struct kunit *test)
{
	unsigned int shift = *(const unsigned int *)test->param_value;
	u32 size;

	for (size = SZ_4K; size <= SZ_64K; size *= 2) {
		struct mts_geometry geo;
		unsigned long pfn, end;

		KUNIT_ASSERT_NULL(test, mts_geometry_init(&geo, &storage,
							  &memory, size, shift));
		end = (memory.start + memory.size) >> shift;
		for (pfn = memory.start >> shift; pfn < end; pfn += 7) {
			unsigned long block = mts_data_pfn_to_block(&geo, pfn);
			/* 4 bits for 16 bytes, from the start of the storage */
			u64 tags = storage.start +
				(((u64)pfn << shift) - memory.start) / 32;
			unsigned long tag_pfn = tags >> shift;

			KUNIT_ASSERT_GE(test, tag_pfn,
					mts_block_tag_pfn(&geo, block));
			KUNIT_ASSERT_LT(test, tag_pfn,
					mts_block_tag_pfn(&geo, block + 1));
			KUNIT_ASSERT_GE(test, pfn,
					mts_block_data_pfn(&geo, block));
			KUNIT_ASSERT_LT(test, pfn,
					mts_block_data_pfn(&geo, block + 1));
		}
	}
}

static void mts_geometry_limits(struct kunit *test)
{
	unsigned int shift = *(const unsigned int *)test->param_value;
	unsigned long first = memory.start >> shift;
	unsigned long end = (memory.start + memory.size) >> shift;
	struct mts_geometry geo;

	KUNIT_ASSERT_NULL(test, mts_geometry_init(&geo, &storage, &memory,
						  SZ_4K, shift));
	KUNIT_EXPECT_FALSE(test, mts_serves_pfn(&geo, first - 1));
	KUNIT_EXPECT_TRUE(test, mts_serves_pfn(&geo, first));
	KUNIT_EXPECT_TRUE(test, mts_serves_pfn(&geo, end - 1));
	KUNIT_EXPECT_FALSE(test, mts_serves_pfn(&geo, end));

	first = storage.start >> shift;
	KUNIT_EXPECT_FALSE(test, mts_stores_pfn(&geo, first - 1));
	KUNIT_EXPECT_TRUE(test, mts_stores_pfn(&geo, first));
	KUNIT_EXPECT_TRUE(test, mts_stores_pfn(&geo, end - 1));
	KUNIT_EXPECT_FALSE(test, mts_stores_pfn(&geo, end));
}

/* The last 1/32 of the storage serves the storage, the rest does not */
static void mts_geometry_spare(struct kunit *test)
{
	unsigned int shift = *(const unsigned int *)test->param_value;
	unsigned long block, nr, first, end, spare = 0;
	struct mts_geometry geo;

	KUNIT_ASSERT_NULL(test, mts_geometry_init(&geo, &storage, &memory,
						  SZ_4K, shift));
	nr = mts_nr_blocks(&geo);
	for (block = 0; block < nr; block++)
		spare += mts_block_serves_storage(&geo, block, &geo);
	KUNIT_EXPECT_EQ(test, spare, nr / 32);
	KUNIT_EXPECT_FALSE(test, mts_block_serves_storage(&geo, 0, &geo));
	KUNIT_EXPECT_FALSE(test, mts_block_serves_storage(&geo, nr - nr / 32 - 1,
							  &geo));
	KUNIT_EXPECT_TRUE(test, mts_block_serves_storage(&geo, nr - nr / 32,
							 &geo));
	KUNIT_EXPECT_TRUE(test, mts_block_serves_storage(&geo, nr - 1, &geo));

	KUNIT_EXPECT_TRUE(test, mts_spare_blocks(&geo, &geo, &first, &end));
	KUNIT_EXPECT_EQ(test, first, nr - nr / 32);
	KUNIT_EXPECT_EQ(test, end, nr);
}

/* Storage elsewhere makes no block spare */
static void mts_geometry_spare_none(struct kunit *test)
{
	static const struct mts_span below = { SZ_1G - SZ_32M, SZ_32M };
	static const struct mts_span above = { SZ_2G, SZ_32M };
	struct mts_geometry geo;
	unsigned long first, end;

	KUNIT_ASSERT_NULL(test, mts_geometry_init(&geo, &below, &memory, SZ_4K, 12));
	KUNIT_EXPECT_TRUE(test, mts_spare_blocks(&geo, &geo, &first, &end));
	KUNIT_EXPECT_EQ(test, first, end);
	KUNIT_ASSERT_NULL(test, mts_geometry_init(&geo, &above, &memory, SZ_4K, 12));
	KUNIT_EXPECT_TRUE(test, mts_spare_blocks(&geo, &geo, &first, &end));
	KUNIT_EXPECT_EQ(test, first, end);
}

/* A block that serves memory and storage is needed for the memory */
static void mts_geometry_spare_edge(struct kunit *test)
{
	static const struct mts_span edge = { SZ_2G - SZ_32M - SZ_64K, SZ_32M };
	unsigned long block, first, end;
	struct mts_geometry geo;

	KUNIT_ASSERT_NULL(test, mts_geometry_init(&geo, &edge, &memory,
						  SZ_64K, 12));
	block = mts_data_pfn_to_block(&geo, edge.start >> 12);
	KUNIT_EXPECT_LT(test, mts_block_data_pfn(&geo, block),
			edge.start >> 12);
	KUNIT_EXPECT_FALSE(test, mts_block_serves_storage(&geo, block, &geo));
	KUNIT_EXPECT_TRUE(test, mts_block_serves_storage(&geo, block + 1, &geo));
	KUNIT_EXPECT_FALSE(test, mts_spare_blocks(&geo, &geo, &first, &end));
	KUNIT_EXPECT_EQ(test, first, block + 1);
}

struct bad_case {
	const char *name;
	struct mts_span storage, memory;
	u32 block_size;
	unsigned int page_shift;
	const char *error;
};

static const struct bad_case bad_cases[] = {
	{ "zero", { SZ_2G, SZ_32M }, { SZ_1G, SZ_1G }, 0, 12,
	  "power of two" },
	{ "odd", { SZ_2G, SZ_32M }, { SZ_1G, SZ_1G }, 12288, 12,
	  "power of two" },
	{ "small", { SZ_2G, SZ_32M }, { SZ_1G, SZ_1G }, 64, 12,
	  "power of two" },
	{ "large", { SZ_2G, SZ_32M }, { SZ_1G, SZ_1G }, SZ_4M, 12,
	  "power of two" },
	{ "start", { SZ_2G + SZ_2K, SZ_32M }, { SZ_1G, SZ_1G }, SZ_2K, 12,
	  "page size" },
	{ "start 16K", { SZ_2G + SZ_4K, SZ_32M }, { SZ_1G, SZ_1G }, SZ_4K, 14,
	  "page size" },
	{ "size 64K", { SZ_2G, SZ_32K }, { SZ_1G, SZ_1M }, SZ_4K, 16,
	  "page size" },
	{ "block", { SZ_2G + SZ_4K, SZ_32M }, { SZ_1G, SZ_1G }, SZ_8K, 12,
	  "multiple of block-size" },
	{ "mismatch", { SZ_2G, SZ_16M }, { SZ_1G, SZ_1G }, SZ_4K, 12,
	  "1/32" },
	{ "more", { SZ_2G, SZ_64M }, { SZ_1G, SZ_1G }, SZ_4K, 12,
	  "1/32" },
	{ "empty", { SZ_2G, 0 }, { SZ_1G, SZ_1G }, SZ_4K, 12,
	  "empty reg" },
	{ "empty memory", { SZ_2G, SZ_32M }, { SZ_1G, 0 }, SZ_4K, 12,
	  "empty range" },
	{ "wraps", { -SZ_16M, SZ_32M }, { SZ_1G, SZ_1G }, SZ_4K, 12,
	  "reg goes beyond" },
	{ "memory wraps", { SZ_2G, SZ_32M }, { -SZ_512M, SZ_1G }, SZ_4K, 12,
	  "tagged-memory goes beyond" },
	{ "memory 2K", { SZ_2G, SZ_32M }, { SZ_1G + SZ_2K, SZ_1G }, SZ_4K, 12,
	  "multiple of 4 KiB" },
	{ "memory start", { SZ_2G, SZ_32M }, { SZ_1G + SZ_64K, SZ_1G }, SZ_4K, 12,
	  "multiple of 32 pages" },
	{ "memory start 16K", { SZ_2G, SZ_32M }, { SZ_1G + SZ_128K, SZ_1G },
	  SZ_4K, 14, "multiple of 32 pages" },
	{ "no block", { SZ_2G, SZ_4K }, { SZ_1G, SZ_128K }, SZ_4K, 14,
	  "page size" },
};

static void bad_case_desc(const struct bad_case *c, char *desc)
{
	strscpy(desc, c->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(bad_case, bad_cases, bad_case_desc);

static void mts_geometry_refuses(struct kunit *test)
{
	const struct bad_case *c = test->param_value;
	struct mts_geometry geo;
	const char *error;

	error = mts_geometry_init(&geo, &c->storage, &c->memory, c->block_size,
				  c->page_shift);
	KUNIT_ASSERT_NOT_NULL(test, error);
	KUNIT_EXPECT_TRUE_MSG(test, strstr(error, c->error), "%s", error);
}

static void mts_span_overlap(struct kunit *test)
{
	static const struct mts_span a = { SZ_1M, SZ_1M };
	static const struct mts_span before = { 0, SZ_1M };
	static const struct mts_span behind = { SZ_2M, SZ_1M };
	static const struct mts_span inside = { SZ_1M + SZ_4K, SZ_4K };
	static const struct mts_span around = { 0, SZ_4M };

	KUNIT_EXPECT_FALSE(test, mts_span_overlaps(&a, &before));
	KUNIT_EXPECT_FALSE(test, mts_span_overlaps(&a, &behind));
	KUNIT_EXPECT_TRUE(test, mts_span_overlaps(&a, &inside));
	KUNIT_EXPECT_TRUE(test, mts_span_overlaps(&a, &around));
	KUNIT_EXPECT_TRUE(test, mts_span_overlaps(&a, &a));
}

/*
 * What a set of banks comes to: for each page of tag storage and each piece of
 * 4 KiB of memory, by the definition, without cutting anything.
 */
struct model {
	const struct mts_carveout *c;
	unsigned int page_shift;
	u64 block;
};

/* The address of the tags of @addr; 0 if nobody serves it */
static u64 model_tags(const struct model *m, u64 addr)
{
	u64 at = 0;
	unsigned int i;

	for (i = 0; i < m->c->nr_memory; i++) {
		const struct mts_span *bank = &m->c->memory[i];

		if (addr >= bank->start && addr - bank->start < bank->size) {
			at += addr - bank->start;
			break;
		}
		at += bank->size;
	}
	if (i == m->c->nr_memory)
		return 0;
	at /= MTS_RATIO;
	for (i = 0; at >= m->c->storage[i].size; i++)
		at -= m->c->storage[i].size;
	return m->c->storage[i].start + at;
}

/* The memory that has its tags at @tags, which is a multiple of 128 */
static u64 model_memory(const struct model *m, u64 tags)
{
	u64 at = 0;
	unsigned int i = 0;

	while (tags < m->c->storage[i].start ||
	       tags - m->c->storage[i].start >= m->c->storage[i].size)
		at += m->c->storage[i++].size;
	at = (at + tags - m->c->storage[i].start) * MTS_RATIO;
	for (i = 0; at >= m->c->memory[i].size; i++)
		at -= m->c->memory[i].size;
	return m->c->memory[i].start + at;
}

/* May the block of storage at @start be lent? */
static bool model_linear(const struct model *m, u64 start)
{
	u64 first = model_memory(m, start), at;

	if (!IS_ALIGNED(first, (u64)MTS_RATIO << m->page_shift))
		return false;
	for (at = 0; at < m->block; at += MTS_BLOCK_SIZE_MIN)
		if (model_memory(m, start + at) != first + at * MTS_RATIO)
			return false;
	return true;
}

/* The parts have the blocks that the model allows, all of them, and nothing else */
static void expect_model(struct kunit *test, const struct mts_carveout *c,
			 unsigned int page_shift, const struct mts_geometry *geo,
			 unsigned int nr)
{
	struct model m = {
		.c = c, .page_shift = page_shift,
		.block = max_t(u64, c->block_size, 1ULL << page_shift),
	};
	unsigned long lent = 0, allowed = 0;
	unsigned int i, j;
	u64 at;

	for (i = 0; i < nr; i++) {
		const struct mts_geometry *g = &geo[i];
		unsigned long block;

		for (block = 0; block < mts_nr_blocks(g); block++, lent++) {
			u64 tags = (u64)mts_block_tag_pfn(g, block) << page_shift;
			u64 data = (u64)mts_block_data_pfn(g, block) << page_shift;

			KUNIT_ASSERT_TRUE(test, model_linear(&m, tags));
			KUNIT_ASSERT_EQ(test, model_memory(&m, tags), data);
			KUNIT_ASSERT_EQ(test, model_tags(&m, data), tags);
		}
		for (j = 0; j < i; j++) {
			KUNIT_ASSERT_FALSE(test, mts_stores_pfn(&geo[j], g->tag_pfn));
			KUNIT_ASSERT_FALSE(test, mts_serves_pfn(&geo[j], g->data_pfn));
		}
	}
	for (i = 0; i < c->nr_storage; i++) {
		const struct mts_span *s = &c->storage[i];

		for (at = ALIGN(s->start, m.block);
		     at + m.block <= s->start + s->size; at += m.block)
			allowed += model_linear(&m, at);
	}
	KUNIT_EXPECT_EQ(test, lent, allowed);
}

struct bank_case {
	const char *name;
	struct mts_carveout c;
	unsigned int page_shift;
	unsigned int nr;	/* of parts */
	unsigned long pages;	/* of tag storage in them */
};

#define SPANS(...)	\
	(sizeof((struct mts_span[]) { __VA_ARGS__ }) / sizeof(struct mts_span))
#define BANKS(...)	\
	.memory = { __VA_ARGS__ }, .nr_memory = SPANS(__VA_ARGS__)
#define STORAGE(...)	\
	.storage = { __VA_ARGS__ }, .nr_storage = SPANS(__VA_ARGS__)

static const struct bank_case bank_cases[] = {
	{ "two, one storage", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G, SZ_128M }, { 2ULL * SZ_2G, SZ_128M }),
		.block_size = SZ_4K }, 12, 2, 2048 },
	{ "two that are one", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G, SZ_128M - SZ_4K },
		      { SZ_2G + SZ_128M - SZ_4K, SZ_128M + SZ_4K }),
		.block_size = SZ_4K }, 12, 1, 2048 },
	{ "a storage per bank", {
		STORAGE({ SZ_1G, SZ_4M }, { SZ_1G + SZ_64M, SZ_4M }),
		BANKS({ SZ_2G, SZ_128M }, { 2ULL * SZ_2G, SZ_128M }),
		.block_size = SZ_4K }, 12, 2, 2048 },
	{ "storage in two halves", {
		STORAGE({ SZ_1G, SZ_4M }, { SZ_1G + SZ_64M, SZ_4M }),
		BANKS({ SZ_2G, SZ_256M }), .block_size = SZ_4K }, 12, 2, 2048 },
	{ "backwards", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G + SZ_128M, SZ_128M }, { SZ_2G, SZ_128M }),
		.block_size = SZ_4K }, 12, 2, 2048 },
	/* 64 KiB are half a page of storage: the page between them serves neither */
	{ "a page of both", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G, SZ_128M - SZ_64K },
		      { 2ULL * SZ_2G - SZ_64K, SZ_128M + SZ_64K }),
		.block_size = SZ_4K }, 12, 2, 2047 },
	/* ... and data blocks of the second bank would begin within 32 pages */
	{ "a page of both, shifted", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G, SZ_128M - SZ_64K }, { 2ULL * SZ_2G, SZ_128M + SZ_64K }),
		.block_size = SZ_4K }, 12, 1, 1023 },
	{ "a large block of both", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G, SZ_128M - SZ_1M }, { 2ULL * SZ_2G - SZ_1M, SZ_128M + SZ_1M }),
		.block_size = SZ_64K }, 12, 2, 2048 - 16 },
	{ "small blocks, 16K pages", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G, SZ_128M - SZ_128K },
		      { 2ULL * SZ_2G - SZ_128K, SZ_128M + SZ_128K }),
		.block_size = SZ_4K }, 14, 2, 511 },
	{ "three, one too small", {
		STORAGE({ SZ_1G, SZ_8M }),
		BANKS({ SZ_2G, SZ_128M }, { 2ULL * SZ_2G, SZ_64K },
		      { 2ULL * SZ_2G + SZ_1G + SZ_64K, SZ_128M - SZ_64K }),
		.block_size = SZ_4K }, 12, 2, 2047 },
};

static void bank_case_desc(const struct bank_case *c, char *desc)
{
	strscpy(desc, c->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(bank_case, bank_cases, bank_case_desc);

static void mts_geometry_banks(struct kunit *test)
{
	const struct bank_case *c = test->param_value;
	struct mts_geometry geo[MTS_MAX_SPANS];
	unsigned long pages = 0;
	unsigned int i, nr;

	KUNIT_ASSERT_NULL(test, mts_carveout_split(&c->c, c->page_shift, geo,
						   ARRAY_SIZE(geo), &nr));
	KUNIT_EXPECT_EQ(test, nr, c->nr);
	for (i = 0; i < nr; i++)
		pages += geo[i].tag_pages;
	KUNIT_EXPECT_EQ(test, pages, c->pages);
	expect_model(test, &c->c, c->page_shift, geo, nr);

	KUNIT_EXPECT_NOT_NULL(test, mts_carveout_split(&c->c, c->page_shift, geo,
						       c->nr - 1, &nr));
}

#define RANDOM_CASES	600
#define RANDOM_SEED	0x62616e6b

/* A number of units, seldom a nice one */
static u64 some(struct rnd_state *rnd, u32 units, u64 unit)
{
	return (1 + prandom_u32_state(rnd) % units) * unit;
}

/* Banks and storage at random; the sizes fit by construction */
static void random_carveout(struct rnd_state *rnd, struct mts_carveout *c)
{
	static const u64 units[] = { SZ_4K, SZ_64K, SZ_128K, SZ_1M, SZ_2M };
	u64 memory = SZ_1G, storage = 64ULL * SZ_1G, total = 0, left;
	u32 banks = 1 + prandom_u32_state(rnd) % 4;

	*c = (struct mts_carveout) {
		.block_size = SZ_1K << prandom_u32_state(rnd) % 8,
	};
	while (c->nr_memory < banks) {
		u64 unit = units[prandom_u32_state(rnd) % ARRAY_SIZE(units)];
		struct mts_span *m = &c->memory[c->nr_memory++];

		if (prandom_u32_state(rnd) % 3)
			memory += some(rnd, 64, unit);
		m->start = memory;
		m->size = some(rnd, 64, unit);
		if (c->nr_memory == banks) {
			u64 align = MTS_RATIO * max_t(u64, c->block_size, SZ_64K);

			m->size += ALIGN(total + m->size, align) - (total + m->size);
		}
		memory += m->size;
		total += m->size;
	}
	for (left = total / MTS_RATIO; left;) {
		u64 unit = max_t(u64, c->block_size, SZ_64K);
		struct mts_span *s = &c->storage[c->nr_storage++];

		if (prandom_u32_state(rnd) % 2)
			storage += some(rnd, 8, SZ_2M);
		s->start = storage;
		s->size = c->nr_storage == 4 ? left : min(left, some(rnd, 64, unit));
		storage += s->size;
		left -= s->size;
	}
}

static void mts_geometry_random(struct kunit *test)
{
	unsigned int shift = *(const unsigned int *)test->param_value;
	struct mts_geometry geo[2 * MTS_MAX_SPANS];
	unsigned int i, nr, lent = 0;
	struct mts_carveout *c;
	struct rnd_state rnd;

	c = kunit_kmalloc(test, sizeof(*c), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, c);
	prandom_seed_state(&rnd, RANDOM_SEED + shift);
	for (i = 0; i < RANDOM_CASES; i++) {
		const char *error;

		random_carveout(&rnd, c);
		error = mts_carveout_split(c, shift, geo, ARRAY_SIZE(geo), &nr);
		KUNIT_EXPECT_EQ_MSG(test, !error, nr > 0, "case %u: %s", i, error);
		expect_model(test, c, shift, geo, nr);
		lent += nr > 0;
		cond_resched();
	}
	/* Both happen */
	KUNIT_EXPECT_GT(test, lent, RANDOM_CASES / 8);
	kunit_info(test, "%u of %u have something to lend", lent, i);
}

static void mts_carveout_clash(struct kunit *test)
{
	static const struct mts_carveout a = {
		STORAGE({ SZ_1G, SZ_4M }, { SZ_1G + SZ_64M, SZ_4M }),
		BANKS({ SZ_2G, SZ_256M }), .block_size = SZ_4K };
	struct mts_carveout b = {
		STORAGE({ SZ_1G + SZ_4M, SZ_4M }),
		BANKS({ 2ULL * SZ_2G, SZ_64M }, { 3ULL * SZ_2G, SZ_64M }),
		.block_size = SZ_4K };
	const char *error;

	KUNIT_EXPECT_NULL(test, mts_carveouts_clash(&a, &b));
	b.storage[0].start = SZ_1G + SZ_64M + SZ_4M - SZ_4K;
	error = mts_carveouts_clash(&a, &b);
	KUNIT_ASSERT_NOT_NULL(test, error);
	KUNIT_EXPECT_NOT_NULL(test, strstr(error, "overlaps"));
	b.storage[0].start = SZ_1G - SZ_4M;
	b.memory[1].start = SZ_2G + SZ_256M - SZ_4K;
	error = mts_carveouts_clash(&a, &b);
	KUNIT_ASSERT_NOT_NULL(test, error);
	KUNIT_EXPECT_NOT_NULL(test, strstr(error, "served twice"));
}

/* Nor do the ranges of one overlap each other */
static void mts_carveout_overlaps(struct kunit *test)
{
	struct mts_carveout c = {
		STORAGE({ SZ_1G, SZ_4M }, { SZ_1G + SZ_4M - SZ_4K, SZ_4M }),
		BANKS({ SZ_2G, SZ_128M }, { SZ_2G + SZ_128M, SZ_128M }),
		.block_size = SZ_4K };
	struct mts_geometry geo[2];
	const char *error;
	unsigned int nr;

	error = mts_carveout_split(&c, 12, geo, ARRAY_SIZE(geo), &nr);
	KUNIT_ASSERT_NOT_NULL(test, error);
	KUNIT_EXPECT_NOT_NULL(test, strstr(error, "overlaps itself"));
	c.storage[1].start += SZ_4K;
	KUNIT_EXPECT_NULL(test, mts_carveout_split(&c, 12, geo, ARRAY_SIZE(geo), &nr));
	c.memory[1].start -= SZ_4K;
	error = mts_carveout_split(&c, 12, geo, ARRAY_SIZE(geo), &nr);
	KUNIT_ASSERT_NOT_NULL(test, error);
	KUNIT_EXPECT_NOT_NULL(test, strstr(error, "served twice"));
}

static struct kunit_case mts_geometry_cases[] = {
	KUNIT_CASE_PARAM(mts_geometry_block_size, page_shift_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_linear, page_shift_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_limits, page_shift_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_spare, page_shift_gen_params),
	KUNIT_CASE(mts_geometry_spare_none),
	KUNIT_CASE(mts_geometry_spare_edge),
	KUNIT_CASE_PARAM(mts_geometry_refuses, bad_case_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_banks, bank_case_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_random, page_shift_gen_params),
	KUNIT_CASE(mts_carveout_clash),
	KUNIT_CASE(mts_carveout_overlaps),
	KUNIT_CASE(mts_span_overlap),
	{}
};

static struct kunit_suite mts_geometry_suite = {
	.name = "mts_geometry",
	.test_cases = mts_geometry_cases,
};

kunit_test_suite(mts_geometry_suite);

MODULE_DESCRIPTION("KUnit tests of the MTE tag storage module");
MODULE_LICENSE("GPL");
