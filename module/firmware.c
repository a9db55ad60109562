// SPDX-License-Identifier: GPL-2.0
/*
 * Finding and checking the tag storage that firmware describes.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/pfn.h>

#include "mts.h"

/* Is every page of the range RAM that the kernel knows and maps? */
static bool span_is_ram(const struct mts_span *span)
{
	unsigned long pfn, end = PFN_UP(span->start + span->size);

	for (pfn = PFN_DOWN(span->start); pfn < end; pfn++)
		if (!pfn_is_map_memory(pfn))
			return false;
	return true;
}

/*
 * The one reg entry of a node.
 * Return: the number of entries, 0 also when it is empty or broken.
 */
static int read_reg(struct device_node *np, struct mts_span *span)
{
	struct resource res;
	int n = of_address_count(np);

	if (!n || of_address_to_resource(np, 0, &res) || !resource_size(&res))
		return 0;
	span->start = res.start;
	span->size = resource_size(&res);
	return n;
}

/* Return: NULL, or what is wrong with the node. */
static const char *read_node(struct device_node *np, struct mts_geometry *geo,
			     struct mts_span *storage, struct mts_span *memory)
{
	struct device_node *mem;
	u32 block_size;
	int n;

	if (!np->parent || !of_node_name_eq(np->parent, "reserved-memory"))
		return "is not a child of /reserved-memory";
	if (of_property_read_bool(np, "no-map"))
		return "has no-map: the kernel has no access to the memory";
	n = of_address_count(np);
	if (n != 1)
		return "must have exactly one reg entry";
	if (!read_reg(np, storage))
		return "has an empty reg";
	if (!of_property_present(np, "block-size"))
		return "has no block-size";
	if (of_property_read_u32(np, "block-size", &block_size))
		return "block-size is not one 32-bit number";
	if (!of_property_present(np, "tagged-memory"))
		return "has no tagged-memory";
	mem = of_parse_phandle(np, "tagged-memory", 0);
	if (!mem)
		return "tagged-memory is not the phandle of any node";
	if (!of_node_is_type(mem, "memory")) {
		of_node_put(mem);
		return "tagged-memory is not a memory node";
	}
	n = read_reg(mem, memory);
	of_node_put(mem);
	if (n != 1)
		return "tagged-memory must have exactly one reg entry";
	return mts_geometry_init(geo, storage, memory, block_size, PAGE_SHIFT);
}

/* What the ranges are, not only how they are described */
static const char *check_memory(const struct mts_span *storage)
{
	if (!span_is_ram(storage))
		return "reg is not all RAM known to the kernel";
	return NULL;
}

static const char *check_others(const struct mts_span *storages,
				const struct mts_span *memories, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (mts_span_overlaps(&storages[i], &storages[n]))
			return "reg overlaps another tag-storage node";
		if (mts_span_overlaps(&memories[i], &memories[n]))
			return "tagged-memory is served twice";
	}
	return NULL;
}

/**
 * mts_firmware_probe() - create a region for each tag-storage node
 *
 * Says what is wrong, once, and leaves no region behind then.
 *
 * Return: 0, -ENODEV without a node, -EINVAL for a bad one, -ENOMEM.
 */
int mts_firmware_probe(void)
{
	struct mts_span storages[MTS_MAX_REGIONS], memories[MTS_MAX_REGIONS];
	const char *error;
	struct device_node *np;
	unsigned int n = 0;
	int ret;

	for_each_compatible_node(np, NULL, MTS_COMPATIBLE) {
		struct mts_geometry geo;
		struct mts_region *r;

		if (!of_device_is_available(np))
			continue;
		if (n == MTS_MAX_REGIONS) {
			error = "is one node too many";
			goto bad;
		}
		error = read_node(np, &geo, &storages[n], &memories[n]);
		if (!error)
			error = check_others(storages, memories, n);
		if (!error)
			error = check_memory(&storages[n]);
		if (error)
			goto bad;

		r = mts_region_create(&geo);
		if (IS_ERR(r)) {
			ret = PTR_ERR(r);
			pr_err("%pOFf: no memory for the books of the region; not loaded\n",
			       np);
			goto undo;
		}
		n++;
	}
	if (n)
		return 0;
	pr_err("no %s node in the device tree; not loaded\n", MTS_COMPATIBLE);
	return -ENODEV;

bad:
	pr_err("%pOFf: %s; not loaded\n", np, error);
	ret = -EINVAL;
undo:
	of_node_put(np);
	mts_regions_destroy();
	return ret;
}
