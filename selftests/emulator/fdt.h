/* SPDX-License-Identifier: GPL-2.0 */
/* What the test reads from the device tree. */
#ifndef MTS_QEMU_FDT_H
#define MTS_QEMU_FDT_H

#include <stdint.h>

#define MAX_RANGES 4

struct memory_node {
	struct {
		uint64_t base, size;
	} range[MAX_RANGES];
	int nr_ranges;
	uint32_t phandle;
};

struct storage_node {
	uint64_t base, size;
	uint32_t block_size;
	uint32_t tagged_memory;
	int no_map;
};

struct machine {
	struct memory_node memory[MAX_RANGES];
	struct storage_node storage[MAX_RANGES];
	int nr_memory, nr_storage;
	const char *bootargs;
};

/* Returns 0, or -1 if there is no sane device tree at @fdt. */
int fdt_read(const void *fdt, struct machine *m);

#endif
