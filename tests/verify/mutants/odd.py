"""Patches of which the checks cannot tell; odd ones that are right."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Change, Lines, after, before
from tests.verify.mutants.locks import RELEASE
from tests.verify.mutants.machine_state import entry, leave
from tests.verify.mutants.variant import Variant
from tests.verify.mutants.wrong import STRIDE


def _on_cpu_1(code: str) -> Change:
    """Something in the entry that the first CPU, whose runs are compared, does not do."""
    return before(STRIDE, f"cmp ecx, 1; jne fine; {code}; fine:")


UNTOLD: Final = (
    Variant("DF is set on CPU 1", (_on_cpu_1("std"),)),
    Variant("NT is set on CPU 1", (_on_cpu_1("pushfq; or qword [rsp], 0x4000; popfq"),)),
    Variant("a byte of the flags on CPU 1", (_on_cpu_1("pushfq; mov byte [rsp + 1], 4; popfq"),)),
    Variant("DR7 on CPU 1", (_on_cpu_1("mov eax, 0x10400; mov dr7, rax"),)),
    Variant("FS on CPU 1", (_on_cpu_1("xor eax, eax; mov fs, eax"),)),
    Variant("TS on CPU 1", (_on_cpu_1("clts"),)),
)
"""Wrong, and not proven: `inputs` cannot tell what the monitor makes of it."""

KEPT: Final = (
    Variant("MCE is cleared, as it mostly is", (leave("mov r9, cr4; and r9d, -65; mov cr4, r9"),)),
    Variant("a bit of dr6 is cleared", (leave("mov r9, dr6; and r9, -0x2001; mov dr6, r9"),)),
    Variant("a bit of cr2 is cleared", (leave("mov r9, cr2; and r9, -3; mov cr2, r9"),)),
    Variant("an LDT is taken away", (leave("xor eax, eax; lldt ax"),)),
    Variant(
        "a GDT in which an NMI finds no code segment",
        (leave("push 0; push 7; lgdt [rsp]; lgdt [$state + $gdt]; pop rax; pop rax"),),
    ),
    Variant(
        "what comes behind a move to cr3",
        (leave("mov r9, cr3; mov cr3, r9; cmp rbx, 5; jne fine; jmp r12; fine:"),),
    ),
)
"""Wrong on other kernels than those that are emulated, and not proven: the kernel keeps it."""

RIGHT_ODD: Final = (
    Variant("junk is moved about", (leave("mov r9, rbx; mov r10, r9; xchg r9, r10"),)),
    Variant("junk is saved and taken back", (leave("push rbx; xor ebx, ebx; pop rbx"),)),
    Variant("junk is exchanged and exchanged back", (leave("xchg rbx, r12; xchg r12, rbx"),)),
    Variant(
        "junk is calculated with and forgotten", (leave("add r9, rbx; imul r9, rbx; bsf r9, rbx"),)
    ),
    Variant(
        "junk in the parts that a mask takes away",
        (leave("mov r9w, 4; and r9d, 0xfff; cmp r9d, 4; jne fine; fine:"),),
    ),
    Variant("flags are saved and taken back", (leave("pushfq; cmp eax, 5; popfq"),)),
    Variant("the same at the entry", (entry("pushfq; pop rdx; push rdx; popfq"),)),
    Variant("undefined flags are overwritten", (after(STRIDE, "test ecx, ecx; je fine; fine:"),)),
    Variant(
        "16 bits shifted by less than the width",
        (leave("mov r9d, 5; shrd r9w, r9w, 3; cmp r9w, 5; je fine; fine:"),),
    ),
    Variant("a pause that nobody needs", (leave("pause; pause"),)),
    Variant("flags that imul defines", (after(STRIDE, "jo fine; fine:"),)),
    Variant("flags that a shift defines", (leave("mov r9d, 5; shl r9d, 3; je fine; fine:"),)),
    Variant(
        "the guard's comparison by a carry",
        (
            Lines(
                "cmp ecx, 31; ja unknown_layout",
                "cmp ecx, 32; sbb eax, eax; je unknown_layout",
            ),
        ),
    ),
    Variant(
        "a frame that is aligned",
        (leave("push rbp; mov rbp, rsp; and rsp, -64; push rax; mov rsp, rbp; pop rbp"),),
    ),
    Variant(
        "a frame of its own", (leave("push rbp; mov rbp, rsp; push rax; mov rsp, rbp; pop rbp"),)
    ),
    Variant(
        "what it stored in its frame",
        (leave("push rax; cmp word [rsp], 0x30; pop r9; jne fine; fine:"),),
    ),
    Variant(
        "the TSS by other arithmetic",
        (
            Lines(
                STRIDE,
                "mov eax, ecx; shl ecx, 6; shl eax, 3; add ecx, eax; shl eax, 2; add rcx, rax",
            ),
        ),
    ),
    Variant(
        "the selector as the module takes it",
        (Lines("movzx eax, word [$state + $tr_sel]", "mov ax, word [$state + $tr_sel]"),),
    ),
    Variant(
        "the slot is looked for within the GDT's limit",
        (
            before(
                "acquire:",
                "movzx r9d, word [$state + $gdt]; lea r10d, [rax + 15]; cmp r10d, r9d; ja gone",
            ),
            after(RELEASE, "gone:"),
        ),
    ),
    Variant(
        "cpuid is looked at again",
        (entry("xor edx, edx; cmp dword gs:[rdx + $cpuid], 99; je fine; fine:"),),
    ),
    Variant(
        "written only where it names another TSS",
        (
            before(
                "mov qword [rcx], r9",
                "cmp r9, [rcx]; jne other; cmp esi, [rcx + 8]; je load; other:",
            ),
        ),
    ),
    Variant(
        "as before where it names the TSS",
        (
            after(
                "je as_before",
                "mov r10, [rcx]; mov r9, r10; shr r9, 16; and r9d, 0xffffff; shr r10, 56;"
                "shl r10d, 24; or r9d, r10d; mov r10d, [rcx + 8]; shl r10, 32; or r9, r10;"
                "sub r9, rsi; je as_before",
            ),
        ),
    ),
    Variant("half of the marker", (Lines("test rsi, rsi", "test esi, esi"),)),
    Variant(
        "the return by a push",
        (Lines("pop rcx; push rax; jmp rcx", "pop rcx; push rax; push rcx; ret"),),
    ),
)
