// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: what a fault asks costs the same however much memory is described. The
 * module's own functions (lookup.c), on memory that does not exist.
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

#include "kunit.h"
#include "mts.h"

/* Beyond all memory of the machines this is meant for */
#define SCALE_BASE	(16ULL * SZ_1T)
#define SCALE_LOOPS	20000

static const unsigned int sizes_gib[] = { 1, 64, 1024 };

static void size_desc(const unsigned int *gib, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u GiB", *gib);
}

KUNIT_ARRAY_PARAM(size, sizes_gib, size_desc);

static void free_region(void *p)
{
	struct mts_region *r = p;

	mts_nr_regions = 0;
	kvfree(r->taggable);
	kvfree(r->refill);
}

static int make_region(struct kunit *test, struct mts_region *r, u64 size)
{
	const struct mts_span memory = { SCALE_BASE, size };
	const struct mts_span storage = {
		SCALE_BASE + size - size / MTS_RATIO, size / MTS_RATIO,
	};
	int ret;

	KUNIT_ASSERT_NULL(test, mts_geometry_init(&r->geo, &storage, &memory,
						  SZ_4K, PAGE_SHIFT));
	ret = kunit_add_action_or_reset(test, free_region, r);
	if (ret)
		return ret;
	r->taggable = kvcalloc(BITS_TO_LONGS(r->geo.tag_pages), sizeof(long),
			       GFP_KERNEL);
	r->refill = kvcalloc(BITS_TO_LONGS(r->geo.tag_pages), sizeof(long),
			     GFP_KERNEL);
	if (!r->taggable || !r->refill)
		return -ENOMEM;
	bitmap_fill(r->taggable, r->geo.tag_pages);
	mts_regions[0] = r;
	mts_nr_regions = 1;
	return 0;
}

static unsigned long random_pfn(struct rnd_state *rnd, const struct mts_region *r)
{
	u64 page = (u64)prandom_u32_state(rnd) << 32 | prandom_u32_state(rnd);

	return r->geo.data_pfn + page % mts_data_pages(&r->geo);
}

static void mts_scale_fault(struct kunit *test)
{
	u64 size = (u64)*(const unsigned int *)test->param_value * SZ_1G;
	struct mts_region *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	u64 start, test_ns = 0, note_ns = 0, next_ns = 0;
	unsigned int i, refused = 0, lost = 0;
	struct rnd_state rnd;
	unsigned long flags;

	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_EQ(test, make_region(test, r, size), 0);

	prandom_seed_state(&rnd, 1);
	for (i = 0; i < SCALE_LOOPS; i++) {
		unsigned long pfn = random_pfn(&rnd, r), next;

		/* As after a search that has come to the end */
		WRITE_ONCE(r->refill_from[ZONE_NORMAL], r->geo.tag_pages);
		/* An interrupt is none of its work */
		local_irq_save(flags);
		start = ktime_get_ns();
		refused += !mts_taggable(pfn, 1);
		test_ns += ktime_get_ns() - start;
		start = ktime_get_ns();
		mts_hint_note(r, ZONE_NORMAL, pfn);
		note_ns += ktime_get_ns() - start;
		start = ktime_get_ns();
		next = mts_hint_next(r, ZONE_NORMAL, r->geo.data_pfn,
				     r->geo.data_pfn + mts_data_pages(&r->geo));
		next_ns += ktime_get_ns() - start;
		local_irq_restore(flags);
		/* It is the only one */
		lost += next != ALIGN_DOWN(pfn - r->geo.data_pfn, MTS_RATIO) +
				r->geo.data_pfn;
	}

	KUNIT_EXPECT_EQ(test, refused, 0);
	KUNIT_EXPECT_EQ(test, lost, 0);
	kunit_info(test, "%llu GiB: a test takes %llu ns, a note of a free page %llu ns, to find it %llu ns\n",
		   size / SZ_1G, test_ns / SCALE_LOOPS, note_ns / SCALE_LOOPS,
		   next_ns / SCALE_LOOPS);
}

/* A folio across an end of what a region serves, or of its storage */
static void mts_taggable_edge(struct kunit *test)
{
	struct mts_region *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	unsigned long *bits = kunit_kzalloc(test, sizeof(*bits), GFP_KERNEL);
	u8 idle[4] = { 1, 2, 3, 4 };
	const unsigned long first = 0x200000, end = first + 4 * MTS_RATIO;

	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_NOT_NULL(test, bits);
	r->geo = (struct mts_geometry) {
		.tag_pfn = 0x100000, .tag_pages = 4, .data_pfn = first,
	};
	r->taggable = bits;
	r->idle = idle;
	mts_regions[0] = r;
	mts_nr_regions = 1;
	bitmap_fill(bits, 4);
	/* Who asks for whole blocks keeps them */
	KUNIT_EXPECT_EQ(test, mts_taggable(first, MTS_RATIO - 1), 1);
	KUNIT_EXPECT_EQ(test, mts_taggable(first + MTS_RATIO, MTS_RATIO), 1);
	KUNIT_EXPECT_EQ(test, idle[0], 1);
	KUNIT_EXPECT_EQ(test, idle[1], 0);
	KUNIT_EXPECT_EQ(test, idle[2], 3);
	KUNIT_EXPECT_EQ(test, mts_taggable(first - MTS_RATIO, 6 * MTS_RATIO), 1);
	__clear_bit(3, bits);
	KUNIT_EXPECT_EQ(test, mts_taggable(end - 1, 1), 0);
	KUNIT_EXPECT_EQ(test, mts_taggable(end - MTS_RATIO, 2 * MTS_RATIO), 0);
	KUNIT_EXPECT_EQ(test, mts_taggable(first - MTS_RATIO, 6 * MTS_RATIO), 0);
	KUNIT_EXPECT_EQ(test, mts_taggable(end, MTS_RATIO), 1);
	__clear_bit(0, bits);
	KUNIT_EXPECT_EQ(test, mts_taggable(first - MTS_RATIO, 2 * MTS_RATIO), 0);
	KUNIT_EXPECT_EQ(test, mts_taggable(first - MTS_RATIO, MTS_RATIO), 1);
	KUNIT_EXPECT_EQ(test, mts_taggable(r->geo.tag_pfn - MTS_RATIO, 2 * MTS_RATIO), -1);
	mts_nr_regions = 0;
}

/* Two regions, the storage of the second one in the memory of the first */
static void mts_lookup_two(struct kunit *test)
{
	struct mts_region *r = kunit_kcalloc(test, 2, sizeof(*r), GFP_KERNEL);
	unsigned long *bits = kunit_kcalloc(test, 2, sizeof(*bits), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_NOT_NULL(test, bits);
	for (i = 0; i < 2; i++) {
		r[i].geo = (struct mts_geometry) {
			.tag_pfn = 0x200040 + 2 * i, .tag_pages = 2,
			.data_pfn = 0x200000 + 0x1000 * i,
		};
		r[i].taggable = &bits[i];
		bitmap_fill(r[i].taggable, 2);
		mts_regions[i] = &r[i];
	}
	mts_nr_regions = 2;
	for (i = 0; i < 2; i++) {
		unsigned long data = r[i].geo.data_pfn, tag = r[i].geo.tag_pfn;

		KUNIT_EXPECT_PTR_EQ(test, mts_region_of_data(data), &r[i]);
		KUNIT_EXPECT_PTR_EQ(test, mts_region_of_data(data + 2 * MTS_RATIO), NULL);
		KUNIT_EXPECT_PTR_EQ(test, mts_region_of_storage(tag), &r[i]);
		KUNIT_EXPECT_PTR_EQ(test, mts_region_of_storage(tag + 1), &r[i]);
		KUNIT_EXPECT_EQ(test, mts_taggable(data, 1), 1);
		KUNIT_EXPECT_EQ(test, mts_taggable(tag, 1), -1);
		__clear_bit(0, r[i].taggable);
		KUNIT_EXPECT_EQ(test, mts_taggable(data, 1), 0);
	}
	KUNIT_EXPECT_PTR_EQ(test, mts_region_of_storage(0x200044), NULL);
	mts_nr_regions = 0;
}

static struct kunit_case mts_scale_cases[] = {
	KUNIT_CASE(mts_lookup_two),
	KUNIT_CASE(mts_taggable_edge),
	KUNIT_CASE_PARAM(mts_scale_fault, size_gen_params),
	{}
};

static struct kunit_suite mts_scale_suite = {
	.name = "mts_scale",
	.test_cases = mts_scale_cases,
};

kunit_test_suite(mts_scale_suite);
