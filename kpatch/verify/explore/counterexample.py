"""From findings to counterexamples: find a short schedule, replay it, then report it."""

from __future__ import annotations

from dataclasses import dataclass

from kpatch.verify.explore.bound import INTERRUPTED, BoundHitError
from kpatch.verify.explore.canonical import State
from kpatch.verify.explore.finals import FinalCheck
from kpatch.verify.explore.graph import Finding, Graph
from kpatch.verify.explore.options import Budget, Options
from kpatch.verify.explore.program import Program
from kpatch.verify.explore.replay import Replayed, replay
from kpatch.verify.explore.result import ABSENCE, DEADLOCK, LIVELOCK, Counterexample
from kpatch.verify.explore.schedule import Schedule, to_text
from kpatch.verify.explore.shortest import Goal, fewest_preemptions
from kpatch.verify.explore.space import Space, Start, Successor
from kpatch.verify.explore.trace import Tracer, does_not_replay, preemptions

_LOST = (DEADLOCK, LIVELOCK, ABSENCE)
"""What the search itself finds. A program may report a violation of the same property."""

_HOW_IT_ENDS = {
    DEADLOCK: "the program waits for ever",
    LIVELOCK: "the program runs for ever without finishing",
    ABSENCE: "who is inside cannot finish unless a CPU comes that need not",
}


@dataclass(frozen=True)
class Reporter:
    """Turns the findings of one search into counterexamples that replay."""

    program: Program
    options: Options
    budget: Budget
    space: Space
    start: Start
    graph: Graph
    check: FinalCheck

    def counterexamples(
        self, lost: dict[str, list[int]], lazy: Space
    ) -> tuple[Counterexample, ...]:
        """One for each finding. ``lazy`` is the space without eager local steps."""
        found = []
        for finding in self.graph.findings.values():
            wanted = frozenset(
                self.space.state(self.graph.states[n]) for n in lost.get(finding.what, ())
            )
            first = self._confirmed(finding, self._first_path(finding))
            best = self._best_path(finding, wanted, lazy, first)
            found.append(best or first)
        return tuple(found)

    def _first_path(self, finding: Finding) -> Schedule:
        """The path of the search itself: few moves, whatever the preemptions."""
        states: list[State] = []
        number = finding.index
        while number >= 0:
            states.append(self.space.state(self.graph.states[number]))
            number = self.graph.parents[number]
        tracer = Tracer(self.space, self.program, self.options.model)
        tracer.begin(self.start)
        tracer.follow(states[::-1], finding.effect)
        return tracer.schedule

    def _best_path(
        self, finding: Finding, wanted: frozenset[State], lazy: Space, first: Counterexample
    ) -> Counterexample | None:
        """The schedule with the fewest preemptions, if it is found within the bounds."""
        if not self.options.shortest_states or self.graph.bound == INTERRUPTED:
            return None
        begin = lazy.start()
        try:
            path = fewest_preemptions(
                lazy,
                begin.state,
                self._goal(finding, wanted),
                self.budget,
                at_most=first.preemptions,
                max_nodes=self.options.shortest_states,
            )
        except (BoundHitError, KeyboardInterrupt):
            return None
        if path is None:
            return None
        tracer = Tracer(lazy, self.program, self.options.model)
        tracer.begin(begin)
        for successor in path:
            tracer.make(successor)
        return self._confirmed(finding, tracer.schedule, fewest=True)

    def _goal(self, finding: Finding, wanted: frozenset[State]) -> Goal:
        """When a move has reached what the finding says."""
        prop = finding.prop

        def violates(successor: Successor) -> bool:
            return any(violation.prop == prop for violation in successor.effect.violations)

        def ends_wrong(successor: Successor) -> bool:
            state = successor.state
            return self.space.is_final(state) and any(
                violation.prop == prop for violation in self.check.violations(state[0])
            )

        def is_lost(successor: Successor) -> bool:
            return self.space.settled(self.space.forms.parts(successor.state)).state in wanted

        if finding.what in _LOST:
            return is_lost
        return lambda successor: violates(successor) or ends_wrong(successor)

    def _confirmed(
        self, finding: Finding, schedule: Schedule, fewest: bool = False
    ) -> Counterexample:
        """Replays the schedule, as far as it takes to see the violation."""
        replayed = replay(self.program, schedule, self.options.model)
        schedule, what = self._seen(finding, schedule, replayed)
        count = preemptions(self.program, schedule, self.options.model)
        return Counterexample(finding.prop, what, to_text(schedule), count, fewest)

    def _seen(
        self, finding: Finding, schedule: Schedule, replayed: Replayed
    ) -> tuple[Schedule, str]:
        if finding.what in _LOST:
            return schedule, self._stuck(finding.what, replayed)
        for position, step in enumerate(replayed.steps, 1):
            for violation in step.violations:
                if violation.prop == finding.prop:
                    return schedule[:position], violation.what
        if replayed.finished:
            for violation in self.program.final_violations(replayed.memory):
                if violation.prop == finding.prop:
                    return schedule, violation.what
        raise does_not_replay(f"{finding.prop} holds")

    def _stuck(self, kind: str, replayed: Replayed) -> str:
        if replayed.finished:
            raise does_not_replay("every CPU finishes")
        ends = _HOW_IT_ENDS[kind]
        places = [
            f"CPU {cpu} at {pending.label or pending.kind.value}"
            for cpu, local in enumerate(replayed.locals)
            for pending in (self.program.pending(cpu, local),)
        ]
        return f"{kind}: {ends}: {', '.join(places)}"
