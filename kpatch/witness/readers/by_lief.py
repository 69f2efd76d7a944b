"""A file as LIEF reads it.

LIEF gives a SHT_NOBITS section the bytes that lie at its offset, which belong to others, and a
note's description with its padding: neither is compared. It shows relocations of one table that
are alike in everything as one, so that their order and count say nothing.
"""

from __future__ import annotations

import warnings
from io import IOBase
from typing import IO, Any, cast

import lief

from kpatch.witness.readers.picture import (
    WITHOUT_BYTES,
    NoteRow,
    Picture,
    RelocationRow,
    SectionRow,
    SymbolRow,
    outside,
    page_digests,
    unpadded,
)

VERSION: str = vars(lief)["__version__"].partition("-")[0]  # behind it stands a commit
_U32 = 0xFFFF_FFFF


def read(opened: IO[bytes], size: int) -> Picture:
    """The whole file, of ``size`` bytes. Raises ValueError for what LIEF does not take for ELF."""
    lief.logging.disable()
    with warnings.catch_warnings():
        # A section type that LIEF has no name for is a warning and a plain number.
        warnings.simplefilter("ignore", RuntimeWarning)
        return _read(opened, size)


def _read(opened: IO[bytes], size: int) -> Picture:
    file = lief.ELF.parse(cast(IOBase, opened))
    if file is None:
        raise ValueError("LIEF does not take it for an ELF file")
    sections = list(file.sections)
    numbers = {id(section): number for number, section in enumerate(sections)}
    header = _header(file.header)
    rows = tuple(_section(section) for section in sections)
    return Picture(
        header=header,
        sections=rows,
        symbols=tuple(_symbol(symbol) for symbol in file.symtab_symbols),
        relocations=tuple(
            _relocation(relocation, numbers) for relocation in file.object_relocations
        ),
        notes=tuple(_note(note) for note in file.notes),
        outside=outside(size, header, rows),
    )


def _header(header: Any) -> dict[str, int | None]:
    return {
        "class": header.identity_class.value,
        "data": header.identity_data.value,
        "ident version": _value(header.identity_version),
        "osabi": _value(header.identity_os_abi),
        "ABI version": header.identity_abi_version,
        "padding": int.from_bytes(bytes(header.identity[9:]), "little"),
        "type": header.file_type.value,
        "machine": header.machine_type.value,
        "version": header.object_file_version.value,
        "entry": header.entrypoint,
        "phoff": header.program_header_offset,
        "phnum": header.numberof_segments,
        "flags": header.processor_flag,
        "ehsize": header.header_size,
        "phentsize": header.program_header_size,
        "shentsize": header.section_header_size,
        "shnum": header.numberof_sections,
        "shstrndx": header.section_name_table_idx,
        "shoff": header.section_header_offset,
    }


def _section(section: Any) -> SectionRow:
    # LIEF marks a processor's own section types in the upper 32 bits.
    kind = _value(section.type) & _U32
    return SectionRow(
        name=_text(section.name),
        type=kind,
        flags=int(section.flags),
        address=section.virtual_address,
        offset=section.offset,
        size=section.size,
        link=section.link,
        info=section.information,
        align=section.alignment,
        entsize=section.entry_size,
        contents=None if kind in WITHOUT_BYTES else page_digests((section.content,)),
    )


def _symbol(symbol: Any) -> SymbolRow:
    return SymbolRow(
        name=_text(symbol.name),
        value=symbol.value,
        size=symbol.size,
        bind=_value(symbol.binding),
        type=_value(symbol.type),
        visibility=_value(symbol.visibility),
        section=symbol.shndx,
    )


def _relocation(relocation: Any, numbers: dict[int, int]) -> RelocationRow:
    info = relocation.r_info(lief.ELF.Header.CLASS.ELF64)
    return RelocationRow(
        target=numbers.get(id(relocation.section), 0),
        offset=relocation.address,
        type=info & _U32,
        symbol=info >> 32,
        addend=relocation.addend,
    )


def _note(note: Any) -> NoteRow:
    return NoteRow(
        _text(note.name).rstrip("\0"), note.original_type, unpadded(bytes(note.description))
    )


def _value(value: Any) -> int:
    return int(getattr(value, "value", value))


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "replace")
