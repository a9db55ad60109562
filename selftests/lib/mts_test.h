/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tag storage selftests: KTAP output, tag instructions,
 * known contents, page frames, the geometry that the firmware describes and
 * the files of the module.
 *
 * The geometry comes from the device tree and not from the module, so that
 * the module is checked against something that it did not write itself.
 */
#ifndef MTS_TEST_H
#define MTS_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#ifndef PROT_MTE
#define PROT_MTE		0x20
#endif
#ifndef PR_SET_TAGGED_ADDR_CTRL
#define PR_SET_TAGGED_ADDR_CTRL	55
#define PR_TAGGED_ADDR_ENABLE	(1UL << 0)
#endif
#ifndef PR_MTE_TCF_NONE
#define PR_MTE_TCF_NONE		0UL
#define PR_MTE_TCF_SYNC		(1UL << 1)
#define PR_MTE_TAG_SHIFT	3
#endif
#ifndef SEGV_MTESERR
#define SEGV_MTESERR		9
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define MTE_GRANULE		16UL
#define KSFT_SKIP		4
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define SZ_2M			(2UL << 20)
#define ALIGN_UP(x, a)		(((x) + (a) - 1) / (a) * (a))

#define PROT_RW			(PROT_READ | PROT_WRITE)
#define PROT_TAGGED		(PROT_READ | PROT_WRITE | PROT_MTE)

extern size_t mts_page_size;
extern size_t mts_page_granules;
/*
 * A huge page: 2 MiB with 4K pages, 32 MiB with 16K. A machine that is too small
 * for such, as with 64K, where it has 512 MiB, has none; then it is 2 MiB, which
 * a folio has that the contiguous bit maps.
 */
extern size_t mts_huge_size;

/* KTAP. Every program has a fixed plan; ktap_end() returns the exit status. */
void ktap_begin(int plan);
bool ktap_result(bool ok, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void ktap_skip(const char *why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void ktap_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int ktap_end(void);

/* Ends the program with a skip when the machine has no MTE. */
void mts_need_mte(void);
/* Something that the test itself cannot do without went wrong. */
void mts_die(const char *what) __attribute__((noreturn));
/* fork() or die; the child dies with us and prints nothing twice. */
pid_t mts_fork(void);

/* Tag instructions. The pointer's tag is what gets written. */
static inline void *mte_ptr(const void *p, unsigned int tag)
{
	return (void *)(((u64)p & ~(0xfUL << 56)) | ((u64)tag << 56));
}

static inline void mte_stg(void *p)
{
	asm volatile("stg %0, [%0]" : : "r"(p) : "memory");
}

static inline void mte_st2g(void *p)
{
	asm volatile("st2g %0, [%0]" : : "r"(p) : "memory");
}

static inline void mte_stzg(void *p)
{
	asm volatile("stzg %0, [%0]" : : "r"(p) : "memory");
}

static inline void mte_stz2g(void *p)
{
	asm volatile("stz2g %0, [%0]" : : "r"(p) : "memory");
}

static inline unsigned int mte_ldg(const void *p)
{
	u64 v = (u64)p;

	asm volatile("ldg %0, [%0]" : "+r"(v) : : "memory");
	return (v >> 56) & 0xf;
}

/* A reproducible random number generator and the mix it is made of. */
static inline u64 mts_mix(u64 x)
{
	x += 0x9e3779b97f4a7c15UL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9UL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebUL;
	return x ^ (x >> 31);
}

static inline u64 mts_mix3(u64 a, u64 b, u64 c)
{
	return mts_mix(mts_mix(mts_mix(a) ^ b) ^ c);
}

static inline u64 mts_rand(u64 *state)
{
	return mts_mix(++*state);
}

/* Uniform enough in [0, n) for a test. */
static inline u64 mts_below(u64 *state, u64 n)
{
	return n ? mts_rand(state) % n : 0;
}

/*
 * Known contents. Key 0 stands for a fresh page: all bytes zero, all tags
 * zero. Any other key gives each word and each granule its own value. Odd keys
 * give both granules of a pair the same tag, as ST2G writes them.
 */
unsigned int mts_tag_of(u64 key, size_t granule);
void mts_page_fill(void *page, u64 key);
void mts_page_tag(void *page, u64 key);
/* The index of the first wrong word or granule, or -1. */
long mts_page_bad_word(const void *page, u64 key);
long mts_page_bad_granule(const void *page, u64 key);
/* Looks at every step-th granule only: a tag costs more time than a word. */
long mts_page_bad_granule_step(const void *page, u64 key, size_t first,
			       size_t step);
/* As above, with a line that says where, expected and actual. */
bool mts_data_ok(const char *what, const void *page, u64 key);
bool mts_tags_ok(const char *what, const void *page, u64 key);

/* Page frames; 0 when nothing is mapped there. Works after fork(). */
u64 mts_pfn(const void *addr);
int mts_pfns(const void *addr, size_t pages, u64 *pfns);

/* Bits of /proc/kpageflags; those from 32 on the kernel doesn't promise */
#define KPF_SLAB		(1UL << 7)
#define KPF_LRU			(1UL << 5)
#define KPF_BUDDY		(1UL << 10)
#define KPF_MMAP		(1UL << 11)
#define KPF_ANON		(1UL << 12)
#define KPF_SWAPCACHE		(1UL << 13)
#define KPF_COMPOUND_HEAD	(1UL << 15)
#define KPF_COMPOUND_TAIL	(1UL << 16)
#define KPF_HWPOISON		(1UL << 19)
#define KPF_NOPAGE		(1UL << 20)
#define KPF_THP			(1UL << 22)
#define KPF_ZERO_PAGE		(1UL << 24)
#define KPF_PGTABLE		(1UL << 26)
#define KPF_RESERVED		(1UL << 32)
#define KPF_MTE_TAGGED		(1UL << 41)
#define KPF_MTE_LOCK		(1UL << 42)

#define KPF_HAS_TAGS		(KPF_MTE_TAGGED | KPF_MTE_LOCK)

/* The flags of the page that is mapped there, KPF_NOPAGE: none, or nobody tells */
u64 mts_page_flags(const void *addr);
/* How many of the pages have all of these flags */
size_t mts_pages_with(const void *addr, size_t pages, u64 flags);
/* How many folios of so many bytes the memory is made of */
size_t mts_folios(const void *addr, size_t len, size_t folio);

/* The tag storage regions of the device tree. */
struct mts_region {
	u64 start;		/* tag storage, bytes */
	u64 end;
	u64 data_start;		/* tagged memory, bytes */
	u64 data_end;
	u64 block_size;		/* of the firmware, bytes */
	u64 block_pages;	/* tag storage pages of one tag block */
};

#define MTS_MAX_REGIONS		16
extern struct mts_region mts_regions[MTS_MAX_REGIONS];
extern int mts_nr_regions;
int mts_load_regions(void);
bool mts_pfn_in_storage(u64 pfn);

/* The module. */
#define MTS_DEBUGFS "/sys/kernel/debug/mte_tag_storage"
bool mts_online(void);
/* Is this a kernel with the prerequisite patches? */
bool mts_kernel_patched(void);
long long mts_stat(const char *key);
/* Is every block in one state? */
bool mts_blocks_add_up(void);
/* The result of that after a release, of a module that was @online */
void mts_blocks_result(bool online);
int mts_release(void);

/*
 * A snapshot of the states of all tag blocks, by the `blocks` file. NULL
 * without the module.
 */
struct mts_blocks;
struct mts_blocks *mts_blocks_read(void);
void mts_blocks_free(struct mts_blocks *blocks);
/* "reserved", "static", "released", ...; NULL: not served by any region. */
const char *mts_block_state(const struct mts_blocks *blocks, u64 pfn);

/*
 * Checks that the pages, which the caller tagged, lie outside of tag storage
 * and that their tag blocks are not given away: reserved, closing or static.
 * Pages that move meanwhile are looked at again. Returns the number of
 * offenders (each with a line), -1 without the module.
 */
long mts_pages_untaggable(const char *what, const void *addr, size_t pages);

/* How many of the pages could have tags right now, -1 without the module. */
long mts_pages_taggable(const void *addr, size_t pages);
/* The number of different tag blocks that serve the pages, -1: no regions. */
long mts_blocks_of(const void *addr, size_t pages);

long long mts_meminfo(const char *key);		/* KiB, -1: no such key */
long long mts_vmstat(const char *key);		/* -1: no such key */
int mts_write_file(const char *path, const char *text);
int mts_read_file(const char *path, char *buf, size_t size);
double mts_now(void);
int mts_cpus(void);
void mts_pin(int cpu);
/* Pins, too */
int mts_node_of_cpu(int cpu);

/*
 * Untagged pages in tag storage: fills memory until little is left (or
 * `want` pages are found), and keeps only the pages that lie there. The
 * result is one sparse mapping; mts_pfns() tells which pages it has.
 */
struct mts_grab {
	char *base;
	size_t pages;		/* of the mapping */
	size_t nr;		/* pages in tag storage */
};

/*
 * Takes most of the free memory away with huge pages, quickly, but leaves so
 * much that the page allocator is about to turn to tag storage.
 */
struct mts_balloon {
	char *base;
	size_t len;
};

void mts_balloon_inflate(struct mts_balloon *balloon);
void mts_balloon_deflate(struct mts_balloon *balloon);

int mts_grab_storage(struct mts_grab *grab, size_t want);

/*
 * Filling memory to the brim, but not so far that the OOM killer comes: how
 * many pages may be taken before the next look. 0: it is full, or all of tag
 * storage is in use.
 */
struct mts_fill {
	char min_free[32];	/* what it was before */
	char boost[32];
};

void mts_fill_begin(struct mts_fill *fill);
void mts_fill_end(const struct mts_fill *fill);
size_t mts_fill_room(void);

/* mmap() or die; aligned to `align` bytes when that is not 0. */
void *mts_map(size_t bytes, int prot, int flags, size_t align);
/* A huge page or an honest no: populated, aligned, and backed by one. */
void *mts_map_thp(int prot, bool *is_huge);
bool mts_is_thp(const void *addr);
/* Is mts_huge_size what a PMD maps? */
bool mts_huge_is_pmd(void);
/* Kernel options: the folio sizes that madvise(MADV_HUGEPAGE) gives. */
bool mts_thp_enable(void);
bool mts_mthp_enable(unsigned int kib);
/*
 * Until the program ends khugepaged does next to nothing: it makes huge pages of what
 * a test has made of smaller folios, some seconds later.
 */
void mts_khugepaged_rest(void);

/*
 * One real tag check in synchronous mode: loads one byte with the given
 * pointer tag. Returns 0 (load went through), SEGV_MTESERR, or -1.
 */
int mts_checked_load(const void *p, unsigned int tag);

#endif
