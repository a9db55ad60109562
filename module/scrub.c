// SPDX-License-Identifier: GPL-2.0
/*
 * Cache maintenance and scrubbing between the two uses of tag storage.
 *
 * Tags are cached with the data lines they belong to, and these accesses are
 * not coherent with ordinary accesses to the tag storage. Arm ARM D10 and the
 * public series "Add support for arm64 MTE dynamic tag storage reuse".
 */
#include <linux/bitfield.h>
#include <linux/cpufeature.h>
#include <linux/mm.h>
#include <linux/pfn.h>

#include <asm/asm-extable.h>
#include <asm/barrier.h>
#include <asm/mte-def.h>
#include <asm/page.h>
#include <asm/sysreg.h>

#include "mts.h"

/* Bytes of memory that one DC operation covers, on the CPU with the least */
static unsigned long data_line __ro_after_init;
static unsigned long tag_line __ro_after_init;

/**
 * mts_scrub_init() - learn the line sizes
 *
 * CTR_EL0.TminLine counts the words covered by the tags in the smallest line,
 * but no line has less than the tag of one granule.
 */
void mts_scrub_init(void)
{
	u64 ctr = read_sanitised_ftr_reg(SYS_CTR_EL0);
	unsigned int dmin, tmin;

	dmin = FIELD_GET(CTR_EL0_DminLine_MASK, ctr);
	tmin = FIELD_GET(CTR_EL0_TminLine_MASK, ctr);
	data_line = 4UL << dmin;
	tag_line = max_t(unsigned long, 4UL << tmin, MTE_GRANULE_SIZE);
}

static unsigned long linear_address(unsigned long pfn)
{
	return (unsigned long)__va(PFN_PHYS(pfn));
}

/* Clean and invalidate data to the point of coherency */
static void clean_inval_data(unsigned long addr, unsigned long end)
{
	const unsigned long step = data_line;

	for (; addr < end; addr += step)
		asm volatile("dc civac, %0" : : "r" (addr) : "memory");
	dsb(sy);
}

/*
 * Clean and invalidate the tags of a page to the point of coherency: DC CIGVAC,
 * spelled so that every assembler knows it. Pages that are not in the linear
 * map now (secretmem, debug_pagealloc) are left out. They can't get tags.
 */
static void clean_inval_tags(unsigned long addr)
{
	const unsigned long step = tag_line, end = addr + PAGE_SIZE;

	for (; addr < end; addr += step)
		asm volatile("1:	sys	#3, C7, C14, #3, %0\n2:\n"
			     _ASM_EXTABLE_KACCESS(1b, 2b)
			     : : "r" (addr) : "memory");
}

/**
 * mts_scrub_for_tags() - make pages ready to hold tags
 * @tag_pfn:	the tag storage, owned by the caller
 * @nr_pages:	its size
 *
 * The tags are zero then: old data can't be read as tags.
 *
 * Context: Any.
 */
void mts_scrub_for_tags(unsigned long tag_pfn, unsigned long nr_pages)
{
	unsigned long addr = linear_address(tag_pfn);
	unsigned long i;

	for (i = 0; i < nr_pages; i++)
		clear_page((void *)(addr + i * PAGE_SIZE));
	clean_inval_data(addr, addr + nr_pages * PAGE_SIZE);
}

/**
 * mts_scrub_for_data() - make pages that held tags ready to hold data
 * @tag_pfn:	the tag storage, owned by the caller
 * @nr_pages:	its size
 * @data_pfn:	the memory it serves, no page of which has tags
 * @nr_data_pages: its size
 *
 * Context: Any.
 */
void mts_scrub_for_data(unsigned long tag_pfn, unsigned long nr_pages,
			unsigned long data_pfn, unsigned long nr_data_pages)
{
	unsigned long addr = linear_address(tag_pfn);
	unsigned long i;

	/*
	 * No dirty tags may be written back over the data to come. Without MTE
	 * there are none, nor the instruction.
	 */
	for (i = 0; mts_have_tags && i < nr_data_pages; i++)
		clean_inval_tags(linear_address(data_pfn + i));
	dsb(sy);
	/* Nor may stale lines hide what is there */
	clean_inval_data(addr, addr + nr_pages * PAGE_SIZE);
	/* And the tags can't be read as data */
	for (i = 0; i < nr_pages; i++)
		clear_page((void *)(addr + i * PAGE_SIZE));
}
