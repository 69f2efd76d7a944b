"""Patches that look odd and are right are proven."""

from __future__ import annotations

import pytest

from kpatch.verify.explore import MemoryModel
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import run_task, tasks
from tests.verify.mutants.harmless import EVERYWHERE, FENCED, FENCED_WHERE, HARMLESS
from tests.verify.mutants.right_locks import ALL, ANY, LOCKS, OF_TWO, OWN, TWO
from tests.verify.mutants.variant import BOUNDS, SC, TSO, Variant

PAIRS = [
    *((variant, place) for variant in HARMLESS for place in EVERYWHERE),
    *((FENCED, place) for place in FENCED_WHERE),
    *((variant, place) for variant in (*LOCKS, OWN) for place in ANY),
    *((variant, place) for variant in OF_TWO for place in TWO),
]


def name_of(value: Variant | Obligation) -> str:
    """For the names of tests."""
    return value.name if isinstance(value, Variant) else value.title


@pytest.mark.parametrize(("variant", "place"), PAIRS, ids=name_of)
def test_a_variant_that_is_right_is_proven(variant: Variant, place: Obligation) -> None:
    assert variant.explored(place).holds


def test_every_variant_is_another_patch() -> None:
    patches = {variant.case.module.data for variant in (*HARMLESS, FENCED, *ALL)}
    assert len(patches) == len(HARMLESS) + 1 + len(ALL)


@pytest.mark.parametrize("model", [SC, TSO])
@pytest.mark.parametrize("variant", [*HARMLESS[:2], FENCED, *ALL], ids=name_of)
def test_a_lock_of_any_kind_is_missed_when_it_is_taken_away(
    variant: Variant, model: MemoryModel
) -> None:
    todo = tasks(variant.case, (Obligation("leave", 2, model),))
    (control,) = (each for each in todo if not each.locks)
    assert run_task(variant.case, control, BOUNDS).holds
