"""Final states: what is wrong with them, and what they are concretely."""

from __future__ import annotations

from collections.abc import Iterable

from kpatch.verify.explore.canonical import State
from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.program import Value, Violation
from kpatch.verify.explore.result import FinalState
from kpatch.verify.explore.shapes import Shapes
from kpatch.verify.explore.space import Space
from kpatch.verify.explore.symmetry import SymmetryBrokenError


class FinalCheck:
    """Program.final_violations, once for each memory, for every choice of CPUs."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._known: dict[int, tuple[Violation, ...]] = {}

    def violations(self, memory: int) -> tuple[Violation, ...]:
        """What is wrong with this memory at the end. Raises SymmetryBrokenError."""
        known = self._known.get(memory)
        if known is None:
            known = self._known[memory] = self._judge(memory)
        return known

    def _judge(self, memory: int) -> tuple[Violation, ...]:
        naming = self._shapes.naming
        judged = [
            naming.program.final_violations(concrete_memory(self._shapes, memory, cpus))
            for cpus in naming.instances(self._shapes.memory_links[memory])
        ]
        props = {tuple(violation.prop for violation in violations) for violations in judged}
        if len(props) > 1:
            raise SymmetryBrokenError("a final memory is right for some CPUs, but not for all")
        return judged[0]


def concrete_memory(shapes: Shapes, memory: int, cpus: Names) -> tuple[Value, ...]:
    """The program's memory, for these CPUs in the place of its references."""
    cells = shapes.memories[memory][: len(shapes.naming.program.initial_memory())]
    return tuple(
        shapes.naming.value(orbit, tuple(cpus[mark] for mark in marks)) for orbit, marks in cells
    )


def concrete_finals(space: Space, shapes: Shapes, states: Iterable[State]) -> frozenset[FinalState]:
    """Every final state under every renaming of all CPUs. For small programs only."""
    finals = set()
    for state in states:
        parts = space.forms.parts(state)
        for cpus in shapes.naming.instances(shapes.naming.program.cpus):
            places: list[tuple[int, int]] = []
            for number, shape in enumerate(parts.shapes):
                orbit, _ = shapes.cpus[shape].local
                others = tuple(cpus[link] for link in parts.links[number])
                local = shapes.naming.local(orbit, cpus[number], others)
                places.append((cpus[number], local))
            memory = concrete_memory(shapes, parts.memory, cpus)
            finals.add(FinalState(memory, tuple(local for _, local in sorted(places))))
    return frozenset(finals)
