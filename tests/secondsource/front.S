/*
 * The driver around the image: sections, symbols and relocations in the amounts and the order of one build. Never run;
 * the bodies only carry the relocations that a compiler would leave.
 */
#ifndef CDEVSW
#define CDEVSW 0x28042009
#endif
#ifndef ARRAY
#define ARRAY .section .rodata, "a"
#endif
        .macro  calls names:vararg      /* PC32 by hand: the kernel linker knows no PLT32 */
        .irp    name, \names
        .byte   0xe8
        .reloc  ., R_X86_64_PC32, \name - 4
        .long   0
        .endr
        .endm
        .macro  function name, names:vararg
        .p2align 4
        .globl  \name
        .type   \name, @function
\name: push    %rbx
        mov     %rdi, %rbx
        mov     $.Ltext, %rdi
        calls   \names
        pop     %rbx
        ret
        .size   \name, . - \name
        .endm

        .text
        .p2align 4
kqemu_modevent:
        mov     kqemu_cdevsw + 8(%rip), %rax
        cmp     $4, %esi
        ja      1f
        jmp     *.Lcases(, %rsi, 8)
1:      xor     %eax, %eax
        ret
        function kqemu_log, printf, vprintf
        function kqemu_lock_user_page, vm_fault_wire, vm_map_lookup, pmap_extract, kqemu_log
        function kqemu_unlock_user_page, vm_fault_unwire, kqemu_log
        function kqemu_alloc_zeroed_page, contigmalloc, bzero, pmap_extract
        function kqemu_free_page, contigfree
        function kqemu_page_kaddr, vtophys
        function kqemu_vmalloc, malloc, bzero
        function kqemu_vfree, free
        function kqemu_io_map, pmap_mapdev
        function kqemu_io_unmap, pmap_unmapdev
        function kqemu_schedule, THREAD_LOCK, mi_switch, THREAD_UNLOCK
        function kqemu_init, kqemu_vmalloc, memcpy, kqemu_alloc_zeroed_page, kqemu_page_kaddr, kqemu_lock_user_page
        movq    $IMAGE, %rsi
        mov     $0x22a30, %edx
        calls   memcpy
        movslq  IMAGE + 8, %rax
        function kqemu_exec, kqemu_schedule, kqemu_log
        function kqemu_delete, kqemu_vfree, kqemu_free_page, kqemu_unlock_user_page
        function kqemu_clone, clone_create, make_dev, dev_ref
        function kqemu_open, kqemu_log, priv_check, kqemu_vmalloc
        function kqemu_close, kqemu_delete, DESTROY
        function kqemu_ioctl, kqemu_init, kqemu_exec, copyin, copyout, mtx_lock_flags, mtx_unlock_flags
        .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23
        function kqemu_part_\number, kqemu_log, kqemu_page_kaddr, memset
        .endr
#ifdef SCHED_LOCK
        mov     $sched_lock, %rdi
#endif
        .section .text.unlikely, "ax"
        ud2

        ARRAY
        .p2align 5
        .skip   0x40
        .type   IMAGE, @object
#ifdef GLOBAL_IMAGE
        .globl  IMAGE
#endif
IMAGE:  .incbin IMAGE_FILE
        .size   IMAGE, . - IMAGE
#ifndef PLAIN_RODATA
        .section .rodata, "a"
        .p2align 3
.Lcases:
        .set    number, 0
        .rept   40
        .quad   kqemu_modevent + number
        .set    number, number + 1
        .endr
#else
        .data
.Lcases:
        .fill   40, 8, 0
#endif

        .section .rodata.str1.1, "aMS", @progbits, 1
.Ltext: .asciz  "kqemu: %s\n"
.Lname: .asciz  "kqemu"
.Lkernel: .asciz "kernel"
        .section .rodata.str1.8, "aMS", @progbits, 1
        .asciz  "kqemu: aborting: a message that is long enough to be aligned\n"

        .section set_modmetadata_set, "a"
        .quad   module_data, version_data
#ifdef OSRELDATE
        .quad   depend_data
#endif
        .section set_sysinit_set, "a"
        .quad   module_sysinit
        .section set_sysctl_set, "a"
        .quad   sysctl_debug
        .section set_sysuninit_set, "a"
        .quad   module_sysuninit
        .section .rodata.cst8, "aM", @progbits, 8
        .quad   0x3ff0000000000000
        .section .rodata.cst16, "aM", @progbits, 16
        .quad   0, 0x8000000000000000

        .data
        .p2align 3
kqemu_cdevsw:
        .long   CDEVSW, 0
        .quad   .Lname, kqemu_open, 0, kqemu_close, 0, 0, kqemu_ioctl
        .quad   0, 0, 0, 0
        .fill   64
kqemu_mod:
        .quad   .Lname, kqemu_modevent, 0
module_data:
        .long   1, 2
        .quad   kqemu_mod, .Lname
version_data:
        .long   1, 3
        .quad   _kqemu_version, .Lname
_kqemu_version:
        .long   1
#ifdef OSRELDATE
depend_data:
        .long   1, 1
        .quad   _kqemu_depend_on_kernel, .Lkernel
_kqemu_depend_on_kernel:
        .long   OSRELDATE, OSRELDATE, 899999
#endif
module_sysinit:
        .long   0x8000000, 0x2800000
        .quad   module_register_init, kqemu_mod
module_sysuninit:
        .long   0x8000000, 0x2800000
        .quad   kqemu_delete, 0
sysctl_debug:
        .quad   sysctl__kern_children, 0, .Lname
M_KQEMU:
        .quad   0, .Lname
        .bss
        .lcomm  kqemu_users, 64
        .section .comment, "MS", @progbits, 1
        .asciz  "GCC"
        .section .note.GNU-stack, "", @progbits
