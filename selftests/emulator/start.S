/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entry of the bare-metal tag storage test: image header, vectors, secondary
 * CPU. The emulator loads the image as it would load Linux, with the address of
 * the device tree in x0.
 */
	.section .head, "ax"
	.global	_start
_start:
	b	primary
	.long	0
	.quad	0x200000		/* offset from the start of RAM */
	.quad	_end - _start		/* size in memory */
	.quad	0xa			/* little endian, 4 KiB pages */
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0

	.text
primary:
	mov	x19, x0
	adr	x0, vectors
	msr	vbar_el1, x0
	ldr	x0, =stack_top
	mov	sp, x0
	ldr	x0, =__bss_start
	ldr	x1, =_end
1:	stp	xzr, xzr, [x0], #16
	cmp	x0, x1
	b.lo	1b
	bl	mmu_fill_tables
	bl	mmu_on
	mov	x0, x19
	bl	test_main
	bl	power_off

	/* Entered by PSCI CPU_ON with the MMU off. */
	.global	secondary
secondary:
	adr	x0, vectors
	msr	vbar_el1, x0
	ldr	x0, =stack2_top
	mov	sp, x0
	bl	mmu_on
	bl	secondary_main
2:	wfi
	b	2b

/*
 * MAIR: 0 = Device-nGnRE, 1 = Normal Tagged, 2 = Normal write-back.
 * TCR: 39 bits, 4 KiB, write-back inner shareable, TBI0, no TTBR1, 40-bit PA.
 * SCTLR: MMU, caches, tag access; tag check faults have no effect.
 */
mmu_on:
	ldr	x0, =0x00fff004
	msr	mair_el1, x0
	ldr	x0, =(25 | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 23) | \
		      (2 << 32) | (1 << 37))
	msr	tcr_el1, x0
	ldr	x0, =page_table
	msr	ttbr0_el1, x0
	dsb	sy
	tlbi	vmalle1
	dsb	sy
	isb
	ldr	x0, =(0x30d00800 | (1 << 43) | (1 << 12) | (1 << 2) | 1)
	msr	sctlr_el1, x0
	isb
	ret

	.global	power_off
power_off:
	dsb	sy
	ldr	x0, =0x84000008		/* PSCI SYSTEM_OFF */
	hvc	#0
3:	wfi
	b	3b

	.macro	vector
	.balign	128
	mrs	x0, esr_el1
	mrs	x1, far_el1
	mrs	x2, elr_el1
	b	unexpected_exception
	.endm

	.balign	2048
vectors:
	.rept	16
	vector
	.endr

	/* Copied into tag storage and run there: returns the immediate. */
	.global	code_sample, code_sample_end
	.balign	8
code_sample:
	mov	w0, #1
	ret
code_sample_end:

	.bss
	.balign	4096
	.global	page_table
page_table:
	.skip	4096
	.balign	16
	.skip	16384
stack_top:
	.skip	16384
stack2_top:
