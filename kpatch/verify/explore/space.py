"""Global states up to renaming of the CPUs, as tuples of small integers.

A state is ``(memory, shape of CPU 0, ..., shape of CPU n-1, links..., pool...)``. The numbers are
those of :class:`~kpatch.verify.explore.steps.Steps`. The CPUs are already renamed:

1. first the CPUs that the memory refers to, in the order in which it does, so that the memory's
   references need not be written down;
2. then those that a guest in the pool, or the shape of a CPU with a name, refers to;
3. then the nameless, sorted by shape: CPUs that nobody refers to and that have the same shape are
   interchangeable.

``links`` are the CPU numbers that the shapes refer to, in order; most shapes have none.
``pool`` has, for each parked guest, its number and the CPUs it refers to.

Two states that are equal up to renaming may still get two forms, when step 2 has to
choose between CPUs that look alike so far. That costs states, never soundness: each form is a true
renaming of the state, so nothing reachable is lost and nothing unreachable is added.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.shapes import Cpu, Phase
from kpatch.verify.explore.steps import Effect, Run, Steps, pattern_of
from kpatch.verify.explore.waits import Waits

State = tuple[int, ...]
Waited = tuple[tuple[int, int], ...]  # CPUs by their old numbers, and how many steps of each


@dataclass(frozen=True)
class Parts:
    """A state taken apart. References are CPU numbers."""

    memory: int
    memory_links: Names
    shapes: tuple[int, ...]
    links: tuple[Names, ...]
    pool: tuple[tuple[int, Names], ...]


@dataclass(frozen=True)
class Successor:
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
    runs: tuple[Run, ...]
    waited: Waited
    held_up: bool


class Space:
    """Makes states, takes them apart, and lists their successors."""

    def __init__(self, steps: Steps, waits: Waits) -> None:
        cpus = steps.shapes.naming.program.cpus
        self._steps = steps
        self._waits = waits
        self.shapes = steps.shapes
        self._cpus = cpus
        self._all = tuple(range(cpus))
        self._namings: dict[tuple[int, int], tuple[list[int], Names]] = {}

    def start(self) -> Start:
        """The state of the program at its start, after all local steps if they are eager."""
        naming = self.shapes.naming
        memory, memory_links = self.shapes.of_memory(naming.initial_memory())
        cpus = [self.shapes.of_cpu(Cpu(local)) for local in naming.initial_locals()]
        shapes, links = tuple(shape for shape, _ in cpus), ((),) * self._cpus
        return self.settled(Parts(memory, memory_links, shapes, links, ()))

    def settled(self, parts: Parts) -> Start:
        """The state after all local steps of all CPUs, if they are eager."""
        shapes, links, pool = list(parts.shapes), list(parts.links), list(parts.pool)
        runs = []
        for cpu, shape in enumerate(parts.shapes):
            names, _ = self._names(cpu, parts.links[cpu], ())
            run = self._steps.settle(Run(self.shapes.cpus[shape], 0), self._steps.count(shape))
            shapes[cpu], new = self.shapes.of_cpu(run.cpu)
            links[cpu] = tuple(names[name] for name in new)
            if run.guest is not None:
                pool.append((run.guest[0], tuple(names[name] for name in run.guest[1])))
            runs.append(run)
        settled = Parts(parts.memory, parts.memory_links, tuple(shapes), tuple(links), tuple(pool))
        settled, waited = self._normal(settled)
        state, order = self.state(settled)
        held_up = any(self._steps.held_up(run.cpu) for run in runs)
        return Start(state, order, tuple(runs), waited, held_up)

    def parts(self, state: State) -> Parts:
        """Takes a state apart."""
        shapes = state[1 : self._cpus + 1]
        rest = iter(state[self._cpus + 1 :])
        links = tuple(_next(rest, self.shapes.links[shape]) for shape in shapes)
        pool = tuple((guest, _next(rest, self.shapes.guest_links[guest])) for guest in rest)
        memory_links = tuple(range(self.shapes.memory_links[state[0]]))
        return Parts(state[0], memory_links, shapes, links, pool)

    def state(self, parts: Parts) -> tuple[State, Names]:
        """The state, its CPUs renamed, and what number each of them had before."""
        order = self._order(parts)
        new = {cpu: number for number, cpu in enumerate(order)}
        state = [parts.memory, *(parts.shapes[cpu] for cpu in order)]
        for cpu in order:
            state.extend(new[link] for link in parts.links[cpu])
        pool = sorted((guest, *(new[link] for link in links)) for guest, links in parts.pool)
        for entry in pool:
            state.extend(entry)
        return tuple(state), order

    def is_final(self, state: State) -> bool:
        """Every CPU has ended, and no guest waits for one."""
        phases = self.shapes.phases
        ended = all(phases[shape] is Phase.ENDED for shape in state[1 : self._cpus + 1])
        return ended and not self.parts(state).pool

    def has_fault(self, state: State) -> bool:
        """A CPU has stopped for good."""
        phases = self.shapes.phases
        return any(phases[shape] is Phase.FAULT for shape in state[1 : self._cpus + 1])

    def can_run(self, state: State, cpu: int) -> bool:
        """The CPU has a next step, and need not wait for its store buffer to make it."""
        parts = self.parts(state)
        _, pattern = self._names(cpu, parts.links[cpu], parts.memory_links)
        effects = self._steps.effects(parts.shapes[cpu], parts.memory, pattern)
        return any(effect.kind is MoveKind.RUN for effect in effects)

    def first_alike(self, state: State, cpu: int) -> int:
        """The first CPU that is interchangeable with this one: of a nameless one, its like."""
        parts = self.parts(state)
        shape = parts.shapes[cpu]
        referred = _referred(parts)
        if cpu in referred or parts.links[cpu]:
            return cpu
        return next(
            other for other in self._all if parts.shapes[other] == shape and other not in referred
        )

    def successors(self, state: State) -> Iterator[tuple[Effect, State]]:
        """Every move and where it leads, one move for CPUs that are interchangeable."""
        steps, cpus = self._steps, self._cpus
        if len(state) > cpus + 1:
            for successor in self.moves(state):
                yield successor.effect, successor.state
            return
        # The common case, for speed: nobody but the memory refers to a CPU.
        memory = state[0]
        named = self.shapes.memory_links[memory]
        previous = -1
        for cpu in range(cpus):
            shape = state[cpu + 1]
            if cpu >= named:
                if shape == previous:
                    continue
                previous = shape
            names, pattern = self._naming(cpu, named)
            for effect in steps.effects(shape, memory, pattern):
                if effect.links or effect.guest is not None:
                    yield effect, self._moved(self.parts(state), cpu, names, effect, None).state
                else:
                    yield effect, self._moved_simply(state, cpu, named, names, effect)

    def moves(self, state: State) -> Iterator[Successor]:
        """The same as :meth:`successors`, with all that is needed to follow a move."""
        parts = self.parts(state)
        referred = _referred(parts)
        seen: set[int] = set()
        for cpu, shape in enumerate(parts.shapes):
            if cpu not in referred and not parts.links[cpu]:
                if shape in seen:
                    continue
                seen.add(shape)
            names, pattern = self._names(cpu, parts.links[cpu], parts.memory_links)
            for effect in self._steps.effects(shape, parts.memory, pattern):
                yield self._moved(parts, cpu, names, effect, None)
            for guest in dict.fromkeys(parts.pool):
                names, pattern = self._names(cpu, parts.links[cpu], guest[1])
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
        state, order = self.state(moved)
        return Successor(cpu, effect, guest, state, order, waited)

    def _normal(self, parts: Parts) -> tuple[Parts, Waited]:
        """The state after all silent steps of CPUs that wait."""
        shapes, waited = list(parts.shapes), []
        for cpu, shape in enumerate(shapes):
            if not parts.links[cpu]:
                _, pattern = self._names(cpu, (), parts.memory_links)
                shapes[cpu], runs = self._waits.normal(shape, parts.memory, pattern)
                if runs:
                    waited.append((cpu, runs))
        return replace(parts, shapes=tuple(shapes)), tuple(waited)

    def _moved_simply(
        self, state: State, cpu: int, named: int, names: Sequence[int], effect: Effect
    ) -> State:
        """The new state when neither the old nor the new one has links or a pool."""
        shapes = list(state)
        shapes[0] = memory = effect.memory
        normal = self._waits.normal
        referred = [names[name] for name in effect.memory_links]
        if memory == state[0] and referred == list(range(named)):
            # Nothing has changed for the others: they are in normal form already.
            shape, _ = normal(effect.shape, memory, pattern_of(named, cpu))
            if cpu < named:
                shapes[cpu + 1] = shape
            else:
                del shapes[cpu + 1]
                insort(shapes, shape, lo=named + 1)
            return tuple(shapes)
        shapes[cpu + 1] = effect.shape
        nobody = pattern_of(len(referred), None)
        nameless = [
            normal(shapes[other + 1], memory, nobody)[0]
            for other in self._all
            if other not in referred
        ]
        head = [
            normal(shapes[other + 1], memory, pattern_of(len(referred), own))[0]
            for own, other in enumerate(referred)
        ]
        return (memory, *head, *sorted(nameless))

    def _naming(self, cpu: int, named: int) -> tuple[list[int], Names]:
        """_names for a CPU without links and a memory that refers to the first CPUs."""
        key = cpu, named
        found = self._namings.get(key)
        if found is None:
            found = self._namings[key] = self._names(cpu, (), tuple(range(named)))
        return found

    def _names(self, cpu: int, links: Names, others: Names) -> tuple[list[int], Names]:
        """The CPU behind each name in a move of ``cpu``, and the names of ``others``."""
        names = [cpu, *links]
        names.extend(other for other in others if other not in names)
        if len(names) == self._cpus - 1:
            names.extend(set(self._all).difference(names))
        return names, tuple(names.index(other) for other in others)

    def _order(self, parts: Parts) -> Names:
        order = list(parts.memory_links)
        linked = [cpu for cpu in self._all if parts.links[cpu]]
        if linked or parts.pool:
            self._name_the_linked(parts, order, linked)
        nameless = [cpu for cpu in self._all if cpu not in order]
        nameless.sort(key=parts.shapes.__getitem__)
        return (*order, *nameless)

    @staticmethod
    def _name_the_linked(parts: Parts, order: list[int], linked: list[int]) -> None:
        """Appends to ``order`` the CPUs that refer to others or that others refer to."""

        def look(item: int, links: Names) -> tuple[int, list[int]]:
            return item, [order.index(link) if link in order else len(order) for link in links]

        waiting = [(guest, links) for guest, links in parts.pool if links]
        while waiting:
            nearest = min(waiting, key=lambda entry: look(*entry))
            waiting.remove(nearest)
            order.extend(link for link in nearest[1] if link not in order)
        done = 0
        while linked:
            if done == len(order):
                order.append(min(linked, key=lambda cpu: look(parts.shapes[cpu], parts.links[cpu])))
            cpu = order[done]
            done += 1
            if cpu in linked:
                linked.remove(cpu)
                order.extend(link for link in parts.links[cpu] if link not in order)


def _referred(parts: Parts) -> set[int]:
    """The CPUs that the memory, a guest, or another CPU refers to."""
    pool_links = (links for _, links in parts.pool)
    return {*parts.memory_links}.union(*parts.links, *pool_links)


def _next(values: Iterator[int], count: int) -> Names:
    return tuple(next(values) for _ in range(count))
