"""Refusals say what helps. Each input is made here, from a sample or by a compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol
from kpatch.elf.module import read_module
from kpatch.errors import DamagedFileError, KpatchError, LinkerRefusalError
from kpatch.kernel.host import Host
from kpatch.kernel.kernelfile import read_kernel
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from kpatch.units import SectionOffset
from tests.editing import append

SAMPLE = Path(__file__).parents[2] / "samples" / "kqemu-7.ko"


def linked(source: str, folder: Path, *compiler: str) -> bytes:
    """The sample with a C file linked to it."""
    (folder / "more.c").write_text(source)
    plain = ["-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables", "-c"]
    subprocess.run(["gcc", *plain, *compiler, "more.c"], cwd=folder, check=True)
    subprocess.run(["ld", "-r", "-o", "more.ko", SAMPLE, "more.o"], cwd=folder, check=True)
    return (folder / "more.ko").read_bytes()


def refusal(data: bytes) -> KpatchError:
    """What ``apply`` would say."""
    with pytest.raises(KpatchError) as caught:
        apply_plan(prepare(assess(read_module(data, "odd.ko"), host=Host(700055))))
    return caught.value


def test_a_common_symbol_is_refused_and_the_linkers_option_named(tmp_path: Path) -> None:
    error = refusal(linked("long shared[64];", tmp_path, "-fcommon"))
    assert isinstance(error, LinkerRefusalError)
    assert "shared is common" in error.what and "ld -r -d" in error.todo


@pytest.mark.parametrize(("kind", "name"), [("zlib", ".debug_info"), ("zlib-gnu", ".zdebug_info")])
def test_compressed_debug_sections_are_named_with_the_way_out(
    kind: str, name: str, tmp_path: Path
) -> None:
    functions = "".join(
        f"struct s{n} {{ int a; long b; }}; int x{n}; int f{n}(struct s{n} *p)"
        f"{{ return p->a + x{n}; }}\n"
        for n in range(60)
    )
    linked(functions, tmp_path, "-g", "-gz=none", "-fno-common")
    subprocess.run(
        ["objcopy", f"--compress-debug-sections={kind}", "more.ko"], cwd=tmp_path, check=True
    )
    error = refusal((tmp_path / "more.ko").read_bytes())
    assert isinstance(error, LinkerRefusalError)
    assert f"{name} is compressed" in error.what
    assert "objcopy --decompress-debug-sections" in error.todo


def test_a_weak_common_tss_is_named_where_it_is(tmp_path: Path) -> None:
    source = "extern char common_tss[] __attribute__((weak)); char *f(void) { return common_tss; }"
    data = linked(source, tmp_path, "-fno-common")
    error = refusal(data)
    assert isinstance(error, LinkerRefusalError)
    assert "kpatch" not in error.where and "common_tss" in error.what


def test_a_weak_common_tss_that_nothing_uses_is_refused_before_the_patch() -> None:
    sample = read_module(SAMPLE.read_bytes())
    data = bytearray(append(sample, symbols=[NewSymbol("common_tss", None)]))
    module = read_module(bytes(data))
    symbol, table = module.symbol_named("common_tss"), module.symtab
    assert symbol is not None and table is not None
    data[table.offset + 24 * symbol.index + 4] = elf.STB_WEAK << 4
    error = refusal(bytes(data))
    assert isinstance(error, LinkerRefusalError)
    assert "--globalize-symbol=common_tss" in error.todo and error.where == "odd.ko"


def test_many_relocations_of_one_type_are_one_line_with_a_count() -> None:
    module = read_module(SAMPLE.read_bytes())
    data = append(
        module,
        sections=[NewSection(".more", elf.SHT_PROGBITS, elf.SHF_ALLOC, 8, bytes(400))],
        relocations=[
            NewRelocation(".more", SectionOffset(4 * n), kind, "malloc")
            for kind in (elf.R_X86_64_PLT32, 9)
            for n in range(40)
        ],
    )
    found = [each.what for each in assess(read_module(data)).linker if each.rule == "known-types"]
    assert found == [
        "the kernel does not know R_X86_64_PLT32 (40 relocations, the first against malloc)",
        "the kernel does not know R_X86_64_GOTPCREL (40 relocations, the first against malloc)",
    ]


def test_an_entry_size_that_was_left_out_is_said_to_be_that() -> None:
    data = bytearray(SAMPLE.read_bytes())
    module = read_module(bytes(data))
    table = next(each for each in module.sections if each.type == elf.SHT_RELA)
    at = module.header.shoff + 64 * table.index + 56
    data[at : at + 8] = bytes(8)
    with pytest.raises(DamagedFileError) as caught:
        read_module(bytes(data))
    assert "set its sh_entsize to 24" in caught.value.todo


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF"])
def test_what_is_no_kernel_is_answered_with_which_file_to_give(data: bytes) -> None:
    with pytest.raises(DamagedFileError) as caught:
        read_kernel(data, "empty")
    assert "/boot/kernel/kernel" in caught.value.todo
