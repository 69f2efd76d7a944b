"""What ``append`` adds is there, and nothing else has changed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf import klink
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol, Overwrite
from kpatch.elf.entries import Relocation, Section, Symbol
from kpatch.elf.module import Module, read_module
from kpatch.units import FileOffset, SectionOffset
from tests.editing import append
from tests.elf.objects import small_module, with_bytes, with_section_field
from tests.strategies.elf_edits import Edits, edits
from tests.strategies.elf_files import modules

HEADER_FIELDS = {*range(40, 48), *range(60, 62)}  # e_shoff, e_shnum
CASES = modules().flatmap(lambda module: st.tuples(st.just(module), edits(module)))


def edited(module: Module, edit: Edits) -> Module:
    return read_module(edit.done_to(module), module.name)


@given(CASES)
def test_an_edited_file_is_the_old_one_with_what_was_asked_for(case: tuple[Module, Edits]) -> None:
    """One test of six promises: to draw a file and its edits costs far more than to judge them."""
    module, edit = case
    after = edited(module, edit)
    _every_byte_stays_but_the_overwritten_and_two_header_fields(module, edit, after)
    _sections_are_the_old_ones_and_then_the_new(module, edit, after)
    _symbols_are_the_old_ones_and_then_the_new(module, edit, after)
    _relocations_are_the_old_ones_and_the_new(module, edit, after)
    _the_same_edits_give_the_same_bytes(module, edit, after)
    _the_kernel_linker_objects_to_nothing_new(module, edit, after)


def _every_byte_stays_but_the_overwritten_and_two_header_fields(
    module: Module, edit: Edits, after: Module
) -> None:
    data = after.data
    allowed = HEADER_FIELDS | {
        at for overwrite in edit.overwrites for at in range(overwrite.offset, overwrite.end)
    }
    changed = {at for at, byte in enumerate(module.data) if data[at] != byte}
    assert changed <= allowed
    for overwrite in edit.overwrites:
        assert data[overwrite.offset : overwrite.end] == overwrite.new


def _sections_are_the_old_ones_and_then_the_new(module: Module, edit: Edits, after: Module) -> None:
    assert after.header.shoff in (module.header.shoff, after.header.shoff // 8 * 8)
    for old, new in zip(module.sections, after.sections, strict=False):
        assert _without_place(new) == _without_place(old)
        if not _may_grow(old):
            assert (new.offset, new.size) == (old.offset, old.size)
            if not edit.overwrites:
                assert after.contents(new) == module.contents(old)
    added = after.sections[len(module.sections) :]
    for wanted, new in zip(edit.sections, added, strict=False):
        assert (new.name, new.type, new.flags) == (wanted.name, wanted.type, wanted.flags)
        assert (new.align, new.size) == (wanted.align, wanted.length)
        assert after.contents(new) == wanted.contents
        assert new.type == elf.SHT_NOBITS or new.offset % min(new.align, 16) == 0
    tables = added[len(edit.sections) :]
    relocated = {s.info for s in module.sections if s.is_relocation_table}
    wanted_targets = {_target(after, relocation) for relocation in edit.relocations}
    assert sorted(table.info for table in tables) == sorted(wanted_targets - relocated)
    for table in tables:
        assert table.name == f".rela{after.sections[table.info].name}"
        assert (table.type, table.flags) == (elf.SHT_RELA, elf.SHF_INFO_LINK)
        assert (table.align, table.entsize) == (8, 24)
        assert after.sections[table.link].type == elf.SHT_SYMTAB


def _symbols_are_the_old_ones_and_then_the_new(module: Module, edit: Edits, after: Module) -> None:
    assert after.symbols[: len(module.symbols)] == module.symbols
    fresh = [
        s for s in edit.symbols if s.section is not None or module.symbol_named(s.name) is None
    ]
    for wanted, new in zip(fresh, after.symbols[len(module.symbols) :], strict=True):
        home = after.section_named(wanted.section) if wanted.section else None
        assert new == Symbol(
            index=new.index,
            name=wanted.name,
            value=wanted.value,
            size=wanted.size,
            bind=elf.STB_GLOBAL,
            type=wanted.type,
            other=0,
            section=home.index if home else 0,
        )


def _relocations_are_the_old_ones_and_the_new(module: Module, edit: Edits, after: Module) -> None:
    old = list(module.relocations)
    kept = {(r.table, r.index) for r in old}
    assert [r for r in after.relocations if (r.table, r.index) in kept] == old
    new = [r for r in after.relocations if (r.table, r.index) not in kept]
    assert sorted(_meaning(after, r) for r in new) == sorted(
        (_target(after, r), r.offset, r.type, r.symbol, r.addend) for r in edit.relocations
    )


def _the_same_edits_give_the_same_bytes(module: Module, edit: Edits, after: Module) -> None:
    assert after.data == edited(read_module(module.data), edit).data


def _the_kernel_linker_objects_to_nothing_new(module: Module, edit: Edits, after: Module) -> None:
    before = {(finding.rule, finding.where) for finding in klink.check(module)}
    found = {(finding.rule, finding.where) for finding in klink.check(after)}
    # Symbols are drawn apart from relocations, so that some have none.
    assert found - {("symbols-used", "drawn.ko, symbol table")} <= before


@settings(max_examples=10)
@given(modules(), st.data())
def test_many_edits_in_a_row_grow_the_file_only_by_what_moves(
    module: Module, data: st.DataObject
) -> None:
    for step in range(25):
        edit = data.draw(edits(module, tag=f"s{step}"))
        after = edited(module, edit)
        tables = sum(s.size for s in module.sections if _may_grow(s))
        headers = 64 * len(after.sections)
        added = sum(len(s.contents) + len(s.name) + 40 for s in edit.sections)
        added += sum(len(s.name) + 1 + 24 for s in edit.symbols) + 60 * len(edit.relocations)
        assert len(after.data) - len(module.data) <= tables + headers + added + 16 * 20
        module = after
    klink.require(module)


def test_nothing_to_do_gives_the_same_file() -> None:
    module = small_module()
    assert append(module) == module.data


def test_only_overwrites_move_no_table() -> None:
    module = small_module()
    text = module.section_named(".text")
    assert text is not None
    old = module.contents(text)[:4]
    after = append(module, overwrites=[Overwrite(text.offset, old, b"\x90" * 4)])
    assert after == with_bytes(module.data, text.offset, b"\x90" * 4)


def test_an_undefined_symbol_that_is_there_is_used_again() -> None:
    module = small_module()
    data = module.section_named(".data")
    assert data is not None
    after = read_module(
        append(
            module,
            symbols=[NewSymbol("common_tss", None)],
            relocations=[NewRelocation(data.index, SectionOffset(0), 1, "common_tss")],
        )
    )
    assert after.symbols == module.symbols


def test_a_table_that_is_overwritten_and_grows_keeps_the_overwrite() -> None:
    module = small_module()
    at = FileOffset(module.data.index(b"\0helper\0") + 1)
    after = append(
        module,
        overwrites=[Overwrite(at, b"helper", b"hooker")],
        symbols=[NewSymbol("kpatch_lock", None)],
    )
    assert read_module(after).symbol_named("hooker") is not None


def test_a_string_table_that_ends_in_the_middle_of_a_string_is_closed_first() -> None:
    module = small_module()
    symtab = module.symtab
    assert symtab is not None
    strings = module.sections[symtab.link]
    moved = module.data + module.contents(strings) + b"x"
    longer = with_section_field(moved, strings.index, "size", strings.size + 1)
    opened = read_module(with_section_field(longer, strings.index, "offset", len(module.data)))
    after = read_module(append(opened, symbols=[NewSymbol("kpatch_new", None)]))
    assert after.symbols[-1].name == "kpatch_new"
    assert b"\0kpatch_new\0" in after.contents(after.sections[strings.index])


def test_one_string_table_for_sections_and_symbols_serves_both_additions() -> None:
    module = small_module()
    shared = module.data
    names = module.sections[module.header.shstrndx]
    symtab = module.symtab
    assert symtab is not None
    # Let the symbols name themselves in the sections' table: any string there will do.
    for symbol in module.symbols:
        shared = with_bytes(shared, symtab.offset + 24 * symbol.index, b"\1\0\0\0")
    link = module.header.shoff + 64 * symtab.index + 40
    shared = with_bytes(shared, link, names.index.to_bytes(4, "little"))
    one = read_module(shared)
    after = read_module(
        append(
            one,
            sections=[NewSection(".text.new", elf.SHT_PROGBITS, 6, 16, b"\xc3")],
            symbols=[NewSymbol("kpatch_new", ".text.new")],
        )
    )
    assert after.section_named(".text.new") is not None
    assert after.defined("kpatch_new") is not None
    assert [s.name for s in after.symbols[: len(one.symbols)]] == [s.name for s in one.symbols]


def _may_grow(section: Section) -> bool:
    return section.type in (elf.SHT_SYMTAB, elf.SHT_STRTAB, elf.SHT_RELA)


def _without_place(section: Section) -> Section:
    if not _may_grow(section):
        return section
    return section._replace(offset=FileOffset(0), size=0)


def _meaning(module: Module, relocation: Relocation) -> tuple[int, int, int, str, int]:
    name = module.symbols[relocation.symbol].name
    return relocation.target, relocation.offset, relocation.type, name, relocation.addend


def _target(module: Module, relocation: NewRelocation) -> int:
    if isinstance(relocation.section, int):
        return relocation.section
    section = module.section_named(relocation.section)
    assert section is not None
    return section.index
