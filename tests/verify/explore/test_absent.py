"""A CPU that never comes, or never comes again, must not be needed."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kpatch.verify.explore import Answer, MemoryModel, Options, Result, explore
from tests.verify.explore.naive import truth
from tests.verify.explore.test_reductions import ENTRIES, MODELS, REDUCTIONS, programs
from tests.verify.explore.toys import (
    RIGHT,
    Thread,
    Toy,
    fence,
    go_if,
    goto,
    label,
    load,
    pause,
    rest,
    store,
    switches,
    xchg,
)


def explored(toy: Toy, model: MemoryModel, reductions: dict[str, bool]) -> Result:
    """With CPUs that may stay away."""
    options = Options(
        model,
        por=reductions["por"],
        spins=reductions["spins"],
        symmetry=reductions["symmetry"],
        buffer_entries=ENTRIES,
        absent=True,
        shortest_states=100,
    )
    return explore(toy, options)


def kinds(result: Result) -> set[str]:
    """What is wrong with the progress."""
    return {each.what.split(":")[0] for each in result.counterexamples if each.prop == "progress"}


def taking_turns(me: str, other: str, rounds: int) -> list[Thread]:
    """Strict alternation: right, if everybody comes every time."""
    code: Thread = ()
    for number in range(rounds):
        code = (
            *code,
            *((rest(),) if number else ()),
            label(f"wait{number}"),
            load("turn", "turn"),
            go_if("turn", me, f"in{number}"),
            goto(f"wait{number}"),
            label(f"in{number}"),
            store("turn", other),
        )
    return [code]


ALTERNATION = Toy([*taking_turns("0", "1", 1), *taking_turns("1", "0", 1)], {"turn": "0"})
TWICE = Toy([*taking_turns("0", "1", 2), *taking_turns("1", "0", 2)], {"turn": "0"})
RENDEZVOUS = Toy(
    [
        (
            store("x", "1"),
            label("w"),
            load("a", "y"),
            go_if("a", "1", "end"),
            goto("w"),
            label("end"),
        ),
        (
            store("y", "1"),
            label("w"),
            load("a", "x"),
            go_if("a", "1", "end"),
            goto("w"),
            label("end"),
        ),
    ],
    {"x": "0", "y": "0"},
)
BACK_AT_THE_START = Toy(
    [
        # CPU 0 takes the lock and keeps it until CPU 1 has come, who waits in one instruction.
        (xchg("a", "x", "1"), label("w"), load("a", "y"), go_if("a", "0", "w"), store("x", "0")),
        (store("y", "1"),),
    ],
    {"x": "0", "y": "0"},
)


WAITING = {
    "alternation": ALTERNATION,
    "twice": TWICE,
    "rendezvous": RENDEZVOUS,
    "back at the start": BACK_AT_THE_START,
}


@cache
def everybody(name: str, model: MemoryModel) -> Answer:
    """Whether it is right where every CPU comes."""
    return explore(WAITING[name], Options(model, buffer_entries=ENTRIES)).verdict


@pytest.mark.parametrize("reductions", REDUCTIONS, ids=str)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", WAITING)
def test_waiting_for_a_cpu_that_need_not_come_is_no_progress(
    name: str, model: MemoryModel, reductions: dict[str, bool]
) -> None:
    assert everybody(name, model) is Answer.PROVEN
    assert kinds(explored(WAITING[name], model, reductions)) == {"absent CPU"}


@pytest.mark.parametrize("reductions", REDUCTIONS, ids=str)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "code",
    [
        (label("w"), pause(), goto("w")),
        (label("w"), pause(), pause(), goto("w"), *RIGHT),
        (fence(), label("w"), pause(), fence(), goto("w")),
    ],
)
def test_a_cpu_that_only_pauses_never_begins_its_round(
    code: Thread, model: MemoryModel, reductions: dict[str, bool]
) -> None:
    """Nobody could tell it from one that stays away; and it will never come."""
    for rounds, moves in ((1, False), (2, False), (2, True)):
        toy = switches(2, code, rounds=rounds, moves=moves)
        found = explored(toy, model, reductions)
        assert found.verdict is Answer.VIOLATED and kinds(found)


@pytest.mark.parametrize("reductions", REDUCTIONS, ids=str)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("moves", [False, True])
def test_a_lock_needs_nobody_who_is_outside(
    moves: bool, model: MemoryModel, reductions: dict[str, bool]
) -> None:
    toy = switches(2, (pause(), *RIGHT), rounds=2, moves=moves)
    assert explored(toy, model, reductions).verdict is Answer.PROVEN


def test_a_store_that_begins_a_round_is_not_made_for_a_cpu_that_stays_away() -> None:
    thread = [store("x", "1"), fence(), load("a", "y"), go_if("a", "0", "end"), label("end")]
    helper = [store("y", "1")]
    waiting = [label("w"), load("a", "y"), go_if("a", "0", "w")]
    for model in MODELS:
        assert explored(
            Toy([thread, helper], {"x": "0", "y": "0"}), model, REDUCTIONS[0]
        ).verdict is (Answer.PROVEN)
        lost = explored(Toy([waiting, helper], {"x": "0", "y": "0"}), model, REDUCTIONS[0])
        assert kinds(lost) == {"absent CPU"}


@pytest.mark.parametrize("model", MODELS)
@given(toy=programs(), reductions=st.sampled_from(REDUCTIONS))
@settings(max_examples=25)
def test_a_reduced_search_finds_the_dependence_that_the_referee_finds(
    model: MemoryModel, toy: Toy, reductions: dict[str, bool]
) -> None:
    expected = truth(toy, model is MemoryModel.TSO, ENTRIES, limit=600, absent=True)
    assume(expected is not None and not expected.overflow)
    assert expected is not None
    assume(not expected.faults)  # what else is wrong is then not looked for
    found = kinds(explored(toy, model, reductions))
    stuck = expected.deadlock or expected.livelock
    assert bool(found) == (expected.dependence or stuck)
    assert (found == {"absent CPU"}) == (bool(found) and not stuck)
