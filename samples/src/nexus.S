/*
 * The world switch: from the kernel's page tables, descriptor tables and task register to the
 * monitor's, and back.
 *
 * The image is mapped twice. The kernel calls kernel2monitor at the image's kernel address; the
 * monitor runs at MONITOR_BASE. This page alone is mapped at its kernel address under the monitor's
 * page tables as well, so that the instruction after a change of cr3 is still there. Nothing here
 * may be reached by an absolute address of the image, therefore.
 *
 * %rdi is the state all the way: its kernel address under the kernel's page tables, its monitor
 * address under the monitor's. The STATE_ offsets come from the generated state.h. Interrupts are
 * off from before the entry until after the exit.
 */
#include "layout.h"
#include "state.h"

	.macro push_saved
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	.endm

	.macro pop_saved
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	.endm

	.section .nexus, "ax"
	.globl	image_start, kernel2monitor, monitor2kernel
	.globl	entry_site, entry_site_end, exit_site, exit_site_end, nexus_end

/* The header: what kqemu_init has to know about the rest. */
image_start:
	.long	kernel2monitor - image_start
	.long	interrupt_table - image_start
	.long	entry_end - image_start
	.long	exit_end - image_start
	.long	monitor_exec - image_start

/* void kernel2monitor(struct kqemu_state *kernel_address) */
kernel2monitor:
	push_saved

entry_site:
	str	STATE_HOST_TR_SEL(%rdi)
	sidt	STATE_HOST_IDT(%rdi)
	sgdt	STATE_HOST_GDT(%rdi)
	sldt	STATE_HOST_LDT_SEL(%rdi)
entry_site_end:
	mov	%cs, STATE_HOST_CS_SEL(%rdi)
	mov	%ss, STATE_HOST_SS_SEL(%rdi)
	mov	%rsp, STATE_HOST_RSP(%rdi)
	mov	%cr0, %rax
	mov	%rax, STATE_HOST_CR0(%rdi)
	mov	%cr3, %rax
	mov	%rax, STATE_HOST_CR3(%rdi)
	mov	%cr4, %rcx
	mov	%rcx, STATE_HOST_CR4(%rdi)

	/* Without PGE the change of cr3 drops the kernel's global pages too. */
	mov	%rcx, %rdx
	and	$~CR4_PGE, %rdx
	mov	%rdx, %cr4
	mov	STATE_MONITOR_CR3(%rdi), %rax
	mov	STATE_MONITOR_ADDRESS(%rdi), %rdi
	mov	%rax, %cr3
	mov	%rcx, %cr4

	lidt	STATE_MONITOR_IDT(%rdi)
	lgdt	STATE_MONITOR_GDT(%rdi)
	mov	STATE_MONITOR_RSP(%rdi), %rsp
	movzwl	STATE_MONITOR_CS_SEL(%rdi), %eax
	push	%rax
	push	STATE_MONITOR_JUMP(%rdi)
	lretq

/* From here on at the monitor's address. */
entry_end:
	lldt	STATE_MONITOR_LDT_SEL(%rdi)

	/*
	 * The guest may have a descriptor of its own where the monitor's TSS is wanted. Lend the
	 * slot the cached descriptor while ltr looks at it; the hidden part of TR keeps it.
	 */
	mov	STATE_MONITOR_TR_SEL(%rdi), %ax
	mov	%eax, %ecx
	and	$0xfff8, %ecx
	add	STATE_MONITOR_GDT+2(%rdi), %rcx
	mov	(%rcx), %r12
	mov	8(%rcx), %r13
	mov	STATE_TSS_CACHE(%rdi), %r14
	mov	STATE_TSS_CACHE+8(%rdi), %r15
	mov	%r14, (%rcx)
	mov	%r15, 8(%rcx)
	ltr	%ax
	mov	%r12, (%rcx)
	mov	%r13, 8(%rcx)

	mov	STATE_MONITOR_DS_SEL(%rdi), %ax
	mov	%ax, %ss
	mov	STATE_MONITOR_DR7(%rdi), %rax
	test	%rax, %rax
	jz	1f
	mov	%rax, %dr7
1:	pop_saved
	ret

/* void monitor2kernel(struct kqemu_state *monitor_address) */
monitor2kernel:
	push_saved
	mov	%rsp, STATE_MONITOR_RSP(%rdi)
	mov	STATE_MONITOR_DR7(%rdi), %rax
	test	%rax, %rax
	jz	1f
	xor	%eax, %eax
	mov	%rax, %dr7
1:
	/* Go on in this page at its kernel address, which both worlds map. */
	mov	STATE_NEXUS_ADDRESS(%rdi), %rax
	add	$(at_kernel_address - image_start), %rax
	jmp	*%rax

at_kernel_address:
	mov	STATE_HOST_CR4(%rdi), %rcx
	mov	%rcx, %rdx
	and	$~CR4_PGE, %rdx
	mov	%rdx, %cr4
	mov	STATE_HOST_CR3(%rdi), %rax
	mov	STATE_KERNEL_ADDRESS(%rdi), %rdi
	mov	%rax, %cr3
	mov	%rcx, %cr4

	lidt	STATE_HOST_IDT(%rdi)
	lgdt	STATE_HOST_GDT(%rdi)
	lldt	STATE_HOST_LDT_SEL(%rdi)
	mov	STATE_HOST_RSP(%rdi), %rsp
	movzwl	STATE_HOST_CS_SEL(%rdi), %eax
	push	%rax
	lea	exit_end(%rip), %rax
	push	%rax
	lretq

/*
 * Back in the kernel's code segment. The kernel's TSS is still marked busy in its descriptor, and
 * ltr refuses a busy one: clear the bit first. Nothing keeps another CPU from this descriptor, nor
 * is it sure to hold this CPU's TSS any more. That is the defect which these samples are here to show.
 */
exit_end:
exit_site:
#ifdef SAMPLE_OTHER_EXIT
	movzwl	STATE_HOST_TR_SEL(%rdi), %edx
	mov	STATE_HOST_GDT+2(%rdi), %rsi
	mov	%rdx, %rax
	andb	$~7, %dl
	movb	$0x89, 5(%rsi,%rdx)
	ltr	%ax
#else
	mov	STATE_HOST_TR_SEL(%rdi), %ax
	mov	%eax, %ecx
	and	$0xfff8, %ecx
	add	STATE_HOST_GDT+2(%rdi), %rcx
	andl	$0xfffffdff, 4(%rcx)
	ltr	%ax
#endif
exit_site_end:
	mov	STATE_HOST_CR0(%rdi), %rax
	mov	%rax, %cr0
	mov	STATE_HOST_SS_SEL(%rdi), %ax
	mov	%ax, %ss
	pop_saved
	ret
nexus_end:

	.section .note.GNU-stack, "", @progbits
