"""Byte layouts of the ELF tables, for reading and for writing (gABI chapter 4)."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from struct import Struct
from typing import NamedTuple

IDENT_SIZE = 16


class Layout(NamedTuple):
    """The four tables' entries for one class and byte order."""

    header: Struct
    section: Struct
    symbol: Struct
    rela: Struct
    rel: Struct


def layout_of(elf_class: int, little_endian: bool) -> Layout:
    """The layout for ``elf_class`` 32 or 64. ELF32 relocations have no use here but a size."""
    order = "<" if little_endian else ">"
    if elf_class == 64:
        return Layout(
            header=Struct(order + "16sHHIQQQIHHHHHH"),
            section=Struct(order + "IIQQQQIIQQ"),
            symbol=Struct(order + "IBBHQQ"),
            rela=Struct(order + "QQq"),
            rel=Struct(order + "QQ"),
        )
    return Layout(
        header=Struct(order + "16sHHIIIIIHHHHHH"),
        section=Struct(order + "IIIIIIIIII"),
        symbol=Struct(order + "IIIBBH"),
        rela=Struct(order + "IIi"),
        rel=Struct(order + "II"),
    )


AMD64 = layout_of(64, little_endian=True)

HEADER_SIZE = AMD64.header.size

E_SHOFF = slice(40, 48)
E_SHNUM = slice(60, 62)
"""Where these fields lie in an ELF64 header (gABI, "ELF Header")."""

MOST_FILE_ALIGNMENT = 16
"""Contents are aligned in the file as their section asks, up to here. ET_REL demands none of it."""

TABLE_ALIGNMENT = 8
"""Of the tables of an ELF64 file."""
