/* SPDX-License-Identifier: GPL-2.0 */
/* What module/geometry.c uses of the kernel's headers, for programs of the host */
#ifndef GEOMETRY_TYPES_H
#define GEOMETRY_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64;

#endif
