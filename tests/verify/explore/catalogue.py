"""Litmus programs with every final state that sequential consistency and x86-TSO allow.

``litmus.txt`` has the named tests of Owens, Sarkar and Sewell (TPHOLs 2009) and random ones. A
program is a name, a line for each CPU (``x=1`` store, ``eax=x`` load, ``eax:=1`` move, ``x<>eax``
exchange, ``x+=1`` add, with or without LOCK), what is looked at, and the final values
of that, a digit each. The sets are those of herd7's x86-TSO model, with the order between the read
and the write of one locked instruction added.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.verify.explore.toys import (
    Instruction,
    Thread,
    Toy,
    add,
    fence,
    load,
    lock_add,
    move,
    store,
    xchg,
)

_OPERATION = re.compile(r"(?P<lock>lock )?(?P<left>\w+)(?P<sign>:=|=|<>|\+=)(?P<right>\w+)")


@dataclass(frozen=True)
class Litmus:
    """One program. ``sees`` are cells (``x``) and registers (``0:eax``)."""

    name: str
    cpus: tuple[tuple[str, ...], ...]
    sees: tuple[str, ...]
    finals: dict[str, frozenset[str]]

    @property
    def cells(self) -> tuple[str, ...]:
        """The shared words."""
        return tuple(sorted({word for code in self.cpus for each in code for word in _cells(each)}))

    def toy(self) -> Toy:
        """The program in the language of the toys."""
        threads: list[Thread] = [[_toy(each) for each in code] for code in self.cpus]
        return Toy(threads, dict.fromkeys(self.cells, "0"))


def catalogue() -> Iterator[Litmus]:
    """Every program of the file."""
    text = Path(__file__).with_name("litmus.txt").read_text(encoding="utf-8")
    for part in re.split(r"\n(?=\S)", text.rstrip("\n")):
        name, *lines = part.split("\n")
        *codes, sees, sc, tso = (line.strip() for line in lines)
        finals = {"sc": frozenset(sc.split()[1:])}
        same = tso == "tso the same"
        finals["tso"] = finals["sc"] if same else frozenset(tso.split()[1:])
        cpus = tuple(tuple(code.split("; ")) for code in codes)
        yield Litmus(name, cpus, tuple(sees.split()[1:]), finals)


def parts(operation: str) -> tuple[str, str, str, str]:
    """LOCK or nothing, what is left of the sign, the sign, what is right of it."""
    found = _OPERATION.fullmatch(operation)
    assert found is not None, operation
    return found["lock"] or "", found["left"], found["sign"], found["right"]


def _cells(operation: str) -> tuple[str, ...]:
    if operation == "mfence":
        return ()
    _, left, _, right = parts(operation)
    return tuple(word for word in (left, right) if len(word) == 1 and word.isalpha())


def _toy(operation: str) -> Instruction:
    if operation == "mfence":
        return fence()
    lock, left, sign, right = parts(operation)
    if sign == ":=":
        return move(left, right)
    if sign == "<>":
        return xchg(right, left, f"${right}")
    if sign == "+=":
        return lock_add(left, right) if lock else add(left, right)
    return load(left, right) if right.isalpha() else store(left, right)
