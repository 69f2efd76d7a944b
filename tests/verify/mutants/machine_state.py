"""Mutants that leave the machine in another state, write what is not theirs, or run wild."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.descriptors import FOOTPRINT
from tests.verify.mutants.locks import NO_FAULT, PROGRESS, RELEASE
from tests.verify.mutants.stashes import RESTORED
from tests.verify.mutants.variant import Mutant, Variant, at


def entry(code: str) -> Lines:
    """Something more at the end of the entry trampoline, where rdx is free."""
    return before("pop rcx", code)


def leave(code: str) -> Lines:
    """Something more at the end of the exit trampoline, where rax, rcx, r8 and r9 are free."""
    return after(RELEASE, code)


FLAGS: Final = "pushfq; or qword [rsp], {bit}; popfq"
TURNED: Final = "pushfq; xor qword [rsp], {bit}; popfq"

MUTANTS: Final = (
    Mutant(
        "264 bytes of the stack at the exit", (leave("mov qword [rsp + -216], 0"),), (FOOTPRINT,)
    ),
    Mutant(
        "two pages of the stack at the entry",
        (entry("lea rcx, [rsp + -8192]; mov qword [rcx], 0"),),
        (FOOTPRINT,),
    ),
    Mutant("rdi is clobbered at the entry", (entry("xor edi, edi"),), (NO_FAULT,)),
    Mutant("rdi is clobbered at the exit", (leave("xor edi, edi"),), (NO_FAULT,)),
    Mutant(
        "the way back is cut to 32 bits",
        (Lines("jmp rdx", "movsxd rdx, edx; jmp rdx"),),
        (NO_FAULT,),
    ),
    Mutant(
        "the address of the state is cut to 32 bits",
        (leave("movsxd rdi, edi; movzx eax, word [rdi + 0x8c]"),),
        (NO_FAULT,),
    ),
    Mutant("rsp is cut to 32 bits", (leave("movsxd rsp, esp"),), (NO_FAULT,)),
    Mutant("rsp is moved", (leave("add rsp, 8"),), (NO_FAULT,)),
    *(
        Mutant(
            f"the stack is aligned to {size}, which is taken to move it by 8",
            (leave(f"and rsp, {-size}; add rsp, 8"),),
            (NO_FAULT,),
            at("leave", selector=0x48),
            passes=(at("leave"),),
        )
        for size in (16, 64)
    ),
    Mutant("the saved rbx is clobbered", (leave("mov qword [rsp + 32], rax"),), (RESTORED,)),
    Mutant("the saved r12 is clobbered", (leave("mov qword [rsp + 24], rax"),), (RESTORED,)),
    Mutant(
        "rbp is clobbered, and it was saved so",
        (entry("mov qword [rsp + 0x30], rax"),),
        (RESTORED,),
    ),
    Mutant("the direction flag is left set", (leave("std"),), (RESTORED,)),
    Mutant("the nested-task flag is left set", (leave(FLAGS.format(bit="0x4000")),), (RESTORED,)),
    Mutant("alignment checks are turned over", (leave(TURNED.format(bit="0x40000")),), (RESTORED,)),
    Mutant("the I/O privilege is turned over", (leave(TURNED.format(bit="0x3000")),), (RESTORED,)),
    Mutant("the ID flag is turned over", (leave(TURNED.format(bit="0x200000")),), (RESTORED,)),
    Mutant("dr6 is lost", (leave("mov dr6, rdi"),), (RESTORED,)),
    Mutant("cr2 is lost", (leave("mov cr2, rdi"),), (RESTORED,)),
    Mutant("interrupts are enabled by sti", (leave("sti"),), (NO_FAULT,)),
    Mutant("interrupts are enabled by popfq", (leave(FLAGS.format(bit="0x200")),), (NO_FAULT,)),
    Mutant("single-stepping is enabled", (leave(FLAGS.format(bit="0x100")),), (NO_FAULT,)),
    Mutant(
        "write protection is off, and saved so",
        (entry("mov rdx, cr0; and rdx, 0xfffffffffffeffff; mov cr0, rdx"),),
        (RESTORED,),
    ),
    Mutant("cr4 is changed", (leave("mov rax, cr4; xor rax, 0x200; mov cr4, rax"),), (RESTORED,)),
    Mutant("cr8 keeps interrupts away", (leave("mov eax, 15; mov cr8, rax"),), (NO_FAULT,)),
    Mutant("a debug address is lost", (leave("mov dr0, rax"),), (RESTORED,)),
    Mutant("a breakpoint is set", (leave("mov eax, 0x401; mov dr7, rax"),), (NO_FAULT,)),
    Mutant("the monitor's IDT is loaded again", (leave("lidt [rdi + 0x2c]"),), (RESTORED,)),
    Mutant("paging is turned off", (leave("xor eax, eax; mov cr0, rax"),), (NO_FAULT,)),
    Mutant("other page tables", (leave("mov cr3, rdi"),), (NO_FAULT,)),
    Mutant("the GS base is written", (leave("mov ecx, 0xc0000101; wrmsr"),), (NO_FAULT,)),
    Mutant("swapgs", (leave("swapgs"),), (NO_FAULT,)),
    Mutant("the FPU is initialised", (leave("fninit"),), (NO_FAULT,)),
    Mutant("the CPU is stopped", (leave("hlt"),), (NO_FAULT,)),
    Mutant(
        "a cache line is flushed where nothing is mapped",
        (leave("xor eax, eax; clflush [rax]"),),
        (NO_FAULT,),
    ),
    Mutant("a port is written", (leave("out 0x80, al"),), (NO_FAULT,)),
    Mutant("returns by iretq", (Lines("jmp rdx", "iretq"),), (NO_FAULT,)),
    Mutant("goes round for ever", (leave("again:; jmp again"),), (PROGRESS,)),
    Mutant(
        "goes round for ever while it holds the lock",
        (before(RELEASE, "again:; jmp again"),),
        (PROGRESS,),
    ),
    Mutant("waits for ever", (leave("again:; pause; jmp again"),), (PROGRESS,)),
    Mutant("calls itself for ever", (leave("again:; call again"),), (FOOTPRINT,)),
    Mutant(
        "the TSS is written",
        (before("imul rcx, rcx, $tss_stride", "movabs rax, =common_tss; mov dword [rax], ecx"),),
        (FOOTPRINT,),
    ),
    Mutant(
        "struct pcpu is written",
        (before("cmp ecx, 31", "mov gs:[rdx + $cpuid], ecx"),),
        (FOOTPRINT,),
    ),
    Mutant("the descriptor behind is written", (leave("mov dword [rcx + 16], 0"),), (FOOTPRINT,)),
    Mutant(
        "the kernel's code descriptor is written",
        (leave("mov rcx, [$state + $gdt + 2]; mov dword [rcx + 8], 0"),),
        (FOOTPRINT,),
    ),
    Mutant("the image is written", (leave("mov byte [rdx], 0x90"),), (FOOTPRINT,)),
    Mutant("the return address is written", (leave("mov qword [rsp + 48], rdx"),), (FOOTPRINT,)),
    Mutant("its caller's frame is written", (leave("mov qword [rsp + 56], 0"),), (FOOTPRINT,)),
    Mutant(
        "another CPU's slot is read",
        (before("mov r9, qword [rcx]", "movabs r10, =gdt; mov r10, qword [r10 + 0x30]"),),
        (FOOTPRINT,),
        at("private-gdt"),
        passes=(at("leave"),),
    ),
)

SLOW: Final = Variant(
    "a hundred instructions more with a foreign TSS",
    (before("test rsi, rsi", "mov r10d, 50; slow:; dec r10d; jne slow"),),
)
"""Right in every interleaving, but the window in which TR is foreign is longer than declared."""
