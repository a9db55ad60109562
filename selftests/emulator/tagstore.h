/* SPDX-License-Identifier: GPL-2.0 */
/* Between start.S and tagstore.c. */
#ifndef MTS_QEMU_TAGSTORE_H
#define MTS_QEMU_TAGSTORE_H

#include <stdint.h>

extern uint64_t page_table[512];
extern char secondary[], code_sample[], code_sample_end[];

_Noreturn void power_off(void);
void mmu_fill_tables(void);
void test_main(const void *fdt);
void secondary_main(void);
void unexpected_exception(uint64_t esr, uint64_t far, uint64_t elr);

#endif
