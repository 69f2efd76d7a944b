"""Mutants that reach another thread's stack or state, by an address that they were handed."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.locks import NO_FAULT, RELEASE
from tests.verify.mutants.variant import TSO, Mutant, at

HANDED: Final = "qword [r8 + 0x40]"


def _handed(address: str, use: str) -> tuple[Lines, ...]:
    """The owner hands out an address while it has the lock; who waits makes use of it."""
    look = f"mov r10, {HANDED}; test r10, r10; je none; {use}; none:"
    return (
        Lines("busy:; pause", f"busy:; pause; {look}"),
        Lines("owner:; test rsi, rsi", f"owner:; {address}; mov {HANDED}, r11; test rsi, rsi"),
        Lines(RELEASE, f"xor r11d, r11d; mov {HANDED}, r11; {RELEASE}"),
    )


MUTANTS: Final = (
    Mutant(
        "a waiting CPU writes the owner's stack",
        _handed("mov r11, rsp", "mov qword [r10 + -8], 0"),
        (NO_FAULT,),
        passes=(at("up", 1), at("private-gdt", 1)),
    ),
    Mutant(
        "a waiting CPU reads the owner's stack, under tso",
        _handed("mov r11, rsp", "mov r10, qword [r10]"),
        (NO_FAULT,),
        at("leave", model=TSO),
    ),
    Mutant(
        "a waiting CPU writes the owner's state",
        _handed("mov r11, $state", "mov dword [r10 + 0x200], 1"),
        (NO_FAULT,),
    ),
    Mutant(
        "only half of the address is handed out",
        _handed(
            "mov r11d, esp",
            "mov r9, rsp; shr r9, 32; shl r9, 32; or r10, r9; mov qword [r10 + -8], 0",
        ),
        (NO_FAULT,),
    ),
    Mutant(
        "the address is handed out the wrong way round",
        _handed("mov r11, rsp; not r11", "not r10; mov qword [r10 + -8], 0"),
        (NO_FAULT,),
    ),
    Mutant(
        "the first guest's stack is used for those that come later",
        (
            before(
                "test rsi, rsi; je as_before",
                "mov r9, qword [r8 + 0x40]; test r9, r9; jne kept; mov r9, rsp;"
                "mov qword [r8 + 0x40], r9; kept:; mov qword [r9 + -8], 0",
            ),
            after("ltr ax", "mov r9, qword [r8 + 0x40]"),
        ),
        (NO_FAULT,),
    ),
)
