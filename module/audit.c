// SPDX-License-Identifier: GPL-2.0
/*
 * The audit of all tables: states, taggable bits, counts, sites and the flags of
 * all pages have to tell the same. For tests, and for the field when something
 * is odd.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/sched.h>

#include "mts.h"

/* Serves nothing but tag storage: the block's bits are always clear */
static bool serves_storage(const struct mts_region *r, unsigned long block)
{
	struct mts_region *other;
	unsigned int i;

	for_each_mts_region(other, i)
		if (mts_block_serves_storage(&r->geo, block, &other->geo))
			return true;
	return false;
}

static bool in_area(const struct mts_region *r, unsigned long pfn)
{
	unsigned int i;

	for (i = 0; i < r->nr_areas; i++)
		if (r->areas[i].cma && pfn >= r->areas[i].pfn &&
		    pfn - r->areas[i].pfn < r->areas[i].nr_pages)
			return true;
	return false;
}

/* Blocks to look at with the lock, and tries to look at all without a change */
#define AUDIT_BATCH	4096UL
#define AUDIT_TRIES	16

/* The sets and states of a range of blocks; counts them. Holds r->lock. */
static const char *audit_range(struct mts_region *r, unsigned long block,
			       unsigned long end, unsigned long nr[MTS_NR_STATES])
{
	lockdep_assert_held(&r->lock);
	for (; block < end; block++) {
		u8 state = r->state[block];
		bool held = state == MTS_RESERVED, closing = state == MTS_CLOSING;

		if (state >= MTS_NR_STATES)
			return "a state is none";
		nr[state]++;
		if (test_bit(block, r->held.bits) != held)
			return "the set of reserved blocks is wrong";
		if (test_bit(block, r->closing.bits) != closing)
			return "the set of closing blocks is wrong";
	}
	return NULL;
}

/* The counts of a region against those of its blocks, @nr. Holds r->lock. */
static const char *audit_sums(struct mts_region *r, unsigned long nr[MTS_NR_STATES])
{
	unsigned long held = 0;
	unsigned int i;

	lockdep_assert_held(&r->lock);
	for (i = 0; i < MTS_NR_STATES; i++)
		if (nr[i] != r->nr[i])
			return "the number of blocks in a state is wrong";
	for (i = 1; i < MTS_MAX_SITES; i++)
		held += r->nr_site[i];
	if (held != nr[MTS_RESERVED] + nr[MTS_CLOSING] ||
	    held + r->nr_site[0] != mts_nr_blocks(&r->geo))
		return "sites hold another number of blocks than are reserved";
	if (r->nr_lost > nr[MTS_BAD])
		return "more blocks are lost than are bad";
	return NULL;
}

/*
 * The tables of a region. The lock isn't held over all of it: when a state changes
 * between two ranges the sums can't be compared, and it is tried again, but
 * not for ever. Returns what is wrong, or NULL; @settled: if the sums were compared.
 */
static const char *audit_counts(struct mts_region *r, bool *settled)
{
	unsigned long block, end = mts_nr_blocks(&r->geo);
	unsigned int tries = AUDIT_TRIES;
	const char *wrong = NULL;

	*settled = false;
	while (!wrong && !*settled && tries--) {
		unsigned long nr[MTS_NR_STATES] = {}, changes = 0;

		spin_lock(&r->lock);
		changes = r->changes;
		for (block = 0; !wrong && block < end; ) {
			unsigned long next = min(block + AUDIT_BATCH, end);

			wrong = audit_range(r, block, next, nr);
			block = next;
			if (block == end)
				break;
			spin_unlock(&r->lock);
			cond_resched();
			spin_lock(&r->lock);
		}
		if (!wrong && changes == r->changes) {
			wrong = audit_sums(r, nr);
			*settled = true;
		}
		spin_unlock(&r->lock);
	}
	return wrong;
}

/*
 * No block is closed or released while mts_state_mutex is held: what is reserved
 * stays reserved, and what isn't has not been since the audit began.
 */
static bool is_reserved(struct mts_region *r, unsigned long block)
{
	bool reserved;

	spin_lock(&r->lock);
	reserved = r->state[block] == MTS_RESERVED;
	spin_unlock(&r->lock);
	return reserved;
}

/* The state of a block and its bits, which change together */
static const char *audit_bits(struct mts_region *r, unsigned long block,
			      enum mts_state *state)
{
	unsigned long first = block << r->geo.block_order;
	unsigned long end = first + mts_block_pages(&r->geo);
	bool all, none, want;

	spin_lock(&r->lock);
	*state = r->state[block];
	all = find_next_zero_bit(r->taggable, end, first) >= end;
	none = find_next_bit(r->taggable, end, first) >= end;
	spin_unlock(&r->lock);

	/* Passes, which hold mts_state_mutex, don't leave it at that */
	if (*state == MTS_CLOSING)
		return "is closing, and nobody closes it";
	if ((*state == MTS_STATIC) ==
	    in_area(r, mts_block_tag_pfn(&r->geo, block)))
		return "is static in an area, or isn't outside of all";
	want = (*state == MTS_STATIC || *state == MTS_RESERVED) &&
		!serves_storage(r, block);
	if (want && !all)
		return "has bits that are clear";
	if (!want && !none)
		return "has bits that are set";
	return NULL;
}

static const char *audit_storage_page(enum mts_state state,
				      const struct page *page)
{
	if (!page)
		return state == MTS_STATIC ? NULL : "is no page";
	if (mts_page_is_tagged(page))
		return "is tag storage and has tags itself";
	switch (state) {
	case MTS_RESERVED:
		if (!page_ref_count(page) || PageBuddy(page))
			return "is reserved and free";
		if (PageLRU(page) || PageCompound(page) || PageSlab(page) ||
		    PageTable(page) || PageReserved(page) || page->mapping)
			return "is reserved and in use";
		return NULL;
	case MTS_RELEASED:
	case MTS_SPARE:
		if (PageReserved(page))
			return "is released and was never given away";
		if (PageSlab(page) || PageTable(page))
			return "is released and in use for what can't be moved";
		return NULL;
	default:
		return NULL;
	}
}

/* The pages of a block and those it serves. @pfn is of the page that is wrong. */
static const char *audit_pages(struct mts_region *r, unsigned long block,
			       enum mts_state state, unsigned long *pfn)
{
	unsigned long end;
	const char *wrong;

	*pfn = mts_block_tag_pfn(&r->geo, block);
	for (end = *pfn + mts_block_pages(&r->geo); *pfn < end; (*pfn)++) {
		wrong = audit_storage_page(state, pfn_to_online_page(*pfn));
		if (wrong)
			return wrong;
	}
	if (state == MTS_RESERVED || state == MTS_STATIC)
		return NULL;

	*pfn = mts_block_data_pfn(&r->geo, block);
	for (end = *pfn + mts_block_data_pages(&r->geo); *pfn < end; (*pfn)++) {
		struct page *page = pfn_to_online_page(*pfn);

		/* It may have been reserved just now */
		if (page && mts_page_is_tagged(page) && !is_reserved(r, block))
			return "has tags, and no tag storage";
	}
	return NULL;
}

/**
 * mts_audit() - compare everything that tells of the states of blocks
 *
 * The log tells of the first thing that is wrong.
 *
 * Context: Holds mts_state_mutex, online. Sleeps.
 * Return: 0; -EIO; or -EAGAIN: nothing is wrong, but states changed whenever
 * those of a region were counted, so that nobody knows whether they add up.
 */
int mts_audit(void)
{
	bool settled, all_settled = true;
	unsigned long block, pfn;
	enum mts_state state;
	struct mts_region *r;
	const char *wrong;
	unsigned int i;

	lockdep_assert_held(&mts_state_mutex);
	wrong = mts_survey_audit();
	if (wrong) {
		pr_err("audit: %s\n", wrong);
		return -EIO;
	}
	for_each_mts_region(r, i) {
		wrong = audit_counts(r, &settled);
		if (wrong) {
			pr_err("audit: region %u: %s\n", i, wrong);
			return -EIO;
		}
		all_settled &= settled;
		for (block = 0; block < mts_nr_blocks(&r->geo); block++) {
			cond_resched();
			pfn = mts_block_tag_pfn(&r->geo, block);
			wrong = audit_bits(r, block, &state);
			if (!wrong)
				wrong = audit_pages(r, block, state, &pfn);
			if (wrong) {
				pr_err("audit: region %u block %lu: pfn %#lx, %s, %s\n",
				       i, block, pfn, mts_state_names[state],
				       wrong);
				return -EIO;
			}
		}
	}
	return all_settled ? 0 : -EAGAIN;
}
