"""Golden screens: the same words at 60, 80 and 120 columns, folded, and nothing cut."""

from __future__ import annotations

import pytest

from kpatch.report.fold import fold
from tests.cli import screens


@pytest.mark.parametrize("columns", screens.WIDTHS)
def test_a_terminal_shows_what_was_written_down(columns: int) -> None:
    for name, text in screens.screens(columns).items():
        assert text == screens.path_of(name, columns).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("name", ["scan", "diff", "violated", "proven"])
def test_a_narrow_screen_has_every_word_of_a_wide_one(name: str) -> None:
    shown = [
        set(screens.path_of(name, columns).read_text(encoding="utf-8").split())
        for columns in screens.WIDTHS
    ]
    operands = [{each for each in words if "0x" in each} for words in shown]
    assert operands[0]
    assert operands[0] == operands[1] == operands[2]


def test_an_operand_is_whole_or_on_the_next_line() -> None:
    line = "    image+0x187  and dword ptr [rcx + 4], 0xfffffdff"
    for width in range(16, 60):
        found = fold(line, width)
        assert found.split() == line.split()
        assert max(map(len, found.split("\n"))) <= width
    assert fold("\x1b[31mVIOLATED\x1b[0m and more", 16).split("\n") == [
        "\x1b[31mVIOLATED\x1b[0m and",
        "  more",
    ]


def test_a_word_wider_than_the_terminal_loses_no_character() -> None:
    name = "R_X86_64_64_" * 12
    found = fold(f"  5b: {name}", 40).split("\n")
    assert "".join("".join(found).split()) == f"5b:{name}"
    assert max(map(len, found)) <= 40
