"""A struct pcpu that nobody knows may hold anything where the number and its mask are expected.

Who takes it for a known one loads the TSS of another CPU, or of none. That it must not be taken for
one is tried with each of ``PRETENCES``: pairs that a guard which looks at a part of either, at the
wrong bits, or the wrong way round, lets pass. No pair is a CPU's number and its mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kpatch.verify.hardware.descriptors import BUSY, TSS_SIZE, changed, tss_descriptor
from kpatch.verify.machine.same_effect import Alone
from kpatch.verify.world.host import pcpu_page
from kpatch.verify.world.world import World

Pretence = tuple[int, int]
"""What stands where the number of the CPU and its mask are expected: two u32."""

CPU: Final = 1
"""The CPU that is tried. Which one makes no difference to a right switch."""
_NOBODY: Final = 77
"""A number that no CPU has, and no pretence."""
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
    """Which pair is taken for what it is not, and what comes of it; empty if none is.

    ``world`` is one with an unknown struct pcpu, and a GDT for each CPU: there the TSS that the
    slot names has to be loaded, as the unpatched switch does it. Each round tries another pair. At
    last each number that has a mask: who takes it for a CPU's loads the TSS of that CPU, also where
    no host of the explorations has so many.
    """
    alone = Alone(world, CPU)
    alone.round()  # with junk; from now on the slot is what is written there
    try:
        for number, mask in (*PRETENCES, *((number, 1 << number) for number in range(_BITS))):
            complaint = _tried(alone, number, mask)
            if complaint:
                what = f"with {number:#x} for the CPU's number, and {mask:#x} for its mask"
                return f"{what}: {complaint}"
    finally:
        alone.engine.close()
    return ""


def _tried(alone: Alone, number: int, mask: int) -> str:
    """One round with this pair in struct pcpu, and the TSS of nobody in the slot."""
    host, model = alone.world.host, alone.world.model
    nobodys, named = (model.tss_of(0) + TSS_SIZE * each for each in (_NOBODY, number))
    page = pcpu_page(model, CPU, (number, mask))
    host.arena.write(host.pcpu.physical_of(model.pcpu_of(CPU)), page)
    host.arena.write(host.slot(CPU).physical, tss_descriptor(nobodys, BUSY))
    failure = alone.round()
    if failure:
        return f"it does not return: {failure}"
    base = alone.engine.tr.base
    if base != nobodys and not (base == named and _is_known(number, mask)):
        return f"TR is {base:#x}, unpatched {nobodys:#x}"
    left = changed(alone.contents(host.slot(CPU)), tss_descriptor(base, BUSY))
    return f"the descriptor is left changed: {left}" if left else ""
