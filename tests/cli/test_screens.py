"""Golden screens: the same words at 60, 80 and 120 columns, folded, and nothing cut."""

from __future__ import annotations

import pytest

from kpatch.report.fold import filled, fold
from tests.cli import screens


def test_a_terminal_shows_what_was_written_down() -> None:
    for columns, of_each_case in screens.screens().items():
        for name, text in of_each_case.items():
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


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("  next: kpatch apply FILE", "kpatch apply FILE"),
        ("x: patched, NOT VERIFIED: run 'kpatch verify FILE'; kept in y", "kpatch verify FILE"),
        ("    1 preemption; replay: kpatch verify FILE --replay '0*2 0d 1*2'", ""),
        ("kpatch explain FILE; every change: kpatch diff FILE", "kpatch diff FILE"),
    ],
)
def test_a_command_stays_in_one_line_so_that_it_can_be_copied(text: str, command: str) -> None:
    path = "/usr/ports/emulators/kqemu-kmod-devel/work/kqemu-1.4.0pre1/kqemu.ko"
    wanted = (command or text.split(": ", 1)[1]).replace("FILE", path)
    for width in (40, 60, 80):
        found = fold(text.replace("FILE", path), width).split("\n")
        assert any(wanted in line for line in found)
        assert any(wanted in line for line in filled(text.replace("FILE", path), width))
        assert " ".join(" ".join(found).split()) == " ".join(text.replace("FILE", path).split())


def test_a_word_wider_than_the_terminal_loses_no_character() -> None:
    name = "R_X86_64_64_" * 12
    found = fold(f"  5b: {name}", 40).split("\n")
    assert "".join("".join(found).split()) == f"5b:{name}"
    assert max(map(len, found)) <= 40
