"""Relocatable x86-64 files by plan: any order, gaps and alignments that readers accept."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

from kpatch.elf import constants as elf

EXTERNALS = ("common_tss", "malloc", "printf")


@dataclass(frozen=True)
class RelocationPlan:
    """A relocation to be: ``symbol`` is a name, or a section's for its section symbol."""

    offset: int
    type: int
    symbol: str
    addend: int


@dataclass(frozen=True)
class SectionPlan:
    """A section to be; ``relocations`` None means that it has no table, () an empty one."""

    name: str
    type: int
    flags: int
    align: int
    size: int
    fill: int
    relocations: tuple[RelocationPlan, ...] | None

    @property
    def contents(self) -> bytes:
        """Its bytes: a pattern that differs from section to section."""
        if self.type == elf.SHT_NOBITS:
            return b""
        return bytes((self.fill + 7 * at) & 0xFF for at in range(self.size))


@dataclass(frozen=True)
class FilePlan:
    """A file to be. ``header_order`` and ``file_order`` are keys to sort by, one a section."""

    sections: tuple[SectionPlan, ...]
    symbols: tuple[tuple[str, str, int, bool], ...]  # name, section, value, whether global
    shared_strings: bool
    header_order: tuple[int, ...]
    file_order: tuple[int, ...]
    gap: int
    headers_first: bool
    trailing: bytes
    externals: tuple[str, ...] = EXTERNALS
    symbol_sizes: tuple[tuple[str, int], ...] = ()


def build(plan: FilePlan) -> bytes:
    """The bytes of a planned file."""
    return _Builder(plan).build()


@dataclass
class _Row:
    """A section of the file while it is put together."""

    name: str
    type: int
    contents: bytes = b""
    flags: int = 0
    align: int = 1
    size: int = 0
    link: int = 0
    info: int = 0
    entsize: int = 0
    offset: int = 0


class _Builder:
    def __init__(self, plan: FilePlan) -> None:
        self.plan = plan
        self.strings = bytearray(b"\0")
        self.section_names = self.strings if plan.shared_strings else bytearray(b"\0")
        self.rows = self._ordered_rows()
        self.index = {row.name: at for at, row in enumerate(self.rows)}

    def build(self) -> bytes:
        symbol_indices, symtab, locals_end = self._symbols()
        names = [self._string(self.section_names, row.name) for row in self.rows]
        strings = self.rows[self.index[".strtab"]]
        for row in self.rows:
            if row.type == elf.SHT_SYMTAB:
                row.contents, row.info = symtab, locals_end
                row.link = self.index[".strtab"]
        for section in self.plan.sections:
            if section.relocations is not None:
                table = self.rows[self.index[f".rela{section.name}"]]
                table.link = self.index[".symtab"]
                table.info = self.index[section.name]
                table.contents = b"".join(
                    pack("<QQq", r.offset, symbol_indices[r.symbol] << 32 | r.type, r.addend)
                    for r in section.relocations
                )
        strings.contents = bytes(self.strings)
        if not self.plan.shared_strings:
            self.rows[self.index[".shstrtab"]].contents = bytes(self.section_names)
        return self._laid_out(names)

    def _ordered_rows(self) -> list[_Row]:
        rows = []
        for section in self.plan.sections:
            rows.append(
                _Row(section.name, section.type, section.contents, section.flags, section.align)
            )
            if section.type == elf.SHT_NOBITS:
                rows[-1].size = section.size
            if section.relocations is not None:
                rows.append(
                    _Row(f".rela{section.name}", elf.SHT_RELA, flags=0x40, align=8, entsize=24)
                )
        rows.append(_Row(".symtab", elf.SHT_SYMTAB, align=8, entsize=24))
        rows.append(_Row(".strtab", elf.SHT_STRTAB))
        if not self.plan.shared_strings:
            rows.append(_Row(".shstrtab", elf.SHT_STRTAB))
        keyed = sorted(zip(self.plan.header_order, rows, strict=False), key=lambda pair: pair[0])
        return [_Row("", elf.SHT_NULL, align=0), *(row for _, row in keyed)]

    def _symbols(self) -> tuple[dict[str, int], bytes, int]:
        entries: list[tuple[str, int, int, int, int]] = [("", 0, 0, 0, 0)]
        for section in self.plan.sections:
            entries.append(
                (section.name, elf.STB_LOCAL, elf.STT_SECTION, self.index[section.name], 0)
            )
        ordered = sorted(self.plan.symbols, key=lambda symbol: symbol[3])
        for name, home, value, is_global in ordered:
            entries.append((name, int(is_global), elf.STT_OBJECT, self.index[home], value))
        externals = self.plan.externals
        entries += [(name, elf.STB_GLOBAL, elf.STT_NOTYPE, 0, 0) for name in externals]
        sizes = dict(self.plan.symbol_sizes)
        table = b"".join(
            pack(
                "<IBBHQQ",
                0 if kind == elf.STT_SECTION else self._string(self.strings, name),
                bind << 4 | kind, 0, home, value, sizes.get(name, 0),
            )
            for name, bind, kind, home, value in entries
        )  # fmt: skip
        locals_end = sum(1 for entry in entries if entry[1] == elf.STB_LOCAL)
        return {entry[0]: at for at, entry in enumerate(entries)}, table, locals_end

    def _laid_out(self, names: list[int]) -> bytes:
        out = bytearray(64)
        shoff = 64 if self.plan.headers_first else 0
        out += bytes(64 * len(self.rows) if shoff else 0)
        keyed = sorted(
            zip(self.plan.file_order, self.rows[1:], strict=False), key=lambda pair: pair[0]
        )
        for _, row in keyed:
            out += b"\xcc" * self.plan.gap
            out += b"\xcc" * (-len(out) % max(row.align, 1))
            row.offset = len(out)
            row.size = row.size if row.type == elf.SHT_NOBITS else len(row.contents)
            out += row.contents
        if not shoff:
            out += bytes(-len(out) % 8)
            shoff = len(out)
            out += bytes(64 * len(self.rows))
        for at, (row, name) in enumerate(zip(self.rows, names, strict=True)):
            out[shoff + 64 * at : shoff + 64 * (at + 1)] = pack(
                "<IIQQQQIIQQ", name, row.type, row.flags, 0, row.offset, row.size, row.link,
                row.info, row.align, row.entsize,
            )  # fmt: skip
        ident = elf.ELF_MAGIC + bytes((2, 1, 1, elf.ELFOSABI_FREEBSD)) + bytes(8)
        shstrndx = self.index[".strtab" if self.plan.shared_strings else ".shstrtab"]
        out[:64] = pack(
            "<16sHHIQQQIHHHHHH", ident, elf.ET_REL, elf.EM_X86_64, 1, 0, 0, shoff, 0, 64, 0, 0, 64,
            len(self.rows), shstrndx,
        )  # fmt: skip
        return bytes(out) + self.plan.trailing

    @staticmethod
    def _string(table: bytearray, text: str) -> int:
        if not text:
            return 0
        at = len(table)
        table += text.encode("ascii") + b"\0"
        return at
