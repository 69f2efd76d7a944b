"""The breadth-first search over canonical states. It visits everything or says what stopped it.

A state is the memory and where each CPU stands; states that differ only in the CPUs' numbers are
merged, as far as ``Space`` sees it. States are numbered as they are found: ``graph.states`` is the
queue as well, and ``graph.expanded`` says how far it is worked off.
"""

from __future__ import annotations

from collections.abc import Callable

from kpatch.units import counted
from kpatch.verify.explore.bound import INTERRUPTED, BoundHitError, BoundKind
from kpatch.verify.explore.counted import StateKey
from kpatch.verify.explore.finals import FinalCheck
from kpatch.verify.explore.graph import Finding, Graph
from kpatch.verify.explore.options import (
    Budget,
    Options,
    Progress,
)
from kpatch.verify.explore.shapes import ShapeKind
from kpatch.verify.explore.space import Space, Start
from kpatch.verify.explore.steps import Effect

LOOK_UP_EVERY = 512  # states between two looks at the clock


class Search:
    """One search. A state in which a CPU has faulted is an end: the host is gone.

    So where a program can fault, what else it violates may depend on the reductions, which run
    local steps early. The verdict does not.
    """

    def __init__(
        self,
        space: Space,
        start: Start,
        check: FinalCheck,
        options: Options,
        budget: Budget,
        report: Callable[[Progress], None],
    ) -> None:
        self._space = space
        self._start = start
        self._check = check
        self._options = options
        self._budget = budget
        self._report = report
        self.graph = Graph()
        self._until = options.known_elsewhere
        self._beyond = ""

    def run(self) -> Graph:
        """Fills the graph. A bound that is hit, or an interrupt, is noted in it."""
        try:
            self._run()
        except BoundHitError as hit:
            self.graph.bound = hit.bound
        except KeyboardInterrupt:
            self.graph.bound = INTERRUPTED
        return self.graph

    def _run(self) -> None:
        graph = self.graph
        numbers: dict[StateKey, int] = {}
        self._begin(numbers)
        while graph.expanded < len(graph.states):
            if graph.expanded % LOOK_UP_EVERY == 0:
                self._look_up()
            self._stop_where_known()
            if graph.expanded not in graph.faults or self._options.beyond_faults:
                self._expand(numbers)
            graph.expanded += 1

    def _stop_where_known(self) -> None:
        """Where the verdict is known, what else is violated is not worth every state."""
        expanded, beyond = self.graph.expanded, self._options.beyond_violation
        if self.graph.findings and not self._beyond:
            self._beyond = f"{counted(beyond or 0, 'state')} beyond the first violation"
            self._until = expanded + beyond if beyond is not None else None
        if self._until is not None and expanded >= self._until:
            text = self._beyond or f"{counted(self._until, 'state')}, where the verdict is known"
            raise BoundHitError(BoundKind.BEYOND_VIOLATION, text)

    def _begin(self, numbers: dict[StateKey, int]) -> None:
        graph, start = self.graph, self._start
        first = self._space.key(start.state)
        numbers[first] = 0
        graph.states.append(first)
        graph.parents.append(-1)
        graph.held_up = start.held_up
        for run in start.advances:
            for violation in run.violations:
                graph.findings[violation.prop] = Finding(violation.prop, violation.what, 0, None)
        if self._space.has_fault(start.state):
            graph.faults.add(0)
        self._note_if_final(0, first)

    def _expand(self, numbers: dict[StateKey, int]) -> None:
        graph = self.graph
        moves, following = self._space.successors(graph.states[graph.expanded])
        if moves.notable:
            for effect in moves.effects:
                self._note(graph.expanded, effect)
        graph.held_up |= moves.held_up
        found = [numbers.get(key, -1) for key in following]
        if -1 in found:
            for place, key in enumerate(following):
                if found[place] < 0:
                    # Two moves may lead to the same new state.
                    found[place] = self._number(key, moves.effects[place], numbers)
        graph.targets.extend(found)
        graph.changes += moves.changes
        graph.movers.extend(moves.movers)
        graph.ends += moves.ends
        graph.sources.extend([graph.expanded] * len(found))

    def _number(self, key: StateKey, effect: Effect, numbers: dict[StateKey, int]) -> int:
        """The number of a state to which the state that is expanded leads."""
        graph = self.graph
        number = numbers.setdefault(key, len(graph.states))
        if number == len(graph.states):
            if number >= self._options.max_states:
                text = f"max-states {self._options.max_states}"
                raise BoundHitError(BoundKind.STATES, text)
            graph.states.append(key)
            graph.parents.append(graph.expanded)
            if effect.phase is ShapeKind.FAULT or graph.expanded in graph.faults:
                graph.faults.add(number)
            else:
                self._note_if_final(number, key)
        return number

    def _note(self, source: int, effect: Effect) -> None:
        for violation in effect.violations:
            if violation.prop not in self.graph.findings:
                finding = Finding(violation.prop, violation.what, source, effect)
                self.graph.findings[violation.prop] = finding

    def _note_if_final(self, number: int, key: StateKey) -> None:
        if not self._space.is_final(key):
            return
        self.graph.finals.append(number)
        for violation in self._check.violations(self._space.state(key)[0]):
            if violation.prop not in self.graph.findings:
                finding = Finding(violation.prop, violation.what, number, None)
                self.graph.findings[violation.prop] = finding

    def _look_up(self) -> None:
        graph = self.graph
        self._budget.check()
        self._report(
            Progress(len(graph.states), len(graph.targets), graph.frontier, self._budget.seconds)
        )
