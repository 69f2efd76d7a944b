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

from collections.abc import Iterator
from typing import NamedTuple

from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.shapes import Shapes

State = tuple[int, ...]


class Parts(NamedTuple):
    """A state taken apart. References are CPU numbers."""

    memory: int
    memory_links: Names
    shapes: tuple[int, ...]
    links: tuple[Names, ...]
    pool: tuple[tuple[int, Names], ...]


class CanonicalForms:
    """Takes states apart, and puts them together in their canonical form."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._cpus = shapes.naming.program.cpus
        self._all = tuple(range(self._cpus))
        self._no_links: tuple[Names, ...] = ((),) * self._cpus
        self._names: dict[tuple[int, Names, Names], tuple[Names, Names]] = {}

    def parts(self, state: State) -> Parts:
        """Takes a state apart."""
        end = self._cpus + 1
        shapes = state[1:end]
        memory_links = tuple(range(self._shapes.memory_links[state[0]]))
        if len(state) == end:  # nobody refers to anybody, and no guest waits
            return Parts(state[0], memory_links, shapes, self._no_links, ())
        rest = iter(state[end:])
        links = tuple(_next(rest, self._shapes.links[shape]) for shape in shapes)
        pool = tuple((guest, _next(rest, self._shapes.guest_links[guest])) for guest in rest)
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

    def is_linked(self, state: State) -> bool:
        """The shape of a CPU, or a guest, refers to a CPU."""
        if not self._shapes.any_links:
            return False
        links, guest_links = self._shapes.links, self._shapes.guest_links
        if any(links[shape] for shape in state[1 : self._cpus + 1]):
            return True
        return any(guest_links[guest] for guest in state[self._cpus + 1 :])

    def names(self, cpu: int, links: Names, others: Names) -> tuple[Names, Names]:
        """The CPU behind each name in a move of ``cpu``, and the names of ``others``."""
        key = cpu, links, others
        found = self._names.get(key)
        if found is None:
            names = [cpu, *links]
            names.extend(other for other in others if other not in names)
            if len(names) == self._cpus - 1:
                names.extend(set(self._all).difference(names))
            pattern = tuple(names.index(other) for other in others)
            found = self._names[key] = tuple(names), pattern
        return found

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


def referred(parts: Parts) -> set[int]:
    """The CPUs that the memory, a guest, or another CPU refers to."""
    pool_links = (links for _, links in parts.pool)
    return {*parts.memory_links}.union(*parts.links, *pool_links)


def _next(values: Iterator[int], count: int) -> Names:
    return tuple(next(values) for _ in range(count))
