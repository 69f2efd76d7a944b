"""Modules that a compiler, a linker or a tool may leave behind, each made from the sample."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.layouts import AMD64
from tests.cases.rewriter import GLOBAL, LOCAL, WEAK, Part, Rewriter

HIDDEN: Final = 2
_ALLOC, _CODE = elf.SHF_ALLOC, elf.SHF_ALLOC | elf.SHF_EXECINSTR
_RET: Final = b"\xc3" * 16


def _as_it_is(odd: Rewriter) -> bytes:
    return odd.build()


def _headers_first(odd: Rewriter) -> bytes:
    return odd.build(headers_first=True)


def _one_string_table(odd: Rewriter) -> bytes:
    return odd.build(one_string_table=True)


def _reversed(odd: Rewriter) -> bytes:
    return odd.build(order=range(len(odd.parts) - 1, 0, -1))


def _junk_behind(odd: Rewriter) -> bytes:
    return odd.build(behind=b"\n#junk" * 100)


def _comdat_group(odd: Rewriter) -> bytes:
    code = odd.add(Part(".text.group", elf.SHT_PROGBITS, _CODE | 0x200, _RET, 16))
    members = struct.pack("<II", 1, code)
    odd.add(Part(".group", 17, 0, members, 4, odd.number(".symtab"), 47, 4))
    return odd.build()


def _notes_of_others(odd: Rewriter) -> bytes:
    word = struct.pack("<III4sIII", 4, 16, 5, b"GNU\0", 0xC0000002, 4, 3) + bytes(4)
    odd.add(Part(".note.gnu.property", elf.SHT_NOTE, _ALLOC, word, 8))
    odd.add(Part(".llvm_addrsig", 0x6FFF4C03, 1 << 31, b"\1\2\3", 1, odd.number(".symtab")))
    return odd.build()


def _debug_link(odd: Rewriter) -> bytes:
    odd.add(Part(".gnu_debuglink", data=b"kqemu.ko.debug\0\0\x12\x34\x56\x78", align=4))
    return odd.build()


def _ctf(odd: Rewriter) -> bytes:
    odd.add(Part(".SUNW_ctf", data=b"\xf1\xcf\2\0" + bytes(600), align=4))
    return odd.build()


def _symtab_shndx(odd: Rewriter) -> bytes:
    count = len(odd[".symtab"].data) // AMD64.symbol.size
    odd.add(Part(".symtab_shndx", 18, 0, bytes(4 * count), 4, odd.number(".symtab"), 0, 4))
    return odd.build()


def _without_addends(odd: Rewriter) -> bytes:
    """The addends lie in the fields (SHT_REL), as 32-bit toolchains have them."""
    table = odd[".rela.rodata"]
    target = odd.parts[table.info]
    contents, rows = bytearray(target.data), b""
    for offset, info, addend in odd.relocations(".rela.rodata"):
        width = elf.field_width(info & 0xFFFFFFFF)
        contents[offset : offset + width] = addend.to_bytes(width, "little", signed=addend < 0)
        rows += struct.pack("<QQ", offset, info)
    target.data = bytes(contents)
    table.name, table.type, table.entsize, table.data = ".rel.rodata", elf.SHT_REL, 16, rows
    return odd.build()


def _entry_size_0(name: str) -> Callable[[Rewriter], bytes]:
    def change(odd: Rewriter) -> bytes:
        odd[name].entsize = 0
        return odd.build()

    return change


def _alignment_0(name: str) -> Callable[[Rewriter], bytes]:
    def change(odd: Rewriter) -> bytes:
        odd[name].align = 0
        return odd.build()

    return change


def _functions(odd: Rewriter) -> bytes:
    """As -ffunction-sections makes of 3,000 functions."""
    for number in range(3000):
        odd.add(Part(f".text.f{number}", elf.SHT_PROGBITS, _CODE, b"\xc3", 16))
    return odd.build()


def _sections(total: int) -> Callable[[Rewriter], bytes]:
    def change(odd: Rewriter) -> bytes:
        while len(odd.parts) < total:
            odd.add(Part(".x"))
        return odd.build()

    return change


def _common_tss(info: int, section: int, value: int = 0, other: int = 0) -> Callable[..., bytes]:
    def change(odd: Rewriter) -> bytes:
        odd.add_symbol("common_tss", info, section, value, 8320, other)
        return odd.build()

    return change


def _lock_name(odd: Rewriter) -> bytes:
    odd.add_symbol("kpatch_tss_lock", GLOBAL | 1, odd.number(".bss"), 0, 4)
    return odd.build()


def _section_name(name: str, kind: int, data: bytes) -> Callable[[Rewriter], bytes]:
    def change(odd: Rewriter) -> bytes:
        flags = _CODE if kind == elf.SHT_PROGBITS else 0
        odd.add(Part(name, kind, flags, data, 16))
        return odd.build()

    return change


def _init_array(odd: Rewriter) -> bytes:
    odd.add_symbol("resolver", GLOBAL | 10, odd.number(".text"), 0, 16)
    number = odd.add(Part(".init_array", 14, 3, bytes(8), 8))
    row = AMD64.rela.pack(0, 1 << 32 | elf.R_X86_64_64, 0)
    link = odd.number(".symtab")
    odd.add(Part(".rela.init_array", elf.SHT_RELA, 0x40, row, 8, link, number, 24))
    return odd.build()


def _sdt_set(odd: Rewriter) -> bytes:
    number = odd.add(Part("set_sdt_providers_set", elf.SHT_PROGBITS, _ALLOC, bytes(8), 8))
    row = AMD64.rela.pack(0, 10 << 32 | elf.R_X86_64_64, 0)
    link = odd.number(".symtab")
    odd.add(Part(".relaset_sdt_providers_set", elf.SHT_RELA, 0x40, row, 8, link, number, 24))
    return odd.build()


def _two_tables_of_relocations(odd: Rewriter) -> bytes:
    table = odd[".rela.rodata"]
    half = len(table.data) // 48 * 24
    rest = Part(
        table.name, table.type, table.flags, table.data[half:], 8, table.link, table.info, 24
    )
    table.data = table.data[:half]
    odd.add(rest)
    return odd.build()


def _plt32(odd: Rewriter) -> bytes:
    rows = [
        (at, info + 2 if info & 0xFFFFFFFF == elf.R_X86_64_PC32 else info, addend)
        for at, info, addend in odd.relocations(".rela.text")
    ]
    odd[".rela.text"].data = b"".join(AMD64.rela.pack(*row) for row in rows)
    return odd.build()


def _program_header(odd: Rewriter) -> bytes:
    struct.pack_into("<Q", odd.header, 32, 64)
    struct.pack_into("<HH", odd.header, 54, 56, 1)
    return odd.build()


def _osabi(value: int) -> Callable[[Rewriter], bytes]:
    def change(odd: Rewriter) -> bytes:
        odd.header[7] = value
        return odd.build()

    return change


def _two_symbol_tables(odd: Rewriter) -> bytes:
    table = odd[".symtab"]
    odd.add(Part(".symtab2", elf.SHT_SYMTAB, 0, table.data, 8, table.link, table.info, 24))
    return odd.build()


def _dynamic_symbols(odd: Rewriter) -> bytes:
    table = odd[".symtab"]
    strings = odd.add(Part(".dynstr", elf.SHT_STRTAB, _ALLOC, odd.parts[table.link].data))
    odd.add(Part(".dynsym", 11, _ALLOC, table.data, 8, strings, 1, 24))
    return odd.build()


def _late_local(odd: Rewriter) -> bytes:
    odd.add_symbol("late_local", LOCAL, odd.number(".text"), 3)
    return odd.build()


def _no_relocation(odd: Rewriter) -> bytes:
    odd[".rela.text"].data += AMD64.rela.pack(8, 0, 0)
    return odd.build()


def _empty_table(odd: Rewriter) -> bytes:
    odd.add(Part(".rela.debug_info", elf.SHT_RELA, 0x40, b"", 8, odd.number(".symtab"), 0, 24))
    return odd.build()


def _empty_section(odd: Rewriter) -> bytes:
    odd.add(Part("set_pcpu", elf.SHT_PROGBITS, 3, b"", 128))
    odd.add(Part(".data.behind", elf.SHT_PROGBITS, 3, b"xxx", 1))
    return odd.build()


PATCHED: Final[Mapping[str, Callable[[Rewriter], bytes]]] = {
    "laid out anew": _as_it_is,
    "section headers first": _headers_first,
    "one string table": _one_string_table,
    "contents in reverse order": _reversed,
    "junk behind the end": _junk_behind,
    "a COMDAT group": _comdat_group,
    "notes of other tools": _notes_of_others,
    "a debug link": _debug_link,
    "CTF": _ctf,
    "relocations without addends": _without_addends,
    "3,000 sections": _functions,
    "a hidden common_tss": _common_tss(GLOBAL, elf.SHN_UNDEF, other=HIDDEN),
    "a DTrace set": _sdt_set,
    "two relocation tables of one section": _two_tables_of_relocations,
    "OSABI System V": _osabi(0),
    "OSABI Linux": _osabi(3),
    "OSABI of no system": _osabi(0x89),
    "a dynamic symbol table": _dynamic_symbols,
    "a local symbol behind the globals": _late_local,
    "a relocation that does nothing": _no_relocation,
    "an empty section of large alignment": _empty_section,
}
"""Odd, but right: these are patched, and give their original back."""

REFUSED: Final[Mapping[str, tuple[Callable[[Rewriter], bytes], int | None, int, str]]] = {
    "the number of sections in an extra table": (_symtab_shndx, 1, 16, "extended section numbers"),
    "relocations with entries of 0": (_entry_size_0(".rela.rodata"), 10, 10, "sh_entsize to 24"),
    "symbols with entries of 0": (_entry_size_0(".symtab"), 10, 10, "sh_entsize to 24"),
    "alignment 0 of data": (
        _alignment_0(".rodata.str1.1"), 1, 16, "--set-section-alignment .rodata.str1.1=1"),
    "alignment 0 of a comment": (
        _alignment_0(".comment"), 1, 16, "--set-section-alignment .comment=1"),
    "one section too many": (_sections(0xFEFE), None, 16, "would have 65282 sections"),
    "extended section numbers": (_sections(0xFF29), None, 16, "extended section numbers"),
    "a weak common_tss": (
        _common_tss(WEAK, elf.SHN_UNDEF), 1, 16, "--globalize-symbol=common_tss"),
    "a weak, hidden common_tss": (
        _common_tss(WEAK, elf.SHN_UNDEF, other=HIDDEN), 1, 16, "--globalize-symbol=common_tss"),
    "an absolute common_tss": (
        _common_tss(GLOBAL, elf.SHN_ABS, 0x1234), 1, 12, "defines common_tss itself"),
    "a common common_tss": (_common_tss(GLOBAL, elf.SHN_COMMON, 32), 1, 16, "ld -r -d"),
    "the lock's name is taken": (_lock_name, 1, 16, "a symbol kpatch_tss_lock already"),
    "the code's section is there": (
        _section_name(".text.kpatch", elf.SHT_PROGBITS, _RET), 1, 16,
        "section .text.kpatch already"),
    "the note's section is there": (
        _section_name(".note.kpatch", elf.SHT_NOTE, b"hello"), 1, 16,
        "section .note.kpatch already"),
    "an array of constructors": (_init_array, 1, 16, "(.init_array), which is not loaded"),
    "PLT32": (_plt32, 1, 16, "R_X86_64_PLT32 (42 relocations, the first against malloc)"),
    "a program header": (_program_header, 1, 10, "set e_phnum"),
    "two symbol tables": (_two_symbol_tables, 1, 16, "2 symbol tables"),
    "an empty table for no section": (_empty_table, 1, 16, "objcopy -R .rela.debug_info"),
}  # fmt: skip
"""The change, scan's exit code (None where it is not worth its time), apply's, and what the refusal
must say."""
