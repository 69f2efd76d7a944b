"""Random trampolines: a right lock of some kind, or the shipped one, and random edits of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from tests.verify.mutants.changes import Change, Draft, Lines
from tests.verify.mutants.locks import EXCHANGE, RELEASE, one_bit_lock
from tests.verify.mutants.right_locks import (
    CALL_NEXT,
    LARGE_TICKET,
    TAKE_TICKET,
    bakery,
    busy_bit,
    dekker,
    mcs,
    own_gdt,
    peterson,
    taken_at_entry,
    ticket,
)

Draw = random.Random

_FENCES: Final = ("mfence", "sfence", "lfence", "nop", "lock add dword [rsp], 0")
_LOCK: Final = ("lock", "lock", "")
_REGISTERS: Final = ("eax", "ecx", "edx", "esi", "r8d", "r9d", "r10d", "r11d")
_WIDE: Final = ("rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11")
_JUMPS: Final = ("je", "jne", "jb", "jae", "ja", "jbe", "jmp")
_SIZES: Final = ("byte", "word", "dword", "qword")
_SHORT: Final = ("add", "sub", "and", "or", "xor", "cmp", "test", "mov")
_EXTRA: Final = (
    "nop", "pause", "mfence", "sfence", "mov dword [r8], 0", "mov dword [r8], 1",
    "cmp dword [r8], 0",
    "mov dword [r8 + {d}], {n}", "mov {r}, dword [r8 + {d}]", "add dword [r8 + {d}], {n}",
    "lock add dword [r8 + {d}], {n}", "xchg dword [r8 + {d}], {r}", "mov {r}, {n}", "xor {r}, {r}",
    "mov {w}, qword [rcx + {s}]", "mov {r}, dword [rcx + {s}]", "mov dword [rcx + {s}], {r}",
    "and dword [rcx + 4], 0xfffffdff", "or dword [rcx + 4], 0x200", "push {w}; pop {w}",
    "push {w}", "pop {w}", "ltr ax", "cmp {r}, {n}", "test {r}, {r}", "inc byte [r8 + {d}]",
    "bts dword [r8 + {d}], 0", "lock bts dword [r8 + {d}], 0", "mov word [rcx + {s}], ax",
)  # fmt: skip


def trampolines(draw: Draw) -> str:
    """The text of a signature with random trampolines. ValueError where an edit finds no place."""
    draft = Draft()
    if draw.random() < 0.4:
        for change in draw.choice(_KINDS)(draw):
            draft = change(draft)
    lines = draft.text.splitlines()
    if draw.random() < 0.3:
        lines = _lock_elsewhere(draw, lines)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        lines = draw.choice(_EDITS)(draw, lines)
    return "\n".join(lines) + "\n"


def _kind(make: Callable[[Draw], tuple[Change, ...]]) -> Callable[[Draw], tuple[Change, ...]]:
    return make


_KINDS: Final = (
    _kind(lambda draw: peterson(draw.choice(_FENCES))),
    _kind(lambda draw: dekker(draw.choice(_FENCES))),
    _kind(lambda draw: bakery(draw.choice(_FENCES), draw.choice(_FENCES))),
    _kind(lambda draw: one_bit_lock(draw.choice(_FENCES))),
    _kind(lambda draw: mcs(lock=draw.choice(_LOCK))),
    _kind(lambda draw: ticket(TAKE_TICKET.format(lock=draw.choice(_LOCK)), CALL_NEXT)),
    _kind(lambda draw: ticket(LARGE_TICKET, "inc dword [r8 + 4]")),
    _kind(lambda draw: busy_bit(draw.choice(_LOCK))),
    _kind(lambda draw: taken_at_entry()),
    _kind(lambda draw: own_gdt()),
    _kind(lambda draw: (Lines(EXCHANGE, "mov r9d, dword [r8]"),)),
    _kind(lambda draw: (Lines(RELEASE, f"{draw.choice(_FENCES)}; {RELEASE}"),)),
)


def _code(lines: list[str]) -> list[int]:
    """The lines with instructions of either trampoline."""
    inside, found = False, []
    first = lines.index("[site.trampoline]")
    for at, line in enumerate(lines):
        if at > first and line.startswith("code = '''"):
            inside = True
        elif inside and line.startswith("'''"):
            inside = False
        elif inside and line.strip() and not line.split(";")[0].strip().endswith((":", "}")):
            found.append(at)
    return found


def _lock_elsewhere(draw: Draw, lines: list[str]) -> list[str]:
    """The lock word at another place of its section: aligned, or not."""
    at = draw.choice((4, 8, 0x3C, 0x3E, 0x40, 1, 2, 6, draw.randrange(0x80)))
    return [line.replace("[r8]", f"[r8 + {at}]") for line in lines]


def _delete(draw: Draw, lines: list[str]) -> list[str]:
    at = draw.choice(_code(lines))
    return [*lines[:at], *lines[at + 1 :]]


def _swap(draw: Draw, lines: list[str]) -> list[str]:
    code = _code(lines)
    at = draw.randrange(len(code) - 1)
    made = list(lines)
    made[code[at]], made[code[at + 1]] = made[code[at + 1]], made[code[at]]
    return made


def _repeat(draw: Draw, lines: list[str]) -> list[str]:
    at = draw.choice(_code(lines))
    to = draw.choice(_code(lines))
    return [*lines[:to], lines[at], *lines[to:]]


def _insert(draw: Draw, lines: list[str]) -> list[str]:
    new = draw.choice(_EXTRA).format(
        r=draw.choice(_REGISTERS),
        w=draw.choice(_WIDE),
        n=draw.choice((0, 1, 2, 3, 0x10001)),
        d=draw.choice((0, 2, 4, 8, 62, 64, 128)),
        s=draw.choice((-4, 0, 2, 4, 5, 8, 12, 14)),
    )
    at = draw.choice(_code(lines))
    return [*lines[:at], *(f"  {each.strip()}" for each in new.split(";")), *lines[at:]]


def _replace(pattern: str, choices: tuple[str, ...]) -> Callable[[Draw, list[str]], list[str]]:
    """An edit: one word that fits the pattern becomes another one of the choices."""

    def edit(draw: Draw, lines: list[str]) -> list[str]:
        places = [
            (at, found.span())
            for at in _code(lines)
            for found in re.finditer(pattern, lines[at].split(";")[0])
        ]
        if not places:
            raise ValueError(f"no {pattern}")
        at, (start, end) = draw.choice(places)
        line = lines[at]
        return [*lines[:at], line[:start] + draw.choice(choices) + line[end:], *lines[at + 1 :]]

    return edit


_EDITS: Final = (
    _delete,
    _delete,
    _swap,
    _swap,
    _repeat,
    _insert,
    _insert,
    _insert,
    _replace(r"\bj(e|ne|a|b|ae|be|mp)\b", _JUMPS),
    _replace(r"\b(byte|word|dword|qword)\b", _SIZES),
    _replace(r"\b(add|sub|and|or|xor|cmp|test)\b", _SHORT),
    _replace(r"\b(e[acd]x|esi|r(8|9|10|11)d)\b", _REGISTERS),
    _replace(r"\b(r[acd]x|rsi|r8|r9|r10|r11)\b", _WIDE),
    _replace(r"\b\d+\b", ("0", "1", "2", "4", "7", "8", "16", "24", "31", "32")),
)
