"""A file as pyelftools reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import elftools
from elftools.elf import enums
from elftools.elf.elffile import ELFFile

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

VERSION: str = elftools.__version__
_SHN = {"SHN_UNDEF": 0, "SHN_ABS": 0xFFF1, "SHN_COMMON": 0xFFF2, "SHN_XINDEX": 0xFFFF}


def read(opened: IO[bytes], size: int, note_sections: frozenset[str]) -> Picture:
    """The whole file, of ``size`` bytes, with the notes of the SHT_NOTE sections of these names.

    pyelftools raises many kinds of exception on a damaged file.
    """
    file = ELFFile(opened)
    sections = list(file.iter_sections())
    header = _header(file.header)
    names = file.get_section(file.get_shstrndx())["sh_size"]
    rows = tuple(_section(opened, section, names) for section in sections)
    return Picture(
        header=header,
        sections=rows,
        symbols=tuple(
            _symbol(entry)
            for section in sections
            if section["sh_type"] == "SHT_SYMTAB"
            for entry in section.iter_symbols()
        ),
        relocations=tuple(
            _relocation(section, entry)
            for section in sections
            if section["sh_type"] in ("SHT_RELA", "SHT_REL")
            for entry in section.iter_relocations()
        ),
        notes=tuple(
            NoteRow(entry["n_name"], entry["n_type"], unpadded(bytes(entry["n_descdata"])))
            for section in sections
            if section["sh_type"] == "SHT_NOTE" and section.name in note_sections
            for entry in section.iter_notes()
        ),
        outside=outside(size, header, rows),
    )


def _header(header: Any) -> dict[str, int | None]:
    return {
        "class": _number(header["e_ident"]["EI_CLASS"], enums.ENUM_EI_CLASS),
        "data": _number(header["e_ident"]["EI_DATA"], enums.ENUM_EI_DATA),
        "ident version": _number(header["e_ident"]["EI_VERSION"], enums.ENUM_E_VERSION),
        "osabi": _number(header["e_ident"]["EI_OSABI"], enums.ENUM_EI_OSABI),
        "ABI version": header["e_ident"]["EI_ABIVERSION"],
        "type": _number(header["e_type"], enums.ENUM_E_TYPE),
        "machine": _number(header["e_machine"], enums.ENUM_E_MACHINE),
        "version": _number(header["e_version"], enums.ENUM_E_VERSION),
        "entry": header["e_entry"],
        "phoff": header["e_phoff"],
        "phnum": header["e_phnum"],
        "flags": header["e_flags"],
        "ehsize": header["e_ehsize"],
        "phentsize": header["e_phentsize"],
        "shentsize": header["e_shentsize"],
        "shnum": header["e_shnum"],
        "shstrndx": header["e_shstrndx"],
        "shoff": header["e_shoff"],
    }


def _section(opened: IO[bytes], section: Any, names: int) -> SectionRow:
    kind = _number(section["sh_type"], enums.ENUM_SH_TYPE_AMD64)
    offset, size = section["sh_offset"], section["sh_size"]
    return SectionRow(
        # One behind the end of the names, of a size in bytes, would be shown as none.
        name=section.name if section["sh_name"] < names else f"at {section['sh_name']:#x}",
        type=kind,
        flags=section["sh_flags"],
        address=section["sh_addr"],
        offset=offset,
        size=size,
        link=section["sh_link"],
        info=section["sh_info"],
        align=section["sh_addralign"],
        entsize=section["sh_entsize"],
        contents=None if kind in WITHOUT_BYTES else page_digests(_bytes_of(opened, section)),
    )


def _bytes_of(opened: IO[bytes], section: Any) -> Iterator[bytes]:
    # section.data() would unpack a compressed section; what counts is what lies in the file.
    if not section.compressed:
        yield section.data()
        return
    opened.seek(section["sh_offset"])
    yield opened.read(section["sh_size"])


def _symbol(symbol: Any) -> SymbolRow:
    entry = symbol.entry
    return SymbolRow(
        name=symbol.name if entry["st_name"] else "",
        value=entry["st_value"],
        size=entry["st_size"],
        bind=_number(entry["st_info"]["bind"], enums.ENUM_ST_INFO_BIND),
        type=_number(entry["st_info"]["type"], enums.ENUM_ST_INFO_TYPE),
        visibility=_number(entry["st_other"]["visibility"], enums.ENUM_ST_VISIBILITY),
        section=_number(entry["st_shndx"], _SHN),
    )


def _relocation(table: Any, relocation: Any) -> RelocationRow:
    entry = relocation.entry
    return RelocationRow(
        target=table["sh_info"],
        offset=entry["r_offset"],
        type=entry["r_info_type"],
        symbol=entry["r_info_sym"],
        addend=entry["r_addend"] if relocation.is_RELA() else 0,
    )


def _number(value: int | str, names: dict[str, int]) -> int:
    """The number; pyelftools gives a name where it knows one."""
    return names[value] if isinstance(value, str) else int(value)
