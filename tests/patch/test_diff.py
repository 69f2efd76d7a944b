"""What ``kpatch diff`` compares: all that differs, and nothing that does not."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Hashable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kpatch.digest import digest
from kpatch.elf import constants as elf
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError
from kpatch.patch import codediff
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.codediff import Hunk, Omitted, Row
from kpatch.patch.diff import ModuleDiff, diff_modules
from kpatch.patch.listing import Line
from kpatch.patch.prepare import prepare
from kpatch.report.diff_documents import difference
from kpatch.report.diff_text import side_by_side, unified
from kpatch.report.style import Style
from tests.strategies.elf_builder import FilePlan, build
from tests.strategies.elf_files import modules
from tests.strategies.kqemu_modules import DrawnModule, HostSection, kqemu_modules

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
PLAIN = Style()


def sample(name: str) -> Module:
    return read_module((ROOT / "samples" / name).read_bytes(), name)


def patched(module: Module) -> Module:
    return read_module(apply_plan(prepare(assess(module))), f"{module.name} (patched)")


def text_of(found: ModuleDiff) -> str:
    return unified(difference(found), PLAIN)


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-norela.ko"])
def test_the_diff_of_a_sample_is_the_golden_one(name: str) -> None:
    """Set KPATCH_GOLDEN=write to accept a change, then read what git shows."""
    before = sample(name)
    after = patched(before)
    text = text_of(diff_modules(before, after)) + "\n"
    # The version is part of the patched file, and so of its digest.
    text = text.replace(digest(after.data), "<digest of the patched file>")
    golden = GOLDEN / f"{name}.diff"
    if os.environ.get("KPATCH_GOLDEN") == "write":
        golden.write_text(text, encoding="ascii")
    assert text == golden.read_text(encoding="ascii")


def test_a_source_fix_that_is_switched_off_is_shown_in_its_function() -> None:
    before = sample("kqemu-7-fix-a.ko")
    plan = prepare(assess(before), replace_source_fix=True)
    after = read_module(apply_plan(plan))
    hunk = next(h for h in diff_modules(before, after).hunks if h.place == "kqemu_tss_workaround")
    assert raws(hunk, "before")[:4] == "4883ec08"[:4]
    assert raws(hunk, "after").startswith("c383ec08")
    back = next(h for h in diff_modules(after, before).hunks if h.place == hunk.place)
    assert (lines(back, "before"), lines(back, "after")) == (
        lines(hunk, "after"),
        lines(hunk, "before"),
    )


@given(modules())
def test_a_file_does_not_differ_from_itself(module: Module) -> None:
    found = diff_modules(module, module.called("another name"))
    assert found.is_empty
    assert (found.tables, found.hunks, found.omitted) == ((), (), ())
    assert text_of(found).splitlines()[2:] == ["the same, byte for byte"]


@settings(max_examples=20)
@given(kqemu_modules())
def test_a_patch_shows_both_sites_and_the_trampolines_and_nothing_else(drawn: DrawnModule) -> None:
    module = drawn.module
    assume(assess(module).refusal is None)  # what may not be displaced has no patch
    found = diff_modules(module, patched(module), 3)
    entry, exit_, *rest = found.hunks
    for hunk, span in ((entry, drawn.switch.entry), (exit_, drawn.switch.exit)):
        assert hunk.section == drawn.section
        changed = [row for row in hunk.rows if row.change != "same"]
        old, new = ([each for row in changed if (each := pick(row))] for pick in (_before, _after))
        start, end = (drawn.at + each for each in span)
        assert start == old[0].offset == new[0].offset
        assert max(each.offset for each in (*old, *new)) < end
        assert [each.text for each in new[:2]] == ["movabs rax, 0", "call rax"]
        assert hunk.relocations == (f"R_X86_64_64 {_symbol(hunk is entry)}",)
    assert [(each.section, each.place) for each in rest] == [
        (".text.kpatch", _symbol(True)),
        (".text.kpatch", _symbol(False)),
    ]
    assert found.omitted == ()


def _before(row: Row) -> Line | None:
    return row.before


def _after(row: Row) -> Line | None:
    return row.after


def lines(hunk: Hunk, side: str) -> list[Line]:
    return [getattr(row, side) for row in hunk.rows if getattr(row, side)]


def raws(hunk: Hunk, side: str) -> str:
    return "".join(line.raw for line in lines(hunk, side))


def _symbol(is_entry: bool) -> str:
    return "kpatch_tss_entry" if is_entry else "kpatch_tss_exit"


@settings(max_examples=10)
@given(kqemu_modules())
def test_the_way_back_is_the_way_there_turned_round(drawn: DrawnModule) -> None:
    before = drawn.module
    assume(assess(before).refusal is None)
    after = patched(before)
    there, back = diff_modules(before, after), diff_modules(after, before)
    assert [(t.table, t.removed, t.added) for t in there.tables] == [
        (t.table, t.added, t.removed) for t in back.tables
    ]
    assert {(h.section, h.place, h.before, h.after) for h in there.hunks} == {
        (h.section, h.place, h.after, h.before) for h in back.hunks
    }


@settings(max_examples=20)
@given(kqemu_modules(), st.data())
def test_every_changed_byte_of_loaded_data_is_shown(
    drawn: DrawnModule, data: st.DataObject
) -> None:
    start, end = drawn.file_span((0, len(drawn.switch.contents)))
    at = data.draw(st.integers(start, end - 1))
    changed = bytearray(drawn.data)
    changed[at] ^= data.draw(st.integers(1, 255))
    found = diff_modules(drawn.module, read_module(bytes(changed), "changed.ko"), 0)
    offset = at - start + drawn.at
    for side, whole in (("before", drawn.data), ("after", bytes(changed))):
        shown = {
            line.offset + index: byte
            for hunk in found.hunks
            for line in lines(hunk, side)
            for index, byte in enumerate(bytes.fromhex(line.raw))
        }
        assert shown[offset] == whole[at]


@settings(max_examples=30)
@given(modules(), modules())
def test_any_two_files_can_be_compared(one: Module, other: Module) -> None:
    found = diff_modules(one, other)
    assert found.is_empty == (one.data == other.data)
    assert text_of(found)
    assert side_by_side(difference(found), PLAIN, 120)


def test_what_has_too_many_lines_is_named_and_not_dropped() -> None:
    one, other = (section_holder(bytes([each]) * (5 << 20)) for each in (1, 2))
    found = diff_modules(one, other)
    assert found.hunks == ()
    assert found.omitted == (Omitted(".rodata", "", 5 << 20, 5 << 20),)
    assert "@@ .rodata: 5242880 and 5242880 bytes differ, too much to show @@" in text_of(found)


@pytest.mark.parametrize("step", [2, 9])
def test_unlike_functions_are_not_compared_pair_by_pair(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work is bound by a count: of pairs of equal lines, each of which difflib looks at."""
    looked_at = [0]

    class Counted(SequenceMatcher[Hashable]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            sides = [Counter(side) for side in arguments[1:3]]
            looked_at.append(sum(count * sides[1][line] for line, count in sides[0].items()))
            super().__init__(*arguments, **options)

    monkeypatch.setattr(codediff, "SequenceMatcher", Counted)
    contents = bytes(range(1, 256)) * 200
    holed = bytearray(contents)
    holed[::step] = bytes(len(contents[::step]))
    one, other = (section_holder(each, elf.SHF_EXECINSTR) for each in (contents, bytes(holed)))
    found = diff_modules(one, other, 1 << 30)
    assert raws(found.hunks[0], "after") == holed.hex()
    assert max(looked_at) <= 200_000


def section_holder(contents: bytes, flags: int = 0) -> Module:
    """A module whose .rodata is ``contents``."""
    host = HostSection(".rodata", 1, 2 | flags, 1, len(contents), 0, None, contents)
    order = tuple(range(5))
    plan = FilePlan((host,), (), False, order, order, 0, False, b"")
    return read_module(build(plan), "big.ko")


def test_a_note_that_does_not_read_is_said() -> None:
    after = patched(sample("kqemu-7.ko"))
    broken = read_module(after.data.replace(b'"format":1', b'"format":x'), "broken.ko")
    with pytest.raises(DamagedFileError, match="does not read"):
        diff_modules(sample("kqemu-7.ko"), broken)


def test_colour_adds_nothing_but_colour() -> None:
    before = sample("kqemu-7.ko")
    document = difference(diff_modules(before, patched(before)))
    coloured = unified(document, Style(colour=True))
    assert "\x1b[" in coloured
    stripped = coloured
    for code in ("\x1b[0m", *(f"\x1b[{n}m" for n in (1, 31, 32, 33, 36))):
        stripped = stripped.replace(code, "")
    assert stripped == unified(document, PLAIN)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_operand_is_lost(width: int) -> None:
    before = sample("kqemu-7.ko")
    document = difference(diff_modules(before, patched(before)))
    whole = unified(document, PLAIN)
    for text in (unified(document, PLAIN, width), side_by_side(document, PLAIN, width)):
        assert max(map(len, text.splitlines())) <= width
    assert "".join(unified(document, PLAIN, width).split()) == "".join(whole.split())
    words = set(re.findall(r"0x[0-9a-f]+", whole))
    assert set(re.findall(r"0x[0-9a-f]+", unified(document, PLAIN, width))) == words


@pytest.mark.parametrize("width", [80, 140])
def test_two_columns_show_the_same_instructions(width: int) -> None:
    before = sample("kqemu-7.ko")
    document = difference(diff_modules(before, patched(before)))
    rows = side_by_side(document, PLAIN, width).splitlines()
    assert any("str word ptr [rdi + 0x8c]" in row.split(" | ")[0] for row in rows)
    assert any("movabs rax, 0" in row.split(" | ")[-1] for row in rows)
    assert any("0f014f78" in row for row in rows) == (width > 100)


@pytest.mark.parametrize("names", [("kqemu-7.ko", "other.ko"), ("other.ko", "kqemu-7.ko")])
def test_a_switch_is_not_looked_for_in_a_section_that_is_shorter(names: tuple[str, str]) -> None:
    """The data of other.ko ends before the switch of kqemu does: diff read past its end."""
    one, other = map(sample, names)
    found = diff_modules(one, other)
    assert found.hunks
    assert all(row for hunk in found.hunks for row in hunk.rows)
