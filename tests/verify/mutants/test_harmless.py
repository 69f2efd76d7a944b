"""Patches that look odd and are right are proven."""

from __future__ import annotations

import pytest

from kpatch.verify.proof.obligations import Obligation
from tests.verify.mutants.harmless import EVERYWHERE, FENCED, FENCED_WHERE, HARMLESS
from tests.verify.mutants.variant import Variant

PAIRS = [
    *((variant, place) for variant in HARMLESS for place in EVERYWHERE),
    *((FENCED, place) for place in FENCED_WHERE),
]


def name_of(value: Variant | Obligation) -> str:
    """For the names of tests."""
    return value.name if isinstance(value, Variant) else value.title


@pytest.mark.parametrize(("variant", "place"), PAIRS, ids=name_of)
def test_a_variant_that_is_right_is_proven(variant: Variant, place: Obligation) -> None:
    assert variant.explored(place).holds


def test_every_variant_is_another_patch() -> None:
    patches = {variant.case.module.data for variant in (*HARMLESS, FENCED)}
    assert len(patches) == len(HARMLESS) + 1
