/*
 * Interrupt entries of the monitor: 256 stubs of TRAP_STUB_SIZE bytes each. A stub brings the stack
 * to one shape (vector above error code) and the common part hands a struct trap_frame to C.
 */
#include "trap.h"

	.section .traps, "ax"
	.globl	interrupt_table, halt_forever
	.balign	256
interrupt_table:
	.set	vector, 0
	.rept	256
	.balign	TRAP_STUB_SIZE
	/* Intel SDM vol. 3, table 6-1: these vectors come with an error code. */
	.if	(vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 30)
	.else
	push	$0
	.endif
	push	$vector
	jmp	common_trap
	.set	vector, vector + 1
	.endr

	.balign	16
common_trap:
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%r11
	push	%r10
	push	%r9
	push	%r8
	push	%rdi
	push	%rsi
	push	%rbp
	push	%rbx
	push	%rdx
	push	%rcx
	push	%rax
	cld
	lea	state_area(%rip), %rdi
	mov	%rsp, %rsi
	/* The CPU aligned the stack before its six words; seventeen more leave it odd. */
	mov	%rsp, %rbx
	and	$-16, %rsp
	call	monitor_trap
	mov	%rbx, %rsp
	pop	%rax
	pop	%rcx
	pop	%rdx
	pop	%rbx
	pop	%rbp
	pop	%rsi
	pop	%rdi
	pop	%r8
	pop	%r9
	pop	%r10
	pop	%r11
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	add	$16, %rsp
	iretq

/* A second fault inside the monitor has nowhere to go. */
halt_forever:
	cli
	hlt
	jmp	halt_forever

	.section .note.GNU-stack, "", @progbits
