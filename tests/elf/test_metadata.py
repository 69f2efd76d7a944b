"""Linker sets and module metadata come out of the relocations."""

from __future__ import annotations

from kpatch.elf.metadata import (
    METADATA_SET,
    Dependency,
    SectionPosition,
    Version,
    linker_sets,
    pointer_at,
    read_metadata,
    text_at,
)
from kpatch.elf.module import Module, read_module
from kpatch.units import SectionOffset
from tests.elf.objects import MODULE_SOURCE, assembled, retyped, small_module, with_bytes


def section_index(module: Module, name: str) -> int:
    section = module.section_named(name)
    assert section is not None
    return section.index


def test_module_version_and_dependency_are_read() -> None:
    metadata = read_metadata(small_module())
    assert metadata.modules == ("kqemu",)
    assert metadata.versions == (Version("kqemu", 1),)
    (found,) = metadata.dependencies
    assert isinstance(found, Dependency) and found.name == "kernel"
    assert (found.minimum, found.preferred, found.maximum) == (700055, 700055, 799999)
    assert metadata.skipped == ()


def test_linker_sets_are_found_by_name_with_an_entry_for_each_pointer() -> None:
    sets = linker_sets(small_module())
    assert {name: len(found.entries) for name, found in sets.items()} == {
        METADATA_SET: 3,
        "set_sysinit_set": 1,
    }


def test_an_entry_without_a_relocation_is_skipped_with_a_reason() -> None:
    module = small_module()
    entry = module.relocations_of(section_index(module, METADATA_SET))[0]
    damaged = read_module(retyped(module, entry, 0))
    metadata = read_metadata(damaged)
    assert metadata.dependencies == ()
    assert metadata.modules == ("kqemu",)
    assert metadata.skipped == (f"entry 0 of {METADATA_SET} leads to no readable record",)


def test_a_record_of_another_structure_version_is_skipped() -> None:
    changed = MODULE_SOURCE.replace("depend_record: .long 1, 1", "depend_record: .long 2, 1")
    metadata = read_metadata(read_module(assembled(changed)))
    assert metadata.dependencies == ()
    assert len(metadata.skipped) == 1


def test_a_record_of_an_unknown_type_is_skipped_by_name() -> None:
    changed = MODULE_SOURCE.replace("depend_record: .long 1, 1", "depend_record: .long 1, 4")
    assert read_metadata(read_module(assembled(changed))).skipped == (
        f"entry 0 of {METADATA_SET} (kernel) has type 4, unread",
    )


def test_numbers_that_are_cut_off_by_the_end_of_their_section_are_skipped() -> None:
    cut = MODULE_SOURCE.replace("depend: .long 700055, 700055, 799999", "depend: .long 0, 0, 0")
    cut += '\n.section .tail,"aw"\nshort: .long 700055\n'
    cut = cut.replace(".quad depend, kernel_name", ".quad short, kernel_name")
    metadata = read_metadata(read_module(assembled(cut)))
    assert metadata.dependencies == ()
    assert metadata.skipped == (f"entry 0 of {METADATA_SET} (kernel) has type 1, unread",)


def test_a_module_without_the_set_has_no_metadata() -> None:
    metadata = read_metadata(read_module(assembled(".text\nret")))
    assert (metadata.modules, metadata.versions, metadata.dependencies) == ((), (), ())


def test_a_pointer_outside_the_file_has_no_place() -> None:
    module = small_module()
    data = section_index(module, ".data")
    assert pointer_at(module, SectionPosition(data, SectionOffset(0))) is None  # common_tss


def test_a_pointer_behind_the_end_of_its_section_has_no_place() -> None:
    far = MODULE_SOURCE.replace("module_record, version_record", "module_record, .data + 9999")
    module = read_module(assembled(far))
    entry = SectionPosition(section_index(module, METADATA_SET), SectionOffset(16))
    assert len(module.relocations_at(entry.section, entry.offset, entry.offset + 8)) == 1
    assert pointer_at(module, entry) is None


def test_a_pointer_counts_only_from_its_first_byte() -> None:
    module = small_module()
    entries = section_index(module, METADATA_SET)
    assert pointer_at(module, SectionPosition(entries, SectionOffset(0))) is not None
    assert pointer_at(module, SectionPosition(entries, SectionOffset(4))) is None


def test_text_without_an_end_is_no_text() -> None:
    module = small_module()
    strings = module.section_named(".rodata.str1.1")
    assert strings is not None
    assert text_at(module, SectionPosition(strings.index, SectionOffset(0))) == "kernel"
    endless = with_bytes(module.data, strings.offset, b"x" * strings.size)
    assert text_at(read_module(endless), SectionPosition(strings.index, SectionOffset(0))) is None
