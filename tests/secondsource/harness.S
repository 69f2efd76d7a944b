/* What surrounds the switch in the referee: a CPU's start on the host, and a guest that leaves everything hostile behind. */
        .code64
        .globl  _start
_start:
boot:   push    $0x20                   /* the kernel's code segment */
        lea     1f(%rip), %rax
        push    %rax
        lretq
1:      mov     $0x28, %eax
        mov     %eax, %ss
        xor     %eax, %eax
        lldt    %ax
        ltr     %di
        .org    0x20, 0x90
booted: hlt

        .org    0x100, 0xf4
guest:  mov     $3, %eax                /* a null selector with a privilege level */
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        mov     $0xc0000100, %ecx       /* MSR_FSBASE, MSR_GSBASE */
        mov     $0x66666000, %eax
        xor     %edx, %edx
        wrmsr
        inc     %ecx
        mov     hostile(%rip), %eax
        mov     hostile + 4(%rip), %edx
        wrmsr
        .irp    name, rax, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
        movabs  $0xdead5a5adeadbeef, %\name
        .endr
        mov     state(%rip), %rdi
        mov     leave(%rip), %rax
        call    *%rax
        jmp     guest
        .org    0x1e8
hostile: .quad  0
state:  .quad   0
leave:  .quad   0
