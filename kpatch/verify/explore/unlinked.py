"""The common case, for speed: states in which nobody but the memory refers to a CPU.

Such a state needs no renaming: the CPUs that the memory refers to come first, the others are
sorted. What is done here is what :mod:`~kpatch.verify.explore.space` does in general.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from kpatch.verify.explore.canonical import CanonicalForms, State
from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.spin_loops import SpinLoops
from kpatch.verify.explore.steps import Effect, Steps, pattern_of


class Unlinked:
    """The moves of unlinked states, and the states they lead to if those are unlinked too."""

    def __init__(self, forms: CanonicalForms, steps: Steps, waits: SpinLoops) -> None:
        self._forms = forms
        self._steps = steps
        self._waits = waits
        self._cpus = steps.shapes.naming.program.cpus
        self._namings: dict[tuple[int, int], tuple[list[int], Names]] = {}
        self._effects: dict[tuple[int, int], dict[int, tuple[Effect, ...]]] = {}
        self._taken: dict[tuple[int, int], Effect | None] = {}

    def moves(self, state: State) -> Iterator[tuple[int, list[int], Effect, int | None]]:
        """The CPU, the CPUs behind the names, the effect, and the guest that is taken."""
        steps, cpus, memory = self._steps, self._cpus, state[0]
        named = steps.shapes.memory_links[memory]
        guests = dict.fromkeys(state[cpus + 1 :])
        previous = -1
        for cpu in range(cpus):
            shape = state[cpu + 1]
            if cpu >= named:
                if shape == previous:
                    continue
                previous = shape
            names, pattern = self._naming(cpu, named)
            # By a small key: patterns are long, and few.
            listed = self._effects.setdefault((memory, min(cpu, named)), {})
            effects = listed.get(shape)
            if effects is None:
                effects = listed[shape] = steps.effects(shape, memory, pattern)
            for effect in effects:
                yield cpu, names, effect, None
            for guest in guests:
                taken = self._take(shape, guest)
                if taken is not None:
                    yield cpu, names, taken, guest

    def _take(self, shape: int, guest: int) -> Effect | None:
        key = shape, guest
        if key not in self._taken:
            self._taken[key] = self._steps.take(shape, guest, ())
        return self._taken[key]

    def moved(
        self, state: State, cpu: int, names: list[int], effect: Effect, taken: int | None
    ) -> State:
        """The new state."""
        cpus = self._cpus
        shapes, pool = list(state[: cpus + 1]), state[cpus + 1 :]
        if taken is not None or effect.guest is not None:
            pool = _changed(pool, taken, effect.guest)
        named = self._steps.shapes.memory_links[state[0]]
        memory, referred = effect.memory, [names[name] for name in effect.memory_links]
        if effect.kind is MoveKind.TAKE:
            memory, referred = state[0], list(range(named))
        table = self._waits.table
        if memory == state[0] and referred == list(range(named)):
            # Nothing has changed for the others: they are in normal form already.
            shape = table(memory, pattern_of(named, cpu))[effect.shape]
            if cpu < named:
                shapes[cpu + 1] = shape
            else:
                del shapes[cpu + 1]
                insort(shapes, shape, lo=named + 1)
            return (*shapes, *pool)
        shapes[cpu + 1] = effect.shape
        head = [
            table(memory, pattern_of(len(referred), own))[shapes[other + 1]]
            for own, other in enumerate(referred)
        ]
        for other in sorted(referred, reverse=True):
            del shapes[other + 1]
        nobody = table(memory, pattern_of(len(referred), None))
        nameless = [nobody[shape] for shape in shapes[1:]]
        nameless.sort()
        return (memory, *head, *nameless, *pool)

    def _naming(self, cpu: int, named: int) -> tuple[list[int], Names]:
        """The CPUs behind the names in a move, and the names of those the memory refers to."""
        key = cpu, named
        found = self._namings.get(key)
        if found is None:
            found = self._namings[key] = self._forms.names(cpu, (), tuple(range(named)))
        return found


def _changed(pool: State, taken: int | None, parked: tuple[int, Names] | None) -> State:
    """The numbers of the guests in the pool, sorted, without one and with another."""
    guests = list(pool)
    if taken is not None:
        guests.remove(taken)
    if parked is not None:
        insort(guests, parked[0])
    return tuple(guests)
