"""Where a note of kpatch may be found, and what a module is called whose note says too little."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, LinkerRefusalError, UnknownModuleError
from kpatch.expected import as_read
from kpatch.patch import note
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.giveback import given_back
from kpatch.patch.note import SECTION, read_note
from kpatch.patch.prepare import prepare
from kpatch.witness.readers.readback import read_by_each
from tests.patch.test_stripped import patched, sample, through

FOREIGN = struct.pack("<III4s4s", 4, 4, 1, b"GNU", b"abcd")
"""A note of somebody else, of 20 bytes."""


def note_of(data: bytes) -> bytes:
    module = read_module(data)
    section = module.section_named(SECTION)
    assert section is not None
    return module.contents(section)


def with_note(contents: bytes, folder: Path, data: bytes, name: str = SECTION) -> Module:
    """``data`` with ``contents`` as its note, in a section of that name."""
    (folder / "note").write_bytes(contents)
    place = f"{name}={folder / 'note'}"
    if name != SECTION:
        bare = through(("objcopy", "-R", SECTION), data, folder).data
        return through(("objcopy", "--add-section", place), bare, folder)
    how = "--update-section" if SECTION.encode() in data else "--add-section"
    return through(("objcopy", how, place), data, folder)


@pytest.mark.parametrize("name", [SECTION, ".note", ".note.other"])
@pytest.mark.parametrize(("before", "copies", "behind"), [(FOREIGN, 1, b""), (b"", 2, FOREIGN)])
def test_a_note_among_others_gives_the_patch_back(
    before: bytes, copies: int, behind: bytes, name: str, tmp_path: Path
) -> None:
    """Linkers put notes together, and scripts rename their sections."""
    whole = patched()
    module = with_note(before + copies * note_of(whole) + behind, tmp_path, whole, name)
    found = assess(module)
    assert (found.verdict, found.refusal) == (Verdict.STRIPPED, None)
    assert found.note is not None
    assert assess(read_module(given_back(module).data)).verdict is Verdict.AFFECTED
    assert all(reading.agrees for reading in read_by_each(module.data, as_read(module)))


@pytest.mark.parametrize(
    ("cut", "says"), [(0, "0 bytes"), (11, "11 bytes"), (40, "not all of one"), (-8, "not all")]
)
def test_a_cut_note_is_said_to_be_one(cut: int, says: str, tmp_path: Path) -> None:
    found = assess(with_note(note_of(patched())[:cut], tmp_path, patched()))
    assert isinstance(found.refusal, DamagedFileError) and found.verdict is Verdict.CHANGED
    assert says in found.reason and "unpack" not in found.reason


def test_a_compressed_note_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched())
    subprocess.run(["eu-elfcompress", "-f", "-n", SECTION, path], check=True, capture_output=True)
    found = assess(read_module(path.read_bytes(), "kqemu.ko"))
    assert found.verdict is Verdict.CHANGED and "the section is compressed" in found.reason


def test_a_section_that_only_has_the_note_s_name_is_no_note(tmp_path: Path) -> None:
    module = with_note(b"hello", tmp_path, sample("kqemu-7.ko").data)
    found = assess(module)
    assert (found.verdict, found.refusal) == (Verdict.AFFECTED, None)
    with pytest.raises(LinkerRefusalError, match=r"has a section \.note\.kpatch already"):
        apply_plan(prepare(found))


def test_a_note_on_an_unpatched_module_is_told_with_the_way_out(tmp_path: Path) -> None:
    module = with_note(note_of(patched()), tmp_path, sample("kqemu-7.ko").data)
    found = assess(module)
    assert isinstance(found.refusal, DamagedFileError) and "but no patch" in found.reason
    again = through(("objcopy", "-R", SECTION), module.data, tmp_path)
    assert assess(again).verdict is Verdict.AFFECTED


def test_two_patched_modules_in_one_are_refused(tmp_path: Path) -> None:
    """Each has two calls to its trampolines: sorting them by place ended as a bug of kpatch."""
    for name in ("kqemu-7.ko", "kqemu-6.ko"):
        (tmp_path / name).write_bytes(patched(name))
    link = ["ld", "-r", "-z", "muldefs", "-o", "two.ko", "kqemu-7.ko", "kqemu-6.ko"]
    subprocess.run(link, cwd=tmp_path, check=True)
    data = (tmp_path / "two.ko").read_bytes()
    found = assess(read_module(data, "two.ko"))
    assert found.verdict is Verdict.CHANGED and "there are 2 of them" in found.reason
    bare = through(("objcopy", "-R", SECTION), data, tmp_path)
    assert isinstance(assess(bare).refusal, DamagedFileError)


@pytest.mark.parametrize("data", [patched(), sample("kqemu-7.ko").data], ids=["patched", "bare"])
def test_a_module_without_section_headers_is_one_that_no_kernel_loads(data: bytes) -> None:
    """As sstrip and the --strip-sections of llvm-strip and eu-strip leave it."""
    cut = bytearray(data)
    struct.pack_into("<Q", cut, 40, 0)  # e_shoff
    struct.pack_into("<HHH", cut, 58, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
    found = assess(read_module(bytes(cut), "cut.ko"))
    assert isinstance(found.refusal, LinkerRefusalError) and found.verdict.value == "unknown-build"
    assert "no section headers" in found.reason


def test_split_off_symbols_of_a_patched_module_are_told_as_such(tmp_path: Path) -> None:
    found = assess(through(("objcopy", "--only-keep-debug"), patched(), tmp_path))
    assert isinstance(found.refusal, UnknownModuleError)
    assert "symbols and debugging information only" in found.reason


def test_a_module_linked_with_another_object_is_changed_beside_the_patch(tmp_path: Path) -> None:
    """Not at its sites, which the linker moved."""
    (tmp_path / "more.s").write_text(".text\n.globl more\nmore: ret\n.skip 40\n")
    (tmp_path / "kqemu.ko").write_bytes(patched())
    for command in ("as -o more.o more.s", "ld -r -o two.ko kqemu.ko more.o"):
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    found = assess(read_module((tmp_path / "two.ko").read_bytes(), "two.ko"))
    assert "parts of the module beside the patch were changed" in found.reason


def test_notes_of_others_alone_are_not_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file may have a million of them, and they are asked for again and again."""
    monkeypatch.setattr(note, "_HEADER", None)
    assert read_note(with_note(FOREIGN * 4, tmp_path, sample("kqemu-7.ko").data, ".note")) is None
