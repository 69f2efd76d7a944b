"""Whatever the bytes are, a file is read or refused with DamagedFileError, soon and cheaply."""

from __future__ import annotations

import subprocess
from pathlib import Path
from struct import pack

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpatch.elf.edits import NewSymbol
from kpatch.elf.klink import check
from kpatch.elf.metadata import linker_sets, read_metadata
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, LinkerRefusalError
from tests.children import peak_of
from tests.editing import append
from tests.elf.objects import assembled, small_module, with_bytes, with_section_field

SMALL = small_module()
SHOFF = SMALL.header.shoff


def section_index(name: str, module: Module = SMALL) -> int:
    section = module.section_named(name)
    assert section is not None
    return section.index


SYMTAB = section_index(".symtab")
STRTAB = section_index(".strtab")
RELA = section_index(".rela.text")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A small module with some bytes changed, most of them in its tables, perhaps cut off."""
    data = bytearray(SMALL.data)
    tables = [0, SHOFF, SMALL.sections[SYMTAB].offset, SMALL.sections[RELA].offset]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.sampled_from(tables)) + draw(st.integers(0, 64 * len(SMALL.sections)))
        at = min(at, len(data) - 8)
        width = draw(st.sampled_from((1, 2, 4, 8)))
        value = draw(st.sampled_from((0, 1, 0x7F, 0xFFFF, (1 << 63) - 1, (1 << 64) - 1, at)))
        data[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    keep = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return bytes(data[:keep])


@settings(max_examples=500)
@given(st.one_of(damaged(), st.binary(max_size=200).map(lambda tail: b"\x7fELF" + tail)))
@example(b"")
@example(b"\x7fELF")
@example(b"\x7fELF\2\1\1")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        module = read_module(data, "some.ko")
    except DamagedFileError as error:
        assert error.where.startswith("some.ko")
        assert error.todo
        return
    check(module)
    linker_sets(module)
    read_metadata(module)
    for section in module.sections:
        assert len(module.contents(section)) in (section.size, 0)


@settings(max_examples=200)
@given(damaged())
def test_a_damaged_file_is_edited_or_refused(data: bytes) -> None:
    try:
        module = read_module(data)
        append(module, symbols=[NewSymbol("kpatch_new", None)])
    except (DamagedFileError, LinkerRefusalError):
        return


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (b"MZ" + SMALL.data[2:], "not an ELF file"),
        (SMALL.data[:10], "ends inside the ELF header"),
        (SMALL.data[:60], "ends inside the ELF header"),
        (with_bytes(SMALL.data, 4, b"\3"), "does not exist"),
        (with_bytes(SMALL.data, 5, b"\0"), "does not exist"),
        (with_bytes(SMALL.data, 40, pack("<Q", 1 << 63)), "lies outside the file"),
        (with_bytes(SMALL.data, 58, pack("<H", 40)), "section header is said to have 40"),
        (with_bytes(SMALL.data, 60, pack("<H", 0xFE00)), "goes beyond the file"),
        (with_bytes(SMALL.data, 62, pack("<H", 200)), "section names are said to be in section"),
        (with_bytes(SMALL.data, 62, pack("<H", 1)), "is no string table"),
        (SMALL.data[:-1], "goes beyond the file"),
        (with_section_field(SMALL.data, 1, "size", 1 << 40), "needs bytes up to"),
        (with_section_field(SMALL.data, 1, "offset", 1 << 40), "needs bytes up to"),
        (with_section_field(SMALL.data, 1, "name", 1 << 20), "name of section 1 does not end"),
        (with_section_field(SMALL.data, SYMTAB, "entsize", 0), "entries of 0, not of 24"),
        (with_section_field(SMALL.data, SYMTAB, "size", 25), "a table of 25 bytes"),
        (with_section_field(SMALL.data, SYMTAB, "link", 1), "names are said to be in section 1"),
        (with_section_field(SMALL.data, SYMTAB, "link", 999), "not a string table"),
        (with_section_field(SMALL.data, STRTAB, "size", 3), "does not end inside its table"),
        (with_section_field(SMALL.data, RELA, "entsize", 16), "entries of 16, not of 24"),
        (with_section_field(SMALL.data, RELA, "info", 999), "relocates section 999"),
        (
            with_section_field(SMALL.data, RELA, "link", STRTAB),
            f"its symbols in {STRTAB}, no symbol table",
        ),
        (with_section_field(SMALL.data, RELA, "link", 999), "its symbols in 999, no symbol table"),
        (with_section_field(SMALL.data, 0, "type", 6), "section 0, which is none, has type 6"),
        (with_section_field(SMALL.data, 1, "offset", 0), "section 1 and the ELF header overlap"),
        (with_section_field(SMALL.data, 1, "offset", SHOFF + 63), "section headers and section 1"),
        (
            with_section_field(SMALL.data, RELA, "offset", SMALL.sections[SYMTAB].offset),
            f"section {RELA} and section {SYMTAB} overlap",
        ),
        (
            with_bytes(SMALL.data, SMALL.sections[RELA].offset + 12, pack("<I", 9999)),
            "names symbol 9999",
        ),
        (
            with_bytes(SMALL.data, SMALL.sections[SYMTAB].offset + 24 + 6, pack("<H", 777)),
            "is in section 777",
        ),
    ],
)
def test_damage_is_named_with_its_place(changed: bytes, message: str) -> None:
    with pytest.raises(DamagedFileError) as caught:
        read_module(changed, "kqemu.ko")
    assert message in caught.value.what
    assert "kqemu.ko" in caught.value.where
    assert "get the file again" in caught.value.todo or "give a kernel module" in caught.value.todo


def test_a_count_that_the_file_cannot_hold_costs_no_memory() -> None:
    extended = with_bytes(SMALL.data, 60, pack("<H", 0))
    hostile = with_section_field(extended, 0, "size", 1 << 40)

    def read() -> None:
        with pytest.raises(DamagedFileError):
            read_module(hostile)

    assert peak_of(read) < 1 << 20


def test_relocation_tables_over_one_another_are_refused() -> None:
    rows = 2000
    source = ".data\n" + f".rept {rows}\n.quad ext\n.endr\n" + '.section other,"a"\n.quad ext\n'
    module = read_module(assembled(source))
    data = module.data
    first = module.sections[section_index(".rela.data", module)]
    for section in module.sections:
        if section.index not in (0, module.header.shstrndx) and section.name != ".symtab":
            for field, value in (
                ("type", 4),
                ("offset", first.offset),
                ("size", first.size),
                ("entsize", 24),
                ("info", 1),
            ):
                data = with_section_field(data, section.index, field, value)
    with pytest.raises(DamagedFileError) as caught:
        read_module(with_section_field(data, section_index(".symtab", module), "type", 0))
    assert "overlap" in caught.value.what


def test_names_over_one_another_are_refused() -> None:
    labels = 3000
    long_name = "n" * 60000
    source = "\n".join(f"f{at}: ret" for at in range(labels)) + f"\n{long_name}: ret\n"
    module = read_module(assembled(source))
    symtab = module.sections[section_index(".symtab", module)]
    start = module.data.index(long_name.encode()) - module.sections[symtab.link].offset
    data = bytearray(module.data)
    for at in range(labels):
        entry = symtab.offset + 24 * (at + 1)
        data[entry : entry + 4] = pack("<I", start + at)
    with pytest.raises(DamagedFileError) as caught:
        read_module(bytes(data))
    assert "names overlap" in caught.value.what


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("*", "section names"),
        (".symtab", "symbols"),
        (".strtab", "symbols' names"),
        (".rela*", "relocations"),
    ],
)
def test_tables_that_elfutils_compressed_are_told_as_that(
    pattern: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "module.o"
    path.write_bytes(SMALL.data)
    compress = ["eu-elfcompress", "-q", "-f", "-n", pattern, "-t"]
    subprocess.run([*compress, "zlib", path], check=True)
    with pytest.raises(DamagedFileError, match=f"the {what} are compressed; run 'eu-elfcompress"):
        assert read_module(path.read_bytes()).relocations
    subprocess.run([*compress[:-2], "*", "-t", "none", path], check=True)
    again = read_module(path.read_bytes())
    assert (again.symbols, again.relocations) == (SMALL.symbols, SMALL.relocations)
