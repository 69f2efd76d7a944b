"""The story of a repair: no step works out again what a step before it found."""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pytest

from kpatch.digest import digest
from kpatch.elf import constants as elf
from kpatch.elf.edits import NewSection
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, KpatchError
from kpatch.kernel.detect import detect
from kpatch.kqemu.identify import identify
from kpatch.patch import matching
from kpatch.patch.assess import Verdict
from kpatch.patch.sides import both_sides, named_sides
from kpatch.proving import case_of
from kpatch.repair import apply, scan
from kpatch.signature.load import load_signatures, parse_signature
from kpatch.signature.scan import find
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import UP
from kpatch.verify.proof import obligations
from kpatch.verify.proof.obligations import suite
from tests.cli.harness import MANIFEST, copied, patched_bytes, run, sample
from tests.editing import append

_ONCE: Final[tuple[Callable[..., Any], ...]] = (
    find,
    detect,
    identify,
    load_signatures,
    parse_signature,
)
_ONCE_EACH: Final[tuple[Callable[..., Any], ...]] = (read_module, digest)
"""Functions of bytes: called for several files, but never twice for the same one."""


@contextmanager
def calls() -> Iterator[Counter[tuple[str, bytes]]]:
    """Counts calls inside the block, by function and, for those of bytes, by the bytes."""
    watched: dict[CodeType, str] = {each.__code__: each.__name__ for each in _ONCE + _ONCE_EACH}
    of_bytes = {each.__name__ for each in _ONCE_EACH}
    seen: Counter[tuple[str, bytes]] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        name = watched.get(frame.f_code) if event == "call" else None
        if name is not None:
            seen[name, frame.f_locals["data"] if name in of_bytes else b""] += 1

    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)


def test_apply_works_nothing_out_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_known", {})  # not what another test searched
    few = suite([UP], [1], (MemoryModel.SC,))  # how much is proven changes nothing in the story
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: few)
    path = copied("kqemu-7.ko", tmp_path)
    before = path.read_bytes()
    with calls() as seen:
        done = run("apply", "--no-copy", path)
    assert done.code == 0 and path.read_bytes() == patched_bytes()
    expected = {each.__name__ for each in _ONCE + _ONCE_EACH}
    assert expected - {"parse_signature"} <= {name for name, _ in seen} <= expected
    assert set(seen.values()) == {1}
    assert seen["read_module", before] == seen["digest", before] == 1


@pytest.mark.parametrize("sides", [both_sides, named_sides])
def test_the_sides_of_a_module_are_had_by_one_look(sides: Callable[[Module], object]) -> None:
    module = read_module(sample("kqemu-7.ko").read_bytes(), "kqemu.ko")
    with calls() as seen:
        sides(module)
    assert seen["identify", b""] == seen["detect", b""] == 1


def test_a_report_looks_at_a_patched_module_and_its_original_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = suite([UP], [1], (MemoryModel.SC,))
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: few)
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes())
    with calls() as seen:
        run("report", "--json", path)
    assert seen["identify", b""] == 2


def test_the_count_can_fail() -> None:
    data = patched_bytes()
    with calls() as seen:
        scan(data)
        scan(data)
    assert seen["read_module", data] == 2


def _refused(action: Callable[[], object]) -> str | None:
    try:
        action()
    except KpatchError as error:
        return f"{error.exit_code}: {error}"
    return None


@pytest.mark.parametrize("name", [each["file"] for each in MANIFEST if "gz" not in each["file"]])
def test_scan_apply_and_verify_say_the_same_of_a_sample(name: str) -> None:
    _require_one_answer(sample(name).read_bytes(), name)


def _for_8_0() -> bytes:
    """kqemu-8.ko with the dependency of FreeBSD 8.0, whose CPUs have a GDT each."""
    current, release = (struct.pack("<i", version) for version in (800040, 800107))
    data = sample("kqemu-8.ko").read_bytes()
    assert current in data
    return data.replace(current, release)


def _with_plt32() -> bytes:
    """kqemu-7.ko as a newer toolchain makes calls (psABI, R_X86_64_PLT32)."""
    module = read_module(sample("kqemu-7.ko").read_bytes())
    data = bytearray(module.data)
    table = next(each for each in module.sections if each.name == ".rela.text")
    for at in range(table.offset, table.end, 24):
        if data[at + 8] == elf.R_X86_64_PC32:
            data[at + 8] = elf.R_X86_64_PLT32
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "exit_code"), [(_for_8_0(), 13), (_with_plt32(), 16)], ids=["8.0", "PLT32"]
)
def test_scan_apply_and_verify_say_the_same_of_what_no_sample_is(
    data: bytes, exit_code: int, tmp_path: Path
) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(data)
    applied, proven = run("apply", path), run("verify", path)
    assert applied.code == proven.code == exit_code
    said = applied.complaint.removesuffix("; the file is unchanged")  # verify never changes one
    assert said == proven.complaint and proven.out == ""
    found = scan(data, str(path))
    assert found.refusal is not None and found.refusal.what in proven.complaint
    assert path.read_bytes() == data


def _require_one_answer(data: bytes, name: str) -> None:
    found = scan(data, name)
    applied = _refused(lambda: apply(data, name, proving=None))
    proven = _refused(lambda: case_of(found))
    if found.verdict in (Verdict.AFFECTED, Verdict.SOURCE_FIXED):
        assert proven is None, "what is wrong with it can be shown"
    else:
        assert found.refusal is not None
        assert proven == applied == f"{found.refusal.exit_code}: {found.refusal}"


@pytest.mark.parametrize("table", [".rela.rodata", ".symtab"])
def test_what_was_changed_beside_the_patch_is_not_proven(table: str) -> None:
    """A jump of the C code, or where the kernel finds it: no exploration runs that."""
    data = bytearray(patched_bytes("kqemu-7.ko"))
    module = read_module(bytes(data), "kqemu-7.ko")
    section = module.section_named(table)
    assert section is not None
    at = section.offset + 16
    if table == ".symtab":
        (symbol,) = (symbol for symbol in module.symbols if symbol.name == "kqemu_init")
        at = section.offset + 24 * symbol.index + 8
    assert case_of(scan(bytes(data), "kqemu-7.ko")).is_patched
    data[at] ^= 8
    with pytest.raises(DamagedFileError, match="changed beside its patch"):
        case_of(scan(bytes(data), "kqemu-7.ko"))


@pytest.mark.parametrize("flags", [elf.SHF_ALLOC, 0])
def test_a_linker_set_that_was_added_is_not_proven(flags: int) -> None:
    """What is in it the kernel may call, and it looks for a set by the name only."""
    patched = read_module(patched_bytes("kqemu-7.ko"), "kqemu-7.ko")
    added = NewSection("set_other_set", elf.SHT_PROGBITS, flags, 8, bytes(8))
    assert patched.section_named(added.name) is None
    data = append(patched, sections=[added])
    with pytest.raises(DamagedFileError, match=r"changed beside its patch.*: set_other_set"):
        case_of(scan(data, "kqemu-7.ko"))
