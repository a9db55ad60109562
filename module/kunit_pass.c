// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: what a pass costs follows what has changed, not what has tags, nor what is
 * described. pass.c, survey.c, set.c and lookup.c are the module's own; what they
 * call beside that is here, and the memory does not exist.
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "kunit.h"
#include "mts.h"

/* Beyond all memory of the machines this is meant for */
#define SCALE_BASE	(16ULL * SZ_1T)
#define SCALE_SIZE	SZ_1T
#define SCALE_PASSES	8
#define SCALE_CHANGES	64

/* ---- the rest of the module, as far as a pass asks it for something ---- */

/* As in main.c */
DEFINE_MUTEX(mts_state_mutex);
bool mts_have_tags = true;
struct mts_policy mts_policy = {
	.data_use = MTS_DATA_BALANCED,
	.release_delay_ms = 600000,
	.evacuate_percent = 95,
};

/* What a look at any data block shows, and how many there were */
static struct mts_look the_look;
static unsigned long looks;
/* Of the size of what a look reads, so that it costs as much */
static unsigned long fake_pages[MTS_RATIO * 8];

void mts_block_look(const struct mts_region *r, unsigned long block,
		    struct mts_look *look)
{
	unsigned long i, sum = 0;

	for (i = 0; i < ARRAY_SIZE(fake_pages); i += 8)
		sum += READ_ONCE(fake_pages[i]);
	*look = the_look;
	look->free += sum;
	looks++;
}

bool mts_block_is_tagged(const struct mts_region *r, unsigned long block)
{
	return the_look.tagged;
}

bool mts_block_is_spare(const struct mts_region *r, unsigned long block)
{
	return false;
}

bool mts_block_close(struct mts_region *r, unsigned long block)
{
	spin_lock(&r->lock);
	mts_block_set_state(r, block, MTS_CLOSING);
	spin_unlock(&r->lock);
	mts_survey_forget(r, block);
	return true;
}

bool mts_block_release(struct mts_region *r, unsigned long block)
{
	spin_lock(&r->lock);
	mts_block_set_state(r, block, MTS_RELEASED);
	spin_unlock(&r->lock);
	return true;
}

void mts_count_add(enum mts_stat stat, unsigned long n)
{
}

unsigned long mts_evacuate(bool hurry)
{
	return 0;
}

bool mts_take_some(void)
{
	return false;
}

#ifdef TAG_STORAGE_POOL
int mts_pool_drain(struct zone *zone)
{
	return 0;
}

void mts_pool_trim(void)
{
}

void mts_pool_note_free(unsigned long pfn)
{
}

void mts_pool_note_range(unsigned long pfn, unsigned long nr_pages)
{
}
#endif

void mts_stats_pages(unsigned long pages[MTS_NR_STATES])
{
	memcpy(pages, mts_regions[0]->nr, sizeof(mts_regions[0]->nr));
}

/* ---- the tests ---- */

static void free_region(void *p)
{
	struct mts_region *r = p;
	unsigned long block;

	mutex_lock(&mts_state_mutex);
	for (block = 0; mts_nr_regions && block < mts_nr_blocks(&r->geo); block++)
		mts_survey_forget(r, block);
	mutex_unlock(&mts_state_mutex);
	mts_nr_regions = 0;
	kvfree(r->state);
	kvfree(r->idle);
	mts_survey_free(r);
}

static int make_region(struct kunit *test, struct mts_region *r)
{
	const struct mts_span memory = { SCALE_BASE, SCALE_SIZE };
	const struct mts_span storage = {
		SCALE_BASE + SCALE_SIZE - SCALE_SIZE / MTS_RATIO,
		SCALE_SIZE / MTS_RATIO,
	};
	unsigned long nr;
	int ret;

	KUNIT_ASSERT_NULL(test, mts_geometry_init(&r->geo, &storage, &memory,
						  SZ_4K, PAGE_SHIFT));
	ret = kunit_add_action_or_reset(test, free_region, r);
	if (ret)
		return ret;
	nr = mts_nr_blocks(&r->geo);
	spin_lock_init(&r->lock);
	r->nr[MTS_STATIC] = nr;
	r->state = kvzalloc(nr, GFP_KERNEL);
	r->idle = kvzalloc(nr, GFP_KERNEL);
	if (!r->state || !r->idle)
		return -ENOMEM;
	ret = mts_survey_init(r);
	if (ret)
		return ret;
	mts_regions[0] = r;
	mts_nr_regions = 1;
	return 0;
}

/* As many blocks at random places are reserved, and hold tags */
static void reserve(struct mts_region *r, unsigned long nr, struct rnd_state *rnd)
{
	while (r->nr[MTS_RESERVED] < nr) {
		unsigned long block = prandom_u32_state(rnd) % mts_nr_blocks(&r->geo);

		spin_lock(&r->lock);
		if (r->state[block] != MTS_RESERVED)
			mts_block_set_state(r, block, MTS_RESERVED);
		spin_unlock(&r->lock);
	}
}

/* The least that one of some passes takes: others run as well */
static u64 pass_ns(struct mts_region *r, unsigned int changes, unsigned long *nr_looks)
{
	struct rnd_state rnd;
	u64 start, ns, least = U64_MAX;
	unsigned int i, n;

	prandom_seed_state(&rnd, 1);
	for (i = 0; i < SCALE_PASSES; i++) {
		for (n = 0; n < changes; n++) {
			unsigned long block = prandom_u32_state(&rnd) % r->held.nr;

			/* A reserved one, which is looked at then */
			block = mts_set_next(&r->held, block);
			if (block < r->held.nr)
				mts_survey_note(mts_block_data_pfn(&r->geo, block));
		}
		looks = 0;
		start = ktime_get_ns();
		mts_pass(0);
		ns = ktime_get_ns() - start;
		least = min(least, ns);
		*nr_looks = looks;
	}
	return least;
}

/* A pass looks at 4096 blocks in turn: the first has more of them, whatever a page is */
static const unsigned int tagged_gib[] = { PAGE_SIZE / SZ_4K, 64, 256 };

static void gib_desc(const unsigned int *gib, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u GiB", *gib);
}

KUNIT_ARRAY_PARAM(gib, tagged_gib, gib_desc);

static void mts_pass_cost(struct kunit *test)
{
	unsigned int gib = *(const unsigned int *)test->param_value;
	struct mts_region *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	unsigned long nr = (unsigned long)gib * (SZ_1G >> PAGE_SHIFT) / MTS_RATIO;
	unsigned long none, some;
	struct rnd_state rnd;
	u64 idle_ns, busy_ns;

	/* A kernel with lock debugging is not measured, and takes ten times as long */
	if (IS_ENABLED(CONFIG_PROVE_LOCKING))
		nr /= 16;
	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_EQ(test, make_region(test, r), 0);
	prandom_seed_state(&rnd, gib);
	reserve(r, nr, &rnd);
	the_look = (struct mts_look) { .tagged = MTS_RATIO };

	mutex_lock(&mts_state_mutex);
	/* The first one looks at all of them */
	looks = 0;
	mts_pass(0);
	KUNIT_EXPECT_GE(test, looks, nr);
	KUNIT_EXPECT_EQ(test, mts_survey.blocks, nr);
	KUNIT_EXPECT_EQ(test, mts_survey.tagged_pages, nr * MTS_RATIO);
	idle_ns = pass_ns(r, 0, &none);
	busy_ns = pass_ns(r, SCALE_CHANGES, &some);
	KUNIT_EXPECT_PTR_EQ(test, mts_survey_audit(), NULL);
	mutex_unlock(&mts_state_mutex);

	/* Unless it looks at all of them anyway */
	if (none < nr)
		KUNIT_EXPECT_GT(test, some, none);
	KUNIT_EXPECT_LE(test, some, none + SCALE_CHANGES);
	kunit_info(test, "%u GiB tagged: a pass takes %llu ns and looks at %lu blocks, with changes %llu ns and %lu blocks\n",
		   gib, idle_ns, none, busy_ns, some);
}

/* All lose their tags: all are found, and released, and nothing is left in the tables */
static void mts_pass_release(struct kunit *test)
{
	struct mts_region *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	unsigned long nr = SZ_1G / PAGE_SIZE / MTS_RATIO;
	struct rnd_state rnd;
	unsigned int passes = 0;

	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_EQ(test, make_region(test, r), 0);
	prandom_seed_state(&rnd, 3);
	reserve(r, nr, &rnd);
	the_look = (struct mts_look) { .tagged = 1, .free = 2 };
	mutex_lock(&mts_state_mutex);
	mts_pass(0);
	KUNIT_EXPECT_EQ(test, mts_survey.free_pages, 2 * nr);
	KUNIT_EXPECT_EQ(test, mts_survey.sparse[0][1], nr);
	mts_pass(0);
	KUNIT_EXPECT_EQ(test, mts_survey.sparse[1][1], nr);

	/* Nobody says so: in turn */
	the_look = (struct mts_look) { .free = MTS_RATIO };
	mts_policy.release_delay_ms = 0;
	while (r->nr[MTS_RESERVED] && passes++ < 4 * DIV_ROUND_UP(nr, 4096))
		mts_pass(0);
	mts_policy.release_delay_ms = 600000;
	KUNIT_EXPECT_EQ(test, r->nr[MTS_RELEASED], nr);
	KUNIT_EXPECT_EQ(test, mts_survey.blocks, 0);
	KUNIT_EXPECT_EQ(test, mts_set_next(&r->held, 0), r->held.nr);
	KUNIT_EXPECT_EQ(test, mts_set_next(&r->closing, 0), r->closing.nr);
	KUNIT_EXPECT_EQ(test, mts_set_next(&r->look, 0), r->look.nr);
	KUNIT_EXPECT_PTR_EQ(test, mts_survey_audit(), NULL);
	mutex_unlock(&mts_state_mutex);
}

/* A set is what a plain bitmap is */
static void mts_set_random(struct kunit *test)
{
	const unsigned long nr = 5 * MTS_SET_GROUP + 7;
	unsigned long *plain, n, m;
	struct rnd_state rnd;
	struct mts_set s;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, mts_set_init(&s, nr), 0);
	plain = bitmap_zalloc(nr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, plain);
	prandom_seed_state(&rnd, 2);
	KUNIT_EXPECT_EQ(test, mts_set_next(&s, 0), nr);
	for (i = 0; i < 20000; i++) {
		n = prandom_u32_state(&rnd) % nr;
		/* Mostly empty, then mostly full */
		if (prandom_u32_state(&rnd) % 20000 < i) {
			mts_set_add(&s, n);
			__set_bit(n, plain);
		} else {
			mts_set_del(&s, n);
			__clear_bit(n, plain);
		}
		n = prandom_u32_state(&rnd) % (nr + 1);
		if (mts_set_next(&s, n) != find_next_bit(plain, nr, n))
			break;
	}
	KUNIT_EXPECT_EQ(test, i, 20000);
	m = 0;
	for_each_in_set(&s, n)
		m++;
	KUNIT_EXPECT_EQ(test, m, bitmap_weight(plain, nr));
	mts_set_free(&s);
	bitmap_free(plain);
}

static struct kunit_case mts_pass_cases[] = {
	KUNIT_CASE(mts_set_random),
	KUNIT_CASE(mts_pass_release),
	KUNIT_CASE_PARAM(mts_pass_cost, gib_gen_params),
	{}
};

static struct kunit_suite mts_pass_suite = {
	.name = "mts_pass",
	.test_cases = mts_pass_cases,
};

kunit_test_suite(mts_pass_suite);
