"""Linker sets and module metadata, read through the relocations that fill their pointers.

A FreeBSD module tells the kernel about itself in sections named ``set_*``: arrays of pointers,
which in a relocatable file are R_X86_64_64 relocations over zeros. ``set_modmetadata_set`` points
to records that name the module, its versions and what it depends on (FreeBSD sys/sys/module.h).
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Mapping
from struct import unpack_from
from typing import NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Section
from kpatch.units import SectionOffset

SET_PREFIX = "set_"
METADATA_SET = "set_modmetadata_set"
POINTER_SIZE = 8

# struct mod_metadata on amd64: int md_version, int md_type, void *md_data, const char *md_cval.
_RECORD_VERSION = 1
_DATA_OFFSET = 8
_NAME_OFFSET = 16
_DEPEND, _MODULE, _VERSION = 1, 2, 3
_DEPEND_INTS, _VERSION_INTS = 3, 1

_LONGEST_NAME = 256


class SectionPosition(NamedTuple):
    """A byte of a section."""

    section: int
    offset: SectionOffset


class LinkerSet(NamedTuple):
    """One ``set_*`` section; an entry is None where no relocation says what it points to."""

    name: str
    section: int
    entries: tuple[SectionPosition | None, ...]


class Dependency(NamedTuple):
    """What the module needs, and which versions of it will do."""

    name: str
    minimum: int
    preferred: int
    maximum: int
    record: SectionPosition


class Version(NamedTuple):
    """A version that the module declares of itself."""

    name: str
    version: int


class Metadata(NamedTuple):
    """All that could be read, and for each record that could not, why."""

    modules: tuple[str, ...] = ()
    versions: tuple[Version, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    skipped: tuple[str, ...] = ()


def linker_sets(module: Module) -> Mapping[str, LinkerSet]:
    """The linker sets by section name. Of a name that occurs twice the kernel sees the first."""
    sets: dict[str, LinkerSet] = {}
    for section in module.sections:
        if section.is_loaded and section.name.startswith(SET_PREFIX):
            sets.setdefault(section.name, _linker_set(module, section))
    return sets


def read_metadata(module: Module) -> Metadata:
    """The module's metadata; empty without a ``set_modmetadata_set``. Damage is skipped."""
    found = linker_sets(module).get(METADATA_SET)
    modules: list[str] = []
    versions: list[Version] = []
    dependencies: list[Dependency] = []
    skipped: list[str] = []
    for index, record in enumerate(found.entries if found else ()):
        head = _ints(module, record, 2)
        name = text_at(module, _pointer_behind(module, record, _NAME_OFFSET))
        data = _pointer_behind(module, record, _DATA_OFFSET)
        if record is None or head is None or head[0] != _RECORD_VERSION or name is None:
            skipped.append(f"entry {index} of {METADATA_SET} leads to no readable record")
            continue
        if head[1] == _MODULE:
            modules.append(name)
        elif head[1] == _VERSION and (numbers := _ints(module, data, _VERSION_INTS)):
            versions.append(Version(name, numbers[0]))
        elif head[1] == _DEPEND and (numbers := _ints(module, data, _DEPEND_INTS)):
            minimum, preferred, maximum = numbers
            dependencies.append(Dependency(name, minimum, preferred, maximum, record))
        else:
            skipped.append(f"entry {index} of {METADATA_SET} ({name}) has type {head[1]}, unread")
    return Metadata(tuple(modules), tuple(versions), tuple(dependencies), tuple(skipped))


def pointer_at(module: Module, place: SectionPosition) -> SectionPosition | None:
    """Where the pointer at ``place`` will point: into a section of this file, or None.

    Only R_X86_64_64 over the whole pointer counts, as it is what compilers emit for one.
    """
    for relocation in module.relocations_at(
        place.section, place.offset, place.offset + POINTER_SIZE
    ):
        if relocation.offset != place.offset or relocation.type != elf.R_X86_64_64:
            continue
        symbol = module.symbols[relocation.symbol] if relocation.symbol else None
        if symbol is None or not 0 < symbol.section < len(module.sections):
            continue
        target = module.sections[symbol.section]
        offset = symbol.value + relocation.addend
        if 0 <= offset < target.size:
            return SectionPosition(target.index, SectionOffset(offset))
    return None


def text_at(module: Module, place: SectionPosition | None) -> str | None:
    """The NUL-terminated string at ``place``, or None if it has no end nearby."""
    if place is None:
        return None
    section = module.sections[place.section]
    start = section.offset + place.offset
    stop = module.data.find(b"\0", start, min(section.end, start + _LONGEST_NAME))
    return None if stop < 0 else module.data[start:stop].decode("ascii", "backslashreplace")


def _linker_set(module: Module, section: Section) -> LinkerSet:
    places = range(0, min(section.size, section.end - section.offset), POINTER_SIZE)
    entries = (
        pointer_at(module, SectionPosition(section.index, SectionOffset(at))) for at in places
    )
    return LinkerSet(section.name, section.index, tuple(entries))


def _pointer_behind(
    module: Module, place: SectionPosition | None, distance: int
) -> SectionPosition | None:
    if place is None:
        return None
    return pointer_at(
        module, SectionPosition(place.section, SectionOffset(place.offset + distance))
    )


def _ints(module: Module, place: SectionPosition | None, count: int) -> tuple[int, ...] | None:
    if place is None:
        return None
    section = module.sections[place.section]
    start = section.offset + place.offset
    if start + 4 * count > section.end:
        return None
    return unpack_from(f"<{count}i", module.data, start)
