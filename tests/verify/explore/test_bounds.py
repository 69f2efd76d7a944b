"""A search that is cut short says so, and never says proven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from unittest.mock import ANY

import pytest

from kpatch.errors import VerificationError
from kpatch.verify.explore import Answer, MemoryModel, Options, Progress, explore, steps
from kpatch.verify.explore.program import Local, OpKind, Outcome, Pending, Value
from tests.verify.explore.toys import (
    LOAD_TR,
    RIGHT,
    WRITE_OWN,
    Toy,
    expect,
    fault,
    goto,
    label,
    load,
    store,
    switches,
)

PLAIN = Options(por=False, spins=False, symmetry=False)


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by so many seconds whenever it is read."""
    ticks: Iterator[int] = count()
    return lambda: step * next(ticks)


def test_the_state_bound_ends_in_not_proven_with_what_was_covered() -> None:
    result = explore(switches(4, RIGHT), Options(por=False, spins=False, max_states=100))
    assert result.verdict is Answer.NOT_PROVEN
    assert str(result.bound) == "max-states 100"
    assert result.states == 100
    assert result.transitions > 0
    assert result.frontier > 0


def test_a_state_bound_that_is_just_large_enough_does_not_matter() -> None:
    needed = explore(switches(3, RIGHT), Options()).states
    exact = explore(switches(3, RIGHT), Options(max_states=needed))
    assert exact.verdict is Answer.PROVEN
    less = explore(switches(3, RIGHT), Options(max_states=needed - 1))
    assert less.verdict is Answer.NOT_PROVEN


def test_the_time_bound_ends_in_not_proven() -> None:
    options = Options(por=False, spins=False, max_seconds=5)
    result = explore(switches(6, RIGHT), options, clock=ticking(0.1))
    assert result.verdict is Answer.NOT_PROVEN
    assert str(result.bound) == "max-seconds 5"


def test_a_time_bound_that_is_over_before_the_first_state_is_reported_too() -> None:
    result = explore(switches(6, RIGHT), Options(max_seconds=1), clock=ticking(1))
    assert result.verdict is Answer.NOT_PROVEN
    assert str(result.bound) == "max-seconds 1"
    assert result.states == 0


def test_a_violation_found_before_the_bound_counts() -> None:
    result = explore(switches(3, (*WRITE_OWN, *LOAD_TR)), Options(max_states=300, por=False))
    assert result.verdict is Answer.VIOLATED
    assert str(result.bound) == "max-states 300"


def test_stopping_at_the_first_violation_visits_less() -> None:
    wrong = (*WRITE_OWN, *LOAD_TR)
    whole = explore(switches(4, wrong), Options(spins=False))
    first = explore(switches(4, wrong), Options(spins=False, beyond_violation=0))
    assert first.verdict is Answer.VIOLATED
    assert first.states < whole.states
    assert len(first.counterexamples) == 1


def test_what_lies_beyond_a_violation_is_looked_into_as_far_as_is_told() -> None:
    wrong = (*WRITE_OWN, *LOAD_TR)
    whole = explore(switches(4, wrong), Options(spins=False))
    first = explore(switches(4, wrong), Options(spins=False, beyond_violation=0))
    more = explore(switches(4, wrong), Options(spins=False, beyond_violation=3))
    assert more.states - more.frontier == first.states - first.frontier + 3
    assert str(more.bound) == "3 states beyond the first violation"
    assert explore(switches(4, wrong), Options(spins=False, beyond_violation=whole.states)) == (
        replace(whole, options=ANY, seconds=ANY)
    )


def test_where_the_verdict_is_known_little_is_looked_into() -> None:
    known = Options(spins=False, known_elsewhere=3)
    result = explore(switches(4, RIGHT), known)
    assert (result.verdict, result.states - result.frontier) == (Answer.NOT_PROVEN, 3)
    assert str(result.bound) == "3 states, where the verdict is known"
    # What is found within them is shown, and looked beyond as anywhere.
    found = explore(switches(4, (*WRITE_OWN, *LOAD_TR)), replace(known, known_elsewhere=300))
    assert (found.verdict, found.bound) == (Answer.VIOLATED, None)


def test_stopping_at_the_first_violation_still_proves_what_is_right() -> None:
    assert explore(switches(3, RIGHT), Options(beyond_violation=0)).verdict is Answer.PROVEN


@pytest.mark.parametrize("por", [True, False])
def test_a_store_buffer_that_is_too_small_is_a_bound(por: bool) -> None:
    """A CPU that stores for ever, and never reads, fills any buffer."""
    thread = [label("again"), store("x", "1"), store("x", "0"), goto("again")]
    options = Options(MemoryModel.TSO, por=por, buffer_entries=4)
    result = explore(Toy([thread], {"x": "0"}), options)
    assert str(result.bound) == "buffer-entries 4"
    assert result.verdict is Answer.NOT_PROVEN


def test_a_store_buffer_that_is_just_large_enough_is_no_bound() -> None:
    toy = Toy([[store("x", "1"), store("x", "2"), load("a", "x")]], {"x": "0"})
    two = explore(toy, Options(MemoryModel.TSO, buffer_entries=2))
    assert two.verdict is Answer.PROVEN
    one = explore(toy, Options(MemoryModel.TSO, buffer_entries=1))
    assert one.verdict is Answer.NOT_PROVEN


def test_an_interrupt_ends_in_not_proven_with_what_was_covered() -> None:
    def interrupt(progress: Progress) -> None:
        if progress.states > 1000:
            raise KeyboardInterrupt

    result = explore(switches(4, RIGHT), PLAIN, report=interrupt)
    assert result.verdict is Answer.NOT_PROVEN
    assert str(result.bound) == "interrupted"
    assert result.states > 1000
    assert result.frontier > 0


def test_progress_is_reported_as_the_search_goes_on() -> None:
    seen: list[Progress] = []
    result = explore(switches(3, RIGHT), PLAIN, report=seen.append)
    assert len(seen) > 2
    assert [one.states for one in seen] == sorted(one.states for one in seen)
    assert seen[-1].states <= result.states
    assert all(0 <= one.frontier <= one.states for one in seen)


class Silent(Toy):
    """Stores to a cell that it does not announce."""

    def pending(self, cpu: int, local: Local) -> Pending:
        pending = super().pending(cpu, local)
        return Pending(pending.kind, pending.reads, (), pending.label)


class Moody(Toy):
    """Answers a question differently when it is asked again."""

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        outcome = super().step(cpu, local, values)
        return Outcome(outcome.next) if self.calls > 1 else outcome


def test_a_program_that_hides_a_store_is_an_error() -> None:
    with pytest.raises(VerificationError, match="did not announce"):
        explore(Silent([[store("x", "1")]], {"x": "0"}), Options())


def test_a_counterexample_that_does_not_replay_is_an_error() -> None:
    toy = Moody([[store("x", "1")]], {"x": "0"}, free={"x": "0"})
    with pytest.raises(VerificationError, match="does not replay"):
        explore(toy, Options())


class Endless(Toy):
    """One CPU that counts in its local state and never tells anybody."""

    def pending(self, cpu: int, local: Local) -> Pending:
        return Pending(OpKind.PLAIN)

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        return Outcome(local + 1)


def test_a_cpu_with_endless_local_states_meets_the_state_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "MAX_CHAIN", 50)  # each of its local states is one more
    result = explore(Endless([[]], {"x": "0"}), Options(max_states=3, symmetry=False))
    assert result.verdict is Answer.NOT_PROVEN
    assert str(result.bound) == "max-states 3"


def test_beyond_a_fault_it_finds_what_the_fault_hides() -> None:
    """Reductions make the first CPU fault at once; what the second one breaks comes later."""
    toy = Toy([[fault("one")], [load("r", "x"), expect("r", "1", "other")]], {"x": "0"})
    for beyond, broken in ((False, {"one"}), (True, {"one", "other"})):
        result = explore(toy, Options(beyond_faults=beyond))
        assert {each.prop for each in result.counterexamples} == broken
