// SPDX-License-Identifier: GPL-2.0
/*
 * The part of firmware that knows of tag storage. Debian's firmware for QEMU doesn't,
 * so this EFI application keeps the carve-outs from everybody, and starts the kernel,
 * which it has in it, with its own command line. There it finds
 *
 *	mts.ranges=START+SIZE@...	the carve-outs, as in the module's parameter
 *	mts.efi=HOW			how they are kept:
 *		reclaim		as memory of the type for ACPI tables (the default)
 *		table		by the kernel's own table of reserved memory
 *		reserved	as reserved memory, which the kernel doesn't map
 *		none		not at all
 */
#include "efi.h"

#define MAX_RANGES	16
#define MAX_TEXT	256

extern const u8 kernel[], kernel_end[];

static struct efi_system_table *efi;

static void put_text(const char *text)
{
	u16 wide[MAX_TEXT];
	int n = 0;

	for (; *text && n < MAX_TEXT - 2; text++) {
		if (*text == '\n')
			wide[n++] = '\r';
		wide[n++] = *text;
	}
	wide[n] = 0;
	efi->out->output_string(efi->out, wide);
}

static void put_hex(u64 value)
{
	char text[] = "0x0000000000000000";

	for (int i = 17; i > 1; i--, value >>= 4)
		text[i] = value % 16 + (value % 16 < 10 ? '0' : 'a' - 10);
	put_text(text);
}

/* "WHAT VALUE VALUE" */
static void put_two(const char *what, u64 a, u64 b)
{
	put_text(what);
	put_text(" ");
	put_hex(a);
	put_text(" ");
	put_hex(b);
	put_text("\n");
}

/* Nothing goes on without the carve-out: the machine ends, and the test without a verdict. */
static void fail(const char *what, u64 a, u64 b)
{
	put_two(what, a, b);
	efi->runtime->reset_system(EFI_RESET_SHUTDOWN, EFI_SUCCESS, 0, NULL);
	for (;;)
		;
}

static void check(u64 status, const char *what)
{
	if (status != EFI_SUCCESS)
		fail(what, status, 0);
}

/* ---- the command line: 16 bits for each character ---- */

static u16 *cmdline;
static u32 cmdline_length;

static u16 char_at(u32 at)
{
	return at < cmdline_length ? cmdline[at] : 0;
}

/* Is this text there? Return: where it ends, or 0. */
static u32 text_at(u32 at, const char *text)
{
	for (; *text; text++, at++)
		if (char_at(at) != (u8)*text)
			return 0;
	return at;
}

/* Return: where the value of "name=" begins, or 0. */
static u32 find_word(const char *name)
{
	u32 at, end;

	for (at = 0; at < cmdline_length; at++) {
		if (at && char_at(at - 1) != ' ')
			continue;
		end = text_at(at, name);
		if (end)
			return end;
	}
	return 0;
}

static int digit(u16 c, u32 base)
{
	int value = c >= '0' && c <= '9' ? c - '0' :
		    (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;

	return value < (int)base ? value : -1;
}

static u64 read_number(u32 *at)
{
	static const char suffixes[] = "KMG";
	u32 base = 10, begin;
	u64 value = 0;

	if (text_at(*at, "0x")) {
		base = 16;
		*at += 2;
	}
	begin = *at;
	for (; digit(char_at(*at), base) >= 0; (*at)++)
		value = value * base + digit(char_at(*at), base);
	if (*at == begin)
		fail("carveout: no number in mts.ranges= at", *at, 0);
	for (u32 i = 0; suffixes[i]; i++) {
		if (char_at(*at) != suffixes[i])
			continue;
		(*at)++;
		return value << 10 * (i + 1);
	}
	return value;
}

/* ---- the carve-outs ---- */

/* Who has the memory: what firmware itself uses can't be moved from here. */
static void put_owners(u64 start, u64 size)
{
	u64 map_size = 0, key, each;
	u32 version;
	u8 *map, *at;

	if (efi->boot->get_memory_map(&map_size, NULL, &key, &each, &version) !=
	    EFI_BUFFER_TOO_SMALL)
		return;
	map_size += 8 * each;
	if (efi->boot->allocate_pool(EFI_LOADER_DATA, map_size, (void **)&map) ||
	    efi->boot->get_memory_map(&map_size, map, &key, &each, &version))
		return;
	for (at = map; at < map + map_size; at += each) {
		struct efi_memory_descriptor *d = (void *)at;

		if (d->start >= start + size ||
		    start >= d->start + (d->pages << EFI_PAGE_SHIFT))
			continue;
		put_two("carveout: there is memory of the type", d->type, 0);
		put_two("carveout:   start and end", d->start,
			d->start + (d->pages << EFI_PAGE_SHIFT));
	}
}

static void allocate(u64 start, u64 size, u32 type)
{
	u64 address = start;

	if (!size || start % EFI_PAGE_SIZE || size % EFI_PAGE_SIZE)
		fail("carveout: not in pages:", start, size);
	if (efi->boot->allocate_pages(EFI_ALLOCATE_ADDRESS, type, size >> EFI_PAGE_SHIFT,
				      &address)) {
		put_owners(start, size);
		fail("carveout: somebody has memory of", start, size);
	}
	put_two("carveout: start and end", start, start + size);
}

static void keep(void)
{
	static const struct efi_guid guid = LINUX_MEMRESERVE_GUID;
	struct linux_memreserve *table = NULL;
	u32 how = find_word("mts.efi=");
	u32 at = find_word("mts.ranges=");
	u32 type = EFI_ACPI_RECLAIM_MEMORY;
	int n;

	if (!at)
		fail("carveout: no mts.ranges=", 0, 0);
	if (how && text_at(how, "none")) {
		put_text("carveout: nothing is kept\n");
		return;
	}
	if (how && text_at(how, "reserved"))
		type = EFI_RESERVED_TYPE;
	if (how && text_at(how, "table")) {
		type = EFI_LOADER_DATA;
		check(efi->boot->allocate_pool(type, sizeof(*table) + MAX_RANGES *
					       sizeof(table->entry[0]), (void **)&table),
		      "carveout: no memory");
		table->size = MAX_RANGES;
		table->count = 0;
		table->next = 0;
	}
	for (n = 0; n < MAX_RANGES; n++, at++) {
		u64 start = read_number(&at), size;

		if (char_at(at++) != '+')
			fail("carveout: no + in mts.ranges= at", at - 1, 0);
		size = read_number(&at);
		allocate(start, size, type);
		if (table) {
			table->entry[n].base = start;
			table->entry[n].size = size;
			table->count++;
		}
		while (char_at(at) && char_at(at) != ' ' && char_at(at) != ',')
			at++;
		if (char_at(at) != ',')
			break;
	}
	if (table)
		check(efi->boot->install_configuration_table(&guid, table),
		      "carveout: the table isn't taken");
}

u64 efi_main(void *self, struct efi_system_table *system)
{
	static const struct efi_guid guid = EFI_LOADED_IMAGE_GUID;
	struct efi_loaded_image *image, *child;
	void *handle = NULL;

	efi = system;
	check(efi->boot->handle_protocol(self, &guid, (void **)&image),
	      "carveout: no loaded image");
	cmdline = image->options;
	cmdline_length = image->options_size / sizeof(*cmdline);
	keep();

	check(efi->boot->load_image(false, self, NULL, kernel, kernel_end - kernel, &handle),
	      "carveout: the kernel isn't loaded");
	check(efi->boot->handle_protocol(handle, &guid, (void **)&child),
	      "carveout: no loaded image of the kernel");
	child->options = image->options;
	child->options_size = image->options_size;
	check(efi->boot->start_image(handle, NULL, NULL), "carveout: the kernel came back");
	return EFI_SUCCESS;
}
