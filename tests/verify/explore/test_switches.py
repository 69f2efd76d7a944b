"""Locks around a descriptor, right and wrong, and what the explorer says of each."""

from __future__ import annotations

from functools import cache

import pytest

from kpatch.verify.explore import Answer, MemoryModel, Options, Result, explore, from_text, replay
from tests.verify.explore.toys import (
    ACQUIRE,
    LOAD_TR,
    RELEASE,
    RIGHT,
    WRITE_OWN,
    Instruction,
    Thread,
    Toy,
    expect,
    fault,
    forget,
    go_if,
    goto,
    label,
    load,
    ltr,
    own_labels,
    pause,
    rest,
    store,
    switches,
    xchg,
)

MODELS = [MemoryModel.SC, MemoryModel.TSO]
ANY_MODEL = pytest.mark.parametrize("model", MODELS)


def props(result: Result) -> set[str]:
    return {found.prop for found in result.counterexamples}


@ANY_MODEL
@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_locked_switch_is_proven(model: MemoryModel, cpus: int, rounds: int) -> None:
    result = explore(switches(cpus, RIGHT, rounds), Options(model))
    assert result.verdict is Answer.PROVEN
    assert result.symmetry == "on"
    assert result.final_states > 0


@ANY_MODEL
@pytest.mark.parametrize("cpus", [1, 2, 3, 4])
def test_a_locked_switch_with_moving_guests_is_proven(model: MemoryModel, cpus: int) -> None:
    result = explore(switches(cpus, RIGHT, rounds=2, moves=True), Options(model))
    assert result.verdict is Answer.PROVEN
    assert result.symmetry == "on"


WRONG: dict[str, tuple[tuple[Instruction, ...], set[str]]] = {
    "no lock": ((*WRITE_OWN, *LOAD_TR), {"own-tss", "no-fault"}),
    "unlocked before the load": (
        (*ACQUIRE, *WRITE_OWN, *RELEASE, *LOAD_TR),
        {"own-tss", "no-fault"},
    ),
    "locked after the write": (
        (*WRITE_OWN, *ACQUIRE, *LOAD_TR, *RELEASE),
        {"own-tss", "no-fault"},
    ),
    "never unlocked": ((*ACQUIRE, *WRITE_OWN, *LOAD_TR), {"progress", "released"}),
    "unlocked with a wrong value": (
        (*ACQUIRE, *WRITE_OWN, *LOAD_TR, store("lock", "2")),
        {"progress", "released"},
    ),
    "not written": ((*ACQUIRE, *LOAD_TR, *RELEASE), {"no-fault"}),
    "lock that is read, then written": (
        (
            label("again"),
            load("got", "lock"),
            go_if("got", "1", "again"),
            forget("got"),
            store("lock", "1"),
            *WRITE_OWN,
            *LOAD_TR,
            *RELEASE,
        ),
        {"own-tss", "no-fault"},
    ),
    "pause that never reads again": (
        (
            xchg("got", "lock", "1"),
            label("spin"),
            pause(),
            go_if("got", "1", "spin"),
            forget("got"),
            *WRITE_OWN,
            *LOAD_TR,
            *RELEASE,
        ),
        {"progress"},
    ),
}


@cache
def wrong(name: str, cpus: int, model: MemoryModel) -> tuple[Toy, Result]:
    """A wrong switch, and what is found."""
    toy = switches(cpus, WRONG[name][0])
    return toy, explore(toy, Options(model))


@ANY_MODEL
@pytest.mark.parametrize("cpus", [2, 3])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_switch_is_refuted_for_the_right_reason(
    model: MemoryModel, cpus: int, name: str
) -> None:
    expected, (_, result) = WRONG[name][1], wrong(name, cpus, model)
    assert result.verdict is Answer.VIOLATED
    assert props(result) & expected == props(result)
    assert props(result)


@ANY_MODEL
@pytest.mark.parametrize("name", WRONG)
def test_every_counterexample_replays_to_the_violation(model: MemoryModel, name: str) -> None:
    toy, result = wrong(name, 3, model)
    for found in result.counterexamples:
        replayed = replay(toy, from_text(found.schedule), model)
        if found.prop == "progress":
            assert not replayed.finished
        elif found.prop == "released":
            assert replayed.finished
        else:
            last = replayed.steps[-1]
            assert found.prop in {violation.prop for violation in last.violations}
            assert found.what in {violation.what for violation in last.violations}


def test_two_locks_in_two_orders_are_a_deadlock() -> None:
    def thread(first: str, second: str) -> Thread:
        return [
            label("a"),
            xchg("got", first, "1"),
            go_if("got", "1", "a"),
            label("b"),
            xchg("got", second, "1"),
            go_if("got", "1", "b"),
            store(second, "0"),
            store(first, "0"),
        ]

    toy = Toy([thread("one", "two"), thread("two", "one")], {"one": "0", "two": "0"})
    result = explore(toy, Options())
    assert [found.prop for found in result.counterexamples] == ["progress"]
    assert result.counterexamples[0].what.startswith("deadlock")
    assert result.counterexamples[0].preemptions == 1
    assert result.counterexamples[0].fewest


def test_two_cpus_that_make_way_for_ever_are_a_livelock() -> None:
    """Each takes its flag back when it sees the other's, and none can ever get out."""
    thread = [label("again"), store("x", "1"), store("x", "0"), goto("again")]
    result = explore(Toy([thread, thread], {"x": "0"}), Options())
    assert [found.what.split(":")[0] for found in result.counterexamples] == ["livelock"]


def test_a_loop_with_a_way_out_is_no_violation() -> None:
    waits = [label("again"), load("a", "x"), pause(), go_if("a", "0", "again")]
    result = explore(Toy([waits, [store("x", "1")]], {"x": "0"}), Options())
    assert result.verdict is Answer.PROVEN


def test_a_lock_left_held_at_the_end_is_found() -> None:
    result = explore(switches(1, (*ACQUIRE, *WRITE_OWN, *LOAD_TR)), Options())
    assert props(result) == {"released"}
    assert result.counterexamples[0].what == "lock is left at 1"


def test_a_violation_before_the_first_visible_step_is_found() -> None:
    result = explore(Toy([[expect("a", "1", "early")]] * 2, {"x": "0"}), Options())
    assert props(result) == {"early"}
    assert result.counterexamples[0].preemptions == 0


def test_a_fault_ends_the_run_and_is_reported() -> None:
    result = explore(Toy([[fault("no-fault")], [store("x", "1")]], {"x": "0"}), Options())
    assert props(result) == {"no-fault"}


def test_a_guest_that_keeps_the_tss_of_its_old_cpu_fails_only_when_it_moves() -> None:
    """The stash is a register, and the registers go along with the guest."""
    first = (*ACQUIRE, store("slot", "tss{me}"), load("stash", "slot"), ltr("slot"), *RELEASE)
    second = (
        *ACQUIRE,
        store("slot", "$stash"),
        ltr("slot"),
        expect("tr", "tss{me}", "own-tss"),
        *RELEASE,
    )
    thread = (*own_labels(first, 0), rest(), *own_labels(second, 1))
    assert explore(switches(2, thread), Options()).verdict is Answer.PROVEN
    result = explore(switches(2, thread, moves=True), Options())
    assert props(result) == {"own-tss"}
    assert "t" in result.counterexamples[0].schedule
