/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An EFI application that is the same in its file and in memory: a PE header, which
 * is a page, code, and data. The kernel's Image (KERNEL) is among the data.
 */
	.section .head, "a"
header:
	.ascii	"MZ"
	.skip	0x3c - 2
	.long	pe - header
pe:
	.ascii	"PE\0\0"
	.short	0xaa64			/* arm64 */
	.short	2			/* sections */
	.long	0, 0, 0
	.short	sections - optional
	.short	0x0206			/* executable, without debug information */
optional:
	.short	0x20b			/* 64 bits */
	.byte	0, 0
	.long	text_size
	.long	data_size, 0
	.long	entry_offset
	.long	0x1000			/* start of code */
	.quad	0			/* base: it runs anywhere */
	.long	0x1000, 0x1000		/* alignment in memory, in the file */
	.short	0, 0, 0, 0, 0, 0	/* versions */
	.long	0
	.long	image_size
	.long	0x1000			/* headers */
	.long	0			/* checksum */
	.short	10			/* EFI application */
	.short	0
	.quad	0, 0, 0, 0		/* stack and heap */
	.long	0
	.long	6			/* directories, all empty */
	.quad	0, 0, 0, 0, 0, 0
sections:
	.ascii	".text\0\0\0"
	.long	text_size, 0x1000	/* in memory */
	.long	text_size, 0x1000	/* in the file */
	.long	0, 0
	.short	0, 0
	.long	0x60000020		/* code: read, execute */
	.ascii	".data\0\0\0"
	.long	data_size, data_start
	.long	data_size, data_start
	.long	0, 0
	.short	0, 0
	.long	0xc0000040		/* data: read, write */
	.balign	0x1000

	.section .kernel, "a"
	.balign	0x1000
	.global	kernel, kernel_end
kernel:
	.incbin	KERNEL
kernel_end:
