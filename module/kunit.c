// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: the map between tag storage and memory, for all page sizes.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include <linux/sizes.h>

#include "geometry.h"

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

static struct kunit_case mts_geometry_cases[] = {
	KUNIT_CASE_PARAM(mts_geometry_block_size, page_shift_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_linear, page_shift_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_limits, page_shift_gen_params),
	KUNIT_CASE_PARAM(mts_geometry_spare, page_shift_gen_params),
	KUNIT_CASE(mts_geometry_spare_none),
	KUNIT_CASE(mts_geometry_spare_edge),
	KUNIT_CASE_PARAM(mts_geometry_refuses, bad_case_gen_params),
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
