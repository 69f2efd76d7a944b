"""Every broken patch is refuted, by the property that it breaks. ``pytest -s`` prints the table."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kpatch.verify.explore import Answer
from kpatch.verify.machine.properties import CATALOG
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import Task, measure_window, run_task
from tests.verify.mutants.machine_state import SLOW, leave
from tests.verify.mutants.table import MUTANTS, TABLE, row, schedules
from tests.verify.mutants.variant import BOUNDS, LEAVE, RIGHT, TSO, Mutant, at

PLACES = sorted(
    {mutant.where for mutant in MUTANTS} | {place for each in MUTANTS for place in each.passes},
    key=lambda place: place.title,
)
SUBTLE = [(mutant, place) for mutant in MUTANTS for place in mutant.passes]


def name_of(value: Mutant | Obligation) -> str:
    """For the names of tests."""
    return value.name if isinstance(value, Mutant) else value.title


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    """The committed table, by mutant."""
    rows = TABLE.read_text(encoding="utf-8").splitlines()
    return {re.split(r"  +", each)[0]: each for each in rows}


@pytest.mark.parametrize("place", PLACES, ids=name_of)
def test_the_patch_itself_is_proven_wherever_a_mutant_is_tried(place: Obligation) -> None:
    assert RIGHT.explored(place).holds


@pytest.mark.parametrize("mutant", MUTANTS, ids=name_of)
def test_a_mutant_is_killed_by_the_property_that_it_breaks(
    mutant: Mutant, table: dict[str, str]
) -> None:
    explored = mutant.explored(mutant.where)
    print(f"\n{row(mutant, explored)}\n{schedules(explored)}")
    result = explored.result
    assert result.verdict is Answer.VIOLATED
    assert not result.bound
    assert {each.prop for each in result.counterexamples} == set(mutant.broken)
    assert row(mutant, explored).rstrip() == table[mutant.name]
    # Running out of instructions is no reason.
    assert not [each for each in result.counterexamples if each.what.startswith("no end after")]


@pytest.mark.parametrize(("mutant", "place"), SUBTLE, ids=name_of)
def test_a_subtle_mutant_is_right_where_its_fault_cannot_show(
    mutant: Mutant, place: Obligation
) -> None:
    assert mutant.explored(place).holds


@pytest.mark.parametrize(
    "loop",
    [
        "mov r9d, 30000; again:; dec r9d; jne again",
        "nop; again:; push rax; pop rax; jmp again",
        "again:; nop; jmp again",
    ],
)
def test_a_loop_over_the_bound_of_instructions_is_a_finding(loop: str) -> None:
    """Its counterexample replays: where the bound ends does not depend on how a step is cut."""
    mutant = Mutant("loops", (leave(loop),), ("progress",))
    (found,) = mutant.explored(mutant.where).result.counterexamples
    assert found.prop == "progress"


def test_a_counterexample_in_single_instructions_replays_too() -> None:
    mutant = next(each for each in MUTANTS if each.name == "no ltr")
    bounds = replace(BOUNDS, every_instruction=True)
    task = Task("obligation", mutant.name, mutant.case.module, at("up", 1))
    explored = run_task(mutant.case, task, bounds)
    assert [each.prop for each, _ in explored.counterexamples] == ["own-tss"]
    (shown,) = (lanes for _, lanes in explored.counterexamples)
    assert all(len(step.instructions) <= 1 for step in shown.steps)


def test_every_property_of_a_step_kills_some_mutant() -> None:
    assert {prop for mutant in MUTANTS for prop in mutant.broken} == {each.name for each in CATALOG}


def test_a_patch_that_lingers_is_refuted_by_the_window_alone() -> None:
    assert SLOW.explored(LEAVE).holds
    assert SLOW.explored(at("moving", model=TSO)).holds
    assert not measure_window(SLOW.case).holds
    assert measure_window(RIGHT.case).holds


def test_the_table_has_every_mutant_once_and_no_other(table: dict[str, str]) -> None:
    assert list(table) == [mutant.name for mutant in MUTANTS]
    assert len(table) == len(TABLE.read_text(encoding="utf-8").splitlines())
