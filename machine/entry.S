/*
 * What cannot be said in C: one round through the module's own switch, the guest that leaves
 * everything as hostile as it can, the interrupts by which a CPU's TSS is seen, and faults.
 */
#include "layout.h"

	.macro	push_saved
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	.endm
	.macro	pop_saved
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	.endm

	.text
/* int one_round(struct cpu *): calls kernel2monitor as kqemu_exec does. 1 after a fault, else 0. */
	.globl	one_round
one_round:
	push_saved
	mov	%rsp, CPU_SAVED_RSP(%rdi)
	push	%rdi			/* how this CPU finds itself again: %gs is the guest's then */
	movabs	$CANARY, %rax
	.rept	CANARIES
	push	%rax
	.endr
	mov	%rsp, CPU_GIVEN_RSP(%rdi)
	mov	CPU_GIVEN(%rdi), %rbx
	mov	CPU_GIVEN + 8(%rdi), %rbp
	mov	CPU_GIVEN + 16(%rdi), %r12
	mov	CPU_GIVEN + 24(%rdi), %r13
	mov	CPU_GIVEN + 32(%rdi), %r14
	mov	CPU_GIVEN + 40(%rdi), %r15
	mov	CPU_JUNK(%rdi), %rcx
	mov	%rcx, %rdx
	mov	%rcx, %rsi
	mov	%rcx, %r8
	mov	%rcx, %r9
	mov	%rcx, %r10
	mov	%rcx, %r11
	mov	CPU_ENTRY(%rdi), %rax
	mov	CPU_STATE_KERNEL(%rdi), %rdi
	call	*%rax
	mov	CANARIES * 8(%rsp), %rdi
	mov	%rsp, CPU_AFTER_RSP(%rdi)
	mov	%rbx, CPU_AFTER(%rdi)
	mov	%rbp, CPU_AFTER + 8(%rdi)
	mov	%r12, CPU_AFTER + 16(%rdi)
	mov	%r13, CPU_AFTER + 24(%rdi)
	mov	%r14, CPU_AFTER + 32(%rdi)
	mov	%r15, CPU_AFTER + 40(%rdi)
	pushfq
	pop	CPU_AFTER_FLAGS(%rdi)
	mov	%cs, %eax
	mov	%rax, CPU_AFTER_CS(%rdi)
	mov	%ss, %eax
	mov	%rax, CPU_AFTER_SS(%rdi)
	push	$2
	popfq
	mov	%rsp, %rsi
	mov	$CANARIES, %ecx
	movabs	$CANARY, %rax
1:	cmp	%rax, (%rsi)
	je	2f
	incq	CPU_STACK_WRONG(%rdi)
2:	add	$8, %rsi
	dec	%ecx
	jnz	1b
	mov	CPU_SAVED_RSP(%rdi), %rsp
	xor	%eax, %eax
	pop_saved
	ret

/* int guarded(struct cpu *, void (*)(struct cpu *)): calls it. 1 after a fault, else 0. */
	.globl	guarded
guarded:
	push_saved
	mov	%rsp, CPU_SAVED_RSP(%rdi)
	sub	$8, %rsp
	call	*%rsi
	add	$8, %rsp
	xor	%eax, %eax
	pop_saved
	ret

/* noreturn give_up(struct cpu *): back to the caller of one_round, after a fault. */
	.globl	give_up
give_up:
	mov	CPU_SAVED_RSP(%rdi), %rsp
	mov	$1, %eax
	pop_saved
	ret

/*
 * The guest's side. The first entry pops the CPU into %rbx; every later one returns behind the call.
 * Runs under the monitor's page tables, which map this image where it is.
 */
	.globl	guest
guest:
	push	%rbx
	push	CPU_JUNK(%rbx)
	mov	$GUEST_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	mov	$MSR_FSBASE, %ecx
	mov	$HOSTILE_BASE & 0xffffffff, %eax
	mov	$HOSTILE_BASE >> 32, %edx
	wrmsr
	mov	$MSR_GSBASE, %ecx
	wrmsr
	mov	$MONITOR_DR7_VALUE, %eax
	mov	%rax, %dr7
	mov	%cr0, %rax
	xor	$8, %rax		/* TS */
	mov	%rax, %cr0
	mov	%rbx, %rdi
	call	guest_turn
	mov	CPU_JUNK(%rbx), %rcx
	mov	CPU_LEAVE(%rbx), %rax
	mov	CPU_STATE_MONITOR(%rbx), %rdi
	mov	%rcx, %rbp
	test	$1, %cl			/* hostile flags and plain ones, in turn */
	jz	1f
	push	$HOSTILE_FLAGS
	popfq
1:	mov	%rcx, %rdx
	mov	%rcx, %rsi
	mov	%rcx, %r8
	mov	%rcx, %r9
	mov	%rcx, %r10
	mov	%rcx, %r11
	mov	%rcx, %r12
	mov	%rcx, %r13
	mov	%rcx, %r14
	mov	%rcx, %r15
	call	*%rax
	pop	%rcx
	pop	%rbx
	push	$2
	popfq
	.irp	register, rbp, r12, r13, r14, r15
	cmp	%rcx, %\register
	je	2f
	incq	CPU_MONITOR_WRONG(%rbx)
2:
	.endr
	jmp	guest

/* void see_ist(struct cpu *): an interrupt through IST1; leaves the stack that it got in the CPU. */
	.globl	see_ist, see_rsp0
see_ist:
	push_saved
	mov	%rsp, CPU_RESUME_RSP(%rdi)
	int	$VECTOR_IST
	/* void see_rsp0(struct cpu *): the same from ring 3, through rsp0. */
see_rsp0:
	push_saved
	mov	%rsp, CPU_RESUME_RSP(%rdi)
	push	CPU_USER_SS(%rdi)
	push	CPU_USER_STACK(%rdi)
	push	$2
	push	CPU_USER_CS(%rdi)
	push	$1f
	iretq
1:	int	$VECTOR_RSP0

/* Nothing of the frame is used: with a wrong TSS another CPU may be writing the same stack. */
	.globl	seen
seen:
	mov	%rsp, CPU_SEEN_RSP(%rdi)
	mov	CPU_KERNEL_SS(%rdi), %eax
	mov	%eax, %ss
	mov	CPU_RESUME_RSP(%rdi), %rsp
	pop_saved
	ret

/* void load_code_segment(u64 selector), load_data_segments(u64 selector) */
	.globl	load_code_segment, load_data_segments
load_code_segment:
	pop	%rax
	push	%rdi
	push	%rax
	lretq
load_data_segments:
	mov	%edi, %ss
	mov	%edi, %ds
	mov	%edi, %es
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	ret

/*
 * Faults, in either world: the frame as fault() wants it, on the page tables of the host. The
 * stack is the one that the CPU was on, or the monitor's, so the frame is copied first.
 */
	.altmacro
	.macro	stub number
	.balign	16
	.if	\number == 8 || (\number >= 10 && \number <= 14) || \number == 17 || \number == 21
	.else
	push	$0
	.endif
	push	$\number
	jmp	faulted
	.endm
	.balign	16
	.globl	fault_stubs
fault_stubs:
	.set	vector, 0
	.rept	32
	stub	%vector
	.set	vector, vector + 1
	.endr
faulted:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	mov	$1, %eax
	cpuid
	shr	$24, %ebx
	mov	%ebx, %eax
	shl	$8, %eax
	lea	fault_frames(%rax), %rax
	mov	%rdi, 72(%rax)
	.set	word, 0
	.rept	8			/* rdx rcx rbx rax vector error rip cs */
	mov	word * 8(%rsp), %rcx
	mov	%rcx, word * 8(%rax)
	.set	word, word + 1
	.endr
	mov	word * 8(%rsp), %rcx
	mov	%rcx, 64(%rax)
	mov	word * 8 + 8(%rsp), %rcx
	mov	%rcx, 80(%rax)
	mov	%cr3, %rcx
	mov	%rcx, 88(%rax)
	mov	%cr2, %rcx
	mov	%rcx, 96(%rax)
	mov	$host_pml4, %ecx
	mov	%rcx, %cr3
	mov	%ebx, %edi
	lea	1(%rbx), %ecx
	imul	$STACK_SIZE, %ecx, %ecx
	lea	fault_stacks(%rcx), %rsp
	call	fault
	hlt

	.section .note.GNU-stack, "", @progbits
