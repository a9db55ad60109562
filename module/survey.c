// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of the data blocks of reserved blocks. A pass can't look at
 * all of them, or it would cost what there is: it looks at those that have changed,
 * and at some of the others in turn. All sums are kept up to date by the look.
 */
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "mts.h"

struct mts_survey mts_survey;

/**
 * mts_survey_init() - make the survey's part of a region's tables
 * @r:		the region, with its geometry
 *
 * Return: 0 or -ENOMEM, and then mts_survey_free() is due as well.
 */
int mts_survey_init(struct mts_region *r)
{
	unsigned long nr = mts_nr_blocks(&r->geo);

	r->tagged = kvcalloc(nr, sizeof(*r->tagged), GFP_KERNEL);
	r->free = kvcalloc(nr, sizeof(*r->free), GFP_KERNEL);
	r->sparse = kvcalloc(nr, sizeof(*r->sparse), GFP_KERNEL);
	if (!r->tagged || !r->free || !r->sparse ||
	    mts_set_init(&r->loose, nr) || mts_set_init(&r->look, nr) ||
	    mts_set_init(&r->held, nr) || mts_set_init(&r->closing, nr))
		return -ENOMEM;
	return 0;
}

/**
 * mts_survey_free() - free what the survey knows of a region
 * @r:	the region; mts_survey_init() may have failed
 *
 * Context: Process context, sleeps.
 */
void mts_survey_free(struct mts_region *r)
{
	kvfree(r->tagged);
	kvfree(r->free);
	kvfree(r->sparse);
	mts_set_free(&r->loose);
	mts_set_free(&r->look);
	mts_set_free(&r->held);
	mts_set_free(&r->closing);
}

/**
 * mts_block_set_state() - change the state of a block
 * @r:		the region
 * @block:	the block
 * @state:	the new state
 *
 * Context: Holds r->lock.
 */
void mts_block_set_state(struct mts_region *r, unsigned long block,
			 enum mts_state state)
{
	enum mts_state old = r->state[block];

	lockdep_assert_held(&r->lock);
	r->nr[old]--;
	r->nr[state]++;
	r->changes++;
	WRITE_ONCE(r->state[block], state);
	/* Who finds it in a set finds the state */
	smp_wmb();
	if (old == MTS_RESERVED) {
		mts_set_del(&r->held, block);
		mts_set_del(&r->look, block);
	} else if (old == MTS_CLOSING) {
		mts_set_del(&r->closing, block);
	}
	if (state == MTS_RESERVED) {
		mts_set_add(&r->held, block);
		mts_set_add(&r->look, block);
	} else if (state == MTS_CLOSING) {
		mts_set_add(&r->closing, block);
	}
}

/**
 * mts_survey_note() - note that the tags of a page come or go
 * @pfn:	the page
 *
 * The next pass looks at its block.
 *
 * Context: Any.
 */
void mts_survey_note(unsigned long pfn)
{
	struct mts_region *r = mts_region_of_data(pfn);

	if (r)
		mts_set_add(&r->look, mts_data_pfn_to_block(&r->geo, pfn));
}

/**
 * mts_block_fill() - how full of tagged pages was a data block when it was looked at?
 * @r:	the region
 * @block:	the block
 *
 * Context: Any.
 * Return: 0 for empty to MTS_FILL_MAX for full.
 */
unsigned int mts_block_fill(const struct mts_region *r, unsigned long block)
{
	return DIV_ROUND_UP(r->tagged[block] * MTS_FILL_MAX,
			    mts_block_data_pages(&r->geo));
}

static void count(unsigned long *sum, unsigned long n, bool add)
{
	WRITE_ONCE(*sum, add ? *sum + n : *sum - n);
}

/* Add what is known of a block to the sums @s, or take it off */
static void count_block(struct mts_survey *s, const struct mts_region *r,
			unsigned long block, bool add)
{
	unsigned long nr = mts_block_data_pages(&r->geo);
	unsigned int fill = mts_block_fill(r, block);
	int age = r->sparse[block];

	count(&s->all_tagged_pages, r->tagged[block], add);
	if (age == MTS_KEPT) {
		count(&s->kept_pages, mts_block_pages(&r->geo), add);
	} else if (r->tagged[block]) {
		count(&s->blocks, 1, add);
		count(&s->data_pages, nr, add);
		count(&s->tagged_pages, r->tagged[block], add);
		count(&s->free_pages, r->free[block], add);
		if (age > 0) {
			count(&s->sparse[age - 1][fill], 1, add);
			count(&s->sparse_free[age - 1][fill], r->free[block], add);
		}
	}
}

/**
 * mts_survey_forget() - a block isn't reserved any more
 * @r:		the region
 * @block:	the block
 *
 * Context: Holds mts_state_mutex.
 */
void mts_survey_forget(struct mts_region *r, unsigned long block)
{
	lockdep_assert_held(&mts_state_mutex);
	count_block(&mts_survey, r, block, false);
	r->tagged[block] = 0;
	r->free[block] = 0;
	r->sparse[block] = 0;
	mts_set_del(&r->loose, block);
}

/**
 * mts_survey_block() - look at the pages of a reserved block's data block
 * @r:		the region
 * @block:	the block
 *
 * Tells the pool about free pages between tagged ones.
 *
 * Context: Holds mts_state_mutex.
 * Return: true if a page has tags.
 */
bool mts_survey_block(struct mts_region *r, unsigned long block)
{
	int age = r->sparse[block];
	struct mts_look look;

	lockdep_assert_held(&mts_state_mutex);
	mts_block_look(r, block, &look);
	mts_survey_forget(r, block);
	r->tagged[block] = look.tagged;
	r->free[block] = look.free;
	if (look.kept) {
		/* Always has tags, as mts_block_is_tagged() has it */
		r->sparse[block] = MTS_KEPT;
	} else if (look.tagged &&
		   mts_block_fill(r, block) * 100 <
		   READ_ONCE(mts_policy.evacuate_percent) * MTS_FILL_MAX) {
		r->sparse[block] = age == MTS_KEPT ? 1 :
				   min(age + 1, MTS_SPARSE_PASSES);
		if (r->sparse[block] > 0)
			mts_set_add(&r->loose, block);
		/* Its age counts in passes */
		if (r->sparse[block] < MTS_SPARSE_PASSES)
			mts_set_add(&r->look, block);
	}
	count_block(&mts_survey, r, block, true);
	if (look.tagged && look.free && !look.kept)
		mts_pool_note_free(look.hole);
	return look.tagged || look.kept;
}

/* The next blocks to look at, though nobody says that they have changed */
static unsigned int turn_region;
static unsigned long turn_block;

/**
 * mts_survey_turn() - look at some more reserved blocks in the next pass
 * @nr:		how many; those that have not been looked at for longest
 *
 * What changes behind our back is found so: large folios, pages that become
 * tagged where they are, and those that lose a race.
 *
 * Context: Holds mts_state_mutex.
 */
void mts_survey_turn(unsigned long nr)
{
	unsigned int regions = 0;

	lockdep_assert_held(&mts_state_mutex);
	while (nr && regions <= mts_nr_regions && mts_nr_regions) {
		struct mts_region *r = mts_regions[turn_region % mts_nr_regions];
		unsigned long block = mts_set_next(&r->held, turn_block);

		if (block >= r->held.nr) {
			turn_region = (turn_region + 1) % mts_nr_regions;
			turn_block = 0;
			regions++;
			continue;
		}
		mts_set_add(&r->look, block);
		turn_block = block + 1;
		nr--;
		cond_resched();
	}
}

/**
 * mts_survey_audit() - do the sums agree with what is known of the blocks?
 *
 * Context: Holds mts_state_mutex. Sleeps.
 * Return: what is wrong, or NULL.
 */
const char *mts_survey_audit(void)
{
	struct mts_survey sum = {
		.waiting = mts_survey.waiting,
		.evacuated = mts_survey.evacuated,
	};
	struct mts_region *r;
	unsigned long block;
	unsigned int i;

	lockdep_assert_held(&mts_state_mutex);
	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block++) {
			bool loose = r->sparse[block] > 0;

			count_block(&sum, r, block, true);
			if (loose != test_bit(block, r->loose.bits))
				return "the set of sparse blocks is wrong";
			cond_resched();
		}
	}
	return memcmp(&sum, &mts_survey, sizeof(sum)) ?
		"the sums of the survey are wrong" : NULL;
}
