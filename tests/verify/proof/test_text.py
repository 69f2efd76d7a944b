"""What a person reads of a proof and of a counterexample."""

from __future__ import annotations

import re

import pytest

from tests.cli.golden import Case
from tests.verify.proof.golden import CASES, GOLDEN, printed

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_every_word_is_as_it_was(case: Case) -> None:
    assert printed(case) == (GOLDEN / f"{case.name}.txt").read_text()


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{case.name}.txt" for case in CASES}


def test_colour_only_adds_marks() -> None:
    coloured = (GOLDEN / "violated-colour.txt").read_text()
    plain = (GOLDEN / "violated.txt").read_text()
    assert "\x1b[" in coloured and "\x1b[" not in plain
    assert _ESCAPE.sub("", coloured).replace("--color always ", "") == plain


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_no_line_has_blanks_at_its_end_or_more_than_ascii(case: Case) -> None:
    lines = _ESCAPE.sub("", (GOLDEN / f"{case.name}.txt").read_text()).splitlines()
    assert [line for line in lines if line != line.rstrip() or not line.isascii()] == []
