/* The process in ring 3, and the two ways from it into the kernel. */
#include "layout.h"

	.macro	kernel_entry function
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	call	\function
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	iretq
	.endm

	.text
	.globl	clock_entry, call_entry, spurious_entry, enter_process
clock_entry:
	kernel_entry clock_interrupt
call_entry:
	kernel_entry system_call
spurious_entry:
	iretq

/* noreturn enter_process(struct cpu *, u64 flags) */
enter_process:
	push	CPU_USER_SS(%rdi)
	push	CPU_USER_STACK(%rdi)
	push	%rsi
	push	CPU_USER_CS(%rdi)
	push	$process
	iretq

process:
	int	$VECTOR_CALL
	mov	$2000, %ecx
1:	dec	%ecx
	jnz	1b
	jmp	process

	.section .note.GNU-stack, "", @progbits
