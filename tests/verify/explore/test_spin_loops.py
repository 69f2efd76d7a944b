"""Waiting loops: what the reduction merges, and what it must not merge."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from kpatch.verify.explore import Answer, MemoryModel, Options, explore
from tests.verify.explore.naive import Truth, truth
from tests.verify.explore.test_reductions import agrees
from tests.verify.explore.toys import (
    RIGHT,
    Instruction,
    Thread,
    Toy,
    copy,
    expect,
    fence,
    forget,
    go_if,
    goto,
    label,
    load,
    lock_add,
    move,
    pause,
    store,
    switches,
    xadd,
    xchg,
)

MODELS = [MemoryModel.SC, MemoryModel.TSO]


def wait_for(register: str, cell: str, value: str, *look: Thread) -> Thread:
    body = [now for part in look for now in part]
    return [
        label("again"),
        *body,
        load(register, cell),
        go_if(register, value, "over"),
        goto("again"),
        label("over"),
    ]


STORES: Thread = [store("x", "1"), store("y", "1")]
DELICATE: dict[str, list[Thread]] = {
    # Having seen x = 0, the CPU may find y = 1: it has to be kept at both places of the loop.
    "a loop that remembers an older cell": [wait_for("b", "y", "1", [load("a", "x")]), STORES],
    "a loop that counts one turn": [
        wait_for("b", "y", "1", [xchg("a", "z", "1")]),
        STORES,
    ],
    # What b holds matters only if y is 1 by then: twins as long as no memory with y = 1 was met.
    "a register that matters only later": [
        [
            label("again"),
            load("a", "x"),
            go_if("a", "1", "over"),
            load("b", "z"),
            goto("again"),
            label("over"),
            forget("a"),
            load("c", "y"),
            go_if("c", "1", "late"),
            forget("b"),
            goto("end"),
            label("late"),
            store("z", "$b"),
            label("end"),
        ],
        STORES,
    ],
    "a register that nobody looks at again": [
        [
            label("again"),
            load("a", "x"),
            go_if("a", "1", "over"),
            load("b", "z"),
            goto("again"),
            label("over"),
        ],
        STORES,
    ],
    "a loop that exchanges": [
        [label("again"), xchg("a", "x", "1"), go_if("a", "1", "again"), store("y", "2")],
        STORES,
    ],
    "a loop that copies": [wait_for("b", "y", "1", [copy("x", "z"), fence()]), STORES],
    # The lock is held at first: only when it is free one sees that the first attempt is another.
    "a first attempt that differs from the later ones": [
        [
            label("again"),
            xchg("a", "x", "1"),
            go_if("a", "0", "over"),
            load("b", "z"),
            goto("again"),
            label("over"),
            store("y", "$b"),
        ],
        [xchg("c", "x", "0")],
    ],
    # Under y = 1 the loop is left by a step that nobody sees, and cannot be taken back.
    "a call that is taken back": [
        [*wait_for("b", "y", "1"), load("c", "y"), store("z", "$c")],
        [store("y", "1"), store("y", "0")],
    ],
    "a call that is repeated": [
        [*wait_for("b", "y", "1", [load("a", "x")]), forget("b"), store("z", "$a")],
        [store("y", "1"), store("y", "0"), store("x", "1"), store("y", "1")],
    ],
    "two loops, one after the other": [
        [*wait_for("a", "x", "1"), pause(), label("more"), load("b", "y"), go_if("b", "0", "more")],
        STORES,
    ],
}


@cache
def delicate(name: str, model: MemoryModel) -> tuple[Toy, Truth]:
    """The program, and what the referee finds."""
    held = "1" if name.startswith("a first attempt") else "0"
    toy = Toy(DELICATE[name], {"x": held, "y": "0", "z": "0"})
    expected = truth(toy, model is MemoryModel.TSO, 4)
    assert expected is not None
    assert not expected.overflow
    return toy, expected


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("por", [True, False])
@pytest.mark.parametrize("symmetry", [True, False])
@pytest.mark.parametrize("name", DELICATE)
def test_nothing_that_a_loop_can_see_is_lost(
    model: MemoryModel, por: bool, symmetry: bool, name: str
) -> None:
    toy, expected = delicate(name, model)
    options = Options(model, por=por, symmetry=symmetry, buffer_entries=4, keep_finals=True)
    agrees(toy, explore(toy, options), expected)


@pytest.mark.parametrize("model", MODELS)
def test_a_spin_lock_costs_a_handful_of_states_a_cpu(model: MemoryModel) -> None:
    """Before the lock, spinning, and back before the lock are one place."""
    for cpus in (4, 8, 16):
        result = explore(switches(cpus, RIGHT), Options(model))
        assert result.verdict is Answer.PROVEN
        assert result.states <= 6 * cpus
        assert explore(switches(cpus, RIGHT), Options(model, spins=False)).states > result.states


TICKETS = [
    xadd("mine", "next", "1"),
    label("look"),
    load("seen", "called"),
    go_if("seen", "$mine", "owner"),
    pause(),
    goto("look"),
    label("owner"),
    xchg("old", "held", "1"),
    expect("old", "0", "alone"),
    store("held", "0"),
    load("seen", "called"),
    lock_add("called", "1"),
    move("mine", "none"),
    forget("old"),
    forget("seen"),
]


def tickets(cpus: int, code: Thread = TICKETS) -> Toy:
    return Toy([code] * cpus, {"next": "0", "called": "0", "held": "0"})


@pytest.mark.parametrize("model", MODELS)
def test_who_waits_in_order_has_looked_or_not_and_it_is_one_state(model: MemoryModel) -> None:
    """Who has looked makes 2 to the power of the waiters, without the reduction."""
    toy, kept = tickets(3), Options(model, keep_finals=True)
    reduced, whole = explore(toy, kept), explore(toy, replace(kept, spins=False))
    assert reduced.finals == whole.finals
    assert 2 * reduced.states < whole.states
    for cpus in (4, 8):
        result = explore(tickets(cpus), Options(model))
        assert result.verdict is Answer.PROVEN
        assert result.states <= 6 * cpus * cpus


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("right", "wrong", "cpus", "prop"),
    [
        (pause(), go_if("seen", "1", "owner"), 3, "alone"),
        (lock_add("called", "1"), lock_add("called", "2"), 3, "progress"),
        (lock_add("called", "1"), store("called", "2"), 3, "progress"),
        (expect("old", "0", "alone"), go_if("seen", "3", "end"), 5, "progress"),
    ],
)
def test_waiting_in_order_for_a_wrong_number_is_found(
    model: MemoryModel, right: Instruction, wrong: Instruction, cpus: int, prop: str
) -> None:
    """The last one only with more CPUs than four: who has number 3 calls nobody."""
    code = [wrong if now == right else now for now in TICKETS] + [label("end")]
    result = explore(tickets(cpus, code), Options(model, shortest_states=100))
    assert prop in {found.prop for found in result.counterexamples}


def test_cpus_that_all_wait_for_ever_are_a_deadlock_with_and_without_the_reduction() -> None:
    thread = wait_for("a", "x", "1")
    for spins in (True, False):
        result = explore(Toy([thread] * 3, {"x": "0"}), Options(spins=spins))
        assert [found.what.split(":")[0] for found in result.counterexamples] == ["deadlock"]
