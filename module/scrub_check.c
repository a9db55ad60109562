// SPDX-License-Identifier: GPL-2.0
/*
 * A check on demand: does scrubbing work on this machine? What storage held as
 * data must not show up as tags, nor the reverse.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include <asm/asm-extable.h>
#include <asm/mte-def.h>

#include "mts.h"

/* Unlikely in memory, and every half of a byte differs from zero */
#define CHECK_PATTERN	0x5a

/*
 * Tag of a granule, in the top byte of *tag. False for pages that are not in the
 * linear map now.
 */
static bool read_tag(unsigned long addr, unsigned long *tag)
{
	unsigned long value = 0, done = 0;

	asm volatile(__MTE_PREAMBLE
		     "1:	ldg	%0, [%2]\n"
		     "	mov	%1, #1\n2:\n"
		     _ASM_EXTABLE_KACCESS(1b, 2b)
		     : "+r" (value), "+r" (done) : "r" (addr));
	*tag = value & MTE_TAG_MASK;
	return done;
}

/*
 * Are all tags of the data block zero, that can be read? Return: 1, 0, or -ENODATA
 * when none can be.
 */
static int tags_are_zero(const struct mts_region *r, unsigned long block)
{
	unsigned long pfn = mts_block_data_pfn(&r->geo, block);
	unsigned long end = pfn + mts_block_data_pages(&r->geo);
	unsigned long addr, offset, tag;
	int ret = -ENODATA;

	for (; pfn < end; pfn++) {
		if (!mts_page_is_ours(pfn))
			continue;
		addr = (unsigned long)__va(PFN_PHYS(pfn));
		for (offset = 0; offset < PAGE_SIZE; offset += MTE_GRANULE_SIZE) {
			if (!read_tag(addr + offset, &tag))
				break;
			if (tag)
				return 0;
			ret = 1;
		}
		cond_resched();
	}
	return ret;
}

/*
 * Take a free block through both uses.
 * Return: 1 when it has been checked, 0 when it isn't free or no tag of it can be
 * read (debug_pagealloc), -EIO, -EINTR.
 */
static int check_block(struct mts_region *r, unsigned long block)
{
	unsigned long pfn = mts_block_tag_pfn(&r->geo, block);
	unsigned long nr = mts_block_pages(&r->geo);
	void *storage = __va(PFN_PHYS(pfn));
	enum mts_op op;
	int zero, ret = 1;

	if (mts_block_change(r, block, 1, false))
		return 0;
	if (mts_take_pages(pfn, nr, MTS_TAKE_FREE, &op)) {
		mts_block_changed(r, block, 1, false, 0);
		return 0;
	}

	/* No page gets tags: the block isn't taggable, nor will be while it changes */
	memset(storage, CHECK_PATTERN, nr * PAGE_SIZE);
	if (!mts_should_fail(MTS_FAIL_SCRUB))
		mts_scrub_for_tags(pfn, nr);
	zero = tags_are_zero(r, block);
	if (zero < 0)
		ret = 0;
	if (!zero) {
		pr_err_ratelimited("scrub check: pfn 0x%lx: data shows up as tags\n",
				   pfn);
		ret = -EIO;
	}

	memset(storage, CHECK_PATTERN, nr * PAGE_SIZE);
	mts_scrub_for_data(pfn, nr, mts_block_data_pfn(&r->geo, block),
			   mts_block_data_pages(&r->geo));
	if (memchr_inv(storage, 0, nr * PAGE_SIZE)) {
		pr_err_ratelimited("scrub check: pfn 0x%lx: tags show up as data\n",
				   pfn);
		ret = -EIO;
	}
	free_contig_range(pfn, nr);
	mts_block_changed(r, block, 1, false, 0);
	return ret;
}

/**
 * mts_scrub_check() - check scrubbing with blocks that are free
 * @nr:		with as many of them at most
 *
 * Context: Holds mts_state_mutex, online. Sleeps.
 * Return: 0, -EIO when old contents have been seen, -EINTR on a signal,
 * -EAGAIN when no block was free, -EOPNOTSUPP without MTE.
 */
int mts_scrub_check(unsigned long nr)
{
	unsigned long block, checked = 0;
	struct mts_region *r;
	unsigned int i;
	int ret, err = 0;

	lockdep_assert_held(&mts_state_mutex);
	if (!mts_have_tags)
		return -EOPNOTSUPP;
	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block++) {
			if (checked == nr)
				return err;
			if (READ_ONCE(r->state[block]) != MTS_RELEASED)
				continue;
			if (signal_pending(current))
				return -EINTR;
			ret = check_block(r, block);
			if (ret == -EINTR)
				return ret;
			if (!ret)
				continue;
			checked++;
			mts_count(MTS_STAT_SCRUB_CHECKED);
			if (ret < 0) {
				mts_count(MTS_STAT_SCRUB_FAILED);
				err = ret;
			}
		}
	}
	return checked ? err : -EAGAIN;
}
