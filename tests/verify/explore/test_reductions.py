"""The reductions change the cost and nothing else: random programs against the naive referee."""

from __future__ import annotations

from itertools import permutations, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kpatch.verify.explore import Answer, FinalState, MemoryModel, Options, Result, explore
from tests.verify.explore.naive import Truth, truth
from tests.verify.explore.toys import (
    Instruction,
    Thread,
    Toy,
    copy,
    expect,
    fault,
    fence,
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
    xchg,
)

ENTRIES = 3  # store buffers in the random programs
MODELS = [MemoryModel.SC, MemoryModel.TSO]
REDUCTIONS = [
    dict(zip(("por", "spins", "symmetry"), on, strict=True))
    for on in product((True, False), repeat=3)
]

cells = st.sampled_from(["x", "y", "lock"])
registers = st.sampled_from(["a", "b"])
values = st.sampled_from(["0", "1", "me{me}", "$a"])
constants = st.sampled_from(["0", "1", "me{me}"])
plain = st.one_of(
    st.builds(load, registers, cells),
    st.builds(store, cells, values),
    st.builds(xchg, registers, cells, values),
    st.builds(copy, cells, cells),
    st.builds(forget, registers),
    st.builds(go_if, registers, constants, st.just("end")),
    st.sampled_from([fence(), pause(), rest()]),
)
checks = st.one_of(
    st.builds(expect, registers, constants, st.sampled_from(["red", "green"])),
    st.builds(expect, registers, constants, st.sampled_from(["red", "green"])),
    st.just(ltr("x")),
    st.builds(fault, st.just("blue")),
)


@st.composite
def loops(draw: st.DrawFn) -> Thread:
    """Wait for a value: by reading, by an exchange, or with stores in the loop."""
    cell, register = draw(cells), draw(registers)
    value = draw(st.sampled_from(["0", "1", "me{me}", "$a", "$b"]))
    look = draw(
        st.sampled_from(
            [
                (load(register, cell),),
                (load(register, cell), pause()),
                (load("b", "y"), load(register, cell)),
                (load(register, cell), load("b", "y")),
                (xchg(register, cell, "1"),),
                (xchg(register, cell, "1"), pause(), load("b", cell)),
                (store("y", "me{me}"), load(register, cell)),
                (xchg(register, cell, "$a"),),
                (store(cell, "0"), store(cell, "1"), load(register, cell)),
            ]
        )
    )
    return (label("again"), *look, go_if(register, value, "over"), goto("again"), label("over"))


@st.composite
def threads(draw: st.DrawFn, size: int) -> Thread:
    """A few instructions and loops; ``end`` is behind the last one."""
    one = st.builds(lambda now: (now,), st.one_of(plain, plain, plain, plain, checks))
    blocks = draw(st.lists(st.one_of(one, one, loops()), min_size=1, max_size=size))
    code: list[Instruction] = []
    for number, block in enumerate(blocks):
        code.extend(own_labels(block, number))
    return (*code, label("end"))


@st.composite
def programs(draw: st.DrawFn) -> Toy:
    """Two or three CPUs; mostly all run the same thread; sometimes guests move."""
    cpus = draw(st.sampled_from([2, 2, 3]))
    size = 5 if cpus == 2 else 3
    same = draw(st.sampled_from([True, True, False]))
    code = draw(threads(size))
    listed = [code] * cpus if same else [draw(threads(size)) for _ in range(cpus)]
    x = draw(st.sampled_from(["0", "0", f"me{cpus - 1}"]))
    free = {"y": "0"} if draw(st.booleans()) else {}
    memory = {"x": x, "y": "0", "lock": "0"}
    families = {cell: ["me{me}"] for cell in memory}
    return Toy(listed, memory, families=families, free=free, moves=same and draw(st.booleans()))


def renamed(toy: Toy, finals: frozenset[FinalState]) -> frozenset[FinalState]:
    """The final states under every renaming of the CPUs, on the toy's own texts."""
    found = set()
    for order in permutations(range(toy.cpus)):
        names = {f"me{cpu}": f"me{order[cpu]}" for cpu in range(toy.cpus)}
        names |= {f"{old}!": f"{new}!" for old, new in names.items()}
        for final in finals:
            memory = tuple(names.get(v.decode(), v.decode()).encode() for v in final.memory)
            locals_ = [0] * toy.cpus
            for cpu, local in enumerate(final.locals):
                code, position, saved = toy.states[local]
                registers = {name: names.get(text, text) for name, text in saved}
                locals_[order[cpu]] = toy.local(code, position, registers)
            found.add(FinalState(memory, tuple(locals_)))
    return frozenset(found)


def agrees(toy: Toy, result: Result, expected: Truth) -> None:
    """Same verdict, same kinds of trouble, same final states."""
    kinds = {
        found.what.split(":")[0] for found in result.counterexamples if found.prop == "progress"
    }
    props = {found.prop for found in result.counterexamples} - {"progress"}
    finals = frozenset(FinalState(*final) for final in expected.finals)
    assert result.bound is None
    assert kinds == {kind for kind in ("deadlock", "livelock") if getattr(expected, kind)}
    assert bool(props) == bool(expected.props)
    if not expected.faults:
        assert props == expected.props
    if result.symmetry != "on":
        assert result.finals == finals
    elif len(toy.codes) == 1:  # else a family may hold places in different threads
        assert result.finals == renamed(toy, finals)
    right = not (expected.props or expected.deadlock or expected.livelock)
    assert (result.verdict is Answer.PROVEN) == right


def options(model: MemoryModel, reductions: dict[str, bool]) -> Options:
    """Small bounds, and everything that can be compared."""
    return Options(
        model,
        por=reductions["por"],
        spins=reductions["spins"],
        symmetry=reductions["symmetry"],
        buffer_entries=ENTRIES,
        keep_finals=True,
        shortest_states=100,
    )


@pytest.mark.parametrize("model", MODELS)
@given(toy=programs(), reductions=st.sampled_from(REDUCTIONS))
@settings(max_examples=60)
def test_a_reduced_search_finds_what_the_referee_finds(
    model: MemoryModel, toy: Toy, reductions: dict[str, bool]
) -> None:
    expected = truth(toy, model is MemoryModel.TSO, ENTRIES)
    assume(expected is not None and not expected.overflow)
    assert expected is not None
    agrees(toy, explore(toy, options(model, reductions)), expected)
