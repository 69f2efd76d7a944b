"""Readers and linkers that kpatch did not write accept what it writes, without a word."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import lief
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf import klink
from kpatch.elf.module import Module, read_module
from kpatch.units import Address
from tests.elf.objects import compiled, small_module
from tests.elf.test_reading import C_SOURCE, assert_read_as_pyelftools_does
from tests.strategies.elf_edits import Edits, edits
from tests.strategies.elf_files import modules

CASES = modules().flatmap(lambda module: st.tuples(st.just(module), edits(module)))
SAMPLES = Path(__file__).parents[2] / "samples"
REAL = [small_module(), read_module(compiled(C_SOURCE), "compiled.ko")]
REAL += [
    read_module((SAMPLES / name).read_bytes(), name)
    for name in ("kqemu-6.ko", "kqemu-7-ehframe.ko", "kqemu-7-norela.ko", "kqemu-7-stripped.ko")
]


@settings(max_examples=100)
@given(case=CASES)
def test_binutils_take_a_drawn_file(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[Module, Edits]
) -> None:
    _assert_binutils_take(tmp_path_factory.mktemp("drawn"), case[1].done_to(case[0]))


@settings(max_examples=10)
@given(data=st.data())
@pytest.mark.parametrize("module", REAL, ids=lambda module: module.name)
def test_binutils_take_an_edited_file_of_real_tools(
    tmp_path_factory: pytest.TempPathFactory, module: Module, data: st.DataObject
) -> None:
    edit = data.draw(edits(module))
    _assert_binutils_take(tmp_path_factory.mktemp("real"), edit.done_to(module))


@settings(max_examples=10)
@given(data=st.data())
@pytest.mark.parametrize("module", REAL, ids=lambda module: module.name)
def test_the_kernel_would_still_load_an_edited_file_of_real_tools(
    module: Module, data: st.DataObject
) -> None:
    before = {finding.rule for finding in klink.check(module)}
    after = read_module(data.draw(edits(module)).done_to(module))
    # Symbols are drawn apart from relocations, so that some have none.
    assert {finding.rule for finding in klink.check(after)} - {"symbols-used"} <= before
    assert_read_as_pyelftools_does(after)


@given(CASES)
def test_other_readers_and_the_kernel_find_what_was_written(case: tuple[Module, Edits]) -> None:
    """All three of each file: to draw it takes longer than to read it."""
    module = read_module(case[1].done_to(case[0]))
    assert_read_as_pyelftools_does(module)
    _assert_lief_reads(module)
    _assert_the_kernel_would_load(module)


def _assert_lief_reads(module: Module) -> None:
    parsed = lief.ELF.parse(BytesIO(module.data))
    assert parsed is not None
    assert [section.name for section in parsed.sections] == [s.name for s in module.sections]
    assert [section.offset for section in parsed.sections] == [s.offset for s in module.sections]
    assert [symbol.name for symbol in parsed.symtab_symbols if symbol.name] == [
        symbol.name for symbol in module.symbols if symbol.name
    ]
    # LIEF shows two relocations that are alike in everything as one.
    found = {(r.address, r.addend) for r in parsed.object_relocations}
    assert found == {(r.offset, r.addend) for r in module.relocations}


def _assert_the_kernel_would_load(module: Module) -> None:
    kernel = {name: Address(0xFFFFFFFF80300000) for name in module.undefined}
    loaded = klink.load(module, Address(0xFFFFFFFF80C00000), kernel)
    assert loaded.silent_failures == ()


def test_the_referees_can_object(tmp_path: Path) -> None:
    module = small_module()
    symtab = module.symtab
    assert symtab is not None
    header = module.header.shoff + 64 * symtab.index
    wrong_link = bytearray(module.data)
    wrong_link[header + 40 : header + 44] = bytes((1, 0, 0, 0))
    with pytest.raises(AssertionError):
        _assert_binutils_take(tmp_path, bytes(wrong_link))


def _assert_binutils_take(folder: Path, data: bytes) -> None:
    made, linked = folder / "made.o", folder / "linked.o"
    made.write_bytes(data)
    commands: tuple[list[str | Path], ...] = (
        ["readelf", "-aW", made],
        ["objdump", "-dr", made],
        ["ld", "-r", "-o", linked, made],
    )
    for command in commands:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "arning" not in done.stdout
    reference = ELFFile(BytesIO(linked.read_bytes()))
    symtab = reference.get_section_by_name(".symtab")
    ours = {s.name for s in read_module(data).symbols if s.bind == elf.STB_GLOBAL}
    assert ours <= {symbol.name for symbol in symtab.iter_symbols()}
