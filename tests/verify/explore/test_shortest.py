"""The counterexample that is shown has the fewest preemptions, and then the fewest moves."""

from __future__ import annotations

import heapq
from itertools import count

import pytest
from hypothesis import assume, given, settings

from kpatch.verify.explore import MemoryModel, Move, MoveKind, Options, explore, from_text
from kpatch.verify.explore.program import OpKind
from kpatch.verify.explore.replay import ConcreteRun
from tests.verify.explore.naive import truth
from tests.verify.explore.test_reductions import ENTRIES, programs
from tests.verify.explore.toys import (
    LOAD_TR,
    WRITE_OWN,
    Toy,
    expect,
    go_if,
    goto,
    label,
    load,
    ltr,
    pause,
    store,
    switches,
)

YIELDING = {OpKind.PAUSE, OpKind.REST, OpKind.DONE, OpKind.IDLE}


def best(toy: Toy, model: MemoryModel, prop: str, limit: int) -> tuple[int, int] | None:
    """The referee: cheapest first over (state, CPU that moved last), every state concrete."""
    order = count()
    todo = [(0, 0, next(order), ConcreteRun(toy, model), -1, False)]
    seen = set()
    while todo:
        cost, length, _, run, last, reached = heapq.heappop(todo)
        state = (run.memory, *run.locals, *map(tuple, run.buffers), *sorted(run.pool))
        if reached:
            return cost, length
        if (state, last) in seen:
            continue
        seen.add((state, last))
        if len(seen) > limit:
            return None
        if any(toy.pending(cpu, run.locals[cpu]).kind is OpKind.FAULT for cpu in range(toy.cpus)):
            continue
        for move in every_move(run):
            price = cost + costs(run, last, move)
            copy = ConcreteRun(toy, model)
            copy.memory, copy.locals = run.memory, list(run.locals)
            copy.buffers, copy.pool = [list(one) for one in run.buffers], list(run.pool)
            found = {violation.prop for violation in copy.make(move).violations}
            if copy.finished:
                found |= {violation.prop for violation in toy.final_violations(copy.memory)}
            now = last if move.kind is MoveKind.DRAIN else move.cpu
            heapq.heappush(todo, (price, length + 1, next(order), copy, now, prop in found))
    return None


def every_move(run: ConcreteRun) -> list[Move]:
    moves = []
    for cpu in range(run.program.cpus):
        moves += [Move(cpu), Move(cpu, MoveKind.DRAIN)]
        moves += [Move(cpu, MoveKind.TAKE, guest) for guest in range(len(run.pool))]
    full = [len(buffer) >= ENTRIES for buffer in run.buffers]
    return [
        move
        for move in moves
        if not run.obstacle(move)
        and not (move.kind is MoveKind.RUN and full[move.cpu] and stores(run, move.cpu))
    ]


def stores(run: ConcreteRun, cpu: int) -> bool:
    return bool(run.program.pending(cpu, run.locals[cpu]).writes)


def costs(run: ConcreteRun, last: int, move: Move) -> int:
    if move.kind is MoveKind.DRAIN or last in (-1, move.cpu):
        return 0
    kind = run.program.pending(last, run.locals[last]).kind
    return int(kind not in YIELDING and (bool(run.buffers[last]) or not run.obstacle(Move(last))))


@pytest.mark.parametrize("model", [MemoryModel.SC, MemoryModel.TSO])
@given(toy=programs())
@settings(max_examples=25)
def test_no_schedule_has_fewer_preemptions(model: MemoryModel, toy: Toy) -> None:
    expected = truth(toy, model is MemoryModel.TSO, ENTRIES, limit=400)
    assume(expected is not None and not expected.overflow and expected.props)
    for found in explore(toy, Options(model, buffer_entries=ENTRIES)).counterexamples:
        if found.prop != "progress":
            assert found.fewest
            known = best(toy, model, found.prop, 2000)
            if known is not None:
                assert known == (found.preemptions, len(from_text(found.schedule)))


def test_the_race_for_the_busy_bit_takes_one_preemption() -> None:
    result = explore(switches(2, (*WRITE_OWN, *LOAD_TR)), Options())
    race = next(found for found in result.counterexamples if found.prop == "no-fault")
    assert race.preemptions == 1
    assert race.fewest


def test_a_cpu_that_pauses_is_not_preempted() -> None:
    pauses = Toy(
        [[pause(), load("a", "x"), expect("a", "0", "zero")], [store("x", "1")]], {"x": "0"}
    )
    found = explore(pauses, Options()).counterexamples[0]
    assert found.preemptions == 0


def test_when_the_second_search_is_bounded_the_first_path_is_shown() -> None:
    toy = switches(3, (*WRITE_OWN, *LOAD_TR))
    result = explore(toy, Options(shortest_states=0))
    assert {found.prop for found in result.counterexamples} == {"own-tss", "no-fault"}
    assert not any(found.fewest for found in result.counterexamples)
    few = explore(toy, Options(shortest_states=3))
    assert not any(found.fewest for found in few.counterexamples)


def test_a_store_that_drains_meanwhile_is_no_preemption() -> None:
    reads = [load("a", "x"), expect("a", "0", "first"), load("b", "x"), expect("b", "0", "second")]
    toy = Toy([[store("x", "1")], reads], {"x": "0"})
    result = explore(toy, Options(MemoryModel.TSO))
    found = {one.prop: one for one in result.counterexamples}
    assert set(found) == {"first", "second"}
    assert all(one.preemptions == 0 and one.fewest for one in found.values())


def test_of_cpus_that_are_alike_the_one_that_moved_last_goes_on() -> None:
    wait = [label("again"), load("a", "x"), go_if("a", "0", "over"), goto("again"), label("over")]
    result = explore(Toy([[*wait, ltr("x"), pause()]] * 2, {"x": "0"}), Options())
    race = next(found for found in result.counterexamples if found.prop == "no-fault")
    assert (race.schedule, race.preemptions) == ("0*4 1*5 0", 1)


def test_a_schedule_ends_with_the_step_that_violates() -> None:
    thread = [load("a", "x"), expect("a", "1", "red"), pause(), pause(), store("x", "1")]
    for states in (0, 100):
        result = explore(Toy([thread], {"x": "0"}), Options(shortest_states=states))
        assert [one.schedule for one in result.counterexamples] == ["0*2"]
