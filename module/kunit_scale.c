// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: what a fault asks of the books costs the same however much memory is
 * described. Uses the kernel's hooks on memory that does not exist, so nobody
 * else may own them meanwhile.
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/tag_storage.h>

#include "kunit.h"

/* Beyond all memory of the machines this is meant for */
#define SCALE_BASE	(16ULL * SZ_1T)
#define SCALE_LOOPS	20000

static const unsigned int sizes_gib[] = { 1, 64, 1024 };

static void size_desc(const unsigned int *gib, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u GiB", *gib);
}

KUNIT_ARRAY_PARAM(size, sizes_gib, size_desc);

static int scale_reserve(unsigned long pfn, unsigned long nr_pages,
			 unsigned int wanted,
			 const struct tag_storage_site *site)
{
	return -ENXIO;
}

static const struct tag_storage_ops scale_ops = {
	.abi = TAG_STORAGE_ABI,
	.reserve = scale_reserve,
};

struct books {
	struct mts_geometry geo;
	unsigned long *taggable;
	unsigned long *refill;
	u8 *state;
};

static void free_books(void *p)
{
	struct books *b = p;

	kvfree(b->taggable);
	kvfree(b->refill);
	kvfree(b->state);
}

static int make_books(struct kunit *test, struct books *b, u64 size)
{
	const struct mts_span memory = { SCALE_BASE, size };
	const struct mts_span storage = {
		SCALE_BASE + size - size / MTS_RATIO, size / MTS_RATIO,
	};
	unsigned long nr;
	int ret;

	KUNIT_ASSERT_NULL(test, mts_geometry_init(&b->geo, &storage, &memory,
						  SZ_4K, PAGE_SHIFT));
	nr = mts_nr_blocks(&b->geo);
	ret = kunit_add_action_or_reset(test, free_books, b);
	if (ret)
		return ret;
	b->taggable = kvcalloc(BITS_TO_LONGS(b->geo.tag_pages), sizeof(long),
			       GFP_KERNEL);
	b->refill = kvcalloc(BITS_TO_LONGS(b->geo.tag_pages), sizeof(long),
			     GFP_KERNEL);
	b->state = kvcalloc(nr, 1, GFP_KERNEL);
	if (!b->taggable || !b->refill || !b->state)
		return -ENOMEM;
	bitmap_fill(b->taggable, b->geo.tag_pages);
	return 0;
}

static unsigned long random_pfn(struct rnd_state *rnd, const struct books *b)
{
	u64 page = (u64)prandom_u32_state(rnd) << 32 | prandom_u32_state(rnd);

	return b->geo.data_pfn + page % mts_data_pages(&b->geo);
}

static void mts_scale_fault(struct kunit *test)
{
	u64 size = (u64)*(const unsigned int *)test->param_value * SZ_1G;
	struct books *b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);
	u64 start, test_ns = 0, note_ns = 0;
	struct tag_storage_range range;
	unsigned int i, refused = 0, lost = 0;
	struct rnd_state rnd;

	KUNIT_ASSERT_NOT_NULL(test, b);
	KUNIT_ASSERT_EQ(test, make_books(test, b, size), 0);
	range = (struct tag_storage_range) {
		.start_pfn = b->geo.data_pfn,
		.nr_pages = mts_data_pages(&b->geo),
		.taggable = b->taggable,
		.refill = b->refill,
	};
	if (tag_storage_enable(&scale_ops, &range, 1))
		kunit_skip(test, "the hooks have an owner");

	prandom_seed_state(&rnd, 1);
	for (i = 0; i < SCALE_LOOPS; i++) {
		unsigned long pfn = random_pfn(&rnd, b), block;

		preempt_disable();
		start = ktime_get_ns();
		refused += !tag_storage_taggable(pfn, 1);
		block = mts_data_pfn_to_block(&b->geo, pfn);
		WRITE_ONCE(b->state[block], READ_ONCE(b->state[block]) + 1);
		test_ns += ktime_get_ns() - start;
		start = ktime_get_ns();
		tag_storage_note_free(pfn);
		note_ns += ktime_get_ns() - start;
		preempt_enable();
		/* Blocks of one page: a bit each. The next note is a new one. */
		lost += !test_and_clear_bit(block, b->refill);
	}
	tag_storage_disable();

	KUNIT_EXPECT_EQ(test, refused, 0);
	KUNIT_EXPECT_EQ(test, lost, 0);
	kunit_info(test, "%llu GiB: a test takes %llu ns, a note of a free page %llu ns\n",
		   size / SZ_1G, test_ns / SCALE_LOOPS, note_ns / SCALE_LOOPS);
}

static struct kunit_case mts_scale_cases[] = {
	KUNIT_CASE_PARAM(mts_scale_fault, size_gen_params),
	{}
};

static struct kunit_suite mts_scale_suite = {
	.name = "mts_scale",
	.test_cases = mts_scale_cases,
};

kunit_test_suite(mts_scale_suite);
