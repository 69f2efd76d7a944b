"""A struct pcpu that nobody knows may hold anything where the number and its mask are expected.

Who takes it for a known one loads the TSS of another CPU, or of none. That it must not be taken for
one is tried with each of ``PRETENCES``: pairs that a guard which looks at a part of either, at the
wrong bits, or the wrong way round, lets pass. No pair is a CPU's number and its mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kpatch.verify.machine.numbers import BITS, Pretence, described, is_known, practised, tried
from kpatch.verify.world.world import World

_NUMBERS: Final = (0, 2, 31)
_ALL: Final = (1 << BITS) - 1
_NO_NUMBERS: Final = (32, 33, 34, 47, 63, 64, 95, 127, 128, 160, 224, 255)
_LARGE: Final = (0x100, 0x102, 0xFFFF, 0x10000, 0x10002, 1 << 31, 1 << 31 | 2, _ALL >> 1, _ALL)


def _pairs() -> Iterator[Pretence]:
    """All pairs, those that most guards would let pass first."""
    for number in _NUMBERS:
        mask = 1 << number
        others = (0, _ALL, mask - 1, -mask & _ALL, ~mask & _ALL, number, mask >> 1, 2 * mask & _ALL)
        yield from ((number, other) for other in (*others, 1 << number % 16, 1 << number % 8))
        yield from ((number, mask ^ 1 << bit) for bit in range(BITS))
    yield from ((number, ~(1 << number) & _ALL) for number in range(BITS))
    for number in (*_NO_NUMBERS, *_LARGE):
        # Shifts and bit tests take a number modulo 32, or modulo the bits of what they work on.
        yield from ((number, mask) for mask in (1 << number % BITS, 0, number, 1 << number % 16))


PRETENCES: Final[tuple[Pretence, ...]] = tuple(
    dict.fromkeys(pair for pair in _pairs() if not is_known(*pair))
)


def mistaken(world: World) -> str:
    """Which pair is taken for what it is not, and what comes of it; empty if none is.

    ``world`` is one with an unknown struct pcpu, and a GDT for each CPU: there the TSS that the
    slot names has to be loaded, as the unpatched switch does it. Each round tries another pair.
    """
    with practised(world) as alone:
        for number, mask in PRETENCES:
            complaint = tried(alone, number, mask)
            if complaint:
                return f"{described(number, mask)}: {complaint}"
    return ""
