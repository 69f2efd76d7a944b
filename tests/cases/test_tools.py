"""After the patch: strip, install and their kin, one after the other; without the note; proven."""

from __future__ import annotations

import gzip
import struct
import subprocess
from functools import cache
from pathlib import Path

import pytest

from kpatch.elf.constants import SHF_STRINGS
from kpatch.elf.module import read_module
from kpatch.kernel.host import Host
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from kpatch.ports import build
from kpatch.ports.locate import Folders
from kpatch.ports.workshop import ModuleWorkshop
from tests.cases import odd_modules
from tests.cases.rewriter import Rewriter
from tests.cli.harness import patched_bytes, run, sample
from tests.patch.test_stripped import proven

ORIGINAL = sample("kqemu-7.ko").read_bytes()
STT_SECTION = 3
# Each step is a command; IN and OUT stand for files.
INTACT = {
    "strip -x, objcopy, ld -r": ("strip -x -o OUT IN", "objcopy IN OUT", "ld -r -o OUT IN"),
    "ld -r, strip -x, strip -g": ("ld -r -o OUT IN", "strip -x -o OUT IN", "strip -g -o OUT IN"),
    "strip -g, install": ("strip -g -o OUT IN", "install -m 555 IN OUT"),
    "ld -r -x": ("ld -r -x -o OUT IN",),
    "ld -r -S --build-id": ("ld -r -S --build-id -o OUT IN",),
    "ld.lld -r -x": ("ld.lld -r -x -o OUT IN",),
    "ld.gold -r, with the alignment mended": (
        "ld.gold -r -o OUT IN",
        "objcopy --set-section-alignment .note.GNU-stack=1 IN OUT",
    ),
    "objcopy -R .comment": ("objcopy -R .comment IN OUT",),
    "a debug link": (
        "objcopy --only-keep-debug IN kqemu.ko.symbols",
        "objcopy --strip-debug --add-gnu-debuglink=kqemu.ko.symbols IN OUT",
    ),
    "llvm-strip --strip-unneeded": ("llvm-strip --strip-unneeded -o OUT IN",),
    "llvm-objcopy --discard-all": ("llvm-objcopy --discard-all IN OUT",),
    "eu-strip -f": ("eu-strip -f kqemu.debug -o OUT IN",),
    "eu-strip -R .comment": ("eu-strip -R .comment -o OUT IN",),
    "symbols made local": (
        "objcopy --localize-symbol=kpatch_tss_entry --localize-symbol=kpatch_tss_lock IN OUT",
    ),
    "the note's section renamed": ("objcopy --rename-section .note.kpatch=.note.x IN OUT",),
}
NOTELESS = {
    "objcopy -R '.note*'": ("objcopy -R .note* IN OUT",),
    "strip -x, objcopy -R, ld -r": (
        "strip -x -o OUT IN",
        "objcopy -R .note* IN OUT",
        "ld -r -o OUT IN",
    ),
}
LOST = {
    "strip": (("strip -o OUT IN",), 16, "all symbols and relocations were stripped"),
    "llvm-strip -s": (("llvm-strip -s -o OUT IN",), 16, "all symbols and relocations"),
    "llvm-strip --strip-all-gnu": (("llvm-strip --strip-all-gnu -o OUT IN",), 16, "all symbols"),
    "llvm-strip --strip-sections": (
        ("llvm-objcopy --strip-sections IN OUT",),
        16,
        "no section headers",
    ),
    "eu-strip --strip-sections": (
        ("eu-strip --strip-sections -o OUT IN",),
        16,
        "no section headers",
    ),
    "objcopy --only-keep-debug": (
        ("objcopy --only-keep-debug IN OUT",),
        11,
        "symbols and debugging information only",
    ),
    "ld.gold -r": (("ld.gold -r -o OUT IN",), 16, "--set-section-alignment .note.GNU-stack=1"),
}


def through(steps: tuple[str, ...], data: bytes, folder: Path) -> Path:
    """The file that the steps make of ``data``, one after the other."""
    path = folder / "kqemu.ko"
    path.write_bytes(data)
    for step in steps:
        words = step.replace("IN", path.name).replace("OUT", "out").split()
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=300)
        if (folder / "out").exists():
            (folder / "out").replace(path)
    return path


@cache
def _proven_content(data: bytes) -> str:
    return proven(read_module(data, "kqemu.ko"))


@pytest.mark.parametrize("steps", INTACT.values(), ids=INTACT)
def test_the_patch_is_known_after_tools_in_a_row_and_can_be_taken_out(
    steps: tuple[str, ...], tmp_path: Path
) -> None:
    path = through(steps, patched_bytes(), tmp_path)
    seen = run("scan", path)
    assert seen.code == 0 and "then stripped by another tool; the patch is intact" in seen.out
    done = run("apply", "--no-verify", path)
    assert done.code == 0 and "patched already" in done.err
    back = run("revert", path)
    assert back.code == 0 and "the original is back" not in back.err
    assert ": AFFECTED\n" in run("scan", path).out


def test_what_mold_makes_of_it_is_intact_and_can_be_taken_out(tmp_path: Path) -> None:
    """``mold -r`` writes entry size 0 for strings, and section symbols for relocation tables."""
    module = Rewriter(patched_bytes())
    strings = [part for part in module.parts if part.flags & SHF_STRINGS]
    assert strings
    for part in strings:
        part.entsize = 0
    module.add_symbol("", STT_SECTION, module.number(".rela.text.kpatch"))
    path = tmp_path / "kqemu.ko"
    path.write_bytes(module.build())
    assert "then stripped by another tool; the patch is intact" in run("scan", path).out
    assert run("revert", path).code == 0
    assert ": AFFECTED\n" in run("scan", path).out


@pytest.mark.parametrize("steps", NOTELESS.values(), ids=NOTELESS)
def test_without_its_note_it_is_known_and_says_what_it_cannot_give_back(
    steps: tuple[str, ...], tmp_path: Path
) -> None:
    path = through(steps, patched_bytes(), tmp_path)
    seen = run("scan", path)
    assert seen.code == 0 and "patched by kpatch, without its note" in seen.out
    assert "another version" not in seen.out
    done = run("revert", path)
    assert done.code == 10 and "its note is gone" in done.complaint


@pytest.mark.parametrize(
    ("copy", "is_its_own"), [("kqemu-7.ko", True), ("kqemu-6.ko", False), ("junk", False)]
)
def test_a_copy_is_only_called_the_original_s_where_it_is(
    copy: str, is_its_own: bool, tmp_path: Path
) -> None:
    """Without its note: a copy is its own if patching that gives the same module."""
    path = through(("strip -x -o OUT IN", "objcopy -R .note* IN OUT"), patched_bytes(), tmp_path)
    data = b"junk" if copy == "junk" else sample(copy).read_bytes()
    path.with_name("kqemu.ko.orig.gz").write_bytes(gzip.compress(data))
    said = run("revert", path).complaint
    assert (f"a copy of the original was kept in {path}.orig.gz" in said) == is_its_own
    assert ("nothing tells that it holds this one's original" in said) != is_its_own


@pytest.mark.parametrize("steps", LOST, ids=LOST.keys())
@pytest.mark.parametrize("command", ["scan", "apply", "verify", "revert"])
def test_what_no_kernel_loads_any_more_is_told_as_such(
    steps: str, command: str, tmp_path: Path
) -> None:
    commands, code, words = LOST[steps]
    path = through(commands, patched_bytes(), tmp_path)
    done = run(command, path)
    nothing_left = "llvm" in steps and "sections" in steps  # not even the name
    scanned = 0 if nothing_left else 1
    assert done.code == (scanned if command == "scan" else code), done.err
    assert words in done.out + done.err


def test_staged_files_that_tools_rewrote_are_accepted(tmp_path: Path) -> None:
    """The step ``staged`` of a build, for a port that strips what it stages."""
    work, stage = tmp_path / "work", tmp_path / "stage" / "boot" / "modules"
    work.mkdir()
    stage.mkdir(parents=True)
    (work / "kqemu.ko").write_bytes(patched_bytes())
    workshop = ModuleWorkshop(Host(700055), replace_source_fix=False, proving=None)
    folders = Folders(work, work, tmp_path / "stage")
    for command in ("strip --strip-debug", "strip -x", "llvm-strip -g", "objcopy -R .note.kpatch"):
        (stage / "kqemu.ko").write_bytes(patched_bytes())
        subprocess.run([*command.split(), stage / "kqemu.ko"], check=True)
        (report,) = build.staged(["kqemu.ko"], folders, workshop)
        assert "staged with other bytes than built" in report.line, command


def test_a_prefix_that_does_nothing_is_proven_not_to(tmp_path: Path) -> None:
    """A DS prefix: in 64-bit mode a CPU takes no base from DS; an emulator once did."""
    site = ORIGINAL.index(b"\x81\x61\x04\xff\xfd\xff\xff\x0f\x00\xd8")  # and [rcx+4]; ltr ax
    padding = ORIGINAL.index(b"\xc3", site) + 1
    assert ORIGINAL[padding] == 0x66, "a long nop, of which nothing runs"
    data = bytearray(ORIGINAL)
    data[site : padding + 1] = b"\x3e" + data[site:padding]
    module = read_module(bytes(data), "ds.ko")
    whole = apply_plan(prepare(assess(module, host=Host(700055))))
    assert _proven_content(whole) == "proven"


def test_a_module_of_3000_sections_is_proven(tmp_path: Path) -> None:
    data = odd_modules.PATCHED["3,000 sections"](Rewriter(ORIGINAL))
    whole = apply_plan(prepare(assess(read_module(data, "many.ko"), host=Host(700055))))
    assert _proven_content(whole) == "proven"
    assert struct.unpack_from("<H", whole, 60)[0] > 3000
