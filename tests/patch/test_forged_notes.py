"""Whoever can write a file can seal it: a note is believed only if patching again makes it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from kpatch.digest import digest
from kpatch.elf.content import differing, loaded_digest
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError
from kpatch.patch.apply import apply_plan, with_note
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.giveback import given_back
from kpatch.patch.note import NO_DIGEST, SECTION, Note, ReplacedBytes, sealed
from kpatch.patch.plan import Plan, make_plan
from kpatch.patch.prepare import prepare
from kpatch.proving import case_of
from kpatch.units import FileOffset
from tests.patch.test_stripped import sample, through

_ENTRY: Final = 24  # e_entry, in the ELF header
_SITE: Final = "exit site"


def over(note: Note, data: bytes) -> Note:
    """``note`` with the digests of what it makes of the patched ``data``."""
    original = bytearray(data[: note.original_size])
    original[: len(note.original_header)] = note.original_header
    for change in note.replaced:
        original[change.offset : change.offset + len(change.before)] = change.before
    return note._replace(
        original_sha256=digest(bytes(original)),
        loaded_sha256=loaded_digest(read_module(bytes(original))),
    )


def another_entry(note: Note) -> Note:
    header = bytearray(note.original_header)
    header[_ENTRY] ^= 1
    return note._replace(original_header=bytes(header))


def zeros_in_text(note: Note) -> Note:
    text = sample("kqemu-7.ko").section_named(".text")
    assert text is not None
    at = FileOffset(text.offset + 64)
    now = sample("kqemu-7.ko").data[at : at + 64]
    return note._replace(replaced=(*note.replaced, ReplacedBytes(at, bytes(64), now, _SITE)))


def a_return_that_was_none(note: Note) -> Note:
    text = sample("kqemu-7.ko").section_named(".text")
    assert text is not None
    at = FileOffset(sample("kqemu-7.ko").data.index(b"\xc3", text.offset))
    lie = ReplacedBytes(at, b"\x55", b"\xc3", "source fix", ".text")
    return note._replace(replaced=(*note.replaced, lie), source_fix="B")


LIES: Final[dict[str, Callable[[Note], Note]]] = {
    "another header": another_entry,
    "64 zero bytes in the code": zeros_in_text,
    "a return that was another instruction": a_return_that_was_none,
    "an original with bytes behind it": lambda n: n._replace(original_size=n.original_size + 8),
    "a source fix that is none": lambda n: n._replace(source_fix="B"),
    "sites in another order": lambda n: n._replace(replaced=n.replaced[::-1]),
}


def test_a_note_of_another_version_is_believed_where_it_is_true() -> None:
    """Control of what follows."""
    truth = plan_of_sample().note._replace(version="0.9")
    assert assess(forged(truth, is_sealed=True)).verdict is Verdict.PATCHED


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_with_all_its_digests_right_gives_no_original(lie: str, is_sealed: bool) -> None:
    plan = plan_of_sample()
    told = over(LIES[lie](plan.note._replace(version="0.9")), b"".join(with_note(plan, b"")))
    module = forged(told, is_sealed=is_sealed)
    if is_sealed:
        assert assess(module).verdict is Verdict.CHANGED
        with pytest.raises(DamagedFileError):
            given_back(module)
        return
    assert assess(module).verdict in (Verdict.CHANGED, Verdict.STRIPPED)
    with contextlib.suppress(DamagedFileError):
        given = given_back(module)  # by content, and so it says
        assert not given.is_original
        assert not differing(read_module(given.data), sample("kqemu-7.ko"))


@cache
def plan_of_sample() -> Plan:
    return prepare(assess(sample("kqemu-7.ko")))


def forged(note: Note, *, is_sealed: bool) -> Module:
    """What kpatch makes of the sample, with another note."""
    data = b"".join(with_note(plan_of_sample(), note.pack()))
    if not is_sealed:
        data = data.replace(NO_DIGEST.encode(), b"1" * len(NO_DIGEST))
    return read_module(sealed([data]) if is_sealed else data, "forged.ko")


@pytest.mark.parametrize("stride", [0, 4097, 1 << 63])
def test_a_stride_that_no_kernel_has_is_a_note_that_does_not_read(stride: int) -> None:
    """It ended as a mistake in kpatch's own signature, exit code 2."""
    note = plan_of_sample().note._replace(tss_stride=stride)
    found = assess(forged(note, is_sealed=True))
    assert isinstance(found.refusal, DamagedFileError)
    assert "elements of common_tss" in found.reason


@pytest.mark.parametrize("tool", ["", f"objcopy -R {SECTION}", "strip -g"])
@pytest.mark.parametrize("name", ["kqemu-7-fix-b.ko", "kqemu-6-fix-a.ko"])
def test_a_patch_beside_a_source_fix_that_still_runs_is_not_whole(
    name: str, tool: str, tmp_path: Path
) -> None:
    """Two locks guard one slot: kpatch never makes such a module, and proves none."""
    plain = sample(name)
    found = assess(plain)
    assert found.match is not None and found.detection is not None
    layout = found.detection.require_layout()
    plan = make_plan(plain, found.match, cpuid=layout.cpuid, tss_stride=layout.tss_stride)
    module = read_module(apply_plan(plan), name)
    module = through(tuple(tool.split()), module.data, tmp_path) if tool else module
    judged = assess(module)
    assert judged.verdict is Verdict.CHANGED
    with pytest.raises(DamagedFileError):
        case_of(judged)
    off = read_module(apply_plan(prepare(found, replace_source_fix=True)), name)
    off = through(tuple(tool.split()), off.data, tmp_path) if tool else off
    assert assess(off).is_patched  # control
