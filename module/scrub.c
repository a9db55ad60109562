// SPDX-License-Identifier: GPL-2.0
/*
 * Cache maintenance and scrubbing between the two uses of tag storage.
 *
 * Tags are cached with the data lines they belong to, and these accesses are
 * not coherent with ordinary accesses to the tag storage. Arm ARM D10 and the
 * public series "Add support for arm64 MTE dynamic tag storage reuse".
 */
#include <linux/bitfield.h>
#include <linux/cleanup.h>
#include <linux/cpufeature.h>
#include <linux/cpuhotplug.h>
#include <linux/memory_hotplug.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/spinlock.h>

#include <asm/asm-extable.h>
#include <asm/barrier.h>
#include <asm/cputype.h>
#include <asm/mte-def.h>
#include <asm/page.h>
#include <asm/sysreg.h>
#include <asm/virt.h>

#include "mts.h"

/* Bytes of memory that one DC operation covers, on the CPU with the least */
static unsigned long data_line = PAGE_SIZE;
static unsigned long tag_line = PAGE_SIZE;

static enum cpuhp_state cpuhp_state;

/*
 * Learn the line sizes of this CPU. CTR_EL0.TminLine, which isn't in the kernel's
 * sanitised copy of the register, counts the words covered by the tags in the
 * smallest line, but no line has less than the tag of one granule.
 */
static int note_line_sizes(unsigned int cpu)
{
	static DEFINE_SPINLOCK(lock);
	u64 ctr = read_cpuid_cachetype();
	unsigned long data, tags;

	data = 4UL << FIELD_GET(CTR_EL0_DminLine_MASK, ctr);
	tags = 4UL << FIELD_GET(CTR_EL0_TminLine_MASK, ctr);
	spin_lock(&lock);
	WRITE_ONCE(data_line, min(data_line, data));
	WRITE_ONCE(tag_line, min(tag_line, max(tags, MTE_GRANULE_SIZE)));
	spin_unlock(&lock);
	return 0;
}

/**
 * mts_scrub_init() - learn the line sizes of all CPUs, and of those to come
 *
 * Context: Process context, sleeps.
 * Return: 0 or a negative error.
 */
int mts_scrub_init(void)
{
	int ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, KBUILD_MODNAME ":online",
				    note_line_sizes, NULL);

	if (ret < 0)
		return ret;
	cpuhp_state = ret;
	return 0;
}

/**
 * mts_scrub_exit() - undo mts_scrub_init()
 *
 * Context: Process context, sleeps.
 */
void mts_scrub_exit(void)
{
	cpuhp_remove_state_nocalls(cpuhp_state);
}

/**
 * mts_page_is_ours() - may the kernel touch this page, and its tags?
 * @pfn:	the page
 *
 * A hypervisor (pKVM) answers an access to what it owns with a panic. Such memory,
 * and what else was reserved in early boot, never had tags. What isn't the
 * kernel's at all isn't asked for: mts_is_kept_memory().
 *
 * Context: Any.
 */
bool mts_page_is_ours(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);

	return page && !PageReserved(page);
}

/**
 * mts_block_can_be_cleaned() - may all tags of a data block be cleaned?
 * @r:		the region
 * @block:	the block
 *
 * Pages that were tagged can have been donated to the hypervisor since, and
 * the kernel doesn't know which.
 *
 * Context: Any.
 */
bool mts_block_can_be_cleaned(const struct mts_region *r, unsigned long block)
{
	unsigned long pfn = mts_block_data_pfn(&r->geo, block);
	unsigned long end = pfn + mts_block_data_pages(&r->geo);

	if (!mts_have_tags || !is_protected_kvm_enabled())
		return true;
	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_page(pfn);

		if (mts_page_is_ours(pfn) && page_count(page) &&
		    !PageLRU(compound_head(page)))
			return false;
	}
	return true;
}

static unsigned long linear_address(unsigned long pfn)
{
	return (unsigned long)__va(PFN_PHYS(pfn));
}

/* Clean and invalidate data to the point of coherency */
static void clean_inval_data(unsigned long addr, unsigned long end)
{
	const unsigned long step = READ_ONCE(data_line);

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
	const unsigned long step = READ_ONCE(tag_line), end = addr + PAGE_SIZE;

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
		if (mts_page_is_ours(data_pfn + i))
			clean_inval_tags(linear_address(data_pfn + i));
	dsb(sy);
	/* Nor may stale lines hide what is there */
	clean_inval_data(addr, addr + nr_pages * PAGE_SIZE);
	/* And the tags can't be read as data */
	for (i = 0; i < nr_pages; i++)
		clear_page((void *)(addr + i * PAGE_SIZE));
}
