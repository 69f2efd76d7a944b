"""Patches that look odd and are right are proven."""

from __future__ import annotations

import pytest

from kpatch.verify.explore import Answer, MemoryModel
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.proof import tasks as proof
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import run_task, tasks
from tests.verify.mutants.harmless import EVERYWHERE, FENCED, FENCED_WHERE, HARMLESS
from tests.verify.mutants.right_locks import ALL, ANY, LOCKS, OF_TWO, OWN, TWO
from tests.verify.mutants.variant import BOUNDS, SC, TSO, Variant
from tests.verify.mutants.waits import COUNTING

BAKERY = next(each for each in OF_TWO if each.name == "the bakery")
RIGHT = [
    *((variant, EVERYWHERE) for variant in HARMLESS),
    (FENCED, FENCED_WHERE),
    *((variant, ANY) for variant in (*LOCKS, OWN)),
    *((variant, TWO) for variant in OF_TWO if variant is not BAKERY),
]


def name_of(value: object) -> str:
    """For the names of tests."""
    return value.name if isinstance(value, Variant) else ""


@pytest.mark.parametrize(("variant", "places"), RIGHT, ids=name_of)
def test_a_variant_that_is_right_is_proven(
    variant: Variant, places: tuple[Obligation, ...]
) -> None:
    # All places in one test: the patched module is made once.
    assert [place.title for place in places if not variant.explored(place).holds] == []


@pytest.mark.parametrize("variant", [BAKERY, *COUNTING], ids=name_of)
def test_what_may_count_the_rounds_of_others_for_ever_is_not_proven(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds are right, and rounds without end come to no end, however far one looks."""
    monkeypatch.setattr(proof, "MOST_ENDLESS", 100)
    monkeypatch.setattr(proof, "MOST_STARTS", 1)
    result = variant.explored(TWO[0]).result
    assert result.verdict is Answer.NOT_PROVEN
    assert "rounds" in str(result.bound)


def test_every_variant_is_another_patch() -> None:
    patches = {variant.case.module.data for variant in (*HARMLESS, FENCED, *ALL)}
    assert len(patches) == len(HARMLESS) + 1 + len(ALL)


@pytest.mark.parametrize("model", [SC, TSO])
@pytest.mark.parametrize("variant", [*HARMLESS[:2], FENCED, *ALL], ids=name_of)
def test_a_lock_of_any_kind_is_missed_when_it_is_taken_away(
    variant: Variant, model: MemoryModel
) -> None:
    todo = tasks(variant.case, (Obligation(LEAVE, 2, model),))
    (control,) = (each for each in todo if not each.locks)
    assert run_task(variant.case, control, BOUNDS).holds
