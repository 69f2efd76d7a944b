"""Siblings of the kinds of wrong patch that were proven once: the same fault by other means."""

from __future__ import annotations

from typing import Final

from kpatch.kernel.host import SELECTORS
from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.locks import EXCHANGE, NO_FAULT, OWN_TSS, RACE, RELEASE
from tests.verify.mutants.machine_state import entry, leave
from tests.verify.mutants.stashes import RESTORED
from tests.verify.mutants.variant import Mutant, at

PROGRESS: Final = "progress"
_TAKE: Final = f"mov r9d, 1; {EXCHANGE}; test r9d, r9d; je owner"
_KNOWN: Final = "owner:; test rsi, rsi; je as_before"


def _seen(first: str, look: str) -> tuple[Lines, ...]:
    """A waiting CPU goes on without the lock as soon as the slot is another than before."""
    return (
        before("acquire:", first),
        Lines("busy:; pause", f"busy:; pause; {look}; jne gone"),
        after(RELEASE, "gone:"),
    )


def _counted(count: str) -> tuple[Lines, ...]:
    """The TSS of CPU 0 for everybody, once the count is reached."""
    return (Lines(_KNOWN, f"{_KNOWN}; {count}; jne good; movabs rsi, =common_tss; good:"),)


def _handed(give: str, use: str) -> tuple[Lines, ...]:
    """The owner hands out an address while it has the lock; who waits makes use of it."""
    place = "qword [r8 + 0x40]"
    look = f"mov r10, {place}; test r10, r10; je none; {use}; none:"
    return (
        Lines("busy:; pause", f"busy:; pause; {look}"),
        Lines("owner:; test rsi, rsi", f"owner:; {give}; mov {place}, r11; test rsi, rsi"),
        Lines(RELEASE, f"xor r11d, r11d; mov {place}, r11; {RELEASE}"),
    )


MUTANTS: Final = (
    Mutant(
        "a waiting CPU sees the slot change, by a bit counted from below",
        _seen(
            "xor r11d, r11d; mov r9d, 147; bt dword [rcx + -16], r9d; adc r11d, 0",
            "xor r10d, r10d; mov r9d, 147; bt dword [rcx + -16], r9d; adc r10d, 0; cmp r10d, r11d",
        ),
        (OWN_TSS,),
    ),
    Mutant(
        "a waiting CPU sees the slot change, by half of two dwords",
        _seen("mov r11d, dword [rcx + 2]", "mov r10d, dword [rcx + 2]; cmp r10d, r11d"),
        (OWN_TSS,),
    ),
    Mutant(
        "a waiting CPU sees the slot change, by one byte",
        _seen("movzx r11d, byte [rcx + 2]", "movzx r10d, byte [rcx + 2]; cmp r10d, r11d"),
        (OWN_TSS,),
    ),
    Mutant(
        "a waiting CPU writes behind the owner's stack pointer",
        _handed("lea r11, [rsp + 8]", "mov qword [r10], 0"),
        (NO_FAULT,),
    ),
    Mutant(
        "the owner's stack is handed out in another form",
        _handed("mov r11, rsp; xor r11, 1", "xor r10, 1; mov qword [r10 + -8], 0"),
        (NO_FAULT,),
    ),
    Mutant(
        "a waiting CPU reads the owner's code",
        (*_handed("lea r11, [rdx]", "mov r10, qword [r10]"),),
        (NO_FAULT,),
    ),
    Mutant(
        "from the third round on the lock is kept",
        (
            Lines(
                RELEASE, f"inc dword [r8 + 8]; cmp dword [r8 + 8], 3; je stuck; {RELEASE}; stuck:"
            ),
        ),
        (PROGRESS,),
    ),
    Mutant(
        "the fourth round takes the TSS of CPU 0",
        _counted("inc dword [r8 + 0x80]; cmp dword [r8 + 0x80], 4"),
        (OWN_TSS,),
    ),
    Mutant(
        "the fourth dword counts the rounds, all of it",
        (before("ltr ax", "add dword [rcx + 12], 1"),),
        ("descriptor",),
    ),
    Mutant(
        "a lock across two cache lines, by an odd number of bytes",
        (
            Lines(EXCHANGE, "xchg dword [r8 + 0x3d], r9d"),
            Lines("cmp dword [r8], 0", "cmp dword [r8 + 0x3d], 0"),
            Lines(RELEASE, "mov dword [r8 + 0x3d], 0"),
        ),
        (NO_FAULT,),
    ),
    Mutant(
        "the slot is rewritten across its middle",
        (before("ltr ax", "mov r9, qword [rcx + 4]; mov qword [rcx + 4], r9"),),
        (NO_FAULT,),
    ),
    Mutant(
        "two bytes across the slot's middle are rewritten",
        (before("ltr ax", "mov r9w, word [rcx + 7]; mov word [rcx + 7], r9w"),),
        (NO_FAULT,),
    ),
    Mutant(
        "a lock that counts, without LOCK",
        (
            Lines(
                _TAKE,
                "mov r9d, 1; xadd dword [r8], r9d; test r9d, r9d; je owner; lock dec dword [r8]",
            ),
            Lines(RELEASE, "lock dec dword [r8]"),
        ),
        (*RACE, PROGRESS),
    ),
    Mutant(
        "a bit turned over without LOCK",
        (Lines(_TAKE, "btc dword [r8], 0; jae owner"),),
        RACE,
    ),
    Mutant(
        "all wait at the entry for another one",
        (
            entry(
                "movabs r8, =kpatch_tss_lock; lock inc dword [r8 + 0x40]; all:; pause;"
                "cmp dword [r8 + 0x40], 2; jb all"
            ),
        ),
        (PROGRESS,),
    ),
    Mutant(
        "CPU 0 goes first",
        (
            before(
                "acquire:",
                "movabs r9, =common_tss; cmp rsi, r9; je zero; all:; pause;"
                "cmp dword [r8 + 0x40], 0; je all; zero:; mov dword [r8 + 0x40], 1",
            ),
        ),
        (PROGRESS,),
    ),
    Mutant(
        "an even number has to come",
        (
            after(
                RELEASE,
                "lock inc dword [r8 + 0x44]; all:; pause; test dword [r8 + 0x44], 1; jne all",
            ),
        ),
        (PROGRESS,),
    ),
    Mutant("a debug address is cleared", (leave("xor eax, eax; mov dr0, rax"),), (RESTORED,)),
    Mutant("cr2 is cleared", (leave("xor eax, eax; mov cr2, rax"),), (RESTORED,)),
    Mutant(
        "a waiting CPU makes debug registers fault",
        (Lines("busy:; pause", "busy:; pause; mov r9d, 0x2400; mov dr7, r9"),),
        (RESTORED,),
    ),
    *(
        Mutant(f"two locks, by {what}", (before("acquire:", f"{look}; add r8, r9"),), RACE)
        for what, look in (
            ("a bit of the stack's address", "mov r9, rsp; shr r9, 8; and r9d, 0x40"),
            ("a bit of the state's address", "mov r9, $state; shr r9, 14; and r9d, 0x40"),
        )
    ),
    *(
        Mutant(
            f"no lock where a bit of the lock's address is {which}",
            (before("acquire:", f"bt r8, 26; {jump} owner"),),
            RACE,
            at("leave", selector=selector),
            passes=(at("leave", selector=other),),
        )
        for which, jump, selector, other in (
            ("set", "jb", SELECTORS[1], SELECTORS[0]),
            ("clear", "jae", SELECTORS[0], SELECTORS[1]),
        )
    ),
    Mutant(
        "two locks, by a bit of the image's address",
        (before("acquire:", "mov r9, rdx; shr r9, 7; and r9d, 0x40; add r8, r9"),),
        RACE,
        at("leave", 3),
    ),
)
