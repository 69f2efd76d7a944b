"""What older and newer versions of the tools make of a module, by what they do to its sections."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.module import read_module
from kpatch.errors import UnknownModuleError
from kpatch.patch.assess import Verdict, assess
from tests.patch.test_stripped import patched, sample


@pytest.mark.parametrize("data", [patched(), sample("kqemu-7.ko").data], ids=["patched", "bare"])
def test_symbols_that_an_old_objcopy_split_off_are_told_as_such(data: bytes) -> None:
    """Up to binutils 2.35 --only-keep-debug leaves a relocatable file's sections, as zeros."""
    split = bytearray(data)
    for section in read_module(data).sections:
        if section.is_loaded and section.flags & elf.SHF_ALLOC:
            split[section.offset : section.end] = bytes(section.end - section.offset)
    found = assess(read_module(bytes(split), "kqemu.ko.symbols"))
    assert isinstance(found.refusal, UnknownModuleError)
    assert "symbols and debugging information only" in found.reason


@pytest.mark.parametrize(
    ("contents", "verdict"), [(bytes(4), Verdict.STRIPPED), (b"\1\0\0\0", Verdict.CHANGED)]
)
def test_only_the_end_mark_of_an_eh_frame_may_have_come_in(
    contents: bytes, verdict: Verdict, tmp_path: Path
) -> None:
    """As mold -r of 2.37 adds it to a module that has no .eh_frame."""
    module, end, out = tmp_path / "kqemu.ko", tmp_path / "end", tmp_path / "out.ko"
    module.write_bytes(patched())
    end.write_bytes(contents)
    flags = ("--set-section-flags", ".eh_frame=alloc,readonly,data,contents")
    add = ("objcopy", "--add-section", f".eh_frame={end}", *flags, module, out)
    subprocess.run(add, check=True, timeout=300)
    assert assess(read_module(out.read_bytes(), "kqemu.ko")).verdict is verdict
