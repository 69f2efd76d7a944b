/*
 * From reset to long mode, without a BIOS: all of it is a ROM below 4 GB, the job and the module, this
 * image, and the code at its end, where the first CPU starts. It copies the image to IMAGE_PHYS and
 * the job with the module to JOB_PHYS. Every CPU comes through start32. QEMU and Bochs take the same
 * ROM, so that one path serves both.
 */
#include "layout.h"

	/* CS has base 0xffff0000 here: Intel SDM vol. 3, 9.1.4. */
	.section .reset, "ax"
	.code16
	.globl	reset, job_size
	.hidden	reset, job_size
reset:
	cli
	lgdtl	%cs:rom_gdtr - RESET_BASE
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$0x08, $copy
	.code32
copy:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	cld
	mov	$rom_image, %esi
	mov	$IMAGE_PHYS, %edi
	mov	$image_words, %ecx
	rep movsl
	mov	$rom_image, %esi
	mov	job_size, %ecx
	sub	%ecx, %esi
	mov	$JOB_PHYS, %edi
	shr	$2, %ecx
	rep movsl
	ljmpl	$0x08, $start32
	.balign	8
job_size:
	.long	0			/* filled in by whoever makes the ROM; a multiple of 4 */
rom_gdtr:
	.word	31
	.long	rom_gdt
	.org	RESET_SIZE - 16
	.code16
	jmp	reset
	.org	RESET_SIZE

	/* The first page of the image: where the other CPUs begin, in real mode at IMAGE_PHYS:0. */
	.section .start, "ax"
	.code16
	.globl	ap_start
ap_start:
	cli
	lgdtl	%cs:boot_gdtr - IMAGE_PHYS
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$0x08, $start32

	.balign	8
	.globl	boot_gdt
	.hidden	boot_gdt
boot_gdt:
	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
boot_gdtr:
	.word	31
	.long	boot_gdt

	.code32
start32:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	lgdtl	boot_gdtr
	mov	$KERNEL_CR4, %eax
	mov	%eax, %cr4
	mov	$host_pml4, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	mov	$KERNEL_EFER, %eax
	xor	%edx, %edx
	wrmsr
	mov	$KERNEL_CR0, %eax
	mov	%eax, %cr0
	ljmp	$0x18, $start64

	.code64
start64:
	mov	$1, %eax
	cpuid
	shr	$24, %ebx		/* the APIC's number: 0 to N-1, in QEMU and in Bochs */
	mov	%ebx, %edi
	inc	%ebx
	imul	$STACK_SIZE, %ebx, %ebx
	lea	boot_stacks(%rbx), %rsp
	movabs	$DIRECT_BASE, %rax	/* where kernel stacks are; the monitor does not map it */
	add	%rax, %rsp
	push	$2
	popfq
	test	%edi, %edi
	jnz	1f
	mov	$bss_start, %edi
	mov	$bss_words, %ecx
	xor	%eax, %eax
	rep stosq
	xor	%edi, %edi
1:	call	cpu_main
1:	hlt
	jmp	1b

	/*
	 * Page tables of the host: 1 GB of physical memory at 0, in the direct map and in the kernel's
	 * 2 GB, in pages of 2 MB (present, writable, user; large, global), and the local APIC.
	 */
	.section .tables, "aw"
	.balign	PAGE
	.globl	host_pml4
host_pml4:
	.quad	low_pdpt + 7
	.fill	509, 8, 0
	.quad	direct_pdpt + 7
	.quad	kernel_pdpt + 7
low_pdpt:
	.quad	directory + 7, 0, 0, apic_directory + 7
	.fill	508, 8, 0
direct_pdpt:
	.quad	directory + 7
	.fill	511, 8, 0
kernel_pdpt:
	.fill	510, 8, 0
	.quad	directory + 7, 0
directory:
	.set	at, 0
	.rept	512
	.quad	at + 0x187
	.set	at, at + 0x200000
	.endr
apic_directory:
	.fill	503, 8, 0
	.quad	0xfee00000 + 0x193
	.fill	8, 8, 0

	.section .note.GNU-stack, "", @progbits
