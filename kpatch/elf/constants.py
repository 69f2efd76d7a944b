"""Numbers of the ELF format that kpatch names.

Sources: System V gABI chapter 4 (sections, symbols), x86-64 psABI table 4.9 (relocations),
FreeBSD sys/sys/elf_common.h (the OSABI).
"""

from __future__ import annotations

from typing import Final

ELF_MAGIC: Final = b"\x7fELF"
EV_CURRENT: Final = 1
ELFOSABI_FREEBSD: Final = 9

ET_REL: Final = 1
ET_EXEC: Final = 2
ET_DYN: Final = 3

EM_386: Final = 3
EM_X86_64: Final = 62
EM_NAMES: Final = {
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC64",
    40: "ARM",
    43: "SPARC64",
    50: "IA-64",
    183: "AArch64",
    243: "RISC-V",
    EM_386: "i386",
    EM_X86_64: "x86-64",
}
"""gABI, e_machine: those that FreeBSD ran or runs on."""

SHN_UNDEF: Final = 0
SHN_LORESERVE: Final = 0xFF00
SHN_ABS: Final = 0xFFF1
SHN_COMMON: Final = 0xFFF2
SHN_XINDEX: Final = 0xFFFF

SHT_NULL: Final = 0
SHT_PROGBITS: Final = 1
SHT_SYMTAB: Final = 2
SHT_STRTAB: Final = 3
SHT_RELA: Final = 4
SHT_NOTE: Final = 7
SHT_NOBITS: Final = 8
SHT_REL: Final = 9
SHT_SYMTAB_SHNDX: Final = 18

SHF_WRITE: Final = 0x1
SHF_ALLOC: Final = 0x2
SHF_EXECINSTR: Final = 0x4
SHF_MERGE: Final = 0x10
SHF_STRINGS: Final = 0x20
SHF_INFO_LINK: Final = 0x40
SHF_COMPRESSED: Final = 0x800

STB_LOCAL: Final = 0
STB_GLOBAL: Final = 1
STB_WEAK: Final = 2

STT_NOTYPE: Final = 0
STT_OBJECT: Final = 1
STT_FUNC: Final = 2
STT_SECTION: Final = 3
STT_FILE: Final = 4

R_X86_64_NONE: Final = 0
R_X86_64_64: Final = 1
R_X86_64_PC32: Final = 2
R_X86_64_PLT32: Final = 4
R_X86_64_GLOB_DAT: Final = 6
R_X86_64_JUMP_SLOT: Final = 7
R_X86_64_RELATIVE: Final = 8
R_X86_64_32: Final = 10
R_X86_64_32S: Final = 11
R_X86_64_16: Final = 12
R_X86_64_PC16: Final = 13
R_X86_64_8: Final = 14
R_X86_64_PC8: Final = 15

_RELOCATIONS: Final = (
    "NONE 64 PC32 GOT32 PLT32 COPY GLOB_DAT JUMP_SLOT RELATIVE GOTPCREL 32 32S 16 PC16 8 PC8 "
    "DTPMOD64 DTPOFF64 TPOFF64 TLSGD TLSLD DTPOFF32 GOTTPOFF TPOFF32 PC64 GOTOFF64 GOTPC32 GOT64 "
    "GOTPCREL64 GOTPC64 GOTPLT64 PLTOFF64 SIZE32 SIZE64 GOTPC32_TLSDESC TLSDESC_CALL TLSDESC "
    "IRELATIVE RELATIVE64"
)
"""psABI table 4.9: the types 0 to 38 in order; 39 and 40 are deprecated."""

_LATER: Final = {41: "R_X86_64_GOTPCRELX", 42: "R_X86_64_REX_GOTPCRELX"}
RELOCATION_NAMES: Final[dict[int, str]] = {
    **{kind: f"R_X86_64_{name}" for kind, name in enumerate(_RELOCATIONS.split(" "))},
    **_LATER,
}

WIDEST_FIELD = 8
_FIELD_WIDTHS = {
    R_X86_64_NONE: 0,
    R_X86_64_PC32: 4,
    R_X86_64_PLT32: 4,
    R_X86_64_32: 4,
    R_X86_64_32S: 4,
    R_X86_64_16: 2,
    R_X86_64_PC16: 2,
    R_X86_64_8: 1,
    R_X86_64_PC8: 1,
}


def relocation_name(kind: int) -> str:
    """The psABI's name of an x86-64 relocation type, or ``relocation type N``."""
    return RELOCATION_NAMES.get(kind, f"relocation type {kind}")


def field_width(kind: int) -> int:
    """How many bytes an x86-64 relocation of this type writes.

    A type that is not in the table counts as the widest, so that nobody overwrites its field
    by taking it for a shorter one.
    """
    return _FIELD_WIDTHS.get(kind, WIDEST_FIELD)
