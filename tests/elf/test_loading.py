"""``load`` makes of a module what the system's linker makes of it at the same addresses."""

from __future__ import annotations

import subprocess
from pathlib import Path
from struct import unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf.content import loaded_digest
from kpatch.elf.edits import NewRelocation, NewSection, NewSymbol
from kpatch.elf.entries import Symbol
from kpatch.elf.klink import LARGEST_BLOCK, LoadedModule, load
from kpatch.elf.module import Module, read_module
from kpatch.errors import LinkerRefusalError
from kpatch.units import Address, SectionOffset
from tests.editing import append
from tests.elf.objects import assembled, retyped, small_module, with_bytes, with_section_field
from tests.strategies.elf_builder import EXTERNALS
from tests.strategies.elf_files import modules

BASE = Address(0xFFFFFFFF_80C00000)
KERNEL = {name: Address(0xFFFFFFFF_80200000 + 0x1010 * at) for at, name in enumerate(EXTERNALS)}


def linked(folder: Path, module: Module, loaded: LoadedModule) -> Module:
    """The module linked by the system's linker, each section where ``load`` put it."""
    source, target = folder / "in.o", folder / "out"
    source.write_bytes(module.data)
    command: list[str | Path] = [
        "ld",
        "-o",
        target,
        "-e",
        "0",
        "--no-warnings",
        "--unresolved-symbols=report-all",
    ]
    command += [f"--defsym={name}=0x{address:x}" for name, address in KERNEL.items()]
    script = folder / "script"
    lines = [
        f'"{module.sections[index].name}" 0x{address:x} : {{ *("{module.sections[index].name}") }}'
        for index, address in loaded.sections.items()
    ]
    script.write_text("SECTIONS {\n" + "\n".join(lines) + "\n}\n")
    subprocess.run(
        [*command, "-T", script, source], check=True, timeout=300, capture_output=True, text=True
    )
    return read_module(target.read_bytes())


@settings(max_examples=40)
@given(module=modules())
def test_every_field_is_what_the_system_linker_writes(
    tmp_path_factory: pytest.TempPathFactory, module: Module
) -> None:
    loaded = load(module, BASE, KERNEL)
    assert loaded.silent_failures == ()
    reference = linked(tmp_path_factory.mktemp("link"), module, loaded)
    for index, address in loaded.sections.items():
        section = module.sections[index]
        expected = reference.section_named(section.name)
        if expected is None or section.type == elf.SHT_NOBITS or not section.flags:
            continue  # the linker drops empty sections, and gives others no address
        assert expected.address == address
        at = address - BASE
        assert loaded.memory[at : at + section.size] == reference.contents(expected)


@given(modules())
def test_sections_lie_in_order_aligned_and_apart(module: Module) -> None:
    loaded = load(module, BASE, KERNEL)
    assert list(loaded.sections) == [s.index for s in module.sections if s.is_loaded]
    behind = int(BASE)
    for index, address in loaded.sections.items():
        section = module.sections[index]
        assert address % section.align == 0
        assert 0 <= address - behind < section.align
        behind = address + section.size
    assert len(loaded.memory) == behind - BASE


@given(modules(), st.integers(1, 1 << 20))
def test_bytes_without_a_relocation_do_not_depend_on_the_base(module: Module, page: int) -> None:
    here = load(module, BASE, KERNEL)
    there = load(module, Address(4096 * page), KERNEL)
    fields = {
        here.sections[r.target] - BASE + at
        for r in module.relocations
        for at in range(r.offset, r.end)
    }
    differ = {at for at, byte in enumerate(here.memory) if there.memory[at] != byte}
    assert differ <= fields


def test_a_symbol_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(LinkerRefusalError) as caught:
        load(small_module(), BASE, {})
    assert caught.value.what == "symbol common_tss undefined"
    assert caught.value.where == "small.ko"


def test_an_undefined_symbol_without_a_relocation_is_not_missed() -> None:
    module = read_module(append(small_module(), symbols=[NewSymbol("not_there", None)]))
    assert "not_there" not in load(module, BASE, KERNEL).symbols


def test_an_own_symbol_of_an_undefined_ones_name_is_taken_for_it() -> None:
    """A local one, too: the kernel looks into the file's own symbol table first."""
    module = small_module()
    renamed, own = with_an_own(module, "common_tss")
    loaded = load(renamed, BASE, KERNEL)
    assert load(module, BASE, KERNEL).memory != loaded.memory
    assert loaded.symbols["common_tss"] == loaded.address_of(own.section, SectionOffset(own.value))
    assert loaded_digest(module) != loaded_digest(renamed)


def test_a_local_symbol_that_is_undefined_is_looked_up_nowhere() -> None:
    module = small_module()
    at = entry_of(module, "common_tss") + 4
    local = read_module(with_bytes(module.data, at, bytes([elf.STB_LOCAL << 4])))
    renamed, _ = with_an_own(local, "common_tss")
    loaded = [load(each, BASE, KERNEL) for each in (local, renamed)]
    assert loaded[0].memory == loaded[1].memory
    assert loaded[0].silent_failures == loaded[1].silent_failures != ()
    assert loaded_digest(local) == loaded_digest(renamed)


def entry_of(module: Module, name: str) -> int:
    """Where in the file the symbol's entry begins."""
    symbol = module.symbol_named(name)
    assert symbol is not None and module.symtab is not None
    return module.symtab.offset + 24 * symbol.index


def with_an_own(module: Module, name: str) -> tuple[Module, Symbol]:
    """The module with its local ``helper`` called like the other symbol, and that symbol."""
    wanted, at = entry_of(module, name), entry_of(module, "helper")
    helper = module.symbol_named("helper")
    assert helper is not None and helper.is_local
    return read_module(with_bytes(module.data, at, module.data[wanted : wanted + 4])), helper


def test_symbols_have_the_address_of_their_bytes() -> None:
    module = small_module()
    loaded = load(module, BASE, KERNEL)
    code = module.symbol_named("monitor_code")
    assert code is not None
    address = loaded.symbols["monitor_code"]
    assert address == loaded.address_of(code.section, SectionOffset(code.value))
    assert loaded.memory[address - BASE :][:64] == b"\x90" * 64
    assert "helper" in loaded.symbols
    assert "common_tss" not in loaded.symbols


def test_a_section_that_is_not_loaded_has_no_address() -> None:
    module = small_module()
    symtab = module.symtab
    assert symtab is not None
    with pytest.raises(LinkerRefusalError):
        load(module, BASE, KERNEL).address_of(symtab.index, SectionOffset(0))


def test_a_relocation_that_the_kernel_ignores_is_reported_and_leaves_the_field() -> None:
    module = small_module()
    done = module.relocations_of(_index(module, ".rodata"))[0]
    assert module.symbols[done.symbol].is_local
    broken = read_module(retyped(module, done, elf.R_X86_64_32))
    loaded = load(broken, BASE, KERNEL)
    assert [(r.table, r.index) for r in loaded.silent_failures] == [(done.table, done.index)]
    at = loaded.address_of(done.target, done.offset) - BASE
    assert loaded.memory[at : at + 8] == bytes(8)


def test_a_value_that_does_not_fit_is_cut_off_as_the_kernel_does() -> None:
    source = ".text\n.globl f\nf: movl $far, %eax\n.section set_modmetadata_set\n.quad f"
    module = read_module(assembled(source.replace("movl $far, %eax", "movq $far, %rax")))
    loaded = load(module, BASE, {"far": Address(0x1234_5678_9ABC)})
    assert unpack_from("<I", loaded.memory, 3) == (0x5678_9ABC,)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (elf.R_X86_64_NONE, 0x1111111111111111),
        (elf.R_X86_64_64, KERNEL["common_tss"] + 5),
        (elf.R_X86_64_GLOB_DAT, KERNEL["common_tss"]),
        (elf.R_X86_64_JUMP_SLOT, KERNEL["common_tss"]),
    ],
)
def test_each_type_of_eight_bytes_writes_what_it_should(kind: int, expected: int) -> None:
    assert _field_after(kind) == expected


def test_a_relative_relocation_counts_from_its_own_section() -> None:
    module, loaded = _loaded_with(elf.R_X86_64_RELATIVE)
    assert _field_after(elf.R_X86_64_RELATIVE) == loaded.sections[_index(module, ".new")] + 5


@pytest.mark.parametrize("base", [0, -4096, 0x1001])
def test_a_base_that_is_no_page_is_refused(base: int) -> None:
    with pytest.raises(LinkerRefusalError):
        load(small_module(), Address(base), KERNEL)


def test_a_module_that_would_take_all_memory_is_refused() -> None:
    module = small_module()
    bss = _index(module, ".bss")
    hostile = with_section_field(module.data, bss, "size", LARGEST_BLOCK)
    with pytest.raises(LinkerRefusalError) as caught:
        load(read_module(hostile), BASE, KERNEL)
    assert "more than 64 MiB" in caught.value.what


def test_the_kernel_takes_the_addend_of_a_rel_table_from_the_field() -> None:
    module = read_module(assembled(".data\n.quad common_tss\n.section set_modmetadata_set\n"))
    table = module.sections[_index(module, ".rela.data")]
    data = with_bytes(module.data, module.sections[_index(module, ".data")].offset, b"\7")
    for field, value in (("type", elf.SHT_REL), ("entsize", 16), ("size", 16)):
        data = with_section_field(data, table.index, field, value)
    loaded = load(read_module(data), BASE, KERNEL)
    at = loaded.sections[_index(module, ".data")] - BASE
    assert unpack_from("<Q", loaded.memory, at) == (KERNEL["common_tss"] + 7,)


def test_the_kernel_takes_rel_tables_before_rela_tables() -> None:
    source = '.data\n.quad common_tss + 3\n.section other,"aw"\n.quad common_tss\n'
    module = read_module(assembled(source))
    first, second = _index(module, ".rela.data"), _index(module, ".relaother")
    assert first < second
    data = module.data
    for field, value in (
        ("type", elf.SHT_REL),
        ("entsize", 16),
        ("size", 16),
        ("info", _index(module, ".data")),
    ):
        data = with_section_field(data, second, field, value)
    loaded = load(read_module(data), BASE, KERNEL)
    at = loaded.sections[_index(module, ".data")] - BASE
    # The other way round the first result would be the addend of the second.
    assert unpack_from("<Q", loaded.memory, at) == (KERNEL["common_tss"] + 3,)


def test_a_relocation_without_a_symbol_table_entry_is_passed_over() -> None:
    module = read_module(assembled(".data\n.quad common_tss\n"))
    table, symtab = module.sections[_index(module, ".rela.data")], module.symtab
    assert symtab is not None
    # Symbol 0, and a symbol table that has not even that.
    data = with_bytes(module.data, table.offset + 12, bytes(4))
    data = with_section_field(data, symtab.index, "size", 0)
    loaded = load(read_module(data), BASE, {})
    assert loaded.silent_failures == ()
    assert loaded.symbols == {}


def _loaded_with(kind: int) -> tuple[Module, LoadedModule]:
    data = append(
        small_module(),
        sections=[NewSection(".new", elf.SHT_PROGBITS, 3, 8, b"\x11" * 16)],
        relocations=[NewRelocation(".new", SectionOffset(8), kind, "common_tss", 5)],
    )
    module = read_module(data)
    return module, load(module, BASE, KERNEL)


def _field_after(kind: int) -> int:
    module, loaded = _loaded_with(kind)
    at = loaded.sections[_index(module, ".new")] + 8 - BASE
    (value,) = unpack_from("<Q", loaded.memory, at)
    return int(value)


def _index(module: Module, name: str) -> int:
    section = module.section_named(name)
    assert section is not None
    return section.index
