// SPDX-License-Identifier: GPL-2.0
/*
 * Sets of blocks. To go through one costs what is in it, not what could be: a
 * second bitmap has a bit for each group of numbers, some of which may be there.
 */
#include <linux/align.h>
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>

#include "mts.h"

/**
 * mts_set_init() - have an empty set
 * @s:		the set
 * @nr:		of numbers below this
 *
 * Return: 0 or -ENOMEM, and then mts_set_free() is due as well.
 */
int mts_set_init(struct mts_set *s, unsigned long nr)
{
	s->nr = nr;
	s->bits = kvcalloc(BITS_TO_LONGS(nr), sizeof(long), GFP_KERNEL);
	s->groups = kvcalloc(BITS_TO_LONGS(DIV_ROUND_UP(nr, MTS_SET_GROUP)),
			     sizeof(long), GFP_KERNEL);
	return s->bits && s->groups ? 0 : -ENOMEM;
}

/**
 * mts_set_free() - free what a set is made of
 * @s:	the set; mts_set_init() may have failed
 *
 * Context: Process context, sleeps.
 */
void mts_set_free(struct mts_set *s)
{
	kvfree(s->bits);
	kvfree(s->groups);
}

/**
 * mts_set_add() - add a number
 * @s:		the set
 * @n:		the number
 *
 * Context: Any.
 */
void mts_set_add(struct mts_set *s, unsigned long n)
{
	unsigned long group = n / MTS_SET_GROUP;

	if (test_bit(n, s->bits))
		return;
	set_bit(n, s->bits);
	/* Pairs with the barrier in mts_set_next() */
	smp_mb__after_atomic();
	if (!test_bit(group, s->groups))
		set_bit(group, s->groups);
}

/**
 * mts_set_next() - find a number
 * @s:		the set
 * @n:		this one, or the next one after it
 *
 * Context: Holds mts_state_mutex.
 * Return: it, or @s->nr or more if there is none.
 */
unsigned long mts_set_next(struct mts_set *s, unsigned long n)
{
	unsigned long nr_groups = DIV_ROUND_UP(s->nr, MTS_SET_GROUP);
	unsigned long group, found, end;

	while (n < s->nr) {
		group = find_next_bit(s->groups, nr_groups, n / MTS_SET_GROUP);
		if (group >= nr_groups)
			break;
		n = max(n, group * MTS_SET_GROUP);
		end = min(s->nr, (group + 1) * MTS_SET_GROUP);
		found = find_next_bit(s->bits, end, n);
		if (found < end)
			return found;
		if (n == group * MTS_SET_GROUP) {
			/* There is none, unless one is added right now */
			clear_bit(group, s->groups);
			/* Pairs with the barrier in mts_set_add() */
			smp_mb__after_atomic();
			if (find_next_bit(s->bits, end, n) < end) {
				set_bit(group, s->groups);
				continue;
			}
		}
		n = end;
	}
	return s->nr;
}
