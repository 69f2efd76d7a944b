"""Edits that do not fit, and files that are not edited."""

from __future__ import annotations

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol, Overwrite
from kpatch.elf.module import read_module
from kpatch.errors import DamagedFileError, KpatchError, LinkerRefusalError
from kpatch.units import FileOffset, SectionOffset
from tests.editing import append
from tests.elf.objects import assembled, small_module, with_bytes
from tests.elf.test_reading import MANY_SECTIONS
from tests.strategies.elf_edits import Edits

AT_0, FAR = SectionOffset(0), SectionOffset(1 << 20)


@pytest.mark.parametrize(
    "overwrite",
    [
        Overwrite(FileOffset(64), b"not this", b"12345678"),
        Overwrite(FileOffset(1 << 40), b"x", b"y"),
        Overwrite(FileOffset(0), b"\x7f", b"\x7e"),
        Overwrite(FileOffset(64), small_module().data[64:66], b"1"),
    ],
)
def test_an_overwrite_that_does_not_fit_is_refused(overwrite: Overwrite) -> None:
    with pytest.raises(DamagedFileError) as caught:
        append(small_module(), overwrites=[overwrite])
    assert f"0x{overwrite.offset:x}" in caught.value.where


def test_overwrites_that_meet_are_refused() -> None:
    module = small_module()
    first = Overwrite(FileOffset(64), module.data[64:68], b"1234")
    second = Overwrite(FileOffset(67), module.data[67:68], b"5")
    with pytest.raises(DamagedFileError):
        append(module, overwrites=[second, first])


NEW = NewSection(".new", elf.SHT_PROGBITS, 6, 1, b"\xc3")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edits(sections=(NEW._replace(name=".text"),)), "a section .text already"),
        (Edits(sections=(NEW, NEW)), "a section .new already"),
        (Edits(sections=(NEW._replace(type=elf.SHT_NOBITS),)), "contents or a size"),
        (Edits(sections=(NEW._replace(size=4),)), "contents or a size"),
        (Edits(sections=(NEW._replace(name="é"),)), "cannot be a name"),
        (Edits(sections=(NEW._replace(name="a\0b"),)), "cannot be a name"),
        (Edits(symbols=(NewSymbol("", None),)), "cannot be a name"),
        (Edits(symbols=(NewSymbol("x", ".text"),)), "no new section"),
        (Edits(symbols=(NewSymbol("x", None), NewSymbol("x", None))), "a symbol x already"),
        (
            Edits(sections=(NEW,), symbols=(NewSymbol("kqemu_exec", ".new"),)),
            "a symbol kqemu_exec already",
        ),
        (Edits(relocations=(NewRelocation(999, AT_0, 1, "kqemu_exec"),)), "section 999, which"),
        (Edits(relocations=(NewRelocation(".text", AT_0, 1, "f"),)), "section .text, which"),
        (Edits(relocations=(NewRelocation(1, AT_0, 1, "helper"),)), "no global symbol"),
        (Edits(relocations=(NewRelocation(1, FAR, 1, "kqemu_exec"),)), "outside section"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(edit: Edits, message: str) -> None:
    with pytest.raises(LinkerRefusalError) as caught:
        edit.done_to(small_module())
    assert message in caught.value.what


@pytest.mark.parametrize(
    ("source", "options"),
    [(".globl f\nf: ret", ("--32",)), (".globl f\nf: ret", ("--x32",))],
)
def test_only_64_bit_files_are_edited(source: str, options: tuple[str, ...]) -> None:
    module = read_module(assembled(source, *options))
    with pytest.raises(KpatchError) as caught:
        append(module, symbols=[NewSymbol("x", None)])
    assert "not a relocatable x86-64 module" in caught.value.what


def test_a_file_with_extended_section_numbers_is_refused() -> None:
    module = read_module(assembled(MANY_SECTIONS))
    with pytest.raises(LinkerRefusalError) as caught:
        append(module, symbols=[NewSymbol("x", None)])
    assert "extended section numbers" in caught.value.what


def test_a_file_without_symbols_is_refused() -> None:
    module = small_module()
    symtab = module.symtab
    assert symtab is not None
    header = module.header.shoff + 64 * symtab.index
    stripped = with_bytes(module.data, header + 4, b"\1\0\0\0")
    for relocation_table in (s for s in module.sections if s.is_relocation_table):
        at = module.header.shoff + 64 * relocation_table.index
        stripped = with_bytes(stripped, at + 4, b"\1\0\0\0")
    with pytest.raises(LinkerRefusalError) as caught:
        append(read_module(stripped), symbols=[NewSymbol("x", None)])
    assert "no symbol table" in caught.value.what
