"""pyelftools and LIEF read a patched file back, and a file that is not as planned is caught."""

from __future__ import annotations

import os
from io import BytesIO

import lief
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, reject, settings

from kpatch import expected
from kpatch.elf import constants as elf
from kpatch.elf.edits import NewSection
from kpatch.elf.module import read_module
from kpatch.errors import MatchError
from kpatch.units import PAGE
from kpatch.witness.readers.picture import PageDigests, page_digests
from kpatch.witness.readers.readback import READERS, read_by_each
from tests.children import peak_of
from tests.editing import append
from tests.strategies.kqemu_modules import DrawnModule, kqemu_modules
from tests.witness.damages import DAMAGES, SAMPLES, planned, sample, section_of

PATCHABLE = ("kqemu-6.ko", "kqemu-7-norela.ko", "kqemu-7-data.ko", "kqemu-7-stripped.ko")


@pytest.mark.parametrize("name", PATCHABLE)
def test_both_readers_find_what_was_planned(name: str) -> None:
    plan, data = planned((SAMPLES / name).read_bytes())
    assert [(r.reader, r.differences) for r in read_by_each(data, expected.after(plan, data))] == [
        (reader, ()) for reader in READERS
    ]


def test_both_readers_find_a_source_fix_switched_off() -> None:
    plan, data = planned((SAMPLES / "kqemu-7-fix-a.ko").read_bytes(), fix=True)
    assert all(each.agrees for each in read_by_each(data, expected.after(plan, data)))


@settings(max_examples=10)
@given(kqemu_modules())
def test_both_readers_find_what_was_planned_for_any_module(drawn: DrawnModule) -> None:
    try:
        plan, data = planned(drawn.data)
    except MatchError:  # a site with something in it that may not be moved
        reject()
    for reading in read_by_each(data, expected.after(plan, data)):
        assert reading.differences == ()


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_output_is_caught(name: str) -> None:
    module, wanted = sample()
    data = bytearray(module.data)
    DAMAGES[name](data)
    assert bytes(data) != module.data
    assert not all(each.agrees for each in read_by_each(bytes(data), wanted))


def test_the_undamaged_output_is_not() -> None:
    module, wanted = sample()
    assert all(each.agrees for each in read_by_each(module.data, wanted))
    assert len(DAMAGES) >= 20


def test_liefs_content_of_nobits_and_padded_notes_are_known() -> None:
    """What the reader passes over is really there: without its care there would be differences."""
    module, wanted = sample()
    parsed = lief.ELF.parse(BytesIO(module.data))
    assert parsed is not None
    lock = next(each for each in parsed.sections if each.name == ".bss.kpatch")
    assert any(bytes(lock.content))
    note = next(each for each in parsed.notes if each.name.startswith("kpatch"))
    size = len(wanted.notes[0].description)
    assert len(bytes(note.description)) > size or size % 4 == 0
    pyelftools = ELFFile(BytesIO(module.data)).get_section_by_name(".bss.kpatch")
    assert pyelftools.data() == bytes(4096)


def test_a_reader_that_cannot_read_is_no_witness() -> None:
    module, wanted = sample()
    for reading in read_by_each(module.data[:40], wanted):
        assert not reading.agrees


def test_what_is_expected_holds_no_copy_of_the_module() -> None:
    size = 8 << 20
    section = NewSection(".debug_info", elf.SHT_PROGBITS, 0, 1, os.urandom(size))
    small = read_module((SAMPLES / "kqemu-7.ko").read_bytes())
    plan, data = planned(append(small, sections=[section]))
    assert peak_of(lambda: expected.after(plan, data)) < size // 2
    wanted = expected.after(plan, data)
    assert all(each.agrees for each in read_by_each(data, wanted))


def test_contents_are_the_same_however_they_are_cut() -> None:
    data = os.urandom(3 * PAGE + 5)
    whole = page_digests([data])
    assert whole == PageDigests(len(data), whole.pages) and len(set(whole.pages)) == 4
    for cut in (0, 1, PAGE - 1, PAGE, 2 * PAGE + 1, len(data)):
        assert page_digests([data[:cut], memoryview(data)[cut:]]) == whole


def test_names_that_are_no_text_are_read_alike() -> None:
    module, _ = sample()
    data = bytearray(module.data)
    strtab = section_of(".strtab")
    at = data.index(b"kqemu_init\0", strtab.offset)
    data[at] = 0xFF
    odd = read_module(bytes(data))
    for reading in read_by_each(bytes(data), expected.as_read(odd)):
        assert reading.differences == ()
