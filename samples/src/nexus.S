/*
 * The world switch: from the kernel's page tables, descriptor tables and task register to the
 * monitor's, and back.
 *
 * The image is mapped twice. The kernel calls kernel2monitor at the image's kernel address; the
 * monitor runs at MONITOR_BASE. This page alone is mapped at its kernel address under the monitor's
 * page tables as well, so that the instruction after a change of cr3 is still there. Nothing here
 * may be reached by an absolute address of the image, therefore.
 *
 * STATE is the state all the way (%rdi, or %rsi with SAMPLE_OTHER_SWITCH): its kernel address
 * under the kernel's page tables, its monitor address under the monitor's. The STATE_ offsets come from the generated state.h. Interrupts are
 * off from before the entry until after the exit.
 */
#include "layout.h"
#include "state.h"

#ifdef SAMPLE_OTHER_SWITCH
#define STATE %rsi
#else
#define STATE %rdi
#endif

	/* The state's address into its register, and back into that of an argument. */
	.macro take_state
#ifdef SAMPLE_OTHER_SWITCH
	mov	%rdi, STATE
#endif
	.endm

	.macro give_state
#ifdef SAMPLE_OTHER_SWITCH
	mov	STATE, %rdi
#endif
	.endm

#ifdef SAMPLE_OTHER_PUSHES
	.macro push_saved
	push	%r15
	push	%rbx
	push	%r13
	push	%rbp
	mov	%rsp, %rbp
	push	%r14
	push	%r12
	.endm

	.macro pop_saved
	pop	%r12
	pop	%r14
	pop	%rbp
	pop	%r13
	pop	%rbx
	pop	%r15
	.endm
#else
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
#endif

	.section .nexus, "ax"
	.globl	image_start, kernel2monitor, monitor2kernel
	.globl	entry_site, entry_site_end, exit_site, exit_site_end, nexus_end

/* The header: what kqemu_init has to know about the rest. */
image_start:
#ifdef SAMPLE_OTHER_SWITCH
	.long	exit_end - image_start
	.long	monitor_exec - image_start
	.long	nexus_end - image_start
	.long	kernel2monitor - image_start
	.long	entry_end - image_start
	.long	interrupt_table - image_start
#else
	.long	kernel2monitor - image_start
	.long	interrupt_table - image_start
	.long	entry_end - image_start
	.long	exit_end - image_start
	.long	monitor_exec - image_start
#endif

/* void kernel2monitor(struct kqemu_state *kernel_address) */
kernel2monitor:
	push_saved
	take_state

entry_site:
	str	STATE_HOST_TR_SEL(STATE)
	sidt	STATE_HOST_IDT(STATE)
	sgdt	STATE_HOST_GDT(STATE)
	sldt	STATE_HOST_LDT_SEL(STATE)
entry_site_end:
	mov	%cs, STATE_HOST_CS_SEL(STATE)
	mov	%ss, STATE_HOST_SS_SEL(STATE)
	mov	%rsp, STATE_HOST_RSP(STATE)
	mov	%cr0, %rax
	mov	%rax, STATE_HOST_CR0(STATE)
	mov	%cr3, %rax
	mov	%rax, STATE_HOST_CR3(STATE)
	mov	%cr4, %rcx
	mov	%rcx, STATE_HOST_CR4(STATE)

	/* Without PGE the change of cr3 drops the kernel's global pages too. */
	mov	%rcx, %rdx
	and	$~CR4_PGE, %rdx
	mov	%rdx, %cr4
	mov	STATE_MONITOR_CR3(STATE), %rax
	mov	STATE_MONITOR_ADDRESS(STATE), STATE
	mov	%rax, %cr3
	mov	%rcx, %cr4

	lidt	STATE_MONITOR_IDT(STATE)
	lgdt	STATE_MONITOR_GDT(STATE)
	mov	STATE_MONITOR_RSP(STATE), %rsp
	movzwl	STATE_MONITOR_CS_SEL(STATE), %eax
	push	%rax
	push	STATE_MONITOR_JUMP(STATE)
	lretq

/* From here on at the monitor's address. */
entry_end:
	lldt	STATE_MONITOR_LDT_SEL(STATE)

	/*
	 * The guest may have a descriptor of its own where the monitor's TSS is wanted. Lend the
	 * slot the cached descriptor while ltr looks at it; the hidden part of TR keeps it.
	 */
	mov	STATE_MONITOR_TR_SEL(STATE), %ax
	mov	%eax, %ecx
	and	$0xfff8, %ecx
	add	STATE_MONITOR_GDT+2(STATE), %rcx
	mov	(%rcx), %r12
	mov	8(%rcx), %r13
	mov	STATE_TSS_CACHE(STATE), %r14
	mov	STATE_TSS_CACHE+8(STATE), %r15
	mov	%r14, (%rcx)
	mov	%r15, 8(%rcx)
	ltr	%ax
	mov	%r12, (%rcx)
	mov	%r13, 8(%rcx)

	mov	STATE_MONITOR_DS_SEL(STATE), %ax
	mov	%ax, %ss
#ifndef SAMPLE_NO_DR7
	mov	STATE_MONITOR_DR7(STATE), %rax
	test	%rax, %rax
	jz	1f
	mov	%rax, %dr7
1:
#endif
	give_state
	pop_saved
	ret

/* void monitor2kernel(struct kqemu_state *monitor_address) */
monitor2kernel:
	push_saved
	take_state
	mov	%rsp, STATE_MONITOR_RSP(STATE)
#ifndef SAMPLE_NO_DR7
	mov	STATE_MONITOR_DR7(STATE), %rax
	test	%rax, %rax
	jz	1f
	xor	%eax, %eax
	mov	%rax, %dr7
1:
#endif
	/* Go on in this page at its kernel address, which both worlds map. */
	mov	STATE_NEXUS_ADDRESS(STATE), %rax
	add	$(at_kernel_address - image_start), %rax
	jmp	*%rax

at_kernel_address:
	mov	STATE_HOST_CR4(STATE), %rcx
	mov	%rcx, %rdx
	and	$~CR4_PGE, %rdx
	mov	%rdx, %cr4
	mov	STATE_HOST_CR3(STATE), %rax
	mov	STATE_KERNEL_ADDRESS(STATE), STATE
	mov	%rax, %cr3
	mov	%rcx, %cr4

	lidt	STATE_HOST_IDT(STATE)
	lgdt	STATE_HOST_GDT(STATE)
	lldt	STATE_HOST_LDT_SEL(STATE)
	mov	STATE_HOST_RSP(STATE), %rsp
	movzwl	STATE_HOST_CS_SEL(STATE), %eax
	push	%rax
#ifdef SAMPLE_HOST_JUMP
	push	STATE_HOST_JUMP(STATE)
#else
	lea	exit_end(%rip), %rax
	push	%rax
#endif
	lretq

/*
 * Back in the kernel's code segment. The kernel's TSS is still marked busy in its descriptor, and
 * ltr refuses a busy one: clear the bit first. Nothing keeps another CPU from this descriptor, nor
 * is it sure to hold this CPU's TSS any more. That is the defect which these samples are here to show.
 */
exit_end:
exit_site:
#ifdef SAMPLE_OTHER_EXIT
	movzwl	STATE_HOST_TR_SEL(STATE), %edx
	mov	STATE_HOST_GDT+2(STATE), %rsi
	mov	%rdx, %rax
	andb	$~7, %dl
	movb	$0x89, 5(%rsi,%rdx)
	ltr	%ax
#else
	mov	STATE_HOST_TR_SEL(STATE), %ax
	mov	%eax, %ecx
	and	$0xfff8, %ecx
	add	STATE_HOST_GDT+2(STATE), %rcx
	andl	$0xfffffdff, 4(%rcx)
	ltr	%ax
#endif
exit_site_end:
	mov	STATE_HOST_CR0(STATE), %rax
	mov	%rax, %cr0
	mov	STATE_HOST_SS_SEL(STATE), %ax
	mov	%ax, %ss
	give_state
	pop_saved
	ret
nexus_end:

	.section .note.GNU-stack, "", @progbits
