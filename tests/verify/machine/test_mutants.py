"""The verifier finds what is wrong with every broken patch, and says which property it breaks."""

from __future__ import annotations

import pytest

from kpatch.verify.explore.explorer import explore
from kpatch.verify.explore.options import MemoryModel, Options
from kpatch.verify.explore.result import Result, Verdict
from kpatch.verify.explore.schedule import from_text
from kpatch.verify.machine import Setup
from tests.verify.machine.mutants import MUTANTS, Mutant
from tests.verify.machine.workshop import broken, scenario

CPUS = 2


def explored(mutant: Mutant, name: str, model: MemoryModel) -> tuple[Setup, Result]:
    """The mutant in a scenario."""
    setup = Setup(mutant.build(), scenario(name), CPUS, tr_selector=mutant.tr_selector, model=model)
    return setup, setup.explore(lambda program: explore(program, Options(model=model)))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed_by_a_property_that_names_its_fault(mutant: Mutant) -> None:
    setup, result = explored(mutant, mutant.scenario, mutant.model)
    print(f"{mutant.name:45} {', '.join(sorted(broken(result)))}")
    assert result.verdict is Verdict.VIOLATED
    assert broken(result) <= mutant.killers
    assert result.bound == ""
    for found in result.counterexamples:
        assert "no end after" not in found.what
        setup.replay(from_text(found.schedule))


@pytest.mark.parametrize(
    ("mutant", "name", "model"),
    [(mutant, *where) for mutant in MUTANTS for where in mutant.passes],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_subtle_mutant_is_right_where_its_fault_cannot_show(
    mutant: Mutant, name: str, model: MemoryModel
) -> None:
    assert explored(mutant, name, model)[1].verdict is Verdict.PROVEN


def test_without_a_change_nothing_is_found() -> None:
    for name in {mutant.scenario for mutant in MUTANTS}:
        for model in MemoryModel:
            assert explored(Mutant("none"), name, model)[1].verdict is Verdict.PROVEN


def test_there_are_mutants_enough_and_each_is_another() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30
