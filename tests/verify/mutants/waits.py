"""Waiting for who need not come, and calls that are lost: all of it right, but for the end."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.locks import NO_FAULT, RELEASE, SPIN, TAKE, WAIT
from tests.verify.mutants.machine_state import entry
from tests.verify.mutants.right_locks import CALL_NEXT, PROGRESS, RACE, TAKE_TICKET, ticket
from tests.verify.mutants.variant import LEAVE, Mutant, Variant, at

_COME: Final = "dword [r8 + 0x40]"
_COUNT: Final = f"mov r9d, 1; lock xadd {_COME}, r9d"
_TICKET: Final = TAKE_TICKET.format(lock="lock")

# The last one puts both numbers back to 0; who takes one behind the look is never called.
_PUT_BACK: Final = (
    "mov r9w, word [r8 + 2]; inc r9w; cmp word [r8], r9w; jne call; mov dword [r8], 0; jmp called;"
    f"call:; {CALL_NEXT}; called:"
)


def _gives_up(after_races: int, *, where_unknown: bool = False) -> Lines:
    """Who has lost so many races for the lock goes on without it."""
    known = "test rsi, rsi; jne acquire; " * where_unknown
    spin = f"{TAKE}; busy:; {WAIT}; {known}dec r10d; jne acquire"
    return Lines(SPIN, f"mov r10d, {after_races}; acquire:; {spin}")


COUNTING: Final = (
    Variant("who has lost thirty races goes on", (_gives_up(30),)),
    Variant(
        "who has lost thirty races goes on, and looks how many rounds there were",
        (_gives_up(30), before(RELEASE, "mov r9d, dword [r8 + 64]; inc dword [r8 + 64]")),
    ),
)
"""Wrong, and not proven: rounds without end come to no end."""

MUTANTS: Final = (
    Mutant(
        "who has lost five races goes on, and the rounds are counted",
        (_gives_up(5), before(RELEASE, "inc dword [r8 + 64]")),
        RACE,
        at("two-rounds"),
    ),
    Mutant(
        "who has lost five races goes on where no CPU is known",
        (_gives_up(5, where_unknown=True),),
        (NO_FAULT,),
        at("unknown-layout"),
        passes=(at("two-rounds"),),
    ),
    Mutant(
        "who comes again waits until another CPU has come again",
        (
            before(
                "acquire:",
                f"{_COUNT}; cmp r9d, 2; jne on; again:; pause; cmp {_COME}, 4; jb again; on:",
            ),
        ),
        (PROGRESS,),
        at("two-rounds"),
    ),
    Mutant(
        "who leaves last waits for one that has left",
        (
            after(
                RELEASE, f"{_COUNT}; cmp r9d, 1; jne on; left:; pause; cmp {_COME}, 3; jb left; on:"
            ),
        ),
        (PROGRESS,),
    ),
    Mutant(
        "who leaves waits for a flag that the next guest raises",
        (
            entry(f"movabs r8, =kpatch_tss_lock; mov {_COME}, 1"),
            before("acquire:", f"mov {_COME}, 0"),
            after(RELEASE, f"flag:; pause; cmp {_COME}, 0; je flag"),
        ),
        (PROGRESS,),
    ),
    Mutant(
        "the third CPU inside waits for a fourth",
        (
            before(
                "acquire:",
                f"{_COUNT}; cmp r9d, 2; jne on; more:; pause; cmp {_COME}, 4; jb more; on:",
            ),
            after(RELEASE, f"lock dec {_COME}"),
        ),
        (PROGRESS,),
        at("leave", 3),
        passes=(LEAVE,),
    ),
    Mutant(
        "who has the third ticket waits until the fourth is taken",
        ticket(
            f"{_TICKET}; cmp r9w, 2; jne owner; more:; pause; cmp word [r8], 4; jb more", CALL_NEXT
        ),
        (PROGRESS,),
    ),
    Mutant(
        "who calls while two others wait calls both",
        ticket(
            _TICKET,
            "mov r9w, word [r8]; sub r9w, word [r8 + 2]; cmp r9w, 3; jb one;"
            f"{CALL_NEXT}; one:; {CALL_NEXT}",
        ),
        (*RACE, PROGRESS),
        at("leave", 3),
    ),
    Mutant(
        "the last ticket puts the numbers back, without LOCK",
        ticket(_TICKET, _PUT_BACK),
        (PROGRESS,),
    ),
)
