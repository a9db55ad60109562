// SPDX-License-Identifier: GPL-2.0
/* A reader for the few properties of a flattened device tree that we need. */
#include "fdt.h"

static uint32_t be32(const void *p)
{
	return __builtin_bswap32(*(const uint32_t *)p);
}

static uint64_t be64(const void *p)
{
	return (uint64_t)be32(p) << 32 | be32((const char *)p + 4);
}

static int str_eq(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static int has_prefix(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return 0;
	return 1;
}

enum { OTHER, MEMORY, STORAGE, CHOSEN };

/* All of the nodes we read are at depth 1 or, tag storage, at depth 2. */
static int node_kind(const char *name, const char *parent, int depth)
{
	if (depth == 1 && has_prefix(name, "memory@"))
		return MEMORY;
	if (depth == 1 && str_eq(name, "chosen"))
		return CHOSEN;
	if (depth == 2 && str_eq(parent, "reserved-memory") &&
	    has_prefix(name, "tag-storage@"))
		return STORAGE;
	return OTHER;
}

static void memory_prop(struct memory_node *n, const char *name, const void *v,
			uint32_t size)
{
	const char *p = v;

	if (str_eq(name, "reg")) {
		for (; size >= 16 && n->nr_ranges < MAX_RANGES; size -= 16) {
			n->range[n->nr_ranges].base = be64(p);
			n->range[n->nr_ranges].size = be64(p + 8);
			n->nr_ranges++;
			p += 16;
		}
	} else if (str_eq(name, "phandle")) {
		n->phandle = be32(v);
	}
}

static void storage_prop(struct storage_node *n, const char *name,
			 const void *v)
{
	if (str_eq(name, "reg")) {
		n->base = be64(v);
		n->size = be64((const char *)v + 8);
	} else if (str_eq(name, "block-size")) {
		n->block_size = be32(v);
	} else if (str_eq(name, "tagged-memory")) {
		n->tagged_memory = be32(v);
	} else if (str_eq(name, "no-map")) {
		n->no_map = 1;
	}
}

int fdt_read(const void *fdt, struct machine *m)
{
	const char *p, *strings, *parent = "", *name;
	int depth = -1, kind = OTHER;

	if (be32(fdt) != 0xd00dfeed)
		return -1;
	p = (const char *)fdt + be32((const char *)fdt + 8);
	strings = (const char *)fdt + be32((const char *)fdt + 12);

	for (;;) {
		uint32_t token = be32(p);

		p += 4;
		switch (token) {
		case 1: /* begin node */
			depth++;
			name = p;
			while (*p)
				p++;
			p = (const char *)(((uintptr_t)p + 4) & ~3UL);
			if (depth == 1)
				parent = name;
			kind = node_kind(name, parent, depth);
			if ((kind == MEMORY && m->nr_memory == MAX_RANGES) ||
			    (kind == STORAGE && m->nr_storage == MAX_RANGES))
				return -1;
			m->nr_memory += kind == MEMORY;
			m->nr_storage += kind == STORAGE;
			break;
		case 2: /* end node; properties precede subnodes */
			depth--;
			kind = OTHER;
			if (depth < 0)
				return 0;
			break;
		case 3: /* property */
			name = strings + be32(p + 4);
			if (kind == MEMORY)
				memory_prop(&m->memory[m->nr_memory - 1], name,
					    p + 8, be32(p));
			else if (kind == STORAGE)
				storage_prop(&m->storage[m->nr_storage - 1],
					     name, p + 8);
			else if (kind == CHOSEN && str_eq(name, "bootargs"))
				m->bootargs = p + 8;
			p += 8 + ((be32(p) + 3) & ~3U);
			break;
		case 4: /* nop */
			break;
		default:
			return -1;
		}
	}
}
