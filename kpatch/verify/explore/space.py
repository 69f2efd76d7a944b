"""Global states: where the search begins, and what follows from each."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kpatch.verify.explore.canonical import CanonicalForms, Parts, State, referred
from kpatch.verify.explore.counted import Counted, Moves, StateKey, Taken
from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.shapes import Cpu, ShapeKind
from kpatch.verify.explore.spin_loops import SpinLoops
from kpatch.verify.explore.steps import Advance, Effect, Steps, pattern_of

Waited = tuple[tuple[int, int], ...]  # CPUs by their old numbers, and how many steps of each


class Successor(NamedTuple):
    """A move in a state and where it leads.

    ``order[i]`` is the number that CPU i of the new state had in the old one. ``guest`` is the
    guest taken, in numbers of the old state. ``waited`` has the silent steps after the move.
    """

    cpu: int
    effect: Effect
    guest: tuple[int, Names] | None
    state: State
    order: Names
    waited: Waited


@dataclass(frozen=True)
class Start:
    """A state in which no local steps are left, and how each CPU (by its old number) got there."""

    state: State
    order: Names
    advances: tuple[Advance, ...]
    waited: Waited
    held_up: bool


class Space:
    """Makes states, takes them apart, and lists their successors."""

    def __init__(self, steps: Steps, waits: SpinLoops) -> None:
        cpus = steps.shapes.naming.program.cpus
        self._steps = steps
        self._waits = waits
        self.shapes = steps.shapes
        self.forms = CanonicalForms(steps.shapes)
        self._counted = self._new_counted()
        self._cpus = cpus

    def start(self) -> Start:
        """The state of the program at its start, after all local steps if they are eager."""
        self._counted = self._new_counted()  # the normal forms may be others than before
        naming = self.shapes.naming
        memory, memory_links = self.shapes.of_memory(naming.initial_memory())
        cpus = [self.shapes.of_cpu(Cpu(local)) for local in naming.initial_locals()]
        shapes, links = tuple(shape for shape, _ in cpus), ((),) * self._cpus
        return self._settled(Parts(memory, memory_links, shapes, links, ()), self._steps.begin)

    def settled(self, parts: Parts) -> Start:
        """The state after all local steps of all CPUs, if they are eager."""
        return self._settled(parts, lambda cpu: Advance(cpu, 0))

    def _settled(self, parts: Parts, begin: Callable[[Cpu], Advance]) -> Start:
        shapes, links, pool = list(parts.shapes), list(parts.links), list(parts.pool)
        runs = []
        for cpu, shape in enumerate(parts.shapes):
            names, _ = self.forms.names(cpu, parts.links[cpu], ())
            run = self._steps.settle(begin(self.shapes.cpus[shape]), self._steps.count(shape))
            shapes[cpu], new = self.shapes.of_cpu(run.cpu)
            links[cpu] = tuple(names[name] for name in new)
            if run.guest is not None:
                pool.append((run.guest[0], tuple(names[name] for name in run.guest[1])))
            runs.append(run)
        settled = Parts(parts.memory, parts.memory_links, tuple(shapes), tuple(links), tuple(pool))
        settled, waited = self._normal(settled)
        state, order = self.forms.state(settled)
        held_up = any(self._steps.held_up(run.cpu) for run in runs)
        return Start(state, order, tuple(runs), waited, held_up)

    def outside_shapes(self) -> frozenset[int]:
        """Every shape in which a CPU between two rounds may be kept, after a search.

        Those in which a round begins or has ended, and their normal forms (for a CPU that has
        not begun the round may be kept at a place inside of the loop in which it would wait).
        """
        shapes = range(len(self.shapes.cpus))
        return self._waits.closure(filter(self._steps.is_outside, shapes))

    def is_final(self, key: StateKey) -> bool:
        """Every CPU has ended, and no guest waits for one."""
        if isinstance(key, int):
            return self._counted.is_final(key)
        phases = self.shapes.phases
        ended = all(phases[shape] is ShapeKind.ENDED for shape in key[1 : self._cpus + 1])
        return ended and not self.forms.parts(key).pool

    def key(self, state: State) -> StateKey:
        """The state as the search keeps it."""
        return self._counted.key(state)

    def state(self, key: StateKey) -> State:
        """The state that the search keeps as ``key``."""
        return self._counted.state(key)

    def has_fault(self, state: State) -> bool:
        """A CPU has stopped for good."""
        phases = self.shapes.phases
        return any(phases[shape] is ShapeKind.FAULT for shape in state[1 : self._cpus + 1])

    def can_go_on(self, state: State, cpu: int) -> bool:
        """The CPU can make a step, or a store of its own has still to reach memory."""
        parts = self.forms.parts(state)
        _, pattern = self.forms.names(cpu, parts.links[cpu], parts.memory_links)
        return bool(self._steps.effects(parts.shapes[cpu], parts.memory, pattern))

    def first_alike(self, state: State, cpu: int) -> int:
        """The first CPU that is interchangeable with this one: of a nameless one, its like."""
        parts = self.forms.parts(state)
        shape = parts.shapes[cpu]
        named = referred(parts)
        if cpu in named or parts.links[cpu]:
            return cpu
        alike = (other for other, like in enumerate(parts.shapes) if like == shape)
        return next(other for other in alike if other not in named)

    def successors(self, key: StateKey) -> tuple[Moves, list[StateKey]]:
        """Every move and where it leads, one move for CPUs that are interchangeable."""
        if isinstance(key, int):
            return self._counted.successors(key)
        made = list(self.moves(key))
        return (
            Moves.of([(key[each.cpu + 1], each.effect) for each in made]),
            [self._counted.key(each.state) for each in made],
        )

    def _new_counted(self) -> Counted:
        me = weakref.proxy(self)  # else they would keep each other

        def follow(state: State, made: Taken) -> State:
            guest = None if made.guest is None else (made.guest, ())
            parts = me.forms.parts(state)
            following: Successor = me._moved(parts, made.cpu, made.names, made.effect, guest)
            return following.state

        return Counted(self.forms, self._steps, self._waits, follow)

    def moves(self, state: State) -> Iterator[Successor]:
        """The same as :meth:`successors`, with all that is needed to follow a move."""
        parts = self.forms.parts(state)
        named = referred(parts)
        seen: set[int] = set()
        for cpu, shape in enumerate(parts.shapes):
            if cpu not in named and not parts.links[cpu]:
                if shape in seen:
                    continue
                seen.add(shape)
            names, pattern = self.forms.names(cpu, parts.links[cpu], parts.memory_links)
            for effect in self._steps.effects(shape, parts.memory, pattern):
                yield self._moved(parts, cpu, names, effect, None)
            for guest in dict.fromkeys(parts.pool):
                names, pattern = self.forms.names(cpu, parts.links[cpu], guest[1])
                taken = self._steps.take(shape, guest[0], pattern)
                if taken is not None:
                    yield self._moved(parts, cpu, names, taken, guest)

    def _moved(
        self,
        parts: Parts,
        cpu: int,
        names: Sequence[int],
        effect: Effect,
        guest: tuple[int, Names] | None,
    ) -> Successor:
        pool = list(parts.pool)
        if guest is not None:
            pool.remove(guest)
        if effect.guest is not None:
            pool.append((effect.guest[0], tuple(names[name] for name in effect.guest[1])))
        memory, memory_links = parts.memory, parts.memory_links
        if effect.kind is not MoveKind.TAKE:
            memory = effect.memory
            memory_links = tuple(names[name] for name in effect.memory_links)
        shapes, links = list(parts.shapes), list(parts.links)
        shapes[cpu] = effect.shape
        links[cpu] = tuple(names[name] for name in effect.links)
        moved = Parts(memory, memory_links, tuple(shapes), tuple(links), tuple(pool))
        moved, waited = self._normal(moved)
        state, order = self.forms.state(moved)
        return Successor(cpu, effect, guest, state, order, waited)

    def _normal(self, parts: Parts) -> tuple[Parts, Waited]:
        """The state after all silent steps of CPUs that wait."""
        shapes, waited = list(parts.shapes), []
        own = {cpu: place for place, cpu in enumerate(parts.memory_links)}
        for cpu, shape in enumerate(shapes):
            if not parts.links[cpu]:
                pattern = pattern_of(len(own), own.get(cpu))
                shapes[cpu], count = self._waits.normal(shape, parts.memory, pattern)
                if count:
                    waited.append((cpu, count))
        memory, memory_links, _, links, pool = parts
        return Parts(memory, memory_links, tuple(shapes), links, pool), tuple(waited)
