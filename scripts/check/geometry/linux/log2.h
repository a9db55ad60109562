/* SPDX-License-Identifier: GPL-2.0 */
#ifndef GEOMETRY_LOG2_H
#define GEOMETRY_LOG2_H

#define is_power_of_2(n)	((n) && !((n) & ((n) - 1)))
#define ilog2(n)		(63 - __builtin_clzll(n))

#endif
