"""A struct pcpu that nobody knows may hold anything where the number and its mask are expected.

Who takes it for a known one loads the TSS of another CPU, or of none. That it must not be taken for
one is tried with each of ``PRETENCES``: pairs that a guard which looks at a part of either, at the
wrong bits, or the wrong way round, lets pass. No pair is a CPU's number and its mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kpatch.verify.machine.same_effect import Alone
from kpatch.verify.world.host import pcpu_page
from kpatch.verify.world.world import World

Pretence = tuple[int, int]
"""What stands where the number of the CPU and its mask are expected: two u32."""

CPU: Final = 1
"""The CPU that is tried: each number but 1 is another's."""
_NUMBERS: Final = (0, 2, 31)
_BITS: Final = 32
_ALL: Final = (1 << _BITS) - 1
_NO_NUMBERS: Final = (32, 33, 34, 47, 63, 64, 95, 127, 128, 160, 224, 255)
_LARGE: Final = (0x100, 0x102, 0xFFFF, 0x10000, 0x10002, 1 << 31, 1 << 31 | 2, _ALL >> 1, _ALL)


def _pairs() -> Iterator[Pretence]:
    """All pairs, those that most guards would let pass first."""
    for number in _NUMBERS:
        mask = 1 << number
        others = (0, _ALL, mask - 1, -mask & _ALL, ~mask & _ALL, number, mask >> 1, 2 * mask & _ALL)
        yield from ((number, other) for other in (*others, 1 << number % 16, 1 << number % 8))
        yield from ((number, mask ^ 1 << bit) for bit in range(_BITS))
    for number in (*_NO_NUMBERS, *_LARGE):
        # Shifts and bit tests take a number modulo 32, or modulo the bits of what they work on.
        yield from ((number, mask) for mask in (1 << number % _BITS, 0, number, 1 << number % 16))


def _is_known(number: int, mask: int) -> bool:
    # The bit of a large number would be an integer of half a gigabyte.
    return number < _BITS and mask == 1 << number


PRETENCES: Final[tuple[Pretence, ...]] = tuple(
    dict.fromkeys(pair for pair in _pairs() if not _is_known(*pair))
)


def mistaken(world: World) -> str:
    """Which pair is taken for a CPU's number and its mask, and what comes of it; or nothing.

    ``world`` is one with an unknown struct pcpu, and a GDT for each CPU: there TR has to be what it
    was, as the unpatched switch leaves it. Each round tries another pair.
    """
    alone = Alone(world, CPU)
    host = world.host
    page = host.pcpu.physical_of(world.model.pcpu_of(CPU))
    slot = host.slot(CPU)
    kept = alone.contents(slot)
    try:
        for pair in PRETENCES:
            host.arena.write(page, pcpu_page(world.model, CPU, pair))
            failure = alone.round()
            if failure:
                return f"{_named(pair)}: it does not return: {failure}"
            base = alone.engine.tr.base
            if base != world.model.tss_of(CPU) or alone.contents(slot) != kept:
                return f"{_named(pair)}: TR is {base:#x}, unpatched {world.model.tss_of(CPU):#x}"
    finally:
        alone.engine.close()
    return ""


def _named(pair: Pretence) -> str:
    number, mask = pair
    return f"with {number:#x} for the CPU's number, and {mask:#x} for its mask"
