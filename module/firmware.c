// SPDX-License-Identifier: GPL-2.0
/*
 * Finding and checking the tag storage: what the device tree describes, or the
 * module parameter ranges=, against what the kernel knows of its memory.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/pfn.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "mts.h"
#include "tree.h"

static char *ranges;
module_param(ranges, charp, 0400);
MODULE_PARM_DESC(ranges, "tag storage instead of what the device tree describes: storage+size@memory+size[@memory+size...]/block-size,...");

/* The memory that the kernel uses and maps, by address */
static struct mts_span *ram;
static unsigned int nr_ram, max_ram;

static struct mts_carveout carveouts[MTS_MAX_REGIONS] __initdata;

static int count_ram(struct resource *res, void *unused)
{
	max_ram++;
	return 0;
}

static int add_ram(struct resource *res, void *unused)
{
	struct mts_span *last = &ram[nr_ram - 1];

	if (nr_ram && last->start + last->size == res->start) {
		last->size += resource_size(res);
		return 0;
	}
	/* Memory was added meanwhile */
	if (nr_ram == max_ram)
		return -EAGAIN;
	ram[nr_ram++] = (struct mts_span) { res->start, resource_size(res) };
	return 0;
}

/*
 * System RAM of /proc/iomem: no-map memory and holes are none. Memory that is
 * added later isn't either, and is served by nobody.
 */
static int __init find_ram(void)
{
	const unsigned long flags = IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY;
	int ret;

	max_ram = 0;
	nr_ram = 0;
	walk_iomem_res_desc(IORES_DESC_NONE, flags, 0, -1, NULL, count_ram);
	ram = kvcalloc(max_ram + 1, sizeof(*ram), GFP_KERNEL);
	if (!ram)
		return -ENOMEM;
	ret = walk_iomem_res_desc(IORES_DESC_NONE, flags, 0, -1, NULL, add_ram);
	return ret > 0 ? 0 : ret;
}

static bool span_is_ram(u64 start, u64 size)
{
	unsigned int low = 0, high = nr_ram;

	/* The last one that starts at start or before */
	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (ram[mid].start <= start)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return false;
	start -= ram[low - 1].start;
	return start < ram[low - 1].size && size <= ram[low - 1].size - start;
}

/**
 * mts_is_foreign_memory() - is some of this memory not the kernel's?
 * @pfn:	the first page
 * @nr_pages:	how many
 *
 * Nobody here knows what happens to no-map memory, and it isn't in the linear
 * map: its tag storage is never lent, nor are its tags cleaned.
 *
 * Context: Any.
 */
bool mts_is_foreign_memory(unsigned long pfn, unsigned long nr_pages)
{
	return !span_is_ram(PFN_PHYS(pfn), PFN_PHYS(nr_pages));
}

/* Is the tag storage what a description says it is? */
static const char * __init check_storage(const struct mts_carveout *c)
{
	unsigned int i;

	for (i = 0; i < c->nr_storage; i++)
		if (!span_is_ram(c->storage[i].start, c->storage[i].size))
			return "reg is not all RAM known to the kernel";
	return NULL;
}

static int __init create_regions(const struct mts_geometry *geo, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct mts_region *r = mts_region_create(&geo[i]);

		if (IS_ERR(r))
			return PTR_ERR(r);
	}
	return 0;
}

/* Check carve-out @i against the others and the machine, make its regions */
static const char * __init add_carveout(unsigned int i, int *ret)
{
	struct mts_geometry geo[MTS_MAX_REGIONS];
	const struct mts_carveout *c = &carveouts[i];
	const char *error;
	unsigned int j, nr;

	*ret = -EINVAL;
	error = mts_carveout_split(c, PAGE_SHIFT, geo,
				   MTS_MAX_REGIONS - mts_nr_regions, &nr);
	for (j = 0; !error && j < i; j++)
		error = mts_carveouts_clash(&carveouts[j], c);
	if (!error)
		error = check_storage(c);
	if (error)
		return error;
	*ret = create_regions(geo, nr);
	return *ret ? "no memory for the tables of the region" : NULL;
}

static int __init probe_tree(void)
{
	struct device_node *root = of_find_node_by_path("/"), *np = NULL;
	unsigned int nr = 0, i = 0;
	const char *error = NULL;
	int ret = -EINVAL;

	if (root)
		error = mts_tree_read(root, carveouts, MTS_MAX_REGIONS, &nr, &np);
	for (; i < nr && !error; i++) {
		error = add_carveout(i, &ret);
		if (error)
			np = mts_tree_node(root, i);
	}
	of_node_put(root);
	if (error) {
		pr_err("%pOFf: %s; not loaded\n", np, error);
		of_node_put(np);
		return ret;
	}
	if (nr)
		return 0;
	pr_err("no %s node in the device tree, and no ranges=; not loaded\n",
	       MTS_COMPATIBLE);
	return -ENODEV;
}

/* What the kernel or a driver uses itself, such as ramoops, has no tags in it */
static bool __init is_for_others(struct device_node *np)
{
	return of_property_read_bool(np, "no-map") ||
	       of_property_read_bool(np, "reusable") ||
	       (of_property_present(np, "compatible") &&
		!of_device_is_compatible(np, MTS_COMPATIBLE));
}

/* Does one child of the device tree reserve all of it, for nobody else? */
static bool __init tree_reserves(struct device_node *reserved,
				 const struct mts_span *span)
{
	struct device_node *np;
	struct mts_span other;
	bool found = false;
	int i;

	for_each_available_child_of_node(reserved, np) {
		for (i = 0; !of_property_read_reg(np, i, &other.start, &other.size);
		     i++) {
			if (!mts_span_overlaps(&other, span))
				continue;
			if (found || is_for_others(np) ||
			    span->start < other.start ||
			    span->size > other.size - (span->start - other.start)) {
				of_node_put(np);
				return false;
			}
			found = true;
		}
	}
	return found;
}

/* All pages are kept from the page allocator since boot */
static bool __init pages_are_reserved(const struct mts_span *span)
{
	unsigned long pfn, end = PFN_DOWN(span->start + span->size);

	for (pfn = PFN_DOWN(span->start); pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page || !PageReserved(page))
			return false;
		cond_resched();
	}
	return true;
}

/*
 * A device tree's node reserves the storage that it describes. A parameter
 * doesn't: what else says that nothing uses the memory?
 */
static const char * __init check_ranges(const struct mts_carveout *c)
{
	struct device_node *reserved, *memory;
	const char *error = NULL;
	unsigned int i;

	for (i = 0; i < c->nr_memory; i++)
		if (!span_is_ram(c->memory[i].start, PAGE_SIZE) ||
		    !span_is_ram(c->memory[i].start + c->memory[i].size -
				 PAGE_SIZE, PAGE_SIZE))
			return "tagged-memory does not begin and end in RAM known to the kernel";

	memory = of_find_node_by_type(NULL, "memory");
	reserved = of_find_node_by_path("/reserved-memory");
	for (i = 0; i < c->nr_storage && !error; i++) {
		if (memory && !tree_reserves(reserved, &c->storage[i]))
			error = "reg is not in a child of /reserved-memory that is for it alone";
		else if (!pages_are_reserved(&c->storage[i]))
			error = "reg is not reserved: the kernel uses the memory";
	}
	of_node_put(memory);
	of_node_put(reserved);
	return error;
}

static int __init probe_ranges(void)
{
	struct device_node *np;
	const char *error, *where;
	unsigned int nr, i;
	int ret;

	error = mts_ranges_parse(ranges, carveouts, MTS_MAX_REGIONS, &nr, &where);
	if (error) {
		pr_err("ranges: \"%.24s\" %s; not loaded\n", where, error);
		return -EINVAL;
	}
	for (i = 0; i < nr; i++) {
		error = add_carveout(i, &ret);
		if (!error) {
			ret = -EINVAL;
			error = check_ranges(&carveouts[i]);
		}
		if (error) {
			pr_err("ranges: carve-out %u: %s; not loaded\n", i + 1,
			       error);
			return ret;
		}
	}

	np = of_find_node_by_type(NULL, "memory");
	if (!np)
		pr_warn("ranges: there is no device tree to tell that firmware reserves the tag storage; trusting it\n");
	of_node_put(np);
	np = of_find_compatible_node(NULL, NULL, MTS_COMPATIBLE);
	if (np)
		pr_notice("ranges: instead of what the device tree describes\n");
	of_node_put(np);
	return 0;
}

/* Tag storage of memory that isn't the kernel's is kept: how much is it? */
static void __init warn_foreign(void)
{
	unsigned long block, kept = 0;
	struct mts_region *r;
	unsigned int i;

	for_each_mts_region(r, i) {
		for (block = 0; block < mts_nr_blocks(&r->geo); block++) {
			if (mts_is_foreign_memory(mts_block_data_pfn(&r->geo, block),
						  mts_block_data_pages(&r->geo)))
				kept += mts_block_pages(&r->geo);
			cond_resched();
		}
	}
	if (kept)
		pr_info("%lu KiB of tag storage are kept reserved: they serve memory that the kernel may not use (no-map memory of firmware or a hypervisor). If nobody uses tags there, describe less tagged-memory\n",
			kept << (PAGE_SHIFT - 10));
}

/* Only whole pageblocks can be lent, and with large pages these are large */
static void __init warn_static(void)
{
	unsigned long pages = 0, lent = 0;
	struct mts_region *r;
	unsigned int i, j;

	for_each_mts_region(r, i) {
		pages += r->geo.tag_pages;
		for (j = 0; j < r->nr_areas; j++)
			lent += r->areas[j].nr_pages;
	}
	warn_foreign();
	if (lent >= pages / 2)
		return;
	pr_warn("only %lu of %lu KiB of tag storage can be lent: whole pageblocks, which have %lu KiB in this kernel. A larger carve-out that is aligned to them gives more\n",
		lent << (PAGE_SHIFT - 10), pages << (PAGE_SHIFT - 10),
		pageblock_nr_pages << (PAGE_SHIFT - 10));
	if (pageblock_order > get_order(SZ_2M))
		pr_warn("a kernel with smaller pageblocks lends more: CONFIG_PAGE_BLOCK_MAX_ORDER=%d makes them 2 MiB\n",
			get_order(SZ_2M));
}

/**
 * mts_firmware_probe() - create the regions of all tag storage there is
 *
 * Says what is wrong, once, and leaves no region behind then.
 *
 * Return: 0, -ENODEV without any, -EINVAL for a bad description, -ENOMEM.
 */
int __init mts_firmware_probe(void)
{
	int ret = find_ram();

	if (!ret)
		ret = ranges ? probe_ranges() : probe_tree();
	if (ret)
		mts_firmware_exit();
	else
		warn_static();
	return ret;
}

/**
 * mts_firmware_exit() - undo mts_firmware_probe()
 *
 * Context: Process context, sleeps. Offline.
 */
void mts_firmware_exit(void)
{
	mts_regions_destroy();
	kvfree(ram);
	ram = NULL;
}
