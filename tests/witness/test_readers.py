"""pyelftools and LIEF read a patched file back, and a file that is not as planned is caught."""

from __future__ import annotations

import errno
import faulthandler
import os
import resource
import signal
import struct
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import lief
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, reject, settings

from kpatch import expected
from kpatch.elf import constants as elf
from kpatch.elf.edits import NewSection
from kpatch.elf.layouts import AMD64
from kpatch.elf.module import Module, Section, read_module
from kpatch.errors import MatchError
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.plan import Plan
from kpatch.patch.prepare import prepare
from kpatch.readback import others_reading
from kpatch.storage import bulk
from kpatch.units import PAGE
from kpatch.witness.readers import readback
from kpatch.witness.readers.picture import PageDigests, Picture, page_digests
from kpatch.witness.readers.readback import NAMES, read_by_each
from tests.children import in_child, peak_of
from tests.editing import append
from tests.strategies.kqemu_modules import DrawnModule, kqemu_modules

SAMPLES = Path(__file__).parents[2] / "samples"
PATCHABLE = ("kqemu-6.ko", "kqemu-7-norela.ko", "kqemu-7-data.ko", "kqemu-7-stripped.ko")


def planned(data: bytes, *, fix: bool = False) -> tuple[Plan, bytes]:
    plan = prepare(assess(read_module(data, "kqemu.ko")), replace_source_fix=fix)
    return plan, apply_plan(plan)


@cache
def sample() -> tuple[Module, Picture]:
    plan, data = planned((SAMPLES / "kqemu-7-ehframe.ko").read_bytes())
    return read_module(data), expected.after(plan, data)


@pytest.mark.parametrize("name", PATCHABLE)
def test_both_readers_find_what_was_planned(name: str) -> None:
    plan, data = planned((SAMPLES / name).read_bytes())
    assert [(r.reader, r.differences) for r in read_by_each(data, expected.after(plan, data))] == [
        (reader, ()) for reader in NAMES
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


def header(name: str, field: int, change: Callable[[int], int]) -> Callable[[bytearray], None]:
    """Changes one word of a section header; ``field`` is its place in Elf64_Shdr."""

    def damage(data: bytearray) -> None:
        section = section_of(name)
        at = sample()[0].header.shoff + section.index * AMD64.section.size
        row = list(AMD64.section.unpack_from(data, at))
        row[field] = change(row[field])
        AMD64.section.pack_into(data, at, *row)

    return damage


def entry(
    name: str, layout: struct.Struct, field: int, change: Callable[[int], int], index: int = -1
) -> Callable[[bytearray], None]:
    """Changes one field of an entry of a table, the last one without ``index``."""

    def damage(data: bytearray) -> None:
        section = section_of(name)
        count = section.size // layout.size
        at = section.offset + (index % count) * layout.size
        row = list(layout.unpack_from(data, at))
        row[field] = change(row[field])
        layout.pack_into(data, at, *row)

    return damage


def byte(name: str, at: int) -> Callable[[bytearray], None]:
    """Turns one bit of a section's contents."""

    def damage(data: bytearray) -> None:
        data[section_of(name).offset + at] ^= 1

    return damage


def elf_header(at: int, size: int, by: int) -> Callable[[bytearray], None]:
    """Adds to a field of the ELF header."""

    def damage(data: bytearray) -> None:
        value = int.from_bytes(data[at : at + size], "little") + by
        data[at : at + size] = value.to_bytes(size, "little")

    return damage


def swapped_relocations(data: bytearray) -> None:
    """Two neighbours of a table change their addends."""
    at = section_of(".rela.data").offset
    first, second = (AMD64.rela.unpack_from(data, at + n * AMD64.rela.size) for n in (0, 1))
    AMD64.rela.pack_into(data, at, first[0], first[1], second[2])
    AMD64.rela.pack_into(data, at + AMD64.rela.size, second[0], second[1], first[2])


def left_over(data: bytearray) -> None:
    """The place that a table had before it grew keeps its bytes."""
    original = read_module((SAMPLES / "kqemu-7-ehframe.ko").read_bytes())
    assert original.symtab is not None
    data[original.symtab.offset + 30] ^= 1


def left_over_behind(data: bytearray) -> None:
    """Padding that the patch brings along is zeros."""
    behind = section_of(".text.kpatch").end
    assert data[behind] == 0 and behind < section_of(".note.kpatch").offset
    data[behind] = 0x90


def section_of(name: str) -> Section:
    section = sample()[0].section_named(name)
    assert section is not None
    return section


DAMAGES: dict[str, Callable[[bytearray], None]] = {
    "a relocation is against the symbol before": entry(
        ".rela.text.kpatch", AMD64.rela, 1, lambda info: info - (1 << 32)
    ),
    "a site is relocated against the other trampoline": entry(
        ".rela.rodata", AMD64.rela, 1, lambda info: info - (1 << 32)
    ),
    "a relocation's addend is off by one": entry(".rela.rodata", AMD64.rela, 2, lambda a: a + 1),
    "an old relocation's addend is off by one": entry(
        ".rela.text", AMD64.rela, 2, lambda a: a + 1, 3
    ),
    "a relocation lies one byte further": entry(".rela.rodata", AMD64.rela, 0, lambda o: o + 1),
    "a relocation has another type": entry(".rela.text.kpatch", AMD64.rela, 1, lambda i: i + 10),
    "two relocations have each other's addends": swapped_relocations,
    "a new section is moved": header(".text.kpatch", 4, lambda offset: offset + 16),
    "an old section is moved": header(".data", 4, lambda offset: offset - 8),
    "sh_info of a relocation table": header(".rela.rodata", 7, lambda info: info + 1),
    "sh_info of the symbol table": header(".symtab", 7, lambda info: info - 1),
    "sh_link of the symbol table": header(".symtab", 6, lambda link: link + 1),
    "a section is one byte shorter": header(".text.kpatch", 5, lambda size: size - 1),
    "the lock's page is smaller": header(".bss.kpatch", 5, lambda size: size // 2),
    "the lock's page is not aligned": header(".bss.kpatch", 8, lambda align: align // 2),
    "the lock's page is in the file": header(".bss.kpatch", 1, lambda _: elf.SHT_PROGBITS),
    "the note would be loaded": header(".note.kpatch", 1, lambda _: elf.SHT_PROGBITS),
    "the code cannot be executed": header(".text.kpatch", 2, lambda _: elf.SHF_ALLOC),
    "a section has another's name": header(".text.kpatch", 0, lambda name: name + 5),
    "a linker set is longer": header("set_sysinit_set", 5, lambda size: size + 8),
    "a new symbol has another value": entry(".symtab", AMD64.symbol, 4, lambda v: v + 1, -2),
    "a new symbol is local": entry(".symtab", AMD64.symbol, 1, lambda info: info & 15, -3),
    "a new symbol is in another section": entry(".symtab", AMD64.symbol, 3, lambda s: s + 1, -3),
    "the kernel's symbol is defined": entry(".symtab", AMD64.symbol, 3, lambda _: 0xFFF1),
    "an old symbol has another size": entry(".symtab", AMD64.symbol, 5, lambda size: size + 1, 20),
    "a symbol's name begins one byte later": entry(".symtab", AMD64.symbol, 0, lambda n: n + 1),
    "a bit of the trampoline": byte(".text.kpatch", 3),
    "a bit of the image": byte(".rodata", 0x1000),
    "a bit of a string that nobody uses": byte(".strtab", 0),
    "a bit of the note": byte(".note.kpatch", 40),
    "one section fewer": elf_header(60, 2, -1),
    "the names are in another section": elf_header(62, 2, -1),
    "another OS/ABI": elf_header(7, 1, -9),
    "another version in the identification": elf_header(6, 1, 1),
    "another ABI version": elf_header(8, 1, 3),
    "padding of the identification": elf_header(12, 1, 1),
    "another size of the header": elf_header(52, 2, 8),
    "a size of program headers": elf_header(54, 2, 56),
    "the first section has a name": header("", 0, lambda _: 1 << 31),
    "the lock's page is somewhere else": header(".bss.kpatch", 4, lambda offset: offset + 1),
    "a byte that is appended": lambda data: data.append(0x41),
    "a zero that is appended": lambda data: data.append(0),
    "what the old symbol table was": left_over,
    "a byte between two sections": left_over_behind,
}


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


def test_readings_come_from_another_process_too() -> None:
    module, wanted = sample()
    with others_reading(is_likely=True) as others:
        assert others.readings() == ()
        others.read(module.data, wanted)
        assert others.readings() == read_by_each(module.data, wanted)


def test_a_reader_that_the_other_process_cannot_have_reads_in_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, wanted = sample()
    this, load = os.getpid(), readback._LOADED["LIEF"]

    def short_of_descriptors() -> tuple[str, readback.Read]:
        if os.getpid() != this:
            raise OSError(errno.EMFILE, "Too many open files")
        return load()

    monkeypatch.setitem(readback._LOADED, "LIEF", short_of_descriptors)
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert all(reading.agrees for reading in others.readings())


@pytest.mark.parametrize("has_room", [True, False])
def test_a_large_module_lies_in_a_file_where_there_is_room_for_one(
    has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, wanted = sample()
    monkeypatch.setattr(bulk, "IN_MEMORY", 0)
    if not has_room:

        def full() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(bulk, "_temporary", full)
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert others.readings() == read_by_each(module.data, wanted)
        damaged = bytearray(module.data)
        DAMAGES["a byte between two sections"](damaged)
    with others_reading(is_likely=True) as others:
        others.read(bytes(damaged), wanted)
        assert not any(reading.agrees for reading in others.readings())


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


def test_an_interrupt_while_the_process_starts_is_not_lost() -> None:
    def action() -> None:
        os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
        background = readback.Background()
        with pytest.raises(KeyboardInterrupt):
            background.load()
        background.end()

    assert in_child(action) == 0


def test_a_process_that_does_not_listen_to_sigterm_is_ended_too() -> None:
    """As under a shell that had it ignored, or in a library that handles it in its own way."""

    def action() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(readback._LOADED, "LIEF", lambda: signal.pause())
            background = readback.Background()
            background.load()
            background.read(b"", sample()[1])
            background.end()

    assert in_child(action) == 0


def test_a_process_that_dies_has_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module, wanted = sample()
    monkeypatch.setitem(readback._LOADED, "LIEF", lambda: os._exit(1))
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert not any(reading.agrees for reading in others.readings())


@pytest.mark.parametrize(("number", "agree"), [(signal.SIGKILL, True), (signal.SIGSEGV, False)])
def test_a_process_that_somebody_kills_says_nothing_about_the_file(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, *, agree: bool
) -> None:
    """A crash does: a file that a reader cannot bear is not as it should be."""
    module, wanted = sample()
    this, load = os.getpid(), readback._LOADED["LIEF"]

    def killed() -> tuple[str, readback.Read]:
        if os.getpid() != this:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            faulthandler.disable()  # pytest's
            os.kill(os.getpid(), number)
        return load()

    monkeypatch.setitem(readback._LOADED, "LIEF", killed)
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert all(reading.agrees for reading in others.readings()) == agree


def test_names_that_are_no_text_are_read_alike() -> None:
    module, _ = sample()
    data = bytearray(module.data)
    strtab = section_of(".strtab")
    at = data.index(b"kqemu_init\0", strtab.offset)
    data[at] = 0xFF
    odd = read_module(bytes(data))
    for reading in read_by_each(bytes(data), expected.as_read(odd)):
        assert reading.differences == ()
