"""What the tables of an ELF file say, one frozen value an entry."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from typing import NamedTuple

from kpatch.elf import constants as elf
from kpatch.units import FileOffset, SectionOffset


class Header(NamedTuple):
    """The ELF header, with the extended section numbering already resolved."""

    elf_class: int  # 32 or 64
    little_endian: bool
    osabi: int
    ident_version: int
    type: int
    machine: int
    version: int
    entry: int
    phoff: FileOffset
    shoff: FileOffset
    flags: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int
    extended: bool  # shnum or shstrndx did not fit the header and came from section 0

    @property
    def is_amd64(self) -> bool:
        """ELF64, little-endian, x86-64: the only kind whose relocations are read."""
        return self.elf_class == 64 and self.little_endian and self.machine == elf.EM_X86_64

    @property
    def machine_name(self) -> str:
        """A name for messages: ``x86-64``, ``i386``, or ``machine N`` where it is not known."""
        return elf.EM_NAMES.get(self.machine, f"machine {self.machine}")


class Section(NamedTuple):
    """One entry of the section header table. Sizes and offsets are in bytes."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    name: str
    type: int
    flags: int
    address: int
    offset: FileOffset
    size: int
    link: int
    info: int
    align: int
    entsize: int

    @property
    def end(self) -> FileOffset:
        """The file offset behind the last byte; ``offset`` itself for a section without bytes."""
        return FileOffset(self.offset + (self.size if self.has_bytes else 0))

    @property
    def has_bytes(self) -> bool:
        """Whether the file holds the contents."""
        return self.type not in (elf.SHT_NULL, elf.SHT_NOBITS)

    @property
    def is_debug(self) -> bool:
        """Whether it is debugging information: by its name, and not for use by its flag."""
        named = self.name.startswith((".debug", ".zdebug", ".stab"))
        return named and not self.flags & elf.SHF_ALLOC

    @property
    def is_compressed(self) -> bool:
        """By its flag (gABI), or by the name that compressed debug sections had before 2015."""
        return bool(self.flags & elf.SHF_COMPRESSED) or self.name.startswith(".zdebug")

    @property
    def is_loaded(self) -> bool:
        """Whether the kernel linker gives it memory: by type alone, SHF_ALLOC is not looked at."""
        return self.type in (elf.SHT_PROGBITS, elf.SHT_NOBITS)

    @property
    def is_code(self) -> bool:
        """Whether SHF_EXECINSTR is set."""
        return bool(self.flags & elf.SHF_EXECINSTR)

    @property
    def is_relocation_table(self) -> bool:
        """Whether it is a SHT_REL or SHT_RELA section."""
        return self.type in (elf.SHT_REL, elf.SHT_RELA)


class Symbol(NamedTuple):
    """One entry of the symbol table; ``section`` is the real index, SHN_XINDEX resolved."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    name: str
    value: int
    size: int
    bind: int
    type: int
    other: int
    section: int

    @property
    def is_undefined(self) -> bool:
        """Whether it stands for something outside the file."""
        return self.section == elf.SHN_UNDEF

    @property
    def is_local(self) -> bool:
        """Whether its binding is STB_LOCAL."""
        return self.bind == elf.STB_LOCAL


class Relocation(NamedTuple):
    """One x86-64 relocation. ``addend`` is 0 in a SHT_REL table, whose addend is in the field."""

    table: int  # section index of the SHT_REL or SHT_RELA section
    index: int  # type: ignore[assignment]  # position in that table
    target: int  # section index (sh_info) that ``offset`` counts in
    offset: SectionOffset
    type: int
    symbol: int  # index in the symbol table
    addend: int

    @property
    def width(self) -> int:
        """Bytes of the field that it writes."""
        return elf.field_width(self.type)

    @property
    def end(self) -> SectionOffset:
        """The section offset behind its field."""
        return SectionOffset(self.offset + self.width)
