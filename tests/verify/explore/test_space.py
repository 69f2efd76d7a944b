"""Canonical states: the fast way to a successor and the general one agree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from kpatch.verify.explore import MemoryModel, Options
from kpatch.verify.explore.naming import ConcreteNaming
from kpatch.verify.explore.options import Budget
from kpatch.verify.explore.shapes import Shapes
from kpatch.verify.explore.space import Space
from kpatch.verify.explore.spin_loops import MembersChangedError, SpinLoops
from kpatch.verify.explore.steps import Steps
from kpatch.verify.explore.symmetry import SymmetricNaming, SymmetryBrokenError
from tests.verify.explore.test_reductions import ENTRIES, programs
from tests.verify.explore.toys import RIGHT, Toy, forget, load, rest, store, switches, xchg


def compare(toy: Toy, options: Options, states: int) -> int:
    """Expands so many states in both ways; returns how many there were."""
    naming = SymmetricNaming(toy, Budget(60)) if options.symmetry else ConcreteNaming(toy)
    steps = Steps(Shapes(naming), options)
    waits = SpinLoops(steps, options.spins)
    space = Space(steps, waits)
    while True:
        try:
            seen = [space.start().state]
            for state in seen:
                key = space.key(state)
                assert space.state(key) == state
                made, keys = space.successors(key)
                new = [space.state(each) for each in keys]
                assert keys == [space.key(each) for each in new]
                fast = list(zip(made.effects, new, strict=True))
                general = [(one.effect, one.state) for one in space.moves(state)]
                assert fast == general
                assert space.forms.state(space.forms.parts(state))[0] == state
                seen.extend(each for each in dict.fromkeys(new) if each not in seen)
                if len(seen) > states:
                    break
            return len(seen)
        except MembersChangedError:
            continue


LINKED = [xchg("old", "x", "me{me}"), store("y", "$old"), load("new", "y"), rest(), store("x", "1")]


@pytest.mark.parametrize("model", [MemoryModel.SC, MemoryModel.TSO])
@pytest.mark.parametrize("moves", [False, True])
def test_both_ways_to_a_successor_agree(model: MemoryModel, moves: bool) -> None:
    assert compare(switches(5, RIGHT, 2, moves), Options(model), 400) > 100
    assert compare(switches(3, RIGHT, 3, moves), Options(model, spins=False), 400) > 100
    linked = Toy([LINKED] * 4, {"x": "none", "y": "none"}, moves=moves)
    assert compare(linked, Options(model), 400) > 100


def test_both_ways_agree_where_as_many_shapes_have_other_numbers_of_cpus() -> None:
    """Who comes to know a name is known by its shape: its number is another one in each state."""
    thread = [load("y", "y"), load("x", "x"), load("y", "y"), forget("x"), store("y", "1")]
    toy = Toy([thread] * 4, {"x": "me0", "y": "none"}, {"x": ["me{me}"]})
    assert compare(toy, Options(), 150) > 150


@given(toy=programs())
@settings(max_examples=30)
def test_both_ways_agree_on_any_program(toy: Toy) -> None:
    options = Options(MemoryModel.TSO, buffer_entries=ENTRIES)
    try:
        compare(toy, options, 60)
    except SymmetryBrokenError:
        compare(toy, Options(MemoryModel.TSO, buffer_entries=ENTRIES, symmetry=False), 60)
