"""Mutants of the descriptor, of whose TSS it names, and of the guard before that."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, Parameters, Relocated, after, before
from tests.verify.mutants.locks import NO_FAULT, OWN_TSS
from tests.verify.mutants.variant import Mutant, at

DESCRIPTOR, FOOTPRINT = "descriptor", "footprint"

KEPT: Final = "movabs r10, 0x00ff00000000ffff"
PRESENT: Final = "movabs r10, 0x0000890000000000"
LOW, HIGH = "mov qword [rcx], r9", "mov dword [rcx + 8], esi"
SELECTOR: Final = "movzx eax, word [$state + $tr_sel]"
TABLE: Final = "add rcx, [$state + $gdt + 2]"
SCALE: Final = "imul rcx, rcx, $tss_stride"
UNKNOWN_ON_ONE: Final = at("unknown-layout-up", 1)

MUTANTS: Final = (
    Mutant(
        "type 0x8b is written", (Lines(PRESENT, "movabs r10, 0x00008b0000000000"),), (NO_FAULT,)
    ),
    Mutant(
        "the busy bit is left as found",
        (Lines(KEPT, "movabs r10, 0x00ffff000000ffff"), Lines(PRESENT, "xor r10d, r10d")),
        (NO_FAULT,),
    ),
    Mutant(
        "the descriptor is not present",
        (Lines(PRESENT, "movabs r10, 0x0000090000000000"),),
        (NO_FAULT,),
    ),
    Mutant(
        "the descriptor of a 16-bit TSS",
        (Lines(PRESENT, "movabs r10, 0x0000810000000000"),),
        (DESCRIPTOR,),
    ),
    Mutant(
        "the descriptor of a 16-bit TSS, on private GDTs",
        (Lines(PRESENT, "movabs r10, 0x0000810000000000"),),
        (DESCRIPTOR,),
        at("private-gdt"),
    ),
    Mutant(
        "the descriptor of an LDT", (Lines(PRESENT, "movabs r10, 0x0000820000000000"),), (NO_FAULT,)
    ),
    Mutant("limit 0", (Lines(KEPT, "movabs r10, 0x00ff000000000000"),), (DESCRIPTOR,)),
    Mutant("limit 0 once TR is loaded", (after("ltr ax", "mov word [rcx], 0"),), (DESCRIPTOR,)),
    Mutant(
        "limit 0xffff, which makes an I/O bitmap of what follows",
        (Lines(PRESENT, "movabs r10, 0x000089000000ffff"),),
        (DESCRIPTOR,),
    ),
    Mutant(
        "the limit that kernels have up to 7.x",
        (Lines(f"mov r9, qword [rcx]; {KEPT}; and r9, r10", "mov r9d, 0x67"),),
        (DESCRIPTOR,),
        at("private-gdt", selector=0x48),
        passes=(at("leave", selector=0x48), at("private-gdt")),
    ),
    Mutant(
        "a limit that counts pages",
        (Lines(PRESENT, "movabs r10, 0x0080890000000000"),),
        (DESCRIPTOR,),
    ),
    Mutant("the base's high dword is forgotten", (before(HIGH, "xor esi, esi"),), (DESCRIPTOR,)),
    Mutant(
        "the low dword is written for the high one",
        (Lines("shr rsi, 32", "nop"),),
        (DESCRIPTOR,),
    ),
    Mutant(
        "bytes of the base are swapped",
        (after("and r10d, 0x00ffffff", "bswap r10d; shr r10d, 8"),),
        (DESCRIPTOR,),
    ),
    Mutant("byte 3 of the base is byte 2", (Lines("shr r10d, 24", "shr r10d, 16"),), (DESCRIPTOR,)),
    Mutant(
        "byte 3 of the base is left as found",
        (
            Lines(KEPT, "movabs r10, 0xffff00000000ffff"),
            Lines("shr r10d, 24; shl r10, 56", "xor r10d, r10d"),
        ),
        (DESCRIPTOR,),
        at("leave", selector=0x48),
        passes=(at("leave"), at("leave", 4)),
    ),
    Mutant(
        "of byte 3 of the base only what a small kernel has is written",
        (after("shr r10d, 24", "and r10d, 0x81"),),
        (DESCRIPTOR,),
        at("leave", selector=0x48),
        passes=(at("leave"),),
    ),
    Mutant(
        "common_tss is taken to begin at a multiple of 64",
        (after("movabs rax, =common_tss", "and rax, -64"),),
        (DESCRIPTOR,),
        at("leave", selector=0x48),
        passes=(at("leave"),),
    ),
    Mutant(
        "the carry into the GDT's next 64 kB is lost",
        (
            Lines(
                TABLE,
                "mov r9, [$state + $gdt + 2]; add cx, r9w; shr r9, 16; shl r9, 16; or rcx, r9",
            ),
        ),
        (NO_FAULT,),
        at("leave", selector=0x48),
        passes=(at("leave"),),
    ),
    Mutant(
        "only the low word of the base is written",
        (
            Lines(KEPT, "movabs r10, 0xffff00ff0000ffff"),
            Lines("and r10d, 0x00ffffff", "and r10d, 0xffff"),
            Lines("shr r10d, 24; shl r10, 56", "xor r10d, r10d"),
        ),
        (DESCRIPTOR,),
        passes=(at("leave", 4),),
    ),
    Mutant(
        "the upper dword that must be 0 is not",
        (after(HIGH, "mov dword [rcx + 12], esi"),),
        (NO_FAULT,),
    ),
    Mutant(
        "the descriptor is written 8 bytes too far", (after(TABLE, "add rcx, 8"),), (FOOTPRINT,)
    ),
    Mutant("ltr comes before the write", (before(LOW, "ltr ax"),), (NO_FAULT,)),
    Mutant(
        "the base is written after ltr",
        (
            Lines(
                LOW,
                "mov r10, qword [rcx]; movabs r11, 0xfffffdffffffffff; and r10, r11;"
                "mov qword [rcx], r10",
            ),
            after("ltr ax", "mov qword [rcx], r9"),
        ),
        (OWN_TSS,),
    ),
    Mutant("no ltr", (Lines("ltr ax", "nop"),), (OWN_TSS,)),
    Mutant("ltr comes twice", (after("ltr ax", "ltr ax"),), (NO_FAULT,)),
    Mutant("ltr of the code segment", (before("ltr ax", "mov eax, 8"),), (NO_FAULT,)),
    Mutant("ltr of the null selector", (before("ltr ax", "xor eax, eax"),), (DESCRIPTOR,)),
    Mutant(
        "the selector is 0x30 whatever the kernel",
        (Lines(SELECTOR, "mov eax, 0x30"),),
        (FOOTPRINT,),
        at("leave", selector=0x48),
        passes=(at("leave"),),
    ),
    Mutant(
        "the slot is CPU 0's",
        (Lines(TABLE, "movabs r10, =gdt; add rcx, r10"),),
        (FOOTPRINT,),
        at("private-gdt"),
        passes=(at("two-rounds"),),
    ),
    Mutant("the TSSs lie 96 bytes apart", (Parameters(stride=96),), (DESCRIPTOR,)),
    Mutant("cpuid is read from the mask", (Parameters(cpuid=0x38),), (OWN_TSS,)),
    Mutant(
        "the mask is taken for the number",
        (Lines(SCALE, f"mov rcx, rdx; {SCALE}"),),
        (DESCRIPTOR, OWN_TSS),
    ),
    Mutant("the next CPU's TSS", (after("add rax, rcx", "add rax, 104"),), (DESCRIPTOR, OWN_TSS)),
    Mutant("the first CPU's TSS", (Lines("add rax, rcx", "nop"),), (OWN_TSS,)),
    Mutant(
        "only one bit of the number",
        (before(SCALE, "and ecx, 1"),),
        (OWN_TSS,),
        at("leave", 3),
        passes=(at("leave"), at("moving")),
    ),
    Mutant(
        "only two bits of the number",
        (before(SCALE, "and ecx, 3"),),
        (OWN_TSS,),
        at("leave", 5),
        passes=(at("leave"), at("leave", 4)),
    ),
    Mutant("common_tss has no relocation", (Relocated("common_tss", None),), (DESCRIPTOR, OWN_TSS)),
    Mutant(
        "common_tss is another symbol", (Relocated("common_tss", "kpatch_tss_lock"),), (DESCRIPTOR,)
    ),
    Mutant(
        "common_tss is off by one TSS",
        (Relocated("common_tss", "common_tss", 104),),
        (DESCRIPTOR, OWN_TSS),
    ),
    Mutant(
        "the guard is inverted", (Lines("jne unknown_layout", "je unknown_layout"),), (OWN_TSS,)
    ),
    Mutant(
        "no guard",
        (Lines("ja unknown_layout", "nop"), Lines("jne unknown_layout", "nop")),
        (DESCRIPTOR,),
        UNKNOWN_ON_ONE,
        passes=(at("leave"),),
    ),
    Mutant(
        "the guard does not look at the mask",
        (Lines("jne unknown_layout", "nop"),),
        (DESCRIPTOR,),
        at("wrong-mask-up", 1),
        passes=(at("leave"), UNKNOWN_ON_ONE),
    ),
    Mutant(
        "the guard looks at one bit of the mask",
        (
            Lines(
                "xor eax, eax; bts eax, ecx; cmp eax, edx; jne unknown_layout",
                "bt edx, ecx; jae unknown_layout",
            ),
        ),
        (DESCRIPTOR,),
        at("wrong-mask-up", 1),
        passes=(at("leave"), UNKNOWN_ON_ONE),
    ),
    Mutant(
        "the guard takes the number as signed",
        (Lines("ja unknown_layout", "jg unknown_layout"),),
        (DESCRIPTOR,),
        at("wrong-number-up", 1, selector=0x48),
        passes=(at("wrong-number-up", 1),),
    ),
    Mutant(
        "the guard looks at one byte of the number",
        (Lines("cmp ecx, 31", "cmp cl, 31"),),
        (DESCRIPTOR,),
        at("wrong-number-up", 1, selector=0x48),
        passes=(at("wrong-number-up", 1),),
    ),
    Mutant(
        "the guard looks at half of the mask",
        (Lines("cmp eax, edx", "cmp ax, dx"),),
        (DESCRIPTOR,),
        at("wrong-mask-up", 1, selector=0x48),
        passes=(at("wrong-mask-up", 1),),
    ),
    Mutant(
        "the guard does not look at the number",
        (Lines("ja unknown_layout", "nop"),),
        (DESCRIPTOR,),
        at("wrong-number-up", 1),
        passes=(at("leave"), UNKNOWN_ON_ONE),
    ),
    Mutant(
        "the old path leaves the busy bit",
        (Lines("and dword [rcx + 4], 0xfffffdff", "nop"),),
        (NO_FAULT,),
        UNKNOWN_ON_ONE,
        passes=(at("leave"),),
    ),
    Mutant(
        "the old path loads nothing",
        (after("and dword [rcx + 4], 0xfffffdff", "mov dword [r8], 0; jmp rdx"),),
        (OWN_TSS,),
        UNKNOWN_ON_ONE,
        passes=(at("leave"),),
    ),
    Mutant("the old path for all", (Lines("test rsi, rsi", "xor r9d, r9d"),), (OWN_TSS,)),
)
