"""Each number that a CPU may have, one after the other, on one CPU that nobody disturbs.

Explorations see what CPUs do to each other, on hosts with up to 16. Here is seen, for each number
up to 31, that the TSS of that CPU is loaded and nothing else is left than with a struct pcpu that
nobody knows, that nothing is read that is none of the patch's business, and how long the window is.
Numbers that no host has go a way that others have gone, with the same lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from kpatch.verify.hardware.descriptors import BUSY, TSS_SIZE, changed
from kpatch.verify.hardware.memory import Region
from kpatch.verify.hardware.registers import Registers
from kpatch.verify.machine.same_effect import (
    COMPARED,
    Alone,
    Differences,
    compared,
    other_registers,
    unequal,
)
from kpatch.verify.machine.window import window_in
from kpatch.verify.world.host import MAXCPU, pcpu_page
from kpatch.verify.world.places import Places
from kpatch.verify.world.world import World

CPU: Final = 0
"""The CPU that is tried: the one whose guest's addresses :class:`Places` knows."""
_NOBODY: Final = 77
"""A number that no CPU has, and no pretence."""
BITS: Final = 32


class Numbers(NamedTuple):
    """What was found, the longest window of all rounds, and what ran on the kernel's side."""

    found: Differences
    window: int
    ran: frozenset[int]


def is_known(number: int, mask: int) -> bool:
    """Whether this is a CPU's number and its mask."""
    # The bit of a large number would be an integer of half a gigabyte.
    return number < BITS and mask == 1 << number


def numbers(world: World, places: Places) -> Numbers:
    """Try them all, up to the first that is wrong.

    ``world`` is one with an unknown struct pcpu, and a GDT for each CPU: there the TSS that the
    slot names has to be loaded where nobody is known, as the unpatched switch does it.
    """
    with practised(world) as alone:
        return _all(alone, places)


@contextmanager
def practised(world: World) -> Iterator[Alone]:
    """The CPU that is tried, after a round with junk: from then on the slot is what is written
    there.
    """
    alone = Alone(world, CPU)
    try:
        alone.round()
        yield alone
    finally:
        alone.engine.close()


def _all(alone: Alone, places: Places) -> Numbers:
    window = 0
    reads: dict[str, None] = {}
    unknown: list[str] = []
    ways = set()
    ran: set[int] = set()
    # What each parity leaves: rounds with zeros and with junk in the registers, in turn.
    left: list[_Left] = []
    for number, mask in ((0, 0), (0, 0), *((each, 1 << each) for each in range(BITS))):
        wrong = [complaint] if (complaint := tried(alone, number, mask)) else []
        reads |= dict.fromkeys(alone.reads(places))
        window = max(window, window_in(alone, places))
        ran.update(alone.on_kernel_side(places))
        now = _Left.of(alone)
        if mask == 0:
            left.append(now)
        elif not wrong:
            wrong = list(now.unlike(left[number % 2]))
        if wrong:
            what = f"{described(number, mask)}: {wrong[0]}"
            return Numbers(Differences((what,), (), tuple(reads)), window, frozenset(ran))
        way = alone.path(places)
        if number < MAXCPU:
            ways.add(way)
        elif way not in ways:
            unknown.append(f"what CPU {number} does, which no explored one does")
    return Numbers(Differences((), tuple(unknown), tuple(reads)), window, frozenset(ran))


def described(number: int, mask: int) -> str:
    """A pair, for messages."""
    return f"with {number:#x} for the CPU's number, and {mask:#x} for its mask"


def tried(alone: Alone, number: int, mask: int) -> str:
    """One round with this pair in struct pcpu, and the TSS of nobody in the slot; what is wrong
    with TR and the slot then, or nothing.
    """
    host, model = alone.world.host, alone.world.model
    nobodys, named = (model.tss_of(0) + TSS_SIZE * each for each in (_NOBODY, number))
    page = pcpu_page(model, CPU, (number, mask))
    host.arena.write(host.pcpu.physical_of(model.pcpu_of(CPU)), page)
    host.arena.write(host.slot(CPU).physical, model.tss_descriptor(nobodys, BUSY))
    failure = alone.round()
    if failure:
        return f"it does not return: {failure}"
    base = alone.engine.tr.base
    if base != nobodys and not (base == named and is_known(number, mask)):
        return f"TR is {base:#x}, unpatched {nobodys:#x}"
    left = changed(alone.contents(host.slot(CPU)), model.tss_descriptor(base, BUSY))
    return f"the descriptor is left changed: {left}" if left else ""


class _Left(NamedTuple):
    """What a round has left."""

    alone: Alone
    registers: Registers
    memory: tuple[bytes, ...]

    @classmethod
    def of(cls, alone: Alone) -> _Left:
        regions = _compared(alone.world)
        return cls(alone, alone.registers, tuple(alone.contents(region) for region in regions))

    def unlike(self, other: _Left) -> Iterator[str]:
        """What differs from another round that had the same in the registers."""
        yield from other_registers(self.registers, other.registers, COMPARED)
        regions = _compared(self.alone.world)
        for region, one, before in zip(regions, self.memory, other.memory, strict=True):
            yield from unequal(region, one, before, "where no CPU is known")


def _compared(world: World) -> tuple[Region, ...]:
    return tuple(region for region in compared(world) if region != world.host.pcpu)
