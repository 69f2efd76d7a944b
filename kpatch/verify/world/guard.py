"""That the entry treats all pairs alike that are no number of a CPU and its mask.

Where struct pcpu is none that is known, anything may stand in these 64 bits. Followed are

1. all ways to the first instruction that reads them;
2. from there, as long as it is the patch that runs, and that does nothing but decide: each way
   apart, with exactly the pairs that go it, of which one that only known pairs go is none. All
   have to end at the same instruction, with the same in memory that is in use;
3. from there again all ways, up to the change of cr3, where nothing may depend on the pair.

So what such a pair does is what any other of them does, in every environment, and that is explored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, NamedTuple

from kpatch.elf.module import Module
from kpatch.isa.agreed import effects_of
from kpatch.isa.instruction import Memory
from kpatch.verify.hardware.registers import GENERAL
from kpatch.verify.world.deciding import Deciding
from kpatch.verify.world.diagrams import Diagrams, TooManyError
from kpatch.verify.world.inputs import at_entry, displaced
from kpatch.verify.world.origins import CPUID, PAIR, Byte, Machine, number
from kpatch.verify.world.places import Places, Site
from kpatch.verify.world.sinks import dependencies
from kpatch.verify.world.transfer import Transfer
from kpatch.verify.world.walk import Walk
from kpatch.verify.world.ways import OneWay, Same, beginning
from kpatch.verify.world.world import World

_MOST_NODES: Final = 100_000
_MOST_STEPS: Final = 2_000
_Followed = tuple[tuple[int, ...], OneWay]
"""The instructions of a way, the last of which has not run, and what is known there."""


class Sample(NamedTuple):
    """A pair, its number in the lower half, and the instructions that it makes the patch run."""

    pair: int
    path: tuple[int, ...]


class Treated(NamedTuple):
    """``samples`` of each way, and ``unknown``: why some pairs may be treated otherwise."""

    samples: tuple[Sample, ...] = ()
    unknown: tuple[str, ...] = ()


def treated(world: World, module: Module, cpuid: int, sites: tuple[Site, ...]) -> Treated:
    """Follow the entry of ``module``, which ``world`` was made of, for all pairs that are none."""
    places = Places(world, module, cpuid, sites)
    moved = displaced(world, sites, entry=True)
    up_to = _UpToThePair(places, moved, kernel=True)
    up_to.follow(world.guest.entry, at_entry(world))
    apart = _Apart(places, up_to.kept)
    for address, machine in up_to.reads.items():
        apart.follow_each(address, machine)
    return Treated(tuple(apart.samples), (*up_to.unknown, *apart.unknown))


class _UpToThePair(Walk):
    """Up to the first instructions that read the pair, or anything beside it."""

    @property
    def reads(self) -> dict[int, Machine]:
        """What is known at each of them."""
        return {at: machine for at, machine in self._reached.items() if self._is_read(at)}

    def _step(self, address: int, machine: Machine) -> list[tuple[int, Machine]]:
        return [] if self._is_read(address) else super()._step(address, machine)

    def _is_read(self, address: int) -> bool:
        instruction = self._places.instruction(address)
        return instruction is not None and any(
            isinstance(operand, Memory) and operand.segment == "gs"
            for operand in instruction.operands
        )


class _Alike(Walk):
    """All ways, with what depends on the pair: nothing that counts may."""

    def _note(self, step: Transfer, own: bool) -> None:
        for what, names in dependencies(step, self._places):
            if CPUID in names:
                self.unknown.setdefault(f"{what} of '{step.instruction.text}' depends on them")


class _Apart(Walk):
    """Each way apart, and from where they meet on together."""

    def __init__(self, places: Places, kept: int | None) -> None:
        super().__init__(places, (), kernel=True, kept=kept)
        self.samples: dict[Sample, None] = {}
        self._same = Same(Diagrams(_MOST_NODES))

    def follow_each(self, address: int, machine: Machine) -> None:
        """From the first instruction that reads the pair."""
        begun = beginning(machine, self._same.strange)
        pending: list[_Followed] = [((address,), begun)]
        ends: list[_Followed] = []
        for _ in range(_MOST_STEPS):
            if not pending:
                break
            path, way = pending.pop()
            try:
                following = self._following(path[-1], way)
            except TooManyError as error:
                self.unknown.setdefault(f"{error} at {path[-1]:#x}")
                following = None
            if following is None:
                ends.append((path, way))
                self._sample(way.pairs, path)
            else:
                pending += [((*path, at), after) for at, after in following]
        else:
            self.unknown.setdefault(f"more than {_MOST_STEPS} steps")
            for path, way in pending:
                self._sample(way.pairs, path)
        if len({path[-1] for path, _ in ends}) == 1:
            self._together(begun, ends)
        else:
            self.unknown.setdefault("they go ways that do not meet")

    def _following(self, address: int, way: OneWay) -> list[tuple[int, OneWay]] | None:
        """Where it goes on, and for which pairs; None where this way ends."""
        instruction = self._places.instruction(address)
        effects = effects_of(instruction.raw) if instruction is not None else None
        if instruction is None or effects is None or not self._places.is_patch(address):
            return None
        # Whether it is the module's own makes no difference to what the pair decides.
        step = Deciding(self._places, way, instruction, effects.effects, self._same, patch=True)
        if not step.is_possible:
            return None
        tests = [1]
        if instruction.is_branch and step.mnemonic != "jmp":
            test = step.condition()
            if test is None:
                return None
            tests = [test, self._same.diagrams.opposite(test)]
        go = instruction.transfers_control
        targets = self._go(step) if go else [(instruction.end, step.run())]
        if not targets or not self._is_stack_known(step, step.way, patch=True):
            return None
        found = []
        for (target, _), test in zip(targets, tests, strict=True):
            pairs = self._same.diagrams.both(way.pairs, test)
            if pairs:
                found.append((target, replace(step.way.copy(), pairs=pairs)))
        return found

    def _sample(self, pairs: int, path: tuple[int, ...]) -> None:
        examples = self._same.diagrams.examples(pairs)
        self.samples |= dict.fromkeys(Sample(pair, path) for pair in examples)

    def _together(self, begun: OneWay, ends: Sequence[_Followed]) -> None:
        """On from where all ways meet."""
        try:
            machine = self._joined(begun, ends)
        except TooManyError as error:
            self.unknown.setdefault(f"{error} in what they leave")
            return
        alike = _Alike(self._places, (), kernel=True, kept=self.kept)
        ended = alike.follow(ends[0][0][-1], machine)
        self.unknown |= alike.unknown
        rsp = number(ended.registers["rsp"]) if ended is not None else None
        if ended is None or rsp is None:
            self.unknown.setdefault("no way leads to the monitor")
            return
        for at, byte in ended.memory.items():
            if CPUID in byte.origins and not (self._places.is_stack(at) and at < rsp):
                self.unknown.setdefault("what the entry leaves for the exit depends on them")

    def _joined(self, begun: OneWay, ends: Sequence[_Followed]) -> Machine:
        """What holds on all ways; where they differ, it comes from the pair."""
        ways = [way for _, way in ends]
        registers = {
            name: tuple(map(_either, zip(*(way.registers[name] for way in ways), strict=True)))
            for name in GENERAL
        }
        flags = {
            name: before
            if all(way.flags[name] is before for way in ways)
            else PAIR.union(*(way.flags[name] for way in ways))
            for name, before in begun.flags.items()
        }
        missing = Byte(None, PAIR)
        memory = {
            at: _either(
                tuple(
                    self._settled(way.memory.get(at, missing), path, way.pairs)
                    for path, way in ends
                )
            )
            for at in dict.fromkeys(chain.from_iterable(way.memory for way in ways))
        }
        saved = ways[0].saved.intersection(*(way.saved for way in ways))
        return Machine(registers, flags, memory, saved)

    def _settled(self, byte: Byte, path: tuple[int, ...], pairs: int) -> Byte:
        """With its number, if that is one for all ``pairs``."""
        diagrams = self._same.diagrams
        total = 0
        for at, bit in enumerate(byte.bits):
            # What differs for two of them needs no more than these two.
            values = {diagrams.holds(bit, pair) for pair in diagrams.examples(pairs)}
            value = max(values)
            if len(values) > 1 or diagrams.both(pairs, diagrams.unlike(bit, value)):
                self._sample(diagrams.both(pairs, bit), path)
                self._sample(diagrams.both(pairs, diagrams.opposite(bit)), path)
                return byte
            total |= value << at
        return Byte(total) if byte.bits else byte


def _either(found: tuple[Byte, ...]) -> Byte:
    """A byte that is one on several ways, or comes from the pair."""
    first = found[0]
    known = first.number is not None
    if all(byte is first or (known and byte == first) for byte in found):
        return first
    return Byte(None, PAIR.union(*(byte.origins for byte in found)))
