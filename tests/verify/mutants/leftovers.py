"""Mutants that leave something behind for a later round."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.descriptors import DESCRIPTOR, PRESENT
from tests.verify.mutants.locks import NO_FAULT, RELEASE, SPIN
from tests.verify.mutants.variant import Mutant, at

ALONE: Final = at("up", 1)
OWN_TABLES: Final = at("private-gdt")
LIMIT: Final = "inc byte [rcx]"
AVAILABLE: Final = "xor byte [rcx + 6], 0x10"
PRIVILEGE: Final = "xor byte [rcx + 5], 0x20"

MUTANTS: Final = (
    Mutant("DPL 3", (Lines(PRESENT, "movabs r10, 0x0000e90000000000"),), (DESCRIPTOR,)),
    Mutant(
        "DPL 3, on private GDTs",
        (Lines(PRESENT, "movabs r10, 0x0000e90000000000"),),
        (DESCRIPTOR,),
        OWN_TABLES,
    ),
    Mutant(
        "the available bit is turned over",
        (after("ltr ax", AVAILABLE),),
        (DESCRIPTOR,),
        at("leave", 3),
    ),
    Mutant(
        "the available bit is turned over, on private GDTs",
        (after("ltr ax", AVAILABLE),),
        (DESCRIPTOR,),
        OWN_TABLES,
    ),
    Mutant("the DPL is turned over", (after("ltr ax", PRIVILEGE),), (DESCRIPTOR,), ALONE),
    Mutant("the limit counts the rounds", (after("ltr ax", LIMIT),), (DESCRIPTOR,)),
    Mutant(
        "the limit counts the rounds, on private GDTs",
        (after("ltr ax", LIMIT),),
        (DESCRIPTOR,),
        OWN_TABLES,
    ),
    Mutant(
        "the fourth dword counts the rounds, in bits that Unicorn's ltr lets through",
        (after("ltr ax", "inc word [rcx + 14]"),),
        (DESCRIPTOR,),
        ALONE,
    ),
    Mutant(
        "the fourth dword is used while the lock is held, and cleared",
        (
            before("ltr ax", "mov word [rcx + 14], ax"),
            after("ltr ax", "mov word [rcx + 14], 0"),
        ),
        (DESCRIPTOR,),
    ),
    Mutant(
        "bit 12 of the fourth dword",
        (before("ltr ax", "mov dword [rcx + 12], 0x1000"),),
        (DESCRIPTOR,),
    ),
    Mutant(
        "a reserved bit beside the limit",
        (before("ltr ax", "or byte [rcx + 6], 0x40"),),
        (DESCRIPTOR,),
    ),
    Mutant(
        "a base that is not canonical",
        (before("ltr ax", "mov dword [rcx + 8], 0x00ffffff"),),
        (DESCRIPTOR,),
    ),
    Mutant("a selector behind the GDT", (before("ltr ax", "mov eax, 0x40"),), (NO_FAULT,)),
    Mutant(
        "a selector that ends behind the GDT of FreeBSD 8",
        (before("ltr ax", "mov eax, 0x60"),),
        (NO_FAULT,),
        at("leave", selector=0x48),
    ),
    Mutant(
        "the lock's section counts the rounds, and from the third on nobody takes the lock",
        (
            before("acquire:", "cmp dword [r8 + 64], 3; jae owner"),
            before("mov dword [r8], 0", "inc dword [r8 + 64]"),
        ),
        ("no-fault", "own-tss"),
    ),
    Mutant(
        "a word beside the lock is left written, and whoever finds it takes the TSS of CPU 0",
        (
            before("test rsi, rsi", "cmp dword [r8 + 64], 0; je first; movabs rsi, =common_tss"),
            before("mov r9, qword [rcx]", "mov dword [r8 + 64], 1"),
            before("test rsi, rsi", "first:"),
        ),
        ("own-tss",),
    ),
    Mutant(
        "who waits gives up when another CPU has made three rounds meanwhile",
        (
            Lines(
                f"{SPIN}; owner:",
                "mov r11d, dword [r8 + 64]; mov r10d, 3; acquire:; mov r9d, 1;"
                "xchg dword [r8], r9d; test r9d, r9d; je owner; busy:; pause;"
                "cmp dword [r8 + 64], r11d; je look; mov r11d, dword [r8 + 64]; dec r10d; je owner;"
                "look:; cmp dword [r8], 0; jne busy; jmp acquire; owner:",
            ),
            before(RELEASE, "xor dword [r8 + 64], 1"),
        ),
        ("no-fault", "own-tss"),
        at("two-rounds"),
    ),
)
