// SPDX-License-Identifier: GPL-2.0
/*
 * Reading the tag storage that a device tree describes. What it means, and
 * whether it is true, is for others to tell.
 */
#include <linux/array_size.h>
#include <linux/of.h>
#include <linux/of_address.h>

#include "tree.h"

/*
 * The reg entries of a node; memory nodes may have empty ones, as boot loaders
 * leave them.
 * Return: their number, or 0 when there is none or not all can be read.
 */
static unsigned int read_reg(struct device_node *np, struct mts_span *spans,
			     bool keep_empty)
{
	int cells = of_n_addr_cells(np), size_cells = of_n_size_cells(np);
	unsigned int nr = 0;
	int i, count;

	/* No address of a machine is longer than two cells */
	if (cells < 1 || cells > 2 || size_cells < 1 || size_cells > 2)
		return 0;
	count = of_property_count_elems_of_size(np, "reg", (cells + size_cells) *
							   sizeof(u32));
	if (count > MTS_MAX_SPANS)
		return 0;
	for (i = 0; i < count; i++) {
		if (of_property_read_reg(np, i, &spans[nr].start,
					 &spans[nr].size))
			return 0;
		if (spans[nr].size || keep_empty)
			nr++;
	}
	return nr;
}

/* As of_find_node_by_phandle(), in this tree */
static struct device_node *find_phandle(struct device_node *root, u32 handle)
{
	struct device_node *np;

	for (np = of_node_get(root); np; np = of_find_all_nodes(np))
		if (handle && np->phandle == handle)
			break;
	return np;
}

static const char *read_memory(struct device_node *root, struct device_node *np,
			       struct mts_carveout *c)
{
	struct mts_span spans[MTS_MAX_SPANS];
	struct device_node *mem;
	unsigned int n, j;
	u32 handle;
	bool good;
	int i, count;

	if (!of_property_present(np, "tagged-memory"))
		return "has no tagged-memory";
	count = of_property_count_u32_elems(np, "tagged-memory");
	if (count <= 0)
		return "tagged-memory is not a list of phandles";
	for (i = 0; i < count; i++) {
		of_property_read_u32_index(np, "tagged-memory", i, &handle);
		mem = find_phandle(root, handle);
		if (!mem)
			return "tagged-memory is not the phandle of any node";
		good = mem->parent == root && of_node_is_type(mem, "memory") &&
			of_device_is_available(mem);
		n = good ? read_reg(mem, spans, false) : 0;
		of_node_put(mem);
		if (!good)
			return "tagged-memory is not a memory node";
		if (!n)
			return "tagged-memory has no reg, or one that can't be read";
		if (c->nr_memory + n > MTS_MAX_SPANS)
			return "tagged-memory has too many ranges";
		for (j = 0; j < n; j++)
			c->memory[c->nr_memory++] = spans[j];
	}
	return NULL;
}

/* Is some of the storage somebody else's reserved memory, too? */
static bool is_shared(struct device_node *np, const struct mts_carveout *c)
{
	struct device_node *other;
	struct mts_span span;
	unsigned int i;
	int j;

	for_each_available_child_of_node(np->parent, other) {
		if (of_device_is_compatible(other, MTS_COMPATIBLE))
			continue;
		for (j = 0; !of_property_read_reg(other, j, &span.start,
						  &span.size); j++) {
			for (i = 0; i < c->nr_storage; i++) {
				if (!mts_span_overlaps(&span, &c->storage[i]))
					continue;
				of_node_put(other);
				return true;
			}
		}
	}
	return false;
}

/* Would the kernel reserve what is described in there? */
static bool is_reserved_memory(struct device_node *root, struct device_node *np)
{
	u32 cells, size_cells;

	return np && np->parent == root &&
		of_node_name_eq(np, "reserved-memory") &&
		of_property_present(np, "ranges") &&
		!of_property_read_u32(np, "#address-cells", &cells) &&
		!of_property_read_u32(np, "#size-cells", &size_cells) &&
		cells == of_n_addr_cells(np) && size_cells == of_n_size_cells(np);
}

static const char *read_node(struct device_node *root, struct device_node *np,
			     struct mts_carveout *c)
{
	u32 block_size;

	*c = (struct mts_carveout) {};
	if (!np->parent || np->parent->parent != root ||
	    !of_node_name_eq(np->parent, "reserved-memory"))
		return "is not a child of /reserved-memory";
	if (!is_reserved_memory(root, np->parent))
		return "is in a /reserved-memory without ranges, or with other cells than the root";
	if (of_property_read_bool(np, "no-map"))
		return "has no-map: the kernel has no access to the memory";
	c->nr_storage = read_reg(np, c->storage, true);
	if (!c->nr_storage)
		return "has no reg, or one that can't be read";
	if (is_shared(np, c))
		return "reg overlaps another child of /reserved-memory";
	if (!of_property_present(np, "block-size"))
		return "has no block-size";
	if (of_property_count_u32_elems(np, "block-size") != 1 ||
	    of_property_read_u32(np, "block-size", &block_size))
		return "block-size is not one 32-bit number";
	c->block_size = block_size;
	return read_memory(root, np, c);
}

static bool is_tag_storage(struct device_node *np)
{
	return of_device_is_compatible(np, MTS_COMPATIBLE) &&
		of_device_is_available(np);
}

/**
 * mts_tree_node() - find a node again
 * @root:	of the tree
 * @i:		its position in the result of mts_tree_read()
 *
 * Return: the node, with a reference.
 */
struct device_node *mts_tree_node(struct device_node *root, unsigned int i)
{
	struct device_node *np;

	for (np = of_node_get(root); np; np = of_find_all_nodes(np))
		if (is_tag_storage(np) && !i--)
			break;
	return np;
}

/**
 * mts_tree_read() - read all nodes of tag storage
 * @root:	of the tree, which need not be the machine's
 * @c:		the result, as it is described
 * @max:	length of @c
 * @nr:		how many nodes could be read
 * @np:		on an error the bad node, with a reference
 *
 * Return: NULL, or what is wrong, to be put behind the name of the node.
 */
const char *mts_tree_read(struct device_node *root, struct mts_carveout *c,
			  unsigned int max, unsigned int *nr,
			  struct device_node **np)
{
	const char *error;

	*nr = 0;
	for (*np = of_node_get(root); *np; *np = of_find_all_nodes(*np)) {
		if (!is_tag_storage(*np))
			continue;
		if (*nr == max)
			return "is one node too many";
		error = read_node(root, *np, &c[*nr]);
		if (error)
			return error;
		(*nr)++;
	}
	return NULL;
}
