"""The classic litmus tests: what x86-TSO allows and sequential consistency does not.

Outcomes as in Owens, Sarkar, Sewell: A Better x86 Memory Model: x86-TSO (TPHOLs 2009), and in the
examples of the Intel SDM vol. 3, 8.2.3.
"""

from __future__ import annotations

import pytest

from kpatch.verify.explore import Answer, MemoryModel, Options, explore
from tests.verify.explore.toys import (
    Thread,
    Toy,
    expect,
    fence,
    go_if,
    goto,
    label,
    load,
    pause,
    store,
    xchg,
)

SB: list[Thread] = [[store("x", "1"), load("a", "y")], [store("y", "1"), load("b", "x")]]
FENCED_SB: list[Thread] = [
    [store("x", "1"), fence(), load("a", "y")],
    [store("y", "1"), fence(), load("b", "x")],
]
LOCKED_SB: list[Thread] = [
    [xchg("c", "x", "1"), load("a", "y")],
    [xchg("d", "y", "1"), load("b", "x")],
]
MP: list[Thread] = [[store("x", "1"), store("y", "1")], [load("a", "y"), load("b", "x")]]
LB: list[Thread] = [[load("a", "x"), store("y", "1")], [load("b", "y"), store("x", "1")]]
OWN: list[Thread] = [
    [store("x", "1"), load("a", "x"), load("b", "y")],
    [store("y", "1"), load("c", "y"), load("d", "x")],
]
IRIW: list[Thread] = [
    [store("x", "1")],
    [store("y", "1")],
    [load("a", "x"), load("b", "y")],
    [load("c", "y"), load("d", "x")],
]
R: list[Thread] = [[store("x", "1"), store("y", "1")], [store("y", "2"), load("a", "x")]]
TWO_PLUS_TWO: list[Thread] = [
    [store("x", "1"), store("y", "2")],
    [store("y", "1"), store("x", "2")],
]

# name, threads, outcome of registers and cells, allowed under sc, allowed under tso
TABLE: list[tuple[str, list[Thread], dict[str, str], bool, bool]] = [
    ("SB", SB, {"a": "0", "b": "0"}, False, True),
    ("SB, other", SB, {"a": "1", "b": "0"}, True, True),
    ("SB with fences", FENCED_SB, {"a": "0", "b": "0"}, False, False),
    ("SB with locked stores", LOCKED_SB, {"a": "0", "b": "0"}, False, False),
    ("MP", MP, {"a": "1", "b": "0"}, False, False),
    ("MP, other", MP, {"a": "1", "b": "1"}, True, True),
    ("LB", LB, {"a": "1", "b": "1"}, False, False),
    ("own stores seen first", OWN, {"a": "1", "b": "0", "c": "1", "d": "0"}, False, True),
    ("own stores not seen", OWN, {"a": "0"}, False, False),
    ("IRIW", IRIW, {"a": "1", "b": "0", "c": "1", "d": "0"}, False, False),
    ("IRIW, same order", IRIW, {"a": "1", "b": "0", "c": "0", "d": "1"}, True, True),
    ("R", R, {"a": "0", "y": "2"}, False, True),
    ("2+2W", TWO_PLUS_TWO, {"x": "1", "y": "1"}, False, False),
]


@pytest.mark.parametrize(
    ("threads", "outcome", "sc", "tso"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
@pytest.mark.parametrize("reduced", [True, False])
def test_an_outcome_is_reached_exactly_where_the_model_allows_it(
    threads: list[Thread], outcome: dict[str, str], sc: bool, tso: bool, reduced: bool
) -> None:
    for model, allowed in ((MemoryModel.SC, sc), (MemoryModel.TSO, tso)):
        assert (outcome in ends(threads, outcome, model, reduced)) == allowed


def ends(
    threads: list[Thread], names: dict[str, str], model: MemoryModel, reduced: bool
) -> list[dict[str, str]]:
    """What these registers and cells hold in the final states."""
    toy = Toy(threads, {"x": "0", "y": "0"})
    options = Options(model, por=reduced, spins=reduced, symmetry=False, keep_finals=True)
    found = []
    for final in explore(toy, options).finals:
        held = {cell: final.memory[number].decode() for cell, number in toy.cells.items()}
        for local in final.locals:
            held |= toy.registers(local)
        found.append({name: held[name] for name in names})
    return found


def peterson(me: str, other: str) -> Thread:
    """Peterson's lock from plain loads and stores, around a cell that names its owner."""
    return [
        store(f"wants{me}", "1"),
        store("turn", other),
        *_await(me, other),
        store("owner", me),
        load("seen", "owner"),
        *_expect_own(me),
        store(f"wants{me}", "0"),
    ]


def _await(me: str, other: str) -> Thread:
    return [
        label("again"),
        load("wants", f"wants{other}"),
        go_if("wants", "0", "in"),
        load("turn", "turn"),
        go_if("turn", me, "in"),
        pause(),
        goto("again"),
        label("in"),
    ]


def _expect_own(me: str) -> Thread:
    return [expect("seen", me, "mutual-exclusion")]


@pytest.mark.parametrize("reduced", [True, False])
def test_a_lock_from_plain_stores_is_right_under_sc_and_wrong_under_tso(reduced: bool) -> None:
    toy = Toy(
        [peterson("0", "1"), peterson("1", "0")],
        {"wants0": "0", "wants1": "0", "turn": "0", "owner": ""},
    )
    sc = explore(toy, Options(MemoryModel.SC, por=reduced, spins=reduced))
    tso = explore(toy, Options(MemoryModel.TSO, por=reduced, spins=reduced))
    assert sc.verdict is Answer.PROVEN
    assert tso.verdict is Answer.VIOLATED
    assert {found.prop for found in tso.counterexamples} == {"mutual-exclusion"}
