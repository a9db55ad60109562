/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reading the tag storage that a device tree describes.
 */
#ifndef MTS_TREE_H
#define MTS_TREE_H

#include "geometry.h"

struct device_node;

const char *mts_tree_read(struct device_node *root, struct mts_carveout *c,
			  unsigned int max, unsigned int *nr,
			  struct device_node **np);
struct device_node *mts_tree_node(struct device_node *root, unsigned int i);

#endif /* MTS_TREE_H */
