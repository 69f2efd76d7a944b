"""What a module is once it is loaded, whatever its file looks like.

Tools that strip or link again move sections, renumber symbols and drop what nobody loads. None
of that changes what this module compares: the allocated sections by name, with their bytes and
alignment, and their relocations by what they resolve to. Sections of constants that linkers may
merge (SHF_MERGE) count only through what points into them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kpatch.digest import digest_of
from kpatch.elf import constants as elf
from kpatch.elf.klink_types import meant
from kpatch.elf.metadata import SET_PREFIX
from kpatch.elf.module import Module, Relocation, Section
from kpatch.errors import DamagedFileError

MOST_CONSTANTS: Final = 4 << 20
"""Bytes of constants that relocations point into, each counted as often as one does. A kqemu has
some thousands; a long one with many relocations would be the square of the file's size."""

_NOTHING: Final[Mapping[str, Sequence[range]]] = {}


def loaded_digest(module: Module) -> str:
    """Hex SHA-256 over the loaded content. Two files with the same one load as the same.

    Raises DamagedFileError where relocations point into more constants than MOST_CONSTANTS.
    """
    return _digest(_lines(module))


def digest_before_linking(module: Module) -> str:
    """The same, without the end mark that ``mold -r`` puts where there was no .eh_frame."""
    return _digest(line for line in _lines(module) if not _LONE_END.fullmatch(line))


def _digest(lines: Iterator[str]) -> str:
    return digest_of(("\n".join(sorted(lines)).encode(),))


def differing(
    one: Module, other: Module, but: Mapping[str, Sequence[range]] = _NOTHING
) -> tuple[str, ...]:
    """Names of the sections whose loaded content is not the same in both, sorted. ``but`` are
    offsets that are not compared, by the name of their section.

    Raises DamagedFileError as :func:`loaded_digest`.
    """
    first, second = Counter(_lines(one, but)), Counter(_lines(other, but))
    changed = (first - second) + (second - first)
    return tuple(sorted({line.split(" ", 1)[0] for line in changed}))


_LONE_END = re.compile(rf"\.eh_frame {elf.SHT_PROGBITS} 4 \d+ {digest_of((bytes(4),))}")
"""A CIE of length 0 (LSB, chapter 10.6.1) and nothing before it, whatever its alignment."""


def _lines(module: Module, but: Mapping[str, Sequence[range]] = _NOTHING) -> Iterator[str]:
    """One line for each allocated section and for each relocation in one, the name in front."""
    constants = _Constants(module)
    for section in module.sections:
        if not (section.is_loaded and _matters(section)):
            continue
        if _is_merged(section):
            continue
        name, left_out = _name(section), but.get(section.name, ())
        contents = digest_of(_without(module.view(section), left_out))
        yield f"{name} {section.type} {section.size} {section.align} {contents}"
        for relocation in module.relocations_of(section.index):
            if any(relocation.offset in offsets for offsets in left_out):
                continue
            yield f"{name} {relocation.offset} {relocation.type} {_meaning(constants, relocation)}"


def _matters(section: Section) -> bool:
    """Whether it is more than what tools add. The kernel finds linker sets by their name alone."""
    return bool(section.flags & elf.SHF_ALLOC) or section.name.startswith(SET_PREFIX)


def _without(contents: memoryview, left_out: Sequence[range]) -> Iterator[memoryview]:
    at = 0
    for offsets in sorted(left_out, key=lambda offsets: offsets.start):
        yield contents[at : offsets.start]
        at = offsets.stop
    yield contents[at:]


def _meaning(constants: _Constants, relocation: Relocation) -> str:
    """What it resolves to: a section and an offset, or a name and an addend.

    Linkers and strip replace a symbol by its section's; section plus value plus addend stays.
    """
    module = constants.module
    if relocation.symbol >= len(module.symbols):
        return "nothing"
    symbol = meant(module, module.symbols[relocation.symbol])
    if 0 < symbol.section < len(module.sections):
        section = module.sections[symbol.section]
        at = symbol.value + relocation.addend
        if _is_merged(section) and section.has_bytes:
            return f"constant {constants.at(section, at, relocation.type)}"
        return f"{_name(section)}+{at}"
    if symbol.section == elf.SHN_ABS:
        return f"absolute+{symbol.value + relocation.addend}"
    return f"symbol {symbol.section} {symbol.name}+{relocation.addend}"


class _Constants:
    """The constants of one module that relocations point into, up to MOST_CONSTANTS bytes."""

    def __init__(self, module: Module) -> None:
        self.module: Final = module
        self._left = MOST_CONSTANTS

    def at(self, section: Section, at: int, kind: int) -> str:
        """The constant that a relocation of that kind points into, as hex, and where in it."""
        if kind in (elf.R_X86_64_PC32, elf.R_X86_64_PLT32):
            at += elf.field_width(kind)  # counted from the end of the field, as instructions do
        if not 0 <= at < section.size:
            return f"{_name(section)}+{at}"
        if section.flags & elf.SHF_STRINGS:
            first, last = section.offset + at, section.end
            end = self.module.data.find(bytes(_unit(section)), first, last)
            return self._hex(section, first, end if end >= 0 else last)
        first = section.offset + at - at % section.entsize
        end = min(first + section.entsize, section.end)
        return f"{self._hex(section, first, end)}+{at % section.entsize}"

    def _hex(self, section: Section, first: int, end: int) -> str:
        self._left -= end - first
        if self._left < 0:
            raise DamagedFileError(
                f"relocations point into more than {MOST_CONSTANTS >> 20} MiB of constants, each "
                "counted as often as one does, far more than in any kqemu",
                where=f"{self.module.name}: {section.name}",
                todo="use the module as it was built",
            )
        return self.module.data[first:end].hex()


def _is_merged(section: Section) -> bool:
    """Whether linkers may move its constants: only if it says how long one is (gABI, sh_flags)."""
    fits = 0 < _unit(section) <= section.size or section.size == 0
    return bool(section.flags & elf.SHF_MERGE) and fits


def _unit(section: Section) -> int:
    """Bytes of one constant or character. ``mold -r`` writes 0 for strings of bytes."""
    return section.entsize or int(bool(section.flags & elf.SHF_STRINGS))


def _name(section: Section) -> str:
    """The name as one word: it stands first in a line, and may hold anything."""
    return section.name.replace("\\", "\\\\").replace(" ", "\\s").replace("\n", "\\n")
