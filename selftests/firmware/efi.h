/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The little of UEFI that carveout.c needs (UEFI specification, chapters 4, 7 and 9).
 * A status is a number; functions that it doesn't call are pointers.
 */
#ifndef EFI_H
#define EFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define EFI_SUCCESS		0
#define EFI_ERROR(n)		((1UL << 63) | (n))
#define EFI_BUFFER_TOO_SMALL	EFI_ERROR(5)

#define EFI_PAGE_SHIFT		12
#define EFI_PAGE_SIZE		(1UL << EFI_PAGE_SHIFT)

#define EFI_ALLOCATE_ADDRESS	2

enum efi_memory_type {
	EFI_RESERVED_TYPE = 0,
	EFI_LOADER_DATA = 2,
	EFI_ACPI_RECLAIM_MEMORY = 9,
};

#define EFI_RESET_SHUTDOWN	2

struct efi_guid {
	u32 a;
	u16 b, c;
	u8 d[8];
};

struct efi_table_header {
	u64 signature;
	u32 revision, header_size, crc32, reserved;
};

struct efi_memory_descriptor {
	u32 type, pad;
	u64 start, virt, pages, attribute;
};

struct efi_text_output {
	void *reset;
	u64 (*output_string)(struct efi_text_output *out, const u16 *text);
};

struct efi_boot_services {
	struct efi_table_header header;
	void *raise_tpl, *restore_tpl;
	u64 (*allocate_pages)(int how, u32 type, u64 pages, u64 *address);
	void *free_pages;
	u64 (*get_memory_map)(u64 *size, void *map, u64 *key, u64 *descriptor_size,
			      u32 *version);
	u64 (*allocate_pool)(u32 type, u64 size, void **buffer);
	void *free_pool;
	void *create_event, *set_timer, *wait_for_event, *signal_event, *close_event;
	void *check_event;
	void *install_protocol, *reinstall_protocol, *uninstall_protocol;
	u64 (*handle_protocol)(void *handle, const struct efi_guid *protocol,
			       void **interface);
	void *reserved, *register_protocol_notify, *locate_handle, *locate_device_path;
	u64 (*install_configuration_table)(const struct efi_guid *guid, void *table);
	u64 (*load_image)(u8 boot_policy, void *parent, void *path, const void *source,
			  u64 size, void **handle);
	u64 (*start_image)(void *handle, u64 *data_size, u16 **data);
};

struct efi_runtime_services {
	struct efi_table_header header;
	void *time[4], *virtual[2], *variable[3], *next_count;
	void (*reset_system)(int how, u64 status, u64 size, void *data);
};

struct efi_system_table {
	struct efi_table_header header;
	u16 *vendor;
	u32 revision;
	void *in_handle;
	void *in;
	void *out_handle;
	struct efi_text_output *out;
	void *error_handle;
	void *error;
	struct efi_runtime_services *runtime;
	struct efi_boot_services *boot;
};

#define EFI_LOADED_IMAGE_GUID \
	{ 0x5b1b31a1, 0x9562, 0x11d2, { 0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b } }

struct efi_loaded_image {
	u32 revision;
	void *parent;
	struct efi_system_table *system;
	void *device;
	void *path, *reserved;
	u32 options_size;
	u16 *options;
};

/* Linux's own: what is listed is reserved, and mapped (include/linux/efi.h) */
#define LINUX_MEMRESERVE_GUID \
	{ 0x888eb0c6, 0x8ede, 0x4ff5, { 0xa8, 0xf0, 0x9a, 0xee, 0x5c, 0xb9, 0x77, 0xc2 } }

struct linux_memreserve {
	int size, count;
	u64 next;
	struct {
		u64 base, size;
	} entry[];
};

#endif
