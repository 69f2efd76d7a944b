"""What the quick look takes for sound, the full reader reads."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.elf import quick, tables
from kpatch.elf.layouts import AMD64
from kpatch.elf.module import read_module
from kpatch.errors import DamagedFileError

SAMPLES = Path(__file__).parents[2] / "samples"
OTHER = (SAMPLES / "other.ko").read_bytes()
MODULE = read_module(OTHER)
SYMTAB = next(s for s in MODULE.sections if s.type == 2)
STRTAB = MODULE.sections[SYMTAB.link]
RELA = next(s for s in MODULE.sections if s.is_relocation_table)
TABLES: list[tuple[int, int]] = [(s.offset, s.end) for s in (SYMTAB, STRTAB, RELA)]
TABLES.append((MODULE.header.shoff, MODULE.header.shoff + 64 * MODULE.header.shnum))


def is_sound(data: bytes) -> bool:
    header, layout = tables.read_header(data)
    sections = tables.read_sections(data, header, layout, tables.NameReader(data))
    return quick.is_sound(data, header, layout, sections)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.ko")), ids=lambda path: str(path.name))
def test_the_samples_of_amd64_are_sound(path: Path) -> None:
    data = path.read_bytes()
    assert is_sound(data) == (data[4] == 2)


@settings(max_examples=300)
@given(st.sampled_from(TABLES), st.data())
def test_a_changed_table_that_is_sound_is_read(place: tuple[int, int], draw: st.DataObject) -> None:
    data = bytearray(OTHER)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(place[0], place[1] - 1))
        data[at] = draw.draw(st.sampled_from((0, 1, 0x7F, 0xFE, 0xFF)))
    try:
        sound = is_sound(bytes(data))
    except DamagedFileError:
        return
    module = read_module(bytes(data)) if sound else None
    if module is not None:
        assert len(module.symbols) == SYMTAB.size // 24 or module.sections != MODULE.sections
        assert module.relocations is not None


@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (SYMTAB.offset + 24, struct.pack("<I", STRTAB.size), "does not end inside"),
        (SYMTAB.offset + 24 + 6, struct.pack("<H", MODULE.header.shnum), "which does not exist"),
        (STRTAB.end - 1, b"x", "does not end inside"),
        (RELA.offset + 8, struct.pack("<Q", len(MODULE.symbols) << 32), "which does not exist"),
    ],
)
def test_a_damaged_entry_is_no_sound_one(at: int, value: bytes, what: str) -> None:
    assert SYMTAB.entsize == AMD64.symbol.size
    data = OTHER[:at] + value + OTHER[at + len(value) :]
    assert not is_sound(data)
    with pytest.raises(DamagedFileError, match=what):
        read_module(data)
