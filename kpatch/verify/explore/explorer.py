"""The entry point: explore a program, and say what holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from kpatch.verify.explore.bound import INTERRUPTED, Bound, BoundHitError, BoundKind
from kpatch.verify.explore.counterexample import Reporter
from kpatch.verify.explore.finals import FinalCheck, concrete_finals, concrete_memory
from kpatch.verify.explore.graph import Finding, Graph
from kpatch.verify.explore.naming import ConcreteNaming, Naming
from kpatch.verify.explore.options import Budget, Options, Progress
from kpatch.verify.explore.program import Program
from kpatch.verify.explore.progress import (
    dependent_states,
    endless_states,
    lost_states,
    waiting_states,
)
from kpatch.verify.explore.result import (
    ABSENCE,
    DEADLOCK,
    LIVELOCK,
    PROGRESS,
    Answer,
    Counterexample,
    FinalState,
    Result,
)
from kpatch.verify.explore.search import Search
from kpatch.verify.explore.shapes import Shapes
from kpatch.verify.explore.space import Space, Start
from kpatch.verify.explore.spin_loops import MembersChangedError, SpinLoops
from kpatch.verify.explore.steps import Steps
from kpatch.verify.explore.symmetry import SymmetricNaming, SymmetryBrokenError


def explore(
    program: Program,
    options: Options,
    *,
    clock: Callable[[], float] = time.monotonic,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Visits every reachable state of the program, or as many as the bounds allow.

    Proven means: every state was visited, no step violated a property, every final memory
    is right, and from every state every CPU can finish (with ``options.absent``: without any that
    need not come). If the CPUs turn out not to be
    interchangeable, the search starts again without that reduction, and the result says so. An
    interrupt (Ctrl-C) ends the search like a bound. Raises VerificationError if the program
    contradicts itself: a counterexample that does not replay, a store it did not announce.
    """
    budget = Budget(options.max_seconds, clock)
    exploration = _Exploration(program, options, budget, report)
    try:
        if not options.symmetry:
            return exploration.run(lambda: ConcreteNaming(program), "off")
        try:
            return exploration.run(lambda: SymmetricNaming(program, budget), "on")
        except SymmetryBrokenError as broken:
            return exploration.run(lambda: ConcreteNaming(program), f"broken: {broken}")
    except BoundHitError as hit:
        return exploration.nothing(hit.bound)
    except KeyboardInterrupt:
        return exploration.nothing(INTERRUPTED)


@dataclass(frozen=True)
class _Exploration:
    program: Program
    options: Options
    budget: Budget
    report: Callable[[Progress], None]

    def run(self, make_naming: Callable[[], Naming], symmetry: str) -> Result:
        """One search, and what follows from it. Raises SymmetryBrokenError."""
        shapes = Shapes(make_naming())
        steps = Steps(shapes, self.options)
        waits = SpinLoops(steps, self.options.spins)
        space = Space(steps, waits)
        check = FinalCheck(shapes)
        start, graph = self._search(space, check)
        waits.freeze()
        if not graph.bound and graph.held_up:
            text = f"buffer-entries {self.options.buffer_entries}"
            graph.bound = Bound(BoundKind.BUFFER_ENTRIES, text)
        lost = self._lost(graph, space)
        reporter = Reporter(self.program, self.options, self.budget, space, start, graph, check)
        found = reporter.counterexamples(lost, self._lazy(shapes))
        ends = [space.state(graph.states[number]) for number in graph.finals]
        finals: frozenset[FinalState] = frozenset()
        if self.options.keep_finals:
            finals = concrete_finals(space, shapes, ends)
        kept = dict.fromkeys(state[0] for state in ends)
        memories = tuple(
            concrete_memory(shapes, memory, tuple(range(self.program.cpus))) for memory in kept
        )
        return replace(self._result(graph, symmetry, found), finals=finals, final_memories=memories)

    def _search(self, space: Space, check: FinalCheck) -> tuple[Start, Graph]:
        """Searches until the members of the spin loops stay the same."""
        while True:
            try:
                start = space.start()
                search = Search(space, start, check, self.options, self.budget, self.report)
                return start, search.run()
            except MembersChangedError:
                continue

    def nothing(self, bound: Bound) -> Result:
        """The result when the search could not even begin."""
        return self._result(Graph(bound=bound), "off", ())

    def _lost(self, graph: Graph, space: Space) -> dict[str, list[int]]:
        """The states without progress, by kind. It can be judged on a complete graph only."""
        if graph.bound:
            return {}
        dependent: list[int] = []
        if self.options.absent:
            dependent = dependent_states(graph, space.outside_shapes())
            if not dependent:
                return {}  # what the other check asks for follows
        kinds = _stuck(graph) or ({ABSENCE: dependent} if dependent else {})
        for kind, states in kinds.items():
            if states:
                graph.findings[kind] = Finding(PROGRESS, kind, states[0], None)
        return kinds

    def _lazy(self, shapes: Shapes) -> Space:
        """The same space, every step of its own, for the counterexamples."""
        steps = Steps(shapes, replace(self.options, por=False))
        return Space(steps, SpinLoops(steps, enabled=False))

    def _result(
        self,
        graph: Graph,
        symmetry: str,
        found: tuple[Counterexample, ...],
    ) -> Result:
        return Result(
            verdict=_verdict(graph, found),
            cpus=self.program.cpus,
            options=self.options,
            states=len(graph.states),
            transitions=len(graph.targets),
            merged=max(0, len(graph.targets) - len(graph.states) + 1),
            frontier=graph.frontier,
            final_states=len(graph.finals),
            seconds=self.budget.seconds,
            bound=graph.bound,
            symmetry=symmetry,
            counterexamples=found,
        )


def _stuck(graph: Graph) -> dict[str, list[int]]:
    """The lost states by kind; nothing if there are none."""
    lost = lost_states(graph)
    if not lost:
        return {}
    waiting = waiting_states(graph, lost)
    return {DEADLOCK: waiting, LIVELOCK: endless_states(graph, lost, waiting)}


def _verdict(graph: Graph, found: tuple[Counterexample, ...]) -> Answer:
    if found:
        return Answer.VIOLATED
    return Answer.NOT_PROVEN if graph.bound else Answer.PROVEN
