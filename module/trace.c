// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints: their definitions.
 */
#include <linux/types.h>

#define CREATE_TRACE_POINTS
#include "trace.h"
