"""The table of witnesses is what the engines say; ``python -m tests.witness.table`` writes it."""

from __future__ import annotations

import pytest

from tests import referees
from tests.witness.table import Row, by_machine, by_unicorn, committed, rows

referees.require("qemu-system-x86_64", whole_module=True)

AGAIN = (
    "kqemu-6.ko, patched",
    "mutant: the saved rbx is clobbered",
    "mutant: the direction flag is left set",
)
"""Rows whose cells no chance decides, run again on the two engines that start at once."""


@pytest.fixture(scope="module")
def found() -> dict[str, Row]:
    return {row.name: row for row in rows()}


def test_the_table_has_every_sample_and_its_mutants(found: dict[str, Row]) -> None:
    assert list(committed()) == list(found)
    for name, row in found.items():
        if row.case is None:
            assert committed()[name] == (row.why, "", "")


@pytest.mark.parametrize("name", AGAIN)
def test_a_row_is_what_the_engines_say(name: str, found: dict[str, Row]) -> None:
    case = found[name].case
    assert case is not None
    cells = (by_unicorn(case), by_machine("qemu", case))
    print(f"{name}: {cells}")
    assert cells == committed()[name][:2]


def test_the_unpatched_module_is_wrong_on_every_engine(found: dict[str, Row]) -> None:
    case = found["kqemu-7.ko"].case
    assert case is not None
    proof, qemu, _ = committed()["kqemu-7.ko"]
    assert by_unicorn(case) == proof
    # The wrong TSS is sure; the #GP on a busy one is a race that a short run may miss or meet.
    assert by_machine("qemu", case).removesuffix(", faults") == qemu.removesuffix(", faults")
    assert "wrong TSS" in qemu


def test_all_engines_find_every_patched_sample_right() -> None:
    patched = {n: c for n, c in committed().items() if n.endswith(", patched") and c[1]}
    run = {n: c for n, c in patched.items() if c[1:] != ("not run", "not run")}
    assert len(run) >= 9
    assert set(run.values()) == {("right", "right", "right")}
    # The proof judges a switch of a shape that the machines' kernel does not prepare.
    assert {c[0] for n, c in patched.items() if n not in run} <= {"right"}


def test_every_mutant_is_seen_by_the_proof() -> None:
    mutants = {n: c for n, c in committed().items() if n.startswith("mutant: ")}
    assert len(mutants) >= 10
    assert not [name for name, cells in mutants.items() if "right" in cells[0]]
