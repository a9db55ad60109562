/* SPDX-License-Identifier: GPL-2.0 */
#ifndef GEOMETRY_ALIGN_H
#define GEOMETRY_ALIGN_H

/* @to is a power of two */
#define IS_ALIGNED(x, to)	(((x) & ((to) - 1)) == 0)
#define ALIGN(x, to)		(((x) + (to) - 1) & ~((to) - 1))
#define ALIGN_DOWN(x, to)	((x) & ~((to) - 1))

#endif
