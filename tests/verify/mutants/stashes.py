"""Mutants of the stash, and of the calls that find it."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, Lost, Relocated, after, before
from tests.verify.mutants.descriptors import DESCRIPTOR, FOOTPRINT, SELECTOR
from tests.verify.mutants.locks import NO_FAULT, OWN_TSS
from tests.verify.mutants.variant import TSO, Mutant, at

RESTORED = "restored"

STASH: Final = "pop rcx; push rax"
UNSTASH: Final = "pop rsi"

MUTANTS: Final = (
    Mutant("the stash is not dropped", (Lines(UNSTASH, "mov rsi, qword [rsp]"),), (NO_FAULT,)),
    Mutant("the stash is dropped twice", (after(UNSTASH, "pop r9"),), (NO_FAULT,)),
    Mutant("the stash is pushed twice", (after("push rax", "push rax"),), (NO_FAULT,)),
    Mutant(
        "the stash is pushed before the way back is popped",
        (Lines(STASH, "push rax; pop rcx"),),
        (NO_FAULT,),
    ),
    Mutant(
        "the way back is dropped first",
        (Lines("pop rdx; pop rsi", "pop rsi; pop rdx"),),
        (DESCRIPTOR,),
    ),
    Mutant(
        "the stash is left below the stack, where the next call lands",
        (
            Lines("push rax", "mov qword [rsp + -8], rax"),
            Lines(UNSTASH, "mov rsi, qword [rsp + -8]"),
        ),
        (DESCRIPTOR,),
    ),
    Mutant(
        "a nested call overwrites the stash",
        (
            Lines(
                UNSTASH,
                "add rsp, 8; call nested; mov rsi, qword [rsp + -8]; jmp on; nested:;ret; on:",
            ),
        ),
        (DESCRIPTOR,),
    ),
    Mutant(
        "the stash is kept in a register, which the guest has used",
        (Lines("push rax", "mov r12, rax"), Lines(UNSTASH, "mov rsi, r12")),
        (DESCRIPTOR,),
    ),
    Mutant(
        "the stash is kept in the guest's state, as found at its first entry",
        (
            Lines(
                STASH,
                "mov rcx, qword [$state + 0x200]; test rcx, rcx; jne known;"
                "mov qword [$state + 0x200], rax; known:; pop rcx",
            ),
            Lines(UNSTASH, "mov rsi, qword [$state + 0x200]"),
        ),
        (OWN_TSS,),
        at("moving"),
        passes=(at("leave"), at("two-rounds", model=TSO)),
    ),
    Mutant(
        "one global stash",
        (
            Lines(STASH, "movabs rcx, =kpatch_tss_lock; mov qword [rcx + 8], rax; pop rcx"),
            Lines(UNSTASH, "movabs rsi, =kpatch_tss_lock; mov rsi, qword [rsi + 8]"),
        ),
        (OWN_TSS,),
    ),
    Mutant(
        "%gs is read at the exit",
        (before(SELECTOR, "xor r9d, r9d; mov r9d, gs:[r9 + $cpuid]"),),
        (NO_FAULT,),
    ),
    Mutant(
        "%fs is read at the exit",
        (before(SELECTOR, "xor r9d, r9d; mov r9d, fs:[r9]"),),
        (NO_FAULT,),
    ),
    Mutant("str is lost", (Lost("str"),), (FOOTPRINT,)),
    Mutant("sidt is lost", (Lost("sidt"),), (RESTORED,)),
    Mutant("sgdt is lost", (Lost("sgdt"),), (NO_FAULT,)),
    Mutant("sldt is lost", (Lost("sldt"),), (NO_FAULT,)),
    Mutant(
        "the call to the entry has no relocation",
        (Relocated("kpatch_tss_entry", None),),
        (NO_FAULT,),
    ),
    Mutant(
        "the call to the exit has no relocation", (Relocated("kpatch_tss_exit", None),), (NO_FAULT,)
    ),
    Mutant(
        "the entry is called in its second instruction",
        (Relocated("kpatch_tss_entry", "kpatch_tss_entry", 7),),
        (FOOTPRINT,),
    ),
    Mutant(
        "the exit is called in its second instruction",
        (Relocated("kpatch_tss_exit", "kpatch_tss_exit", 1),),
        (DESCRIPTOR,),
    ),
    Mutant(
        "the entry calls the exit", (Relocated("kpatch_tss_entry", "kpatch_tss_exit"),), (NO_FAULT,)
    ),
    Mutant(
        "the exit calls the entry", (Relocated("kpatch_tss_exit", "kpatch_tss_entry"),), (NO_FAULT,)
    ),
    Mutant("returns one byte too early", (before("jmp rdx", "sub rdx, 1"),), (NO_FAULT,)),
    Mutant(
        "returns to the start of the image",
        (Lines("jmp rdx", "and rdx, -4096; jmp rdx"),),
        (NO_FAULT,),
    ),
)
