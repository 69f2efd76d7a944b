"""Whole sets of final states: as many as the memory models allow, and no other."""

from __future__ import annotations

from itertools import product

import pytest

from kpatch.verify.explore import MemoryModel, Options, explore
from tests.verify.explore.catalogue import Litmus, catalogue

PROGRAMS = list(catalogue())
REDUCTIONS = list(product((True, False), repeat=2))


def finals(litmus: Litmus, options: Options) -> frozenset[str]:
    """What the explorer finds, as the catalogue writes it."""
    toy = litmus.toy()
    found = set()
    for final in explore(toy, options).finals:
        values = {cell: final.memory[number].decode() for cell, number in toy.cells.items()}
        for cpu, local in enumerate(final.locals):
            values |= {f"{cpu}:{name}": text for name, text in toy.registers(local).items()}
        found.add("".join(values[name] for name in litmus.sees))
    return frozenset(found)


@pytest.mark.parametrize("model", list(MemoryModel))
@pytest.mark.parametrize("litmus", PROGRAMS, ids=lambda each: str(each.name))
def test_the_final_states_are_those_of_the_model(litmus: Litmus, model: MemoryModel) -> None:
    for por, spins in REDUCTIONS:
        # Where CPUs differ symmetry finds nothing, and the search begins anew without it: to see
        # that once is enough. Where it finds something, finals are up to renaming.
        symmetry = por and spins and len(set(litmus.cpus)) == len(litmus.cpus)
        options = Options(model, por=por, spins=spins, symmetry=symmetry, keep_finals=True)
        assert finals(litmus, options) == litmus.finals[model.value]


def test_the_catalogue_is_whole() -> None:
    assert len(PROGRAMS) == len({each.name for each in PROGRAMS}) == 73
    assert any(each.finals["sc"] < each.finals["tso"] for each in PROGRAMS)
