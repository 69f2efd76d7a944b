"""The section headers of an amd64 file as they are stored, for those who write new ones."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from typing import NamedTuple

from kpatch.elf.layouts import AMD64
from kpatch.elf.module import Module


class SectionHeader(NamedTuple):
    """A section header (gABI, Elf64_Shdr); ``name`` is a position in the names' table."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


def section_headers(module: Module) -> list[SectionHeader]:
    """The section headers of an amd64 module, in order."""
    shoff = module.header.shoff
    table = module.data[shoff : shoff + module.header.shnum * AMD64.section.size]
    return list(map(SectionHeader._make, AMD64.section.iter_unpack(table)))
