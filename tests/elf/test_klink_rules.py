"""Each rule of the kernel linker is broken by a file that breaks it, and by no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kpatch.elf import constants as elf
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol
from kpatch.elf.klink import Consequence, check, require
from kpatch.elf.klink_rules import RULES
from kpatch.elf.module import Module, read_module
from kpatch.errors import LinkerRefusalError
from kpatch.units import SectionOffset
from tests.editing import append
from tests.elf.objects import (
    MODULE_SOURCE,
    assembled,
    retyped,
    small_module,
    with_bytes,
    with_section_field,
)

SMALL = small_module()
DATA = SMALL.data
AT_0 = SectionOffset(0)


def index(name: str) -> int:
    section = SMALL.section_named(name)
    assert section is not None
    return section.index


def sections(*added: NewSection) -> Callable[[], bytes]:
    return lambda: append(SMALL, sections=added)


def source(more: str) -> Callable[[], bytes]:
    return lambda: assembled(MODULE_SOURCE + more)


def field(section: str, name: str, value: int) -> Callable[[], bytes]:
    return lambda: with_section_field(DATA, index(section), name, value)


def without(kinds: set[int], data: bytes = DATA) -> bytes:
    """The file with every section of these types made a note."""
    module = read_module(data)
    for section in module.sections:
        if section.type in kinds:
            data = with_section_field(data, section.index, "type", elf.SHT_NOTE)
            if not section.has_bytes:  # then it has none in the file to be a note's
                data = with_section_field(data, section.index, "size", 0)
    return data


def symbol_bytes(name: str, offset: int, new: bytes) -> Callable[[], bytes]:
    """The file with bytes of one entry of its symbol table changed."""
    symbol, symtab = SMALL.symbol_named(name), SMALL.symtab
    assert symbol is not None
    assert symtab is not None
    at = symtab.offset + 24 * symbol.index + offset
    return lambda: with_bytes(DATA, at, new)


def weak_undefined() -> bytes:
    """``common_tss`` made weak: its binding stands in the upper half of byte 4."""
    return symbol_bytes("common_tss", 4, bytes([elf.STB_WEAK << 4]))()


def field_behind_the_end() -> bytes:
    table = SMALL.sections[index(".rela.text")]
    return with_bytes(DATA, table.offset, (1 << 20).to_bytes(8, "little"))


def absolute_at_zero() -> bytes:
    # A global symbol whose value is 0 in no section: the kernel takes it for undefined.
    made = append(
        SMALL,
        sections=[NewSection(".new", elf.SHT_PROGBITS, 6, 8, bytes(8))],
        symbols=[NewSymbol("zero", ".new")],
        relocations=[NewRelocation(".new", AT_0, elf.R_X86_64_64, "zero")],
    )
    module = read_module(made)
    zero, symtab = module.symbol_named("zero"), module.symtab
    assert zero is not None
    assert symtab is not None
    return with_bytes(made, symtab.offset + 24 * zero.index + 6, b"\xf1\xff")  # SHN_ABS


def local_type(kind: int) -> bytes:
    """A relocation against a local symbol given another type."""
    for relocation in SMALL.relocations_of(index(".rodata")):
        if SMALL.symbols[relocation.symbol].is_local:
            return retyped(SMALL, relocation, kind)
    raise LookupError("the module has no such relocation")


def empty_table_for_a_note() -> bytes:
    # One entry is needed to make the table; then its size becomes 0.
    made = append(
        SMALL,
        sections=[NewSection(".note.new", elf.SHT_NOTE, 0, 4, bytes(16))],
        relocations=[NewRelocation(".note.new", AT_0, elf.R_X86_64_NONE, "kqemu_exec")],
    )
    return with_section_field(made, len(read_module(made).sections) - 1, "size", 0)


def symbol_in_a_note() -> bytes:
    return append(
        SMALL,
        sections=[
            NewSection(".note.new", elf.SHT_NOTE, 0, 4, bytes(16)),
            NewSection(".new", elf.SHT_PROGBITS, 3, 8, bytes(8)),
        ],
        symbols=[NewSymbol("noted", ".note.new", value=8)],
        relocations=[NewRelocation(".new", AT_0, elf.R_X86_64_64, "noted")],
    )


def emptied(name: str) -> Callable[[], bytes]:
    return field(name, "size", 0)


def zeroed(name: str) -> Callable[[], bytes]:
    """A relocation table whose bytes were lost: all its entries are R_X86_64_NONE."""
    table = SMALL.sections[index(name)]
    return lambda: with_bytes(DATA, table.offset, bytes(table.size))


def first_blank(name: str) -> Callable[[], bytes]:
    """The first entry of a relocation table is zeros, its others are as they were."""
    return lambda: with_bytes(DATA, SMALL.sections[index(name)].offset, bytes(24))


X32_SOURCE = ".globl f\nf: ret\n.section set_modmetadata_set\n.quad 0\n"

BREAKS: dict[str, tuple[Callable[[], bytes], ...]] = {
    "layout": (lambda: assembled(X32_SOURCE, "--x32"),),
    "version": (lambda: with_bytes(DATA, 6, b"\0"), lambda: with_bytes(DATA, 20, b"\2")),
    "type": (lambda: with_bytes(DATA, 16, b"\3"),),
    "machine": (lambda: with_bytes(DATA, 18, b"\x2b"),),
    "section-headers": (
        lambda: with_bytes(DATA, 40, bytes(8)),
        lambda: with_section_field(with_bytes(DATA, 60, bytes(2)), 0, "size", len(SMALL.sections)),
    ),
    "contents": (lambda: without({elf.SHT_PROGBITS, elf.SHT_NOBITS}),),
    "one-symbol-table": (
        lambda: without({elf.SHT_SYMTAB, elf.SHT_RELA}),
        sections(NewSection(".symtab2", elf.SHT_SYMTAB, 0, 8, b"")),
    ),
    "alignment-not-zero": (field(".text", "align", 0), field(".bss", "align", 0)),
    "alignment-fits": (field(".data", "align", 8192), field(".data", "align", 24)),
    "relocated-sections-loaded": (
        field(".rela.text", "info", 0),
        field(".rela.text", "info", index(".symtab")),
        empty_table_for_a_note,
    ),
    "fields-inside": (field_behind_the_end,),
    "known-types": (
        source("\n.text\ncall outside"),  # R_X86_64_PLT32
        source("\n.data\n.long outside"),  # R_X86_64_32
    ),
    "no-weak-undefined": (weak_undefined,),
    "symbols-have-addresses": (absolute_at_zero,),
    "local-relocations-take-effect": (
        lambda: local_type(elf.R_X86_64_PLT32),
        lambda: local_type(elf.R_X86_64_32),
    ),
    "symbols-placed": (symbol_in_a_note,),
    "no-common": (source("\n.comm shared, 8, 8"),),
    "sets-whole": (source("\n.section set_sysinit_set\n.long 0"),),
    "sets-once": (source('\n.section set_sysinit_set,"aw",@progbits,unique,7\n.quad moduledata'),),
    "sets-relocated": (
        source('\n.section set_sysctl_set,"aw"\n.quad 0'),
        emptied(".relaset_sysinit_set"),
        zeroed(".relaset_sysinit_set"),
    ),
    "tables-filled": (emptied(".rela.rodata"), zeroed(".rela.rodata"), first_blank(".rela.text")),
    "code-there": (source("\n.text\n.fill 256, 1, 0\nret"),),
    "symbols-used": (source("\n.globl malloc_init"),),
    "boot-loader": (
        lambda: with_bytes(DATA, 62, bytes(2)),
        lambda: DATA.replace(b"set_modmetadata_set\0", b"set_modmetadata_sex\0"),
    ),
}

# A file that breaks the first rule breaks these too: they say the same of another part of it.
ALSO = {
    "section-headers": {"contents", "one-symbol-table", "boot-loader"},
    "contents": {
        "relocated-sections-loaded",
        "boot-loader",
        "symbols-placed",
        "symbols-have-addresses",
        "local-relocations-take-effect",
    },
    "sets-relocated": {"tables-filled"},
}


def test_a_module_as_the_build_makes_it_breaks_no_rule() -> None:
    assert check(SMALL) == ()
    require(SMALL)


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert set(BREAKS) == {rule.name for rule in RULES}


def test_every_rule_is_a_sentence() -> None:
    for rule in RULES:
        assert rule.sentence[0].isupper()
        assert rule.sentence.endswith(".")
        assert rule.todo


@pytest.mark.parametrize(
    ("rule", "make"), [(rule, make) for rule, makes in BREAKS.items() for make in makes]
)
def test_a_file_that_breaks_a_rule_is_found_to(rule: str, make: Callable[[], bytes]) -> None:
    module = read_module(make(), "broken.ko")
    found = {finding.rule for finding in check(module)}
    assert rule in found
    assert found - {rule} <= ALSO.get(rule, set())


@pytest.mark.parametrize(
    ("rule", "make"), [(rule, make) for rule, makes in BREAKS.items() for make in makes]
)
def test_what_the_kernel_refuses_or_panics_on_is_refused(
    rule: str, make: Callable[[], bytes]
) -> None:
    module = read_module(make(), "broken.ko")
    fatal = [finding for finding in check(module) if finding.is_fatal]
    if not fatal:
        require(module)
        return
    with pytest.raises(LinkerRefusalError) as caught:
        require(module)
    assert fatal[0].what in caught.value.what
    assert "broken.ko" in caught.value.where


def test_only_what_takes_the_kernel_down_is_said_to_panic() -> None:
    assert {rule.name for rule in RULES if rule.outcome is Consequence.PANIC} == {
        "alignment-not-zero",
        "alignment-fits",
        "relocated-sections-loaded",
        "fields-inside",
        "sets-relocated",
    }


def test_a_finding_names_the_section() -> None:
    finding = check(changed(field(".text", "align", 0)))[0]
    assert finding.outcome is Consequence.PANIC and finding.is_fatal
    assert finding.where == f"broken.ko, section {index('.text')} (.text)"


def test_a_section_that_is_not_loaded_may_have_any_alignment() -> None:
    assert check(changed(field(".strtab", "align", 0))) == ()


@pytest.mark.parametrize("section", ["debug_info", "zdebug_line"])
def test_what_is_left_undone_in_debugging_information_is_no_fault(section: str) -> None:
    wrong = source(f"\n.section .{section}\n.long .text\n.quad .text\n")
    assert check(changed(wrong)) == ()
    loaded = source(f'\n.section .{section},"a"\n.long .text\n')
    assert [finding.rule for finding in check(changed(loaded))] == ["local-relocations-take-effect"]


@pytest.mark.parametrize("more", ["__start_set_sysctl_set", "_GLOBAL_OFFSET_TABLE_"])
def test_a_symbol_that_headers_and_assemblers_only_name_is_not_missed(more: str) -> None:
    assert check(changed(source(f"\n.globl {more}\n"))) == ()


def test_an_unwind_table_that_no_kernel_reads_can_be_taken_out() -> None:
    frames = source('\n.section .eh_frame,"a",@unwind\n.quad kqemu_exec\n')
    (finding,) = check(changed(frames))
    assert finding.rule == "relocated-sections-loaded"
    assert finding.todo == "run this on the module: objcopy -R .eh_frame"


def test_what_debuggers_alone_read_can_be_stripped_where_the_kernel_refuses_it() -> None:
    (finding,) = check(changed(source("\n.section .debug_info\n.long kqemu_exec\n")))
    assert finding.rule == "known-types"
    assert finding.todo.startswith("run 'objcopy --strip-debug' on the module")


def changed(make: Callable[[], bytes]) -> Module:
    return read_module(make(), "broken.ko")
