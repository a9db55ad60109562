/* SPDX-License-Identifier: GPL-2.0 */
#ifndef GEOMETRY_MINMAX_H
#define GEOMETRY_MINMAX_H

#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))

#endif
