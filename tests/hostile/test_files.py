"""Files that somebody made to hurt: every command answers, soon, in words, and changes nothing."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpatch.elf.module import read_module
from kpatch.patch.note import SECTION, sealed
from tests.cli.harness import Done, patched_bytes, run, sample
from tests.verify.machine.workshop import match_of

ANSWERS: Final = frozenset({0, 1, 2, *range(10, 19)})
_LATEST: Final = 10
"""Seconds of processor time of the call alone: what others run on the machine does not count."""

_MEGABYTES: Final = 1000
"""By which the process may grow; what the tests before have used does not count."""

_PAGE: Final = resource.getpagesize()
_SECTION_HEADER: Final = 64
_WIDE: Final = (0, 1, 0x7F, 0xFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 63, (1 << 63) - 1, (1 << 64) - 1)
_SAMPLES: Final = ("kqemu-7.ko", "kqemu-7-data.ko", "kqemu-7-fix-a.ko", "kqemu-i386.ko")


@dataclass(frozen=True)
class Answer:
    """What a call said, its processor time, how far the process grew, and whether the file is as
    it was.
    """

    done: Done
    seconds: float
    grown: int
    kept: bool


def in_child(path: Path, output: Path, calls: Sequence[Call]) -> list[Answer]:
    """The answers of the calls, one after the other, in one process beside this one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writing, "wb") as answer:
            size = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
            pickle.dump([_answer(each, path, output, size) for each in calls], answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    found: list[Answer] = pickle.loads(said)
    return found


def _answer(call: Call, path: Path, output: Path, size: int) -> Answer:
    before, start = path.read_bytes(), time.process_time()
    done = run(*(output if word == "OUTPUT" else word for word in call.words), path)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    output.unlink(missing_ok=True)
    return Answer(done, seconds, peak - size, path.read_bytes() == before)


@dataclass(frozen=True)
class Call:
    """A command that looks at one file, and its options."""

    words: tuple[str, ...]

    def require_promises(self, answer: Answer) -> None:
        """An answer obeys every promise."""
        done = answer.done
        assert done.code in ANSWERS
        assert answer.seconds < _LATEST
        assert answer.kept
        assert "Traceback" not in done.out + done.err
        assert answer.grown < _MEGABYTES << 20
        if done.code > 1 and not done.out:
            assert done.err.startswith("kpatch: ")
        if "--json" in self.words:
            assert done.document["exit_code"] == done.code


SCAN: Final = Call(("scan",))
CALLS: Final = (
    SCAN,
    Call(("scan", "--json", "-v")),
    Call(("apply", "--no-verify", "-o", "OUTPUT")),
    Call(("apply", "--dry-run", "--json", "--osversion", "700055", "--replace-source-fix")),
    Call(("revert", "-o", "OUTPUT")),
    Call(("diff", "-u")),
    Call(("diff", "--json")),
)
VERIFY: Final = Call(
    (
        *("verify", "--jobs=1", "--cpus=2", "--model=sc", "--scenario=leave"),
        *("--tr-selector=0x30", "--max-states=2000"),
    )
)


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the commands import is here before the first child: none imports it again."""
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "kqemu.ko").write_bytes(contents("kqemu-7.ko"))
    for call in (*CALLS, VERIFY):
        _answer(call, folder / "kqemu.ko", folder / "output.ko", 0)


def answers(data: bytes, folder: Path, *calls: Call) -> list[Done]:
    """What the calls say to a file with these bytes."""
    path = folder / "hostile.ko"
    path.write_bytes(data)
    found = in_child(path, folder / "output.ko", calls or CALLS)
    for call, answer in zip(calls or CALLS, found, strict=True):
        call.require_promises(answer)
    return [each.done for each in found]


def contents(name: str) -> bytes:
    """A sample; ``patched`` is one of them, patched."""
    return patched_bytes() if name == "patched" else sample(name).read_bytes()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A module with wrong numbers, in its headers and tables above all."""
    data = bytearray(contents(draw(st.sampled_from((*_SAMPLES, "patched")))))
    module = read_module(bytes(data))
    tables = [each for each in module.sections if each.entsize and each.size]
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, 3))
        at = draw(st.integers(0, len(data) - 8))
        if place == 0:
            at = draw(st.integers(0, 56))
        elif place == 1:
            number = draw(st.integers(0, len(module.sections) - 1))
            at = module.header.shoff + _SECTION_HEADER * number + draw(st.integers(0, 14)) * 4
        elif place == 2 and tables:
            table = draw(st.sampled_from(tables))
            at = int(table.offset) + draw(st.integers(0, table.size - 8))
        width = draw(st.sampled_from((1, 2, 4, 8)))
        value = draw(st.one_of(st.sampled_from(_WIDE), st.integers(0, len(data) + 8)))
        at = min(at, len(data) - width)
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(data)


@given(damaged())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_command_answers_to_any_damage(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    for done in answers(data, tmp_path_factory.mktemp("damaged")):
        assert done.out or done.err


@given(st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_verify_answers_to_any_code_in_the_image(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    module = bytearray(contents(data.draw(st.sampled_from(("kqemu-7.ko", "patched")))))
    start = match_of().image.start
    for _ in range(data.draw(st.integers(1, 3))):
        at = start + data.draw(st.integers(0x14, 0x1B0))
        module[at] = data.draw(st.integers(0, 255))
    answers(bytes(module), tmp_path_factory.mktemp("image"), VERIFY)


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
    for done in answers(with_note('"replaced":[', '"replaced":[' + one * 50_000), tmp_path):
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
    for done in answers(sealed(lie), tmp_path, *CALLS[4:], VERIFY):
        assert done.code in ANSWERS


def _text_of(note: bytes) -> bytes:
    return note[note.index(b"{") : note.rindex(b"}") + 1]
