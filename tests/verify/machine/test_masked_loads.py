"""Loads of which only some bits count: what is taken for one, and what is not."""

from __future__ import annotations

import re

import pytest

from kpatch.errors import VerificationError
from kpatch.isa.assemble import assemble
from kpatch.verify.explore.program import OpKind, Outcome, Pending
from kpatch.verify.machine.masked_loads import CodeAt, MaskedLoads, mask_of
from tests.verify.machine.workshop import patched, world_of

AT = 0x1000
KEPT = 0x00FF_0000_0000_FFFF
LOAD = "mov r9, [rcx]"
MASK = f"movabs r10, {KEPT:#x}"


def code(*lines: str) -> CodeAt:
    raw = b"".join(map(assemble, lines))
    return lambda address, size: raw[address - AT : address - AT + size]


def test_the_shipped_trampoline_looks_at_some_bits_of_the_descriptor_only() -> None:
    world = world_of(patched())
    start, memory = world.loaded.base, world.loaded.memory
    loads = [at.start() for at in re.finditer(re.escape(assemble(LOAD)), memory)]
    assert {mask_of(world.code_at, start + at) for at in loads} - {None} == {KEPT}


@pytest.mark.parametrize(
    "lines",
    [
        (LOAD, MASK, "mov [rdx], r9", "and r9, r10"),  # it is passed on first
        (LOAD, MASK, "test r9, r9", "and r9, r10"),  # flags of all of it
        (LOAD, MASK, "jne 0x10", "and r9, r10"),
        (LOAD, MASK, "and r9d, r10d"),
        (LOAD, MASK, "and r10, r9"),  # the register stays as it was loaded
        (LOAD, MASK, "mov r10, r9", "and r9, r10"),
        (LOAD, MASK, "or r9, r10"),
        (LOAD, "and r9, r10"),  # a mask that nobody knows
        (LOAD, MASK, "and r9, r11"),
        (LOAD, MASK, "and r9, [rcx]"),
        ("mov r9d, [rcx]", MASK, "and r9, r10"),
        ("add r9, [rcx]", MASK, "and r9, r10"),
        (MASK, "and r9, r10"),
    ],
)  # fmt: skip
def test_whatever_else_is_done_with_it_makes_all_bits_count(lines: tuple[str, ...]) -> None:
    assert mask_of(code(LOAD, MASK, "and r9, r10"), AT) == KEPT
    assert mask_of(code(*lines), AT) is None


def test_of_values_that_are_alike_two_are_run_and_have_to_agree() -> None:
    pending = Pending(OpKind.PLAIN, reads=(0,), label="load")
    loads = MaskedLoads(code(LOAD, MASK, "and r9, r10"))
    made: list[int] = []

    def ask(value: int, outcome: Outcome, local: int = 0) -> Outcome:
        def run() -> Outcome:
            made.append(value)
            return outcome

        return loads.outcome((0, local, AT), pending, (value.to_bytes(8, "little"),), run)

    first = Outcome(7)
    assert [ask(base << 16, first).next for base in range(5)] == [7] * 5
    assert len(made) == 2
    assert ask(1, Outcome(8)).next == 8  # another limit
    assert ask(0, Outcome(9), local=1).next == 9
    with pytest.raises(VerificationError, match="disagree"):
        ask(1 << 16, Outcome(5), local=1)
