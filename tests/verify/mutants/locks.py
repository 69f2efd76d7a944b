"""Mutants of the lock."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, Relocated, after, before
from tests.verify.mutants.variant import LEAVE, TSO, Mutant, at

NO_FAULT, OWN_TSS, PROGRESS = "no-fault", "own-tss", "progress"
RACE: Final = (NO_FAULT, OWN_TSS)

EXCHANGE: Final = "xchg dword [r8], r9d"
TAKE: Final = f"mov r9d, 1; {EXCHANGE}; test r9d, r9d; je owner"
UNLOCKED_COMPARE: Final = (
    "mov r10d, eax; xor eax, eax; cmpxchg dword [r8], r9d; mov r9d, eax; mov eax, r10d"
)
WAIT: Final = "pause; cmp dword [r8], 0; jne busy"
RELEASE: Final = "mov dword [r8], 0"
SPIN: Final = f"acquire:; {TAKE}; busy:; {WAIT}; jmp acquire"
ONCE_MORE: Final = SPIN.replace("acquire", "again").replace("busy", "held").replace("owner", "mine")

# Lamport's one-bit algorithm for two CPUs, who call themselves 0 and 104 after the places of their
# TSSs: CPU 0 insists, CPU 1 steps back. Right if stores are seen at once.
ONE_BIT: Final = (
    "movabs r9, =common_tss; mov r10, rsi; sub r10, r9; movabs r9, =kpatch_tss_lock; add r8, 104;"
    "sub r8, r10; add r9, r10; acquire:; mov dword [r9], 1; {fence}; cmp dword [r8], 0; je owner;"
    "test r10, r10; je busy; mov dword [r9], 0; step_back:; pause; cmp dword [r8], 0;"
    "jne step_back; jmp acquire; busy:; pause; cmp dword [r8], 0; jne busy"
)


def one_bit_lock(fence: str) -> tuple[Lines, ...]:
    """The patch with that lock; ``fence`` stands between the own store and the other's load."""
    return (
        Lines(f"{SPIN}; owner:", f"{ONE_BIT.format(fence=fence)}; owner:; mov r11, r9"),
        Lines(RELEASE, "mov dword [r11], 0"),
    )


MUTANTS: Final = (
    Mutant("no lock", (Lines(EXCHANGE, "xor r9d, r9d"),), RACE),
    Mutant(
        "the lock is taken with whatever the guest left in r9",
        (Lines(TAKE, TAKE.replace("mov r9d, 1; ", "")),),
        RACE,
        at("two-rounds"),
        passes=(LEAVE,),
    ),
    Mutant("the lock is looked at, not taken", (Lines(EXCHANGE, "mov r9d, dword [r8]"),), RACE),
    Mutant(
        "the lock is taken by a load and a store",
        (Lines(EXCHANGE, "mov r9d, dword [r8]; mov dword [r8], 1"),),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "the lock is taken by bts without LOCK",
        (Lines(TAKE, "bts dword [r8], 0; jae owner"),),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "the lock is taken by cmpxchg without LOCK",
        (Lines(EXCHANGE, UNLOCKED_COMPARE),),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "a lock of loads and stores that needs sequential consistency",
        one_bit_lock("nop"),
        RACE,
        at("leave", model=TSO),
        passes=(at("leave"), at("two-rounds")),
    ),
    Mutant("the lock is released before ltr", (before("ltr ax", RELEASE),), RACE),
    Mutant(
        "the lock is released before the write",
        (before("test rsi, rsi; je as_before", RELEASE),),
        RACE,
    ),
    Mutant(
        "the lock is taken after the write",
        (
            Lines(f"{SPIN}; owner:", "nop"),
            before("ltr ax", f"{ONCE_MORE}; mine:"),
        ),
        RACE,
    ),
    Mutant(
        "two different locks",
        (before("acquire:", "mov r9d, esi; and r9d, 8; add r8, r9"),),
        RACE,
    ),
    Mutant(
        "a lock of every guest's own, on its stack",
        (
            Lines("movabs r8, =kpatch_tss_lock", "push 0; mov r8, rsp"),
            Lines(RELEASE, f"{RELEASE}; pop r9"),
        ),
        RACE,
    ),
    Mutant(
        "a lock of every guest's own, in its state",
        (Lines("movabs r8, =kpatch_tss_lock", "mov r8, $state; add r8, 0x200"),),
        RACE,
    ),
    Mutant("the lock is never released", (Lines(RELEASE, "nop"),), (PROGRESS,)),
    Mutant(
        "another word than the lock is released",
        (Lines(RELEASE, "mov dword [r8 + 4], 0"),),
        (PROGRESS,),
    ),
    Mutant(
        "only the upper bytes of the lock are released",
        (Lines(RELEASE, "and dword [r8], 0xff"),),
        (PROGRESS,),
    ),
    Mutant(
        "the lock is released on the old path only",
        (
            Lines(RELEASE, "nop"),
            after("and dword [rcx + 4], 0xfffffdff", "ltr ax; mov dword [r8], 0; jmp rdx"),
        ),
        (PROGRESS,),
        passes=(at("unknown-layout"),),
    ),
    Mutant(
        "the lock is never released on the old path",
        (after("and dword [rcx + 4], 0xfffffdff", "ltr ax; jmp rdx"),),
        (PROGRESS,),
        at("unknown-layout"),
        passes=(at("leave"),),
    ),
    Mutant(
        "the lock is released twice",
        (after(RELEASE, RELEASE),),
        RACE,
        at("leave", 3),
        passes=(at("leave"),),
    ),
    Mutant(
        "a waiting CPU releases the lock",
        (Lines("busy:; pause", f"busy:; {RELEASE}; pause"),),
        RACE,
    ),
    Mutant(
        "a CPU goes on while the lock is held, and waits while it is free",
        (Lines("je owner", "jne owner"),),
        (PROGRESS,),
    ),
    Mutant(
        "a waiting CPU waits for the lock to be held", (Lines("jne busy", "je busy"),), (PROGRESS,)
    ),
    Mutant("a waiting CPU does not look again", (Lines(WAIT, "pause; jmp busy"),), (PROGRESS,)),
    Mutant(
        "a waiting CPU looks at a register that nobody changes",
        (Lines(WAIT, "pause; test r9d, r9d; jne busy"),),
        (PROGRESS,),
    ),
    Mutant(
        "a CPU that finds the lock held goes on", (Lines("jne busy; jmp acquire", "nop"),), RACE
    ),
    Mutant(
        "a waiting CPU goes on after three looks",
        (
            before("acquire:", "mov r10d, 3"),
            Lines(WAIT, "pause; dec r10d; je owner; cmp dword [r8], 0; jne busy"),
        ),
        RACE,
    ),
    Mutant(
        "the lock is taken twice by the same CPU",
        (after("owner:", f"{ONCE_MORE}; mine:"),),
        (PROGRESS,),
    ),
    Mutant(
        "no lock on the old path",
        (before("acquire:", "test rsi, rsi; je as_before"),),
        (NO_FAULT,),
        at("unknown-layout"),
        passes=(at("leave"), at("unknown-layout-up", 1), at("unknown-layout-private")),
    ),
    Mutant(
        "the relocation of the lock word is missing",
        (Relocated("kpatch_tss_lock", None),),
        (NO_FAULT,),
    ),
    Mutant(
        "the lock's address is that of one kernel",
        (Lines("movabs r8, =kpatch_tss_lock", "movabs r8, 0xffffffff81414000"),),
        (NO_FAULT,),
        at("leave", selector=0x48),
        passes=(LEAVE,),
    ),
    Mutant(
        "the lock word is in the kernel",
        (Relocated("kpatch_tss_lock", "common_tss"),),
        ("footprint",),
    ),
    Mutant(
        "the lock word is in the patch's code",
        (Relocated("kpatch_tss_lock", "kpatch_tss_entry"),),
        ("footprint",),
    ),
)
