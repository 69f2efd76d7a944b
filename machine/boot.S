/*
 * From the BIOS to long mode: the boot sector reads this image to IMAGE_PHYS, the image reads the
 * job and the module to JOB_PHYS, and every CPU comes through start32. QEMU and Bochs boot the same
 * disk, so that one path serves both.
 */
#include "layout.h"

	.code16
	.section .sector, "ax"
	.globl	_start
_start:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7c00, %sp
	ljmp	$0, $1f
1:	mov	%dl, drive
	mov	$image_sectors, %cx
next_chunk:
	mov	$packet, %si
	mov	$0x42, %ah		/* BIOS int 13h, extended read */
	mov	drive, %dl
	push	%cx
	int	$0x13
	pop	%cx
	jc	disk_error
	addw	$CHUNK_SECTORS * SECTOR / 16, packet_segment
	addl	$CHUNK_SECTORS, packet_lba
	sub	$CHUNK_SECTORS, %cx
	ja	next_chunk
	ljmp	$IMAGE_PHYS >> 4, $real_start - IMAGE_PHYS
disk_error:
	hlt
	jmp	disk_error

	.balign	4
packet:	.byte	16, 0
	.word	CHUNK_SECTORS
	.word	0
packet_segment:
	.word	IMAGE_PHYS >> 4
packet_lba:
	.quad	1
drive:	.byte	0
	.org	510
	.word	0xaa55

	/* The first page of the image: where the other CPUs begin, in real mode at IMAGE_PHYS:0. */
	.section .start, "ax"
	.code16
	.globl	ap_start, real_start, job_chunks
ap_start:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	jmp	to_protected

real_start:
	mov	%cs, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	$0x7000, %sp		/* %ss is 0 */
	mov	job_chunks - IMAGE_PHYS, %bp
	xor	%ax, %ax
	mov	%ax, %fs
	mov	%fs:drive, %dl
	mov	%dl, job_drive - IMAGE_PHYS
	mov	$image_sectors + 1, %eax
	mov	%eax, job_lba - IMAGE_PHYS
1:	mov	$job_packet - IMAGE_PHYS, %si
	mov	$0x42, %ah
	mov	job_drive - IMAGE_PHYS, %dl
	push	%bp
	int	$0x13
	jc	2f
	mov	$mover - IMAGE_PHYS, %si
	mov	%cs, %ax
	mov	%ax, %es
	mov	$CHUNK_SECTORS * SECTOR / 2, %cx
	mov	$0x87, %ah		/* BIOS int 15h: copy to extended memory */
	int	$0x15
	jc	2f
	pop	%bp
	cli
	addl	$CHUNK_SECTORS, job_lba - IMAGE_PHYS
	addl	$CHUNK_SECTORS * SECTOR, mover_target - IMAGE_PHYS
	dec	%bp
	jnz	1b
	in	$0x92, %al		/* A20 */
	or	$2, %al
	and	$0xfe, %al
	out	%al, $0x92
	cli
to_protected:
	lgdtl	boot_gdtr - IMAGE_PHYS
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$0x08, $start32
2:	hlt
	jmp	2b

	.balign	8
job_packet:
	.byte	16, 0
	.word	CHUNK_SECTORS
	.word	0, BOUNCE_SEGMENT
job_lba: .quad	0
job_drive: .byte 0
	.balign	2
job_chunks: .word 0			/* filled in by whoever writes the disk */
	.balign	8
/* BIOS int 15h, 87h: source at 0x10, target at 0x18. Base bits 0-23 at +2, 24-31 at +7. */
mover:	.quad	0, 0
	.word	0xffff, (BOUNCE_SEGMENT << 4) & 0xffff
	.byte	BOUNCE_SEGMENT >> 12, 0x93, 0, 0
	.word	0xffff
mover_target:				/* the job and the module stay below 32 MB: no carry out of bit 23 */
	.word	JOB_PHYS & 0xffff
	.byte	(JOB_PHYS >> 16) & 0xff, 0x93, 0, JOB_PHYS >> 24
	.quad	0, 0
	.balign	8
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
	mov	$bss_end, %ecx
	sub	%edi, %ecx
	xor	%eax, %eax
	rep stosb
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
