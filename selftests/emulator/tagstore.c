// SPDX-License-Identifier: GPL-2.0
/*
 * Bare-metal test of the emulator's tag storage: a tag store changes exactly
 * the right nibble of the right byte of RAM, whatever is written to tag storage
 * as data can be read as tags, and nothing else changes.
 *
 * The command line (-append) says what to expect of the machine:
 *
 *   ranges=N       memory ranges with tag storage; 0: tags aren't in RAM
 *   block-size=N   bytes of the blocks within which tags are interleaved
 *   cpus=N         2: also test concurrent stores to one byte
 *   sparse         RAM is big: leave it zero rather than fill it
 *   cache          tags and data are cached, neither knows of the other
 *
 * Prints KTAP on the first PL011 and powers off.
 */
#include <stddef.h>
#include <stdint.h>

#include "fdt.h"
#include "tagstore.h"

#define UART		0x09000000UL
#define UNTAGGED	0x4000000000UL	/* a second, untagged map of everything */
#define PAGE		4096UL
#define GRANULE		16UL
#define LINE		64UL
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* ---- output ---- */

static void put_char(char c)
{
	*(volatile uint32_t *)UART = c;
}

static void put_str(const char *s)
{
	while (*s)
		put_char(*s++);
}

static void put_dec(uint64_t v)
{
	if (v >= 10)
		put_dec(v / 10);
	put_char('0' + v % 10);
}

static void put_hex(uint64_t v)
{
	int i;

	put_str("0x");
	for (i = 60; i > 0 && !(v >> i); i -= 4)
		;
	for (; i >= 0; i -= 4)
		put_char("0123456789abcdef"[(v >> i) & 15]);
}

static int tests, test_failed, failed, complaints;

static void verdict(const char *text)
{
	tests++;
	failed |= test_failed;
	put_str(test_failed ? "not ok " : "ok ");
	put_dec(tests);
	put_str(" ");
	put_str(text);
	put_str("\n");
	test_failed = 0;
	complaints = 0;
}

/* The first few failures of a test in detail. */
static int complain(const char *text, uint64_t addr, uint64_t got,
		    uint64_t want)
{
	test_failed = 1;
	if (complaints++ < 5) {
		put_str("# ");
		put_str(text);
		put_str(": at ");
		put_hex(addr);
		put_str(" got ");
		put_hex(got);
		put_str(" want ");
		put_hex(want);
		put_str("\n");
	}
	return -1;
}

void unexpected_exception(uint64_t esr, uint64_t far, uint64_t elr)
{
	put_str("Bail out! exception: esr ");
	put_hex(esr);
	put_str(" far ");
	put_hex(far);
	put_str(" elr ");
	put_hex(elr);
	put_str("\n");
	power_off();
}

/* ---- the CPU ---- */

/*
 * 1 GiB blocks: device memory, then Tagged RAM. The upper half of the 512 GiB
 * maps the same RAM untagged.
 */
void mmu_fill_tables(void)
{
	uint64_t i, flags = 1 | (1 << 10) | (3 << 8);

	page_table[0] = 1 | (1 << 10) | (1UL << 54);
	for (i = 1; i < 256; i++) {
		page_table[i] = i << 30 | flags | (1 << 2);
		page_table[256 + i] = i << 30 | flags | (2 << 2);
	}
}

static inline uint64_t tagged(uint64_t addr, int tag)
{
	return addr | (uint64_t)tag << 56;
}

static inline void insn_stg(uint64_t addr, int tag)
{
	asm volatile("stg %0, [%0]" :: "r"(tagged(addr, tag)) : "memory");
}

static inline void insn_stzg(uint64_t addr, int tag)
{
	asm volatile("stzg %0, [%0]" :: "r"(tagged(addr, tag)) : "memory");
}

static inline void insn_st2g(uint64_t addr, int tag)
{
	asm volatile("st2g %0, [%0]" :: "r"(tagged(addr, tag)) : "memory");
}

static inline void insn_stgp(uint64_t addr, int tag)
{
	asm volatile("stgp xzr, xzr, [%0]" :: "r"(tagged(addr, tag))
		     : "memory");
}

static inline void insn_stgm(uint64_t addr, uint64_t tags)
{
	asm volatile("stgm %1, [%0]" :: "r"(addr), "r"(tags) : "memory");
}

static inline uint64_t insn_ldgm(uint64_t addr)
{
	uint64_t tags;

	asm volatile("ldgm %0, [%1]" : "=r"(tags) : "r"(addr) : "memory");
	return tags;
}

static inline void dc_gva(uint64_t addr, int tag)
{
	asm volatile("dc gva, %0" :: "r"(tagged(addr, tag)) : "memory");
}

static inline void dc_gzva(uint64_t addr, int tag)
{
	asm volatile("dc gzva, %0" :: "r"(tagged(addr, tag)) : "memory");
}

static inline int insn_ldg(uint64_t addr)
{
	uint64_t v = addr;

	asm volatile("ldg %0, [%1]" : "+r"(v) : "r"(addr) : "memory");
	return (v >> 56) & 15;
}

static inline void dsb(void)
{
	asm volatile("dsb sy" ::: "memory");
}

static inline void dc_civac(uint64_t addr)
{
	asm volatile("dc civac, %0" :: "r"(addr) : "memory");
}

static inline void dc_cvac(uint64_t addr)
{
	asm volatile("dc cvac, %0" :: "r"(addr) : "memory");
}

static inline void dc_cigvac(uint64_t addr)
{
	asm volatile("dc cigvac, %0" :: "r"(addr) : "memory");
}

static inline void dc_cgvac(uint64_t addr)
{
	asm volatile("dc cgvac, %0" :: "r"(addr) : "memory");
}

static inline void dc_cigdvac(uint64_t addr)
{
	asm volatile("dc cigdvac, %0" :: "r"(addr) : "memory");
}

/* Granules per LDGM and STGM. */
static unsigned int gm_granules(void)
{
	uint64_t gmid;

	asm("mrs %0, gmid_el1" : "=r"(gmid));
	return (4U << (gmid & 15)) / GRANULE;
}

/* Granules per DC GVA. */
static unsigned int zva_granules(void)
{
	uint64_t dczid;

	asm("mrs %0, dczid_el0" : "=r"(dczid));
	return (4U << (dczid & 15)) / GRANULE;
}

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* gcc calls these. */
void *memcpy(void *d, const void *s, size_t n)
{
	char *dst = d;
	const char *src = s;

	while (n--)
		*dst++ = *src++;
	return d;
}

void *memset(void *d, int c, size_t n)
{
	char *dst = d;

	while (n--)
		*dst++ = c;
	return d;
}

/* ---- the machine ---- */

struct range {
	uint64_t base, size;
	uint64_t storage, storage_size;
	uint8_t *shadow;	/* what the tag storage should contain */
};

static struct machine machine;
static struct range ranges[MAX_RANGES];
static int nr_ranges;
static uint64_t block_size;
static long long want_ranges;
static int cpus = 1, sparse, cache;
/* Above the image and the device tree; RAM is free from the end on. */
static uint64_t shadow_start, shadow_end;

/* Value of "NAME=number" in the boot arguments; -1 without. */
static long long argument(const char *name)
{
	const char *s = machine.bootargs;

	while (s && *s) {
		const char *n = name;

		while (*n && *s == *n) {
			s++;
			n++;
		}
		if (!*n && (*s == '=' || *s == ' ' || !*s)) {
			long long v = 0;

			for (s += *s == '='; *s >= '0' && *s <= '9'; s++)
				v = v * 10 + *s - '0';
			return v;
		}
		while (*s && *s != ' ')
			s++;
		while (*s == ' ')
			s++;
	}
	return -1;
}

/* The byte that holds the tag of @addr, as the documentation describes it. */
static uint64_t tag_byte(const struct range *r, uint64_t addr)
{
	uint64_t ofs = addr - r->base;
	uint64_t block = ofs / (block_size * 32);
	uint64_t page = ofs % (block_size * 32) / PAGE;
	uint64_t pages = block_size / PAGE;

	return r->storage + block * block_size + page % pages * PAGE +
	       page / pages * 128 + addr % PAGE / 32;
}

static int tag_shift(uint64_t addr)
{
	return addr / GRANULE % 2 * 4;
}

static void expect_tag(struct range *r, uint64_t addr, int tag)
{
	uint8_t *b = &r->shadow[tag_byte(r, addr) - r->storage];

	*b = (*b & ~(15 << tag_shift(addr))) | tag << tag_shift(addr);
}

static int check_byte(struct range *r, uint64_t addr, const char *what)
{
	uint64_t byte = tag_byte(r, addr);
	uint8_t got = *(volatile uint8_t *)byte;
	uint8_t want = r->shadow[byte - r->storage];

	return got == want ? 0 : complain(what, byte, got, want);
}

/* The tags of memory go from the cache to storage, for data accesses. */
static void clean_tags(uint64_t addr, uint64_t size)
{
	uint64_t a;

	if (!cache)
		return;
	for (a = addr & ~(LINE - 1); a < addr + size; a += LINE)
		dc_cigvac(a);
	dsb();
}

/* Data in storage go from the cache to memory, and come from there again. */
static void clean_data(uint64_t addr, uint64_t size)
{
	uint64_t a;

	if (!cache)
		return;
	for (a = addr & ~(LINE - 1); a < addr + size; a += LINE)
		dc_civac(a);
	dsb();
}

/* Compare all tag storage of the machine with its shadow. */
static int check_all(const char *what)
{
	int i;

	for (i = 0; i < nr_ranges; i++)
		clean_data(ranges[i].storage, ranges[i].storage_size);
	for (i = 0; i < nr_ranges; i++) {
		const uint64_t *a = (uint64_t *)ranges[i].storage;
		const uint64_t *b = (uint64_t *)ranges[i].shadow;
		uint64_t n = ranges[i].storage_size / 8, j;

		for (j = 0; j < n; j++)
			if (a[j] != b[j])
				return complain(what, (uint64_t)&a[j], a[j],
						b[j]);
	}
	return 0;
}

static void fill_storage(void)
{
	int i;

	for (i = 0; i < nr_ranges; i++) {
		uint64_t *a = (uint64_t *)ranges[i].storage;
		uint64_t *b = (uint64_t *)ranges[i].shadow;
		uint64_t n = ranges[i].storage_size / 8, j;

		clean_tags(ranges[i].base, ranges[i].size);
		for (j = 0; j < n; j++) {
			a[j] = sparse ? 0 : random64();
			b[j] = a[j];
		}
		clean_data(ranges[i].storage, ranges[i].storage_size);
	}
}

static int in_storage(uint64_t addr)
{
	int i;

	for (i = 0; i < nr_ranges; i++)
		if (addr - ranges[i].storage < ranges[i].storage_size)
			return 1;
	return 0;
}

static uint64_t page_checksum(uint64_t page, uint64_t sum)
{
	uint64_t a;

	for (a = page; a < page + PAGE; a += 8)
		sum = (sum << 7 | sum >> 57) + *(uint64_t *)a;
	return sum;
}

/*
 * A checksum of all RAM but tag storage and what the test itself uses. Data
 * stores of the test keep it: RAM is zero and they write zeroes.
 */
static uint64_t ram_checksum(void)
{
	uint64_t sum = 0;
	int i, j;

	for (i = 0; i < machine.nr_memory; i++)
		for (j = 0; j < machine.memory[i].nr_ranges; j++) {
			uint64_t a = machine.memory[i].range[j].base;
			uint64_t end = a + machine.memory[i].range[j].size;

			if (a < shadow_end)
				a = shadow_end;
			for (; a < end; a += PAGE)
				if (!in_storage(a))
					sum = page_checksum(a, sum);
		}
	return sum;
}

/* ---- tests ---- */

static void read_expectations(const void *fdt)
{
	long long v;

	if (fdt_read(fdt, &machine)) {
		put_str("Bail out! no device tree, or too many nodes\n");
		power_off();
	}
	/* QEMU gives the device tree up to 1 MiB. */
	shadow_start = ((uint64_t)fdt + 2 * 1024 * 1024) & ~(PAGE - 1);
	shadow_end = shadow_start;
	v = argument("block-size");
	block_size = v < 0 ? PAGE : (uint64_t)v;
	v = argument("cpus");
	cpus = v < 0 ? 1 : v;
	sparse = argument("sparse") >= 0;
	cache = argument("cache") >= 0;
	want_ranges = argument("ranges");
	/* The device tree may be overwritten from now on. */
	machine.bootargs = NULL;
}

/*
 * A node's storage is 1/32 of its memory node's ranges, one after the other, at
 * the end of the last of them.
 */
static void read_storage(const struct storage_node *s)
{
	const struct memory_node *m = machine.memory;
	uint64_t storage = s->base, end;
	int i;

	while (m < &machine.memory[machine.nr_memory] &&
	       m->phandle != s->tagged_memory)
		m++;
	if (!s->tagged_memory || m == &machine.memory[machine.nr_memory]) {
		complain("tagged-memory is no memory node's phandle", s->base,
			 s->tagged_memory, 0);
		return;
	}
	for (i = 0; i < m->nr_ranges && nr_ranges < MAX_RANGES; i++) {
		struct range *r = &ranges[nr_ranges++];

		r->base = m->range[i].base;
		r->size = m->range[i].size;
		r->storage = storage;
		r->storage_size = r->size / 32;
		r->shadow = (uint8_t *)shadow_end;
		storage += r->storage_size;
		shadow_end += r->storage_size;
	}
	end = m->range[m->nr_ranges - 1].base + m->range[m->nr_ranges - 1].size;
	if (s->base + s->size != storage || s->base + s->size != end)
		complain("tag storage isn't the last 1/32", s->base, s->size,
			 storage - s->base);
}

static void test_nodes(void)
{
	int i;

	for (i = 0; i < machine.nr_storage; i++) {
		if (machine.storage[i].no_map)
			complain("no-map", machine.storage[i].base, 1, 0);
		read_storage(&machine.storage[i]);
	}
	if (nr_ranges != want_ranges)
		complain("ranges with tag storage", 0, nr_ranges, want_ranges);
	for (i = 0; i < nr_ranges; i++) {
		if (ranges[i].storage < shadow_end &&
		    ranges[i].storage + ranges[i].storage_size > shadow_start) {
			put_str("Bail out! no room for the shadow\n");
			power_off();
		}
	}
	verdict("the device tree has a right tag storage node for each range");
}

static void test_block_size_property(void)
{
	int i;

	for (i = 0; i < machine.nr_storage; i++)
		if (machine.storage[i].block_size != block_size)
			complain("block-size", machine.storage[i].base,
				 machine.storage[i].block_size, block_size);
	verdict("the device tree has the expected block-size");
}

enum { OP_STG, OP_STZG, OP_ST2G, OP_STGP, OP_STGM, OP_GVA, OP_GZVA, NR_OPS };

static const char *const op_name[NR_OPS] = {
	"STG", "STZG", "ST2G", "STGP", "STGM", "DC GVA", "DC GZVA",
};

/* Data stores of these ops would destroy what other tests look at. */
static int op_zeroes(int op)
{
	return op == OP_STZG || op == OP_STGP || op == OP_GZVA;
}

/* May the test overwrite the data at @addr? */
static int data_is_free(const struct range *r, uint64_t addr)
{
	return addr >= shadow_end && addr - r->base < r->size &&
	       !in_storage(addr);
}

/* One tag store at @addr; the shadow gets what it should do. */
static void one_store(struct range *r, uint64_t addr, int op)
{
	uint64_t tags = random64(), end = r->base + r->size;
	unsigned int i, n = 1;

	/* The storage of a range may lie in another one. */
	if (addr - r->base >= r->size)
		return;
	addr &= ~(GRANULE - 1);
	if (op_zeroes(op) && !data_is_free(r, addr))
		op = OP_STG;
	/* Not beyond the range: the next one may follow or nothing at all. */
	if (op == OP_ST2G && addr + 2 * GRANULE > end)
		op = OP_STG;

	switch (op) {
	case OP_STG:
		insn_stg(addr, tags & 15);
		expect_tag(r, addr, tags & 15);
		break;
	case OP_STZG:
		insn_stzg(addr, tags & 15);
		expect_tag(r, addr, tags & 15);
		break;
	case OP_STGP:
		insn_stgp(addr, tags & 15);
		expect_tag(r, addr, tags & 15);
		break;
	case OP_ST2G:
		n = 2;
		insn_st2g(addr, tags & 15);
		expect_tag(r, addr, tags & 15);
		expect_tag(r, addr + GRANULE, tags & 15);
		break;
	case OP_STGM:
		n = gm_granules();
		addr &= ~(n * GRANULE - 1);
		/* The tags' place in the register is that of the address. */
		insn_stgm(addr, tags);
		for (i = 0; i < n; i++, addr += GRANULE)
			expect_tag(r, addr,
				   tags >> (addr / GRANULE % 16 * 4) & 15);
		addr -= n * GRANULE;
		break;
	default:
		n = zva_granules();
		addr &= ~(n * GRANULE - 1);
		if (op == OP_GVA)
			dc_gva(addr, tags & 15);
		else
			dc_gzva(addr, tags & 15);
		for (i = 0; i < n; i++)
			expect_tag(r, addr + i * GRANULE, tags & 15);
	}
	clean_tags(addr, n * GRANULE);
	clean_data(tag_byte(r, addr), 1);
	check_byte(r, addr, op_name[op]);
	if (insn_ldg(addr) != (*(volatile uint8_t *)tag_byte(r, addr) >>
			  tag_shift(addr) & 15))
		complain("LDG doesn't see the byte in storage", addr,
			 insn_ldg(addr),
			 *(volatile uint8_t *)tag_byte(r, addr));
}

/* All of tag storage is compared after each store. */
static void test_exact(void)
{
	int i, op;

	for (i = 0; i < nr_ranges; i++) {
		struct range *r = &ranges[i];
		const uint64_t edge[] = {
			r->base, r->base + GRANULE,
			r->base + PAGE - GRANULE, r->base + PAGE,
			r->base + 32 * PAGE - GRANULE,
			r->base + 32 * block_size - GRANULE,
			r->base + 32 * block_size,
			r->base + 33 * block_size + PAGE,
			r->storage - GRANULE, r->storage,
			r->base + r->size - PAGE,
			r->base + r->size - GRANULE,
			r->base + random64() % r->size,
			r->base + random64() % r->size,
		};
		unsigned int n = ARRAY_SIZE(edge), j;

		for (j = 0; j < n; j++) {
			/* Each op at each address takes too long if big. */
			for (op = 0; op < NR_OPS; op++) {
				if (sparse && (op + j) % NR_OPS)
					continue;
				one_store(r, edge[j], op);
				check_all(op_name[op]);
			}
		}
	}
	verdict("each kind of tag store changes its own nibbles only");
}

static void test_random(void)
{
	int i, j;

	for (i = 0; i < nr_ranges; i++)
		for (j = 0; j < 20000; j++)
			one_store(&ranges[i],
				  ranges[i].base + random64() % ranges[i].size,
				  random64() % NR_OPS);
	check_all("after random stores");
	verdict("20000 random tag stores per range change nothing else");
}

/* Every page of a few blocks, so that two pages can't share their tags. */
static void test_all_pages(void)
{
	uint64_t a;
	int i;

	for (i = 0; i < nr_ranges; i++) {
		struct range *r = &ranges[i];

		for (a = r->base; a < r->base + 3 * 32 * block_size; a += PAGE)
			one_store(r, a + random64() % PAGE, OP_STG);
		for (a = r->base + r->size - 3 * 32 * block_size;
		     a < r->base + r->size; a += PAGE)
			one_store(r, a + random64() % PAGE, OP_STG);
	}
	check_all("after stores to all pages");
	verdict("the tags of each page of three blocks have a place of their own");
}

/* Write data to storage; tags must follow. */
static void test_data_is_tags(void)
{
	unsigned int gm = gm_granules(), k;
	int i, j;

	for (i = 0; i < nr_ranges; i++) {
		struct range *r = &ranges[i];

		for (j = 0; j < 5000; j++) {
			uint64_t a = r->base + random64() % r->size, tags;
			uint64_t byte;
			uint8_t v = random64();

			a &= ~(gm * GRANULE - 1);
			byte = tag_byte(r, a);
			*(volatile uint8_t *)byte = v;
			r->shadow[byte - r->storage] = v;
			clean_data(byte, 1);
			clean_tags(a, gm * GRANULE);
			if (insn_ldg(a) != (v & 15))
				complain("LDG", a, insn_ldg(a), v & 15);
			if (insn_ldg(a + GRANULE) != v >> 4)
				complain("LDG", a + GRANULE,
					 insn_ldg(a + GRANULE), v >> 4);
			tags = insn_ldgm(a) >> (a / GRANULE % 16 * 4);
			for (k = 0; k < gm; k++) {
				uint64_t g = a + k * GRANULE;
				uint8_t b = *(uint8_t *)tag_byte(r, g);

				if ((tags >> (k * 4) & 15) !=
				    (b >> tag_shift(g) & 15))
					complain("LDGM", g,
						 tags >> (k * 4) & 15,
						 b >> tag_shift(g) & 15);
			}
		}
	}
	check_all("after data stores");
	verdict("data written to tag storage are read as tags");
}

static void test_untagged_map(void)
{
	int i, j;

	for (i = 0; i < nr_ranges; i++) {
		for (j = 0; j < 1000; j++) {
			uint64_t a = ranges[i].base +
				     random64() % ranges[i].size;

			a = (a & ~(GRANULE - 1)) | UNTAGGED;
			insn_stg(a, random64() & 15);
			if (insn_ldg(a))
				complain("tag through untagged map", a,
					 insn_ldg(a), 0);
		}
	}
	check_all("after stores through an untagged map");
	verdict("tag stores through an untagged map change nothing");
}

/* A tag store must drop the code that was translated from its byte. */
static void test_code(void)
{
	int i;

	for (i = 0; i < nr_ranges; i++) {
		struct range *r = &ranges[i];
		/* The tags of the first page behind the first block. */
		uint64_t data = r->base + 32 * block_size;
		uint64_t code = tag_byte(r, data);
		int (*fn)(void) = (int (*)(void))code;
		int imm, got;

		memcpy((void *)code, code_sample,
		       code_sample_end - code_sample);
		memcpy(&r->shadow[code - r->storage], code_sample,
		       code_sample_end - code_sample);
		clean_data(code, code_sample_end - code_sample);
		clean_tags(data, LINE);
		for (imm = 1; imm < 8; imm++) {
			/* bits 5 to 7 of the first byte: the odd granule's */
			insn_stg(data + GRANULE, imm * 2);
			expect_tag(r, data + GRANULE, imm * 2);
			clean_tags(data, LINE);
			clean_data(code, 1);
			asm volatile("dsb sy; ic iallu; dsb sy; isb"
				     ::: "memory");
			got = fn();
			if (got != imm)
				complain("stale code", code, got, imm);
		}
	}
	check_all("after running code");
	verdict("a tag store over translated code takes effect");
}

/* ---- caches ---- */

/* Each on a page of its own, with tags of two granules in a byte each. */
#define SAMPLES		200

static uint64_t sample(const struct range *r, int i)
{
	return r->base + r->size / 2 + i * PAGE;
}

static volatile uint8_t *sample_byte(const struct range *r, int i)
{
	return (volatile uint8_t *)tag_byte(r, sample(r, i));
}

/* All samples hold one value, in memory and nowhere else. */
static void reset_samples(const struct range *r, uint8_t v)
{
	int i;

	for (i = 0; i < SAMPLES; i++)
		clean_tags(sample(r, i), LINE);
	for (i = 0; i < SAMPLES; i++) {
		clean_data((uint64_t)sample_byte(r, i), 1);
		*sample_byte(r, i) = v;
		clean_data((uint64_t)sample_byte(r, i), 1);
		r->shadow[tag_byte(r, sample(r, i)) - r->storage] = v;
	}
}

static int count_data(const struct range *r, uint8_t v)
{
	int i, n = 0;

	for (i = 0; i < SAMPLES; i++)
		n += *sample_byte(r, i) == v;
	return n;
}

static int count_tags(const struct range *r, int tag)
{
	int i, n = 0;

	for (i = 0; i < SAMPLES; i++)
		n += insn_ldg(sample(r, i)) == tag;
	return n;
}

static uint64_t now(void)
{
	uint64_t v;

	asm volatile("isb; mrs %0, cntvct_el0" : "=r"(v) :: "memory");
	return v;
}

static uint64_t seconds(int n)
{
	uint64_t v;

	asm("mrs %0, cntfrq_el0" : "=r"(v));
	return v * n;
}

/* Wait for what happens at random: until all samples read as @v, or most. */
static int wait_count(int (*count)(const struct range *, int),
		      const struct range *r, int v, int want)
{
	/* Where something is wrong already there may be nothing to wait for */
	uint64_t end = now() + seconds(failed ? 1 : 60);
	int n;

	do
		n = count(r, v);
	while (n < want && now() < end);
	return n;
}

static int data_is(const struct range *r, int v)
{
	return count_data(r, v);
}

static int data_in_memory_is(const struct range *r, int v)
{
	int i;

	/* No line is dirty: this only fetches */
	for (i = 0; i < SAMPLES; i++)
		clean_data((uint64_t)sample_byte(r, i), 1);
	return count_data(r, v);
}

static void want_few(const char *what, int n)
{
	if (n > SAMPLES / 2)
		complain(what, 0, n, SAMPLES / 2);
}

static void want_most(const char *what, int n)
{
	if (n < SAMPLES / 2)
		complain(what, 0, n, SAMPLES / 2);
}

static void want_all(const char *what, int n)
{
	if (n != SAMPLES)
		complain(what, 0, n, SAMPLES);
}

static void test_line_sizes(void)
{
	uint64_t ctr;

	asm("mrs %0, ctr_el0" : "=r"(ctr));
	if (4UL << (ctr >> 16 & 15) != LINE)
		complain("DminLine", 0, ctr >> 16 & 15, 4);
	if (4UL << (ctr >> 32 & 63) != LINE)
		complain("TminLine", 0, ctr >> 32 & 63, 4);
	verdict("CTR_EL0 has the line sizes of data and tags");
}

static void store_tags(const struct range *r, int tag)
{
	int i;

	for (i = 0; i < SAMPLES; i++)
		insn_stg(sample(r, i), tag);
}

static void store_data(const struct range *r, uint8_t v, int clean)
{
	int i;

	for (i = 0; i < SAMPLES; i++) {
		*sample_byte(r, i) = v;
		if (clean)
			clean_data((uint64_t)sample_byte(r, i), 1);
	}
}

static void test_tags_linger(void)
{
	const struct range *r = &ranges[0];
	int i;

	reset_samples(r, 0x11);
	store_tags(r, 2);
	want_few("tags are in memory at once", data_in_memory_is(r, 0x12));
	want_all("tags are not read back", count_tags(r, 2));
	want_all("tags don't reach memory",
		 wait_count(data_in_memory_is, r, 0x12, SAMPLES));
	want_all("tags are not read back", count_tags(r, 2));
	verdict("tag stores reach memory later");

	/* Each way to have that at once */
	reset_samples(r, 0x11);
	store_tags(r, 2);
	for (i = 0; i < SAMPLES; i++) {
		if (i % 3 == 0)
			dc_cigvac(sample(r, i));
		else if (i % 3 == 1)
			dc_cgvac(sample(r, i) + LINE - 1);
		else
			dc_cigdvac(sample(r, i) + 1);
	}
	dsb();
	want_all("tags are not in memory", data_in_memory_is(r, 0x12));
	want_all("tags are not read back", count_tags(r, 2));
	for (i = 0; i < SAMPLES; i++)
		expect_tag(&ranges[0], sample(r, i), 2);
	/* A line is no more than a line */
	reset_samples(r, 0x11);
	store_tags(r, 2);
	for (i = 0; i < SAMPLES; i++) {
		dc_cigvac(sample(r, i) - LINE);
		dc_cigvac(sample(r, i) + LINE);
	}
	dsb();
	want_few("the next line's tags are in memory",
		 data_in_memory_is(r, 0x12));
	verdict("cleaning tags takes the tags of one line to memory");
}

static void test_stale_tags(void)
{
	const struct range *r = &ranges[0];
	int i;

	reset_samples(r, 0x11);
	want_all("tags are not data", count_tags(r, 1));
	store_data(r, 0x33, 1);
	want_most("no stale tags", count_tags(r, 1));
	for (i = 0; i < SAMPLES; i++)
		clean_tags(sample(r, i), LINE);
	want_all("tags are stale", count_tags(r, 3));
	verdict("tags are stale until they are invalidated");

	reset_samples(r, 0x11);
	store_data(r, 0x33, 0);
	want_few("data are tags without a clean", count_tags(r, 3));
	for (i = 0; i < SAMPLES; i++) {
		dc_cvac((uint64_t)sample_byte(r, i));
		clean_tags(sample(r, i), LINE);
	}
	want_all("data don't become tags", count_tags(r, 3));
	verdict("data are read as tags only when they have been cleaned");
}

static void test_stale_data(void)
{
	const struct range *r = &ranges[0];
	int i;

	reset_samples(r, 0x11);
	for (i = 0; i < SAMPLES; i++) {
		insn_stg(sample(r, i), 4);
		clean_tags(sample(r, i), LINE);
	}
	want_most("no stale data", count_data(r, 0x11));
	for (i = 0; i < SAMPLES; i++)
		clean_data((uint64_t)sample_byte(r, i), 1);
	want_all("data are stale", count_data(r, 0x14));
	verdict("data are stale until they are invalidated");
}

static void test_lost_data(void)
{
	const struct range *r = &ranges[0];

	/* The tags are written over the data of the next owner. */
	reset_samples(r, 0x11);
	store_tags(r, 5);
	store_data(r, 0x77, 1);
	if (!wait_count(data_is, r, 0x15, 1))
		complain("no data got lost", 0, 0, 1);
	verdict("dirty tags destroy data later");

	/* The data are written over the tags. */
	reset_samples(r, 0x11);
	store_data(r, 0x77, 0);
	store_tags(r, 5);
	if (!wait_count(count_tags, r, 7, 1))
		complain("no tags got lost", 0, 0, 1);
	verdict("dirty data destroy tags later");
	reset_samples(r, 0x11);
}

/* ---- two CPUs ---- */

#define ROUNDS 50000

static volatile uint64_t contended;
static volatile int secondary_state, secondary_lost;

/* All even or all odd granules of two bytes; each tag must stay as stored. */
static int hammer(uint64_t addr)
{
	int i, lost = 0;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t a = addr + (i & 1) * 2 * GRANULE;

		insn_stg(a, i & 15);
		lost += insn_ldg(a) != (i & 15);
	}
	return lost;
}

static void set_state(int state)
{
	asm volatile("dmb sy" ::: "memory");
	secondary_state = state;
}

static void wait_state(int state)
{
	while (secondary_state != state)
		asm volatile("yield");
	asm volatile("dmb sy" ::: "memory");
}

void secondary_main(void)
{
	set_state(1);
	wait_state(2);
	secondary_lost = hammer(contended + GRANULE);
	set_state(3);
}

static void test_two_cpus(void)
{
	register uint64_t x0 asm("x0") = 0xc4000003; /* PSCI CPU_ON */
	register uint64_t x1 asm("x1") = 1;
	register uint64_t x2 asm("x2") = (uint64_t)secondary;
	register uint64_t x3 asm("x3") = 0;
	struct range *r = &ranges[0];
	int lost;

	contended = r->base + 32 * block_size + PAGE;
	asm volatile("hvc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3)
		     : "memory");
	if (x0) {
		complain("CPU_ON", 0, x0, 0);
		goto out;
	}
	wait_state(1);
	set_state(2);
	lost = hammer(contended);
	wait_state(3);
	if (lost || secondary_lost)
		complain("lost updates", contended, lost + secondary_lost, 0);
	expect_tag(r, contended, (ROUNDS - 2) & 15);
	expect_tag(r, contended + GRANULE, (ROUNDS - 2) & 15);
	expect_tag(r, contended + 2 * GRANULE, (ROUNDS - 1) & 15);
	expect_tag(r, contended + 3 * GRANULE, (ROUNDS - 1) & 15);
	clean_tags(contended, 4 * GRANULE);
	check_all("after two CPUs' stores");
out:
	verdict("two CPUs' stores to one byte don't get lost");
}

/* Stock behaviour: tags work and are nowhere in RAM. */
static void test_private_tags(void)
{
	uint64_t base = machine.memory[0].range[0].base;
	uint64_t size = machine.memory[0].range[0].size;
	uint64_t before = ram_checksum(), a, seed = random_state;
	int i;

	for (i = 0; i < 5000; i++) {
		a = (base + random64() % size) & ~(GRANULE - 1);
		/* Granules may come up twice: the tag is the address's. */
		insn_stg(a, a / 64 & 15);
	}
	random_state = seed;
	for (i = 0; i < 5000; i++) {
		a = (base + random64() % size) & ~(GRANULE - 1);
		if (insn_ldg(a) != (int)(a / 64 & 15))
			complain("LDG", a, insn_ldg(a), a / 64 & 15);
	}
	verdict("tags read back as stored");
	if (ram_checksum() != before)
		complain("RAM changed", 0, 1, 0);
	verdict("tag stores change no RAM");
}

static void test_other_ram(uint64_t before)
{
	if (sparse) {
		put_str("ok ");
		put_dec(++tests);
		put_str(" no RAM outside of tag storage changed "
			"# SKIP too much to compare\n");
		return;
	}
	if (ram_checksum() != before)
		complain("RAM changed", 0, 1, 0);
	verdict("no RAM outside of tag storage changed");
}

void test_main(const void *fdt)
{
	uint64_t before;

	read_expectations(fdt);
	put_str("KTAP version 1\n");
	if (want_ranges == 0) {
		put_str("1..3\n");
		test_nodes();
		test_private_tags();
		goto end;
	}

	put_str("1..");
	put_dec(9 + (cpus > 1) + (cache ? 8 : 0));
	put_str("\n");
	test_nodes();
	test_block_size_property();
	if (!nr_ranges) {
		put_str("Bail out! no tag storage to test\n");
		power_off();
	}
	before = sparse ? 0 : ram_checksum();
	fill_storage();
	test_exact();
	test_random();
	test_all_pages();
	test_data_is_tags();
	test_untagged_map();
	test_code();
	if (cache) {
		test_line_sizes();
		test_tags_linger();
		test_stale_tags();
		test_stale_data();
		test_lost_data();
		check_all("after tests of the caches");
	}
	if (cpus > 1)
		test_two_cpus();
	test_other_ram(before);
end:
	put_str("# end\n");
	power_off();
}
