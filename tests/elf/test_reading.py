"""What kpatch reads in an ELF file is what other readers read."""

from __future__ import annotations

from io import BytesIO

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_E_MACHINE, ENUM_SH_TYPE_BASE
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, read_module
from tests.elf.objects import assembled, compiled, small_module
from tests.strategies.elf_files import modules, relocatable_files

MANY_SECTIONS = """
    .altmacro
    .macro one n
    .section s\\n, "a"
x\\n: .byte 1
    .endm
    .set n, 0
    .rept 65400
    one %n
    .set n, n+1
    .endr
"""
C_SOURCE = """
extern int common_tss[];
static int counter;
const char monitor_code[256] = {1, 2, 3};
static const char *const names[] = {"a", "b"};
int kqemu_exec(int x) { counter += x; return common_tss[x] + names[x & 1][0] + monitor_code[x]; }
"""


@given(relocatable_files())
def test_pyelftools_reads_the_same(data: bytes) -> None:
    assert_read_as_pyelftools_does(read_module(data))


@pytest.mark.parametrize("data", [assembled(".text\nret"), compiled(C_SOURCE)])
def test_pyelftools_reads_the_same_in_what_real_tools_make(data: bytes) -> None:
    assert_read_as_pyelftools_does(read_module(data))


@given(modules(), st.data())
def test_relocations_at_are_those_that_write_into_the_range(
    module: Module, data: st.DataObject
) -> None:
    section = data.draw(st.sampled_from(module.sections))
    start = data.draw(st.integers(0, section.size))
    end = data.draw(st.integers(start, section.size + 8))
    written = {
        (relocation.table, relocation.index)
        for relocation in module.relocations
        if relocation.target == section.index
        and set(range(relocation.offset, relocation.end)) & set(range(start, end))
    }
    found = module.relocations_at(section.index, start, end)
    assert {(relocation.table, relocation.index) for relocation in found} == written
    assert list(found) == sorted(found, key=lambda relocation: relocation.offset)


def test_a_relocation_that_reaches_in_from_the_left_is_found() -> None:
    module = read_module(assembled(".data\n.quad ext\n.quad ext\n.long 1"))
    data = module.section_named(".data")
    assert data is not None
    assert [r.offset for r in module.relocations_at(data.index, 7, 9)] == [0, 8]
    assert module.relocations_at(data.index, 16, 20) == ()


def test_a_relocation_that_ends_where_the_range_begins_is_not_found() -> None:
    module = read_module(assembled(".data\n.long ext\n.long 1\n.long ext\n"))
    data = module.section_named(".data")
    assert data is not None
    assert [r.offset for r in module.relocations_at(data.index, 3, 9)] == [0, 8]
    assert module.relocations_at(data.index, 4, 8) == ()


def test_a_global_symbol_is_found_before_a_local_one_of_its_name() -> None:
    data = assembled(".text\nf: ret\n.globl g\ng: ret\n").replace(b"\0f\0", b"\0g\0")
    module = read_module(data)
    assert [symbol.name for symbol in module.symbols].count("g") == 2
    for found in (module.symbol_named("g"), module.defined("g")):
        assert found is not None
        assert not found.is_local


def test_undefined_symbols_are_those_without_a_section() -> None:
    module = small_module()
    assert module.undefined == {"common_tss"}
    assert module.defined("common_tss") is None
    assert module.defined("kqemu_exec") is not None


def test_sections_of_one_name_are_all_found_in_order() -> None:
    source = '.section same,"a",@progbits,unique,1\n.byte 1\n'
    source += '.section same,"a",@progbits,unique,2\n.byte 2\n'
    module = read_module(assembled(source))
    assert [module.contents(section) for section in module.sections_named("same")] == [
        b"\1",
        b"\2",
    ]
    assert module.section_named("same") == module.sections_named("same")[0]


def test_a_section_without_bytes_has_no_contents_and_no_length_in_the_file() -> None:
    module = small_module()
    bss = module.section_named(".bss")
    assert bss is not None
    assert bss.size > 100
    assert module.contents(bss) == b""
    assert bss.end == bss.offset


def test_a_file_for_i386_is_told_apart() -> None:
    module = read_module(assembled(".globl f\nf: call ext", "--32"))
    assert not module.header.is_amd64
    assert module.header.machine_name == "i386"
    assert module.symbol_named("f") is not None
    assert module.undefined == {"ext"}
    assert module.relocations == ()


def test_a_big_endian_file_is_told_apart() -> None:
    header = bytearray(64)
    header[:7] = elf.ELF_MAGIC + bytes((2, 2, 1))
    header[16:20] = bytes((0, 1, 0, 43))  # relocatable, SPARC V9
    module = read_module(bytes(header))
    assert not module.header.little_endian
    assert (module.header.type, module.header.machine) == (elf.ET_REL, 43)
    assert module.header.machine_name == "SPARC64"


def test_more_sections_than_the_header_can_count_are_read() -> None:
    module = read_module(assembled(MANY_SECTIONS))
    assert module.header.extended
    assert len(module.sections) == module.header.shnum > 65400
    last = module.symbol_named("x65399")
    assert last is not None
    assert module.sections[last.section].name == "s65399"


def test_names_beyond_ascii_come_out_escaped() -> None:
    module = read_module(assembled(".globl abc\nabc: ret").replace(b"\0abc\0", b"\0\xff\xfec\0"))
    assert module.symbol_named("\\xff\\xfec") is not None


def assert_read_as_pyelftools_does(module: Module) -> None:
    reference = ELFFile(BytesIO(module.data))
    assert ENUM_E_MACHINE[reference["e_machine"]] == module.header.machine
    assert reference.num_sections() == len(module.sections)
    for section, mine in zip(reference.iter_sections(), module.sections, strict=True):
        assert section.name == mine.name
        kind = section["sh_type"]
        assert (ENUM_SH_TYPE_BASE[kind] if isinstance(kind, str) else kind) == mine.type
        assert section["sh_offset"] == mine.offset
        assert section["sh_size"] == mine.size
        assert section["sh_addralign"] == mine.align
        assert (section["sh_link"], section["sh_info"]) == (mine.link, mine.info)
        if mine.has_bytes:
            assert section.data() == module.contents(mine)
        if isinstance(section, SymbolTableSection):
            symbols = [(s.name, s["st_value"], s["st_size"]) for s in section.iter_symbols()]
            # pyelftools gives a section symbol the name of its section.
            assert [(s.value, s.size) for s in module.symbols] == [s[1:] for s in symbols]
            named = {s.name for s in module.symbols if s.name}
            assert named <= {s[0] for s in symbols}
        if isinstance(section, RelocationSection):
            expected = [
                (r["r_offset"], r["r_info_type"], r["r_info_sym"], r["r_addend"])
                for r in section.iter_relocations()
            ]
            found = [
                (r.offset, r.type, r.symbol, r.addend)
                for r in module.relocations
                if r.table == mine.index
            ]
            assert found == expected
