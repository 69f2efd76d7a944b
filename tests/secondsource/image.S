/*
 * A monitor image from a description alone: header, world switch, and something to fill 141,872 bytes.
 * The description fixes what each routine does and in which order; it leaves the instructions free. Every freedom is a
 * macro below, so that one file gives many images. Linked at 0xf0000000 as a flat binary.
 */
#include "fields.h"

#ifndef ENTRY_ALIGN
#define ENTRY_ALIGN
#endif
#ifndef RETURN
#define RETURN ret
#endif
#ifndef WIDE                    /* {disp32} to forbid short displacements */
#define WIDE
#endif
#ifndef SAVE_SEGMENT            /* how a segment register goes into the state */
#define SAVE_SEGMENT(reg, at) mov reg, %ax; WIDE mov %ax, at(%rdi)
#endif
#ifndef LOAD_SS
#define LOAD_SS(at) WIDE mov at(%rdi), %ax; mov %eax, %ss
#endif
#ifndef WITHOUT_PGE             /* cr4 in %rcx stays whole, %rdx goes without PGE */
#define WITHOUT_PGE mov %cr4, %rcx; mov %rcx, %rdx; and $~0x80, %rdx; mov %rdx, %cr4
#define WITH_PGE mov %rcx, %cr4
#endif
#ifndef PUSH_MONITOR
#define PUSH_MONITOR WIDE movzwl M_CS(%rdi), %eax; push %rax; WIDE pushq M_JMP(%rdi)
#endif
#ifndef PUSH_KERNEL
#define PUSH_KERNEL WIDE movzwl K_CS(%rdi), %eax; push %rax; lea kernel_side(%rip), %rax; push %rax
#endif
#ifndef SLOT                    /* register with the descriptor's address, its low half, and the value that is moved */
#define SLOT %rcx
#define SLOT32 %ecx
#define MOVED %r8
#endif
#ifndef SELECTOR
#define SELECTOR WIDE mov M_TR(%rdi), %ax
#endif
#ifndef SELECTOR_AGAIN          /* where moving the descriptor has overwritten it */
#define SELECTOR_AGAIN
#endif
#ifndef SET_DR7
#define SET_DR7 WIDE mov M_DR7(%rdi), %rax; or %rax, %rax; jz 1f; mov %rax, %dr7; 1:
#define CLEAR_DR7 WIDE mov M_DR7(%rdi), %rax; or %rax, %rax; jz 1f; xor %eax, %eax; mov %rax, %dr7; 1:
#endif
#ifndef TO_NEXUS
#define TO_NEXUS WIDE mov K_NEXUS(%rdi), %rax; add $(nexus - start), %rax; jmp *%rax
#endif
#ifndef LOAD_STATE              /* page table root in %rax, the state's other address in %rdi */
#define LOAD_STATE(root, other) WIDE mov root(%rdi), %rax; WIDE mov other(%rdi), %rdi
#endif
#ifndef ENTRY_SITE
#define ENTRY_SITE WIDE str K_TR(%rdi); WIDE sidt K_IDT(%rdi); WIDE sgdt K_GDT(%rdi); WIDE sldt K_LDT(%rdi)
#endif
#ifndef EXIT_SITE
#define EXIT_SITE WIDE mov K_TR(%rdi), %ax; mov %eax, %ecx; and $0xfff8, %ecx; WIDE add K_GDT + 2(%rdi), %rcx; \
    andl $0xfffffdff, 4(%rcx); ltr %ax
#endif
#ifndef PROLOGUE
#define PROLOGUE push %rbp; mov %rsp, %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
#endif
#ifndef EPILOGUE
#define EPILOGUE pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
#endif
#ifndef SEGMENTS                /* further segment loads on the monitor's side */
#define SEGMENTS
#endif
#ifndef ENTRY_EXTRA
#define ENTRY_EXTRA
#endif
#ifndef MONITOR_EXTRA
#define MONITOR_EXTRA
#endif
#ifndef EXIT_EXTRA
#define EXIT_EXTRA
#endif
#ifndef KERNEL_EXTRA
#define KERNEL_EXTRA
#endif
#ifndef SAVE_CONTROL
#define SAVE_CONTROL mov %cr0, %rax; WIDE mov %rax, K_CR0(%rdi); mov %cr3, %rax; WIDE mov %rax, K_CR3(%rdi); \
    mov %cr4, %rax; WIDE mov %rax, K_CR4(%rdi)
#endif
#ifndef RESTORE_CONTROL
#define RESTORE_CONTROL WIDE mov K_CR0(%rdi), %rax; mov %rax, %cr0; LOAD_SS(K_SS)
#endif

        .code64
        .text
        .globl  _start
_start:
start:
        .long   kernel2monitor - start
        .long   interrupt_table - start
        .long   monitor_side - start
        .long   kernel_side - start
        .long   monitor_exec - start

        ENTRY_ALIGN
kernel2monitor:
        PROLOGUE
        ENTRY_EXTRA
        ENTRY_SITE
        SAVE_SEGMENT(%cs, K_CS)
        SAVE_SEGMENT(%ss, K_SS)
        WIDE mov %rsp, K_RSP(%rdi)
        SAVE_CONTROL
        WITHOUT_PGE
        LOAD_STATE(M_CR3, M_STATE)
        mov     %rax, %cr3
        WITH_PGE
        WIDE lidt M_IDT(%rdi)
        WIDE lgdt M_GDT(%rdi)
        WIDE mov M_RSP(%rdi), %rsp
        PUSH_MONITOR
        lretq

        ENTRY_ALIGN
monitor_side:
        MONITOR_EXTRA
        WIDE lldt M_LDT(%rdi)
        SELECTOR
        mov     %eax, SLOT32
        and     $0xfff8, SLOT32
        WIDE add M_GDT + 2(%rdi), SLOT
        mov     (SLOT), %r12
        mov     8(SLOT), %r13
        WIDE mov M_TSS(%rdi), MOVED
        mov     MOVED, (SLOT)
        WIDE mov M_TSS + 8(%rdi), MOVED
        mov     MOVED, 8(SLOT)
        SELECTOR_AGAIN
        ltr     %ax
        mov     %r12, (SLOT)
        mov     %r13, 8(SLOT)
        LOAD_SS(M_DS)
        SEGMENTS
        SET_DR7
        EPILOGUE
        RETURN

        ENTRY_ALIGN
monitor2kernel:
        PROLOGUE
        EXIT_EXTRA
        WIDE mov %rsp, M_RSP(%rdi)
        CLEAR_DR7
        TO_NEXUS
nexus:
        WITHOUT_PGE
        LOAD_STATE(K_CR3, K_STATE)
        mov     %rax, %cr3
        WITH_PGE
        WIDE lidt K_IDT(%rdi)
        WIDE lgdt K_GDT(%rdi)
        WIDE lldt K_LDT(%rdi)
        WIDE mov K_RSP(%rdi), %rsp
        PUSH_KERNEL
        lretq

        ENTRY_ALIGN
kernel_side:
        KERNEL_EXTRA
        EXIT_SITE
        RESTORE_CONTROL
        EPILOGUE
        RETURN

        /* What else real hand-written code has in the same page: returns to a guest. */
        ENTRY_ALIGN
to_guest:
        mov     0x1a0(%rdi), %rsp
        pop     %rdi
        pop     %rax
        iretq
        lldt    0x40(%rdi)
        pushq   %rax
        pushf
        popf
        jmp     to_guest

        .org    0xa00, 0x90
interrupt_table:
        .set    vector, 0
        .rept   256
        push    $vector
        jmp     common
        .p2align 4
        .set    vector, vector + 1
        .endr
common: push    %rdi
        mov     $0xf0022000, %edi
        call    monitor_exec
        pop     %rdi
        iretq

        .org    0x52e0, 0x90
monitor_exec:
        push    %rbx
        mov     %rdi, %rbx
        mov     0x1a8(%rdi), %rax
        lea     to_guest(%rip), %rdx
        xor     %eax, %eax
        pop     %rbx
        ret
        .incbin FILLER
        .org    0x22a30
