"""A note of ours may say anything: it is judged, and never believed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Final

import pytest

from kpatch.elf.module import read_module
from kpatch.patch.note import SECTION, sealed
from kpatch.verify.proof import workers
from kpatch.verify.proof.tasks import Case
from kpatch.verify.proof.whole_switch import Whole
from tests.cli.harness import patched_bytes, run, sample
from tests.hostile.answering import (
    ANSWERS,
    CALLS,
    SCAN,
    VERIFY,
    answers,
)
from tests.verify.mutants.variant import RIGHT
from tests.verify.proof.calls import whole_switch_of

_SECTION_HEADER: Final = 64

pytestmark = pytest.mark.usefixtures("loaded", "switch_known")


@pytest.fixture
def switch_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the patch that these notes stand in the whole switch is checked once, for all of them:
    it takes as long as all else, and no note is looked at.
    """
    right = RIGHT.case

    def known(case: Case) -> Whole:
        is_right = case.cpuid == right.cpuid and case.original.data == right.original.data
        return whole_switch_of(right if is_right else case)

    monkeypatch.setattr(workers, "whole_switch", known)
    whole_switch_of(right)  # here, and not in each child


def with_note(change: str, to: str) -> bytes:
    """The patched module with other text in its note, of any length; the seal is made anew.

    The note is the only section whose contents have the text, and the new one goes to the end.
    """
    data = bytearray(patched_bytes())
    module = read_module(bytes(data))
    (note,) = module.sections_named(SECTION)
    old = module.contents(note)
    start = old.index(b"{")
    end = old.rindex(b"}") + 1
    text = old[start:end].decode("ascii")
    assert change in text
    new = text.replace(change, to, 1).encode("utf-8", "surrogatepass")
    packed = old[:4] + struct.pack("<I", len(new)) + old[8:start] + new + bytes(-len(new) % 4)
    header = module.header.shoff + _SECTION_HEADER * note.index
    struct.pack_into("<QQ", data, header + 24, len(data), len(packed))
    return bytes(data + packed)


HUGE: Final = "9" * 5000


NOTES: Final = {
    "nested arrays": ('"cpuid":52', '"cpuid":' + "[" * 100_000),
    "nested objects": ('"cpuid":52', '"cpuid":' + '{"a":' * 100_000),
    "a number of 5,000 digits": ('"cpuid":52', f'"cpuid":{HUGE}'),
    "a number without end": ('"cpuid":52', '"cpuid":1e999'),
    "no number": ('"cpuid":52', '"cpuid":NaN'),
    "minus infinity": ('"cpuid":52', '"cpuid":-Infinity'),
    "a negative number": ('"cpuid":52', '"cpuid":-52'),
    "a large cpuid": ('"cpuid":52', '"cpuid":18446744073709551616'),
    "a truth value": ('"cpuid":52', '"cpuid":true'),
    "text": ('"cpuid":52', '"cpuid":"52"'),
    "a key twice": ('"cpuid":52', '"cpuid":52,"cpuid":60'),
    "an offset far away": ('"offset":', '"offset":9223372036854775808'),
    "an offset of many digits": ('"offset":', '"offset":' + "1" * 4000),
    "a size far away": ('"size":', '"size":9223372036854775807'),
    "a format of another kind": ('"format":1', '"format":[1]'),
    "a format that is huge": ('"format":1', '"format":' + "1" * 4000),
    "a lone surrogate": ('"source_fix":"', '"source_fix":"\\ud800'),
    "control characters": ('"source_fix":"', '"source_fix":"\\u001b[2J\\u0007\\u202e'),
    "bytes that are no UTF-8": ('"source_fix":"', '"source_fix":"\udcff'),
    "a name of a megabyte": ('"source_fix":"', '"source_fix":"' + "x" * 1_000_000),
    "hex that is none": ('"header":"', '"header":"zz'),
    "an odd count of digits": ('"header":"', '"header":"0'),
    "full-width digits": ('"header":"7f', '"header":"\uff17\uff46'),
    "a digest that is none": ('"patched_sha256":"', '"patched_sha256":"\\u0000'),
    "a version that is markup": ('"version":"', '"version":"</script><b>'),
    "no object": ('{"cpuid"', '[]//{"cpuid"'),
    "a list of text": ('"replaced":[', '"replaced":["x",'),
    "a replacement of nothing": (
        '"replaced":[',
        '"replaced":[{"after":"","before":"","offset":1e3,"what":1},',
    ),
}


@pytest.mark.parametrize("what", NOTES)
def test_a_note_may_hold_anything(what: str, tmp_path: Path) -> None:
    done = answers(with_note(*NOTES[what]), tmp_path, *CALLS, VERIFY)
    assert [each.code for each in done[:4]] == [1, 1, 10, 10]
    for each in done:
        assert "\x1b" not in each.out + each.err
        assert "recursion" not in each.err and "sys." not in each.err
        assert all(len(line) < 600 for line in each.err.splitlines())


@pytest.mark.parametrize("what", NOTES)
def test_a_note_may_lie_but_what_is_given_back_is_the_original(what: str, tmp_path: Path) -> None:
    path, output = tmp_path / "hostile.ko", tmp_path / "original.ko"
    path.write_bytes(with_note(*NOTES[what]))
    done = run("revert", "-o", output, path)
    assert done.code in (0, 10)
    assert output.exists() == (done.code == 0)
    if output.exists():
        assert output.read_bytes() == sample("kqemu-7.ko").read_bytes()


def test_a_proof_of_a_changed_file_says_that_it_was_changed(tmp_path: Path) -> None:
    (done,) = answers(with_note('"source_fix":"', '"source_fix":"A'), tmp_path, VERIFY)
    assert done.code == 0
    assert "the file was changed since kpatch patched it" in done.out
    (done,) = answers(patched_bytes(), tmp_path, VERIFY)
    assert "since kpatch patched it" not in done.out


def test_a_note_of_ours_moved_to_the_end_still_reads(tmp_path: Path) -> None:
    """Control of the test above: what it changes is all that is wrong."""
    (done,) = answers(with_note('"cpuid":52', '"cpuid":52'), tmp_path, SCAN)
    assert "note" not in done.err


def test_replacements_over_one_another_cost_no_time(tmp_path: Path) -> None:
    one = '{"after":"00","before":"00","offset":0,"what":"x"},'
    for done in answers(with_note('"replaced":[', '"replaced":[' + one * 20_000), tmp_path):
        assert done.code != 0 or done.out


@pytest.mark.parametrize("many", [2, 100])
def test_several_notes_are_one_question(many: int, tmp_path: Path) -> None:
    data = bytearray(patched_bytes())
    module = read_module(bytes(data))
    note = module.sections_named(SECTION)[0]
    shoff = module.header.shoff
    header = data[shoff + _SECTION_HEADER * note.index :][:_SECTION_HEADER]
    table = data[shoff : shoff + _SECTION_HEADER * len(module.sections)] + header * many
    struct.pack_into("<Q", data, 0x28, len(data))
    struct.pack_into("<H", data, 0x3C, len(module.sections) + many)
    answers(bytes(data + table), tmp_path)


def test_a_document_of_a_hostile_file_is_still_a_document(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2Jkqemu\u202e.ko"
    path.write_bytes(with_note('"source_fix":"', '"source_fix":"\\ud800'))
    for call in (("scan",), ("diff",), ("revert",), VERIFY.words):
        done = run(*call, "--json", path)
        assert json.loads(done.out)["files"]
        assert "\x1b" not in done.out
    assert "\x1b" not in run("scan", path).out + run("scan", path).err


def test_a_seal_made_anew_does_not_make_a_lie_true(tmp_path: Path) -> None:
    data = patched_bytes()
    module = read_module(data)
    digest = json.loads(_text_of(module.contents(module.sections_named(SECTION)[0])))[
        "patched_sha256"
    ]
    blank = data.replace(digest.encode(), b"0" * 64)
    lie = blank.replace(b'"cpuid":52', b'"cpuid":60')
    assert lie != blank
    for done in answers(sealed([lie]), tmp_path, *CALLS[4:], VERIFY):
        assert done.code in ANSWERS


def _text_of(note: bytes) -> bytes:
    return note[note.index(b"{") : note.rindex(b"}") + 1]
