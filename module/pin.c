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

/* A target that nobody else has any more is free to be on our list */
static void list_targets(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < nr_pin_targets; i++) {
		if (page_count(pin_targets[i]) == 1)
			list_add(&pin_targets[i]->lru, &pin_pages);
		else
			pin_targets[n++] = pin_targets[i];
	}
	nr_pin_targets = n;
}

/* False if there is no room; else a page that is no target is taken over */
static bool keep(struct page *page, bool target)
{
	unsigned long nr = compound_nr(page);
	bool room;

	spin_lock(&pin_lock);
	if (target)
		list_targets();
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
	if (page)
		list_del(&page->lru);
	else if (nr_pin_targets)
		page = pin_targets[--nr_pin_targets];
	if (page)
		nr_kept_pages -= compound_nr(page);
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
 * Context: Process context.
 */
void mts_pin_put(void)
{
	struct page *page;

	while ((page = next_kept()))
		put_page(page);
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
	mts_wait_for_takers();
	WRITE_ONCE(waited, jiffies);
	return true;
}

/**
 * mts_pin_refuse() - let the next target of a long-term pin be one that can have tags
 * @target:	the storage of this one can't be had
 * @site:	for whom, see mts_site_get()
 *
 * Context: Process context; may wait like mts_wait() does.
 * Return: True if it has waited, and @target may be able to have tags now.
 */
bool mts_pin_refuse(struct page *target, unsigned int site)
{
	gfp_t gfp = (GFP_USER & ~__GFP_RECLAIM) | __GFP_NOMEMALLOC | __GFP_NOWARN |
		    __GFP_COMP;
	unsigned int order = compound_order(target);
	struct page *page;

	/* Only what nobody has yet: it is not to be kept from moving */
	if (page_count(target) != 1 || page_mapped(target) || target->mapping)
		return false;
	if (!keep(target, true))
		return wait_for_storage();
	for (;;) {
		page = alloc_pages_node(page_to_nid(target), gfp, order);
		if (!page)
			return false;
		if (!mts_chunk_is_hopeless(page_to_pfn(page)) &&
		    !mts_reserve(page_to_pfn(page), 1UL << order, MTS_TAKE_LIGHT, site))
			break;
		if (!keep(page, false)) {
			__free_pages(page, order);
			return wait_for_storage();
		}
	}
	__free_pages(page, order);
	return false;
}
