"""The numbers of kqemu's requests, read from the code that compares with them.

A request says in itself what it is: its direction, the size of its argument, its group (sys/sys/
ioccom.h). kqemu's group is q; the one that only takes a struct kqemu_init starts a guest, the one
that takes a CPU's state and gives it back runs it. Their order differs between versions.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.module import Module

_REQUEST: Final = re.compile(rb"(?s)(?=([\x01-\x0f]q.[\x40-\x5f\x80-\x9f\xc0-\xdf]))")

# SDM vol. 2, ADD, LEA: to a register, with a 32-bit number.
_ADDED: Final = re.compile(rb"(?s)(?=(?:\x05|\x81[\xc0-\xc7]|\x8d[\x80-\xbf])(.{4}))")

_IN: Final = 0x8000_0000
_IN_AND_OUT: Final = 0xC000_0000
_DIRECTION: Final = 0xE000_0000
_SIZES: Final = range(0x28, 0x81)
"""Of a struct kqemu_init: some pointers and numbers. A CPU's state is anything but that small."""

_NEAR: Final = 2048
"""Bytes of code in which one function compares with both."""

_CONSIDERED: Final = 1000
"""Numbers of one section that are compared, each with each other; a kqemu has some dozens."""


class Requests(NamedTuple):
    """What starts a guest, and what runs it."""

    init: int
    exec: int


def requests_of(module: Module) -> Requests | None:
    """The two requests; None where no place of the code has such a pair."""
    for section in module.sections:
        if section.type != elf.SHT_PROGBITS or not section.flags & elf.SHF_EXECINSTR:
            continue
        code = module.view(section)
        written = list(islice(_written(code), _CONSIDERED))
        numbers = [*written, *islice(_reckoned(code, written), _CONSIDERED)]
        for at, number in numbers:
            if number & _DIRECTION != _IN or number >> 16 & 0x1FFF not in _SIZES:
                continue
            for other_at, other in numbers:
                if other & _DIRECTION == _IN_AND_OUT and abs(other_at - at) < _NEAR:
                    return Requests(number, other)
    return None


def _written(code: memoryview) -> Iterator[tuple[int, int]]:
    """Every place that may hold a request of group q, and the request."""
    for found in _REQUEST.finditer(code):
        yield found.start(), int.from_bytes(found[1], "little")


def _reckoned(code: memoryview, known: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same for numbers that a compiler makes from one near by: adding is shorter.

    ``known`` is in the order of the code.
    """
    places = [at for at, _ in known]
    for found in _ADDED.finditer(code):
        added = int.from_bytes(found[1], "little")
        first = bisect_left(places, found.start() - _NEAR + 1)
        last = bisect_left(places, found.start() + _NEAR)
        for _, number in known[first:last]:
            other = (number + added) & 0xFFFF_FFFF
            if _REQUEST.match(other.to_bytes(4, "little")):
                yield found.start(), other
