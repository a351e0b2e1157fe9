/* SPDX-License-Identifier: Apache-2.0 */
/* Entered by PVH: 32-bit protected mode, flat segments, no paging, ebx: start info. */
	.code32
	.section .note.pvh, "a", @note
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.section .text.start, "ax"
	.globl start
start:
	cli
	mov $stack_end, %esp
	push %ebx
	call payload_main
1:	hlt
	jmp 1b

/* Where a started CPU begins, in real mode; copied below 1 MiB. It counts itself and sleeps. */
	.globl ap_code, ap_code_end
	.code16
ap_code:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lock incw 0x7000
1:	hlt
	jmp 1b
ap_code_end:

	.bss
	.balign 16
	.skip 16384
stack_end:

	.section .note.GNU-stack, "", @progbits
