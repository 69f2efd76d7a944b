"""What ``kpatch diff`` compares: all that differs, and nothing that does not."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.digest import digest
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.diff import ModuleDiff, diff_modules
from kpatch.patch.prepare import prepare
from kpatch.report import documents
from kpatch.report.diff_text import side_by_side, unified
from kpatch.report.style import Style
from tests.strategies.elf_files import FilePlan, build, modules
from tests.strategies.kqemu_modules import DrawnModule, HostSection, kqemu_modules

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
PLAIN = Style()


def sample(name: str) -> Module:
    return read_module((ROOT / "samples" / name).read_bytes(), name)


def patched(module: Module) -> Module:
    return read_module(apply_plan(prepare(assess(module))), f"{module.name} (patched)")


def text_of(found: ModuleDiff) -> str:
    return unified(documents.difference(found), PLAIN)


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


def test_a_source_fix_that_is_switched_off_is_shown_in_whole_instructions() -> None:
    before = sample("kqemu-7-fix-a.ko")
    plan = prepare(assess(before), replace_source_fix=True)
    after = read_module(apply_plan(plan))
    hunk = next(each for each in diff_modules(before, after).hunks if "source fix" in each.title)
    assert [each.raw for each in hunk.before] == ["4883ec08"]
    assert "".join(each.raw for each in hunk.after) == "c383ec08"
    back = next(each for each in diff_modules(after, before).hunks if "source fix" in each.title)
    assert (back.before, back.after) == (hunk.after, hunk.before)


@given(modules())
def test_a_file_does_not_differ_from_itself(module: Module) -> None:
    found = diff_modules(module, replace(module, name="another name"))
    assert found.is_empty
    assert (found.tables, found.hunks, found.omitted) == ((), (), 0)
    assert text_of(found).splitlines()[2:] == ["the same, byte for byte"]


@settings(max_examples=20)
@given(kqemu_modules())
def test_a_patch_shows_both_sites_and_the_trampolines_and_nothing_else(drawn: DrawnModule) -> None:
    module = drawn.module
    found = diff_modules(module, patched(module))
    entry, exit_, *rest = found.hunks
    for hunk, span in ((entry, drawn.switch.entry), (exit_, drawn.switch.exit)):
        assert hunk.section == drawn.section
        start = drawn.at + span[0]
        assert hunk.before[0].offset == hunk.after[0].offset == start
        raw = drawn.switch.contents[slice(*span)].hex()
        assert "".join(line.raw for line in hunk.before) == raw
        assert hunk.after[1].text == "call rax"
        assert hunk.after[0].relocations == (f"R_X86_64_64 {_symbol(hunk is entry)}",)
    assert [hunk.title for hunk in rest] == [".text.kpatch, added"]
    assert found.omitted == 0


def _symbol(is_entry: bool) -> str:
    return "kpatch_tss_entry" if is_entry else "kpatch_tss_exit"


@settings(max_examples=10)
@given(kqemu_modules())
def test_the_way_back_is_the_way_there_turned_round(drawn: DrawnModule) -> None:
    before = drawn.module
    after = patched(before)
    there, back = diff_modules(before, after), diff_modules(after, before)
    assert [(t.table, t.removed, t.added) for t in there.tables] == [
        (t.table, t.added, t.removed) for t in back.tables
    ]
    assert {(h.before, h.after) for h in there.hunks} == {(h.after, h.before) for h in back.hunks}


@settings(max_examples=20)
@given(kqemu_modules(), st.data())
def test_every_changed_byte_of_loaded_data_is_shown(
    drawn: DrawnModule, data: st.DataObject
) -> None:
    start, end = drawn.file_span((0, len(drawn.switch.contents)))
    at = data.draw(st.integers(start, end - 1))
    changed = bytearray(drawn.data)
    changed[at] ^= data.draw(st.integers(1, 255))
    found = diff_modules(drawn.module, read_module(bytes(changed), "changed.ko"))
    (hunk,) = found.hunks
    assert hunk.before[0].offset == at - start + drawn.at
    assert (hunk.before[0].raw, hunk.after[0].raw) == (
        f"{drawn.data[at]:02x}",
        f"{changed[at]:02x}",
    )


@settings(max_examples=30)
@given(modules(), modules())
def test_any_two_files_can_be_compared(one: Module, other: Module) -> None:
    found = diff_modules(one, other)
    assert found.is_empty == (one.data == other.data)
    assert text_of(found)
    assert side_by_side(documents.difference(found), PLAIN, 120)


def test_files_that_have_little_in_common_do_not_fill_the_screen() -> None:
    one = sample("kqemu-7.ko")
    section = one.section_named(".rodata")
    assert section is not None
    turned = bytearray(one.data)
    for at in range(section.offset, section.end, 2):
        turned[at] ^= 0xFF
    found = diff_modules(one, read_module(bytes(turned), "turned.ko"))
    assert found.omitted > 0
    assert "more changed stretches are not shown" in text_of(found)


def test_big_files_with_nothing_in_common_are_compared_in_bounded_memory() -> None:
    contents = bytes(range(1, 256)) * 4_000
    holed = bytearray(contents)
    holed[::9] = bytes(len(contents[::9]))
    one, other = (section_holder(each) for each in (contents, bytes(holed)))
    tracemalloc.start()
    found = diff_modules(one, other)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.omitted > len(contents) // 10
    assert peak < 12 * len(contents)


def section_holder(contents: bytes) -> Module:
    """A module whose .rodata is ``contents``."""
    host = HostSection(".rodata", 1, 2, 1, len(contents), 0, None, contents)
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
    document = documents.difference(diff_modules(before, patched(before)))
    coloured = unified(document, Style(colour=True))
    assert "\x1b[" in coloured
    stripped = coloured
    for code in ("\x1b[0m", *(f"\x1b[{n}m" for n in (1, 31, 32, 33, 36))):
        stripped = stripped.replace(code, "")
    assert stripped == unified(document, PLAIN)


@pytest.mark.parametrize("width", [0, 80, 140])
def test_two_columns_show_the_same_instructions(width: int) -> None:
    before = sample("kqemu-7.ko")
    document = documents.difference(diff_modules(before, patched(before)))
    rows = side_by_side(document, PLAIN, width).splitlines()
    assert any("str word ptr [rdi + 0x8c]" in row.split(" | ")[0] for row in rows)
    assert any("movabs rax, 0" in row.split(" | ")[-1] for row in rows)
    assert any("0f014f78" in row for row in rows) == (width > 100)
