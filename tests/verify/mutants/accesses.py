"""Mutants that do to shared memory in one instruction what takes a CPU several accesses.

Each has a lock whose owner can be seen half-way: who sees that goes on without the lock.
"""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.descriptors import LOW
from tests.verify.mutants.locks import EXCHANGE, NO_FAULT, OWN_TSS, RELEASE
from tests.verify.mutants.variant import TSO, Mutant, at

GOES_ON: Final = after(RELEASE, "gone:")
OWNED: Final = "owner:; test rsi, rsi"
FREED: Final = "xor r9d, r9d; mov qword [r8 + 0x40], r9"


def _seen_by_waiting(look: str) -> tuple[Lines, ...]:
    """A waiting CPU goes on if two words that the owner writes at once differ."""
    pair = "movabs r9, 0x100000001; mov qword [r8 + 0x40], r9"
    return (
        Lines("busy:; pause", f"busy:; pause; {look}; jne gone"),
        Lines(OWNED, f"owner:; {pair}; test rsi, rsi"),
        Lines(RELEASE, f"{FREED}; {RELEASE}; gone:"),
    )


def _lock_at(offset: int) -> tuple[Lines, ...]:
    """The lock somewhere else; a waiting CPU looks for whether all of it is zero."""
    place = f"dword [r8 + {offset}]"
    return (
        Lines(f"mov r9d, 1; {EXCHANGE}", f"mov r9d, 0x10001; xchg {place}, r9d"),
        Lines("cmp dword [r8], 0", f"cmp {place}, 0"),
        Lines(RELEASE, f"mov {place}, 0"),
    )


MUTANTS: Final = (
    Mutant(
        "a waiting CPU sees the slot change, by a load that begins below it",
        (
            before("acquire:", "mov r11, qword [rcx + -4]"),
            Lines(
                "busy:; pause", "busy:; pause; mov r10, qword [rcx + -4]; cmp r10, r11; jne gone"
            ),
            GOES_ON,
        ),
        (OWN_TSS,),
        passes=(at("up", 1), at("private-gdt")),
    ),
    Mutant(
        "the slot is read across aligned 8 bytes",
        (before("acquire:", "mov r11, qword [rcx + 4]"),),
        (NO_FAULT,),
    ),
    Mutant("a lock across two cache lines", _lock_at(0x3E), (NO_FAULT,)),
    Mutant("a lock across aligned 8 bytes, in one cache line", _lock_at(6), (NO_FAULT,)),
    Mutant("the same under tso", _lock_at(6), (NO_FAULT,), at("leave", model=TSO)),
    Mutant(
        "the descriptor is written across aligned 8 bytes",
        (after(LOW, "mov qword [rcx + 4], r9"),),
        (NO_FAULT,),
    ),
    Mutant(
        "two words are compared by cmps",
        _seen_by_waiting(
            "mov r9, rsi; mov r10, rdi; lea rsi, [r8 + 0x40]; lea rdi, [r8 + 0x44];"
            "cmpsd dword [rsi], dword [rdi];"
            "mov rsi, r9; mov rdi, r10"
        ),
        (NO_FAULT,),
    ),
    Mutant(
        "two words are read by cmpxchg16b without LOCK",
        _seen_by_waiting(
            "mov r9, rbx; mov r10, rdx; mov r11, rax; push rcx; xor eax, eax; cdq; xor ebx, ebx;"
            "xor ecx, ecx; cmpxchg16b [r8 + 0x40]; pop rcx; mov rbx, r9; mov rdx, r10; mov rax, r11"
        ),
        (NO_FAULT,),
    ),
    Mutant(
        "GDTR is stored where all can see it",
        (after(RELEASE, "sgdt [r8 + 0x40]; mov qword [r8 + 0x40], 0; mov word [r8 + 0x48], 0"),),
        (NO_FAULT,),
    ),
    Mutant(
        "the slot's access rights are read by lar without the lock",
        (before("acquire:", "lar r11d, eax"),),
        (NO_FAULT,),
    ),
    Mutant(
        "a waiting CPU goes on when the slot changes, as push shows it",
        (
            before("acquire:", "mov r11, qword [rcx]"),
            Lines(
                "busy:; pause", "busy:; pause; push qword [rcx]; pop r10; cmp r10, r11; jne gone"
            ),
            GOES_ON,
        ),
        (OWN_TSS,),
    ),
)
