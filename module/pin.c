// SPDX-License-Identifier: GPL-2.0
/*
 * Targets of long-term pins. They are not movable, so they don't come from the pool,
 * and the page allocator gives a page that has just been put back once more: one whose
 * storage can't be had would be the target of all there is to migrate, and the pin
 * fails. So these are kept until no pin has met one for a while, or memory gets scarce.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "mts.h"

/* So long after the last one; there are many in a row, on slow machines as well */
#define PIN_KEEP_MS		100
/* Of all memory, at most, and not where it is scarce */
#define PIN_KEEP_SHARE		8
/* At most so many pins that others work on */
#define PIN_NR_TARGETS		64

/* Targets: whoever they are for may have them on a list until their end */
static struct page *pin_targets[PIN_NR_TARGETS];
static unsigned int nr_pin_targets;
/* Those that we alone have, by page->lru */
static LIST_HEAD(pin_pages);
static unsigned long nr_kept_pages;
static DEFINE_SPINLOCK(pin_lock);

static void put_kept(struct work_struct *work)
{
	mts_pin_put();
}

static DECLARE_DELAYED_WORK(pin_work, put_kept);

/* Take back the reference on a target */
static struct page *forget_target(unsigned int i)
{
	struct page *page = pin_targets[i];

	lockdep_assert_held(&pin_lock);
	pin_targets[i] = pin_targets[--nr_pin_targets];
	nr_kept_pages -= compound_nr(page);
	return page;
}

/*
 * A target that nobody else has any more is free to be on our list. Not one that was
 * used nevertheless, in a fault, and can still be on another list: one of these is
 * returned, to be put.
 */
static struct page *list_targets(void)
{
	unsigned int i = 0;
	struct page *page;

	lockdep_assert_held(&pin_lock);
	while (i < nr_pin_targets) {
		page = pin_targets[i];
		if (page_count(page) != 1) {
			i++;
			continue;
		}
		if (PageLRU(page) || page->mapping)
			return forget_target(i);
		pin_targets[i] = pin_targets[--nr_pin_targets];
		list_add(&page->lru, &pin_pages);
	}
	return NULL;
}

static void put_used_targets(void)
{
	struct page *page;

	do {
		spin_lock(&pin_lock);
		page = list_targets();
		spin_unlock(&pin_lock);
		if (page)
			put_page(page);
	} while (page);
}

/**
 * mts_pin_release() - a target was used nevertheless, and is wanted to move
 * @page:	what is perhaps one
 *
 * Context: Process context.
 */
void mts_pin_release(struct page *page)
{
	unsigned int i;

	if (likely(!READ_ONCE(nr_pin_targets)))
		return;
	spin_lock(&pin_lock);
	for (i = 0; i < nr_pin_targets && pin_targets[i] != page; i++)
		;
	page = i < nr_pin_targets ? forget_target(i) : NULL;
	spin_unlock(&pin_lock);
	if (page)
		put_page(page);
}

/* False if there is no room; else a page that is no target is taken over */
static bool keep(struct page *page, bool target)
{
	unsigned long nr = compound_nr(page);
	bool room;

	if (target)
		put_used_targets();
	spin_lock(&pin_lock);
	room = nr_kept_pages + nr <= totalram_pages() / PIN_KEEP_SHARE &&
	       !test_bit(ZONE_BELOW_HIGH, &page_zone(page)->flags) &&
	       (!target || nr_pin_targets < PIN_NR_TARGETS);
	if (room && target) {
		get_page(page);
		pin_targets[nr_pin_targets++] = page;
	} else if (room) {
		list_add(&page->lru, &pin_pages);
	}
	if (room)
		nr_kept_pages += nr;
	spin_unlock(&pin_lock);
	if (room)
		mod_delayed_work(system_unbound_wq, &pin_work,
				 msecs_to_jiffies(PIN_KEEP_MS));
	return room;
}

static struct page *next_kept(void)
{
	struct page *page;

	spin_lock(&pin_lock);
	page = list_first_entry_or_null(&pin_pages, struct page, lru);
	if (page) {
		list_del(&page->lru);
		nr_kept_pages -= compound_nr(page);
	} else if (nr_pin_targets) {
		page = forget_target(nr_pin_targets - 1);
	}
	spin_unlock(&pin_lock);
	return page;
}

/**
 * mts_pin_kept() - how many pages are kept
 *
 * Context: Any.
 * Return: Pages.
 */
unsigned long mts_pin_kept(void)
{
	return READ_ONCE(nr_kept_pages);
}

/**
 * mts_pin_put() - give back what is kept
 *
 * Context: Process context, sleeps.
 */
void mts_pin_put(void)
{
	struct page *page;

	while ((page = next_kept())) {
		put_page(page);
		cond_resched();
	}
}

/**
 * mts_pin_flush() - give back what is kept when nothing more can be
 *
 * Context: Process context, sleeps.
 */
void mts_pin_flush(void)
{
	cancel_delayed_work_sync(&pin_work);
	mts_pin_put();
}

/* Not longer than a fault waits, once a second: there are many targets */
static bool wait_for_storage(void)
{
	static unsigned long waited;
	unsigned long last = READ_ONCE(waited);

	if (last && time_before(jiffies, last + HZ))
		return false;
	mts_wait_for_takers(0);
	WRITE_ONCE(waited, jiffies);
	return true;
}

/**
 * mts_pin_refuse() - let the next target of a long-term pin be one that can have tags
 * @target:	the storage of this one can't be had
 * @site:	for whom, see mts_site_get()
 *
 * Context: Process context, not in reclaim; may wait like mts_wait() does, and looks
 * for as long at other pages.
 * Return: True if it has waited, and @target may be able to have tags now.
 */
bool mts_pin_refuse(struct page *target, unsigned int site)
{
	gfp_t gfp = (GFP_USER & ~__GFP_RECLAIM) | __GFP_NOMEMALLOC | __GFP_NOWARN |
		    __GFP_COMP;
	unsigned long end = jiffies + 1 +
		msecs_to_jiffies(READ_ONCE(mts_policy.fault_wait_ms));
	unsigned int order = compound_order(target);
	struct page *page;

	/* Only what nobody has yet: it is not to be kept from moving */
	if (page_count(target) != 1 || page_mapped(target) || target->mapping)
		return false;
	if (!keep(target, true))
		return wait_for_storage();
	while (!fatal_signal_pending(current) && time_before(jiffies, end)) {
		cond_resched();
		page = alloc_pages_node(page_to_nid(target), gfp, order);
		if (!page)
			return false;
		if (!mts_chunk_is_hopeless(page_to_pfn(page)) &&
		    !mts_reserve(page_to_pfn(page), 1UL << order, MTS_TAKE_LIGHT, site)) {
			__free_pages(page, order);
			return false;
		}
		if (!keep(page, false)) {
			__free_pages(page, order);
			break;
		}
	}
	return wait_for_storage();
}
