"""Relocatable x86-64 files that no compiler would make, and edits to them.

``relocatable_files`` draws the order of the section headers, the order and the gaps of the
contents in the file, alignments, names, whether a section has relocations, whether there is one
string table or two, and where the section headers lie. Real linkers read all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf.editor import (
    NewRelocation,
    NewSection,
    NewSymbol,
    Overwrite,
    append,
)
from kpatch.elf.module import Module, Section, read_module
from kpatch.units import FileOffset, SectionOffset

EXTERNALS = ("common_tss", "malloc", "printf")
_TYPES = (elf.R_X86_64_64, elf.R_X86_64_PC32, elf.R_X86_64_32S)
_NAMES = (
    ".text", ".text.unlikely", ".rodata", ".rodata.cst16", ".data", ".bss", ".comment",
    "set_modmetadata_set", "set_sysinit_set", ".note.tag", ".image", ".x",
)  # fmt: skip


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


@st.composite
def file_plans(draw: st.DrawFn) -> FilePlan:
    """Plans of files. Each has a ``.text`` of at least 32 bytes and a PROGBITS ``.image``."""
    names = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=7))
    names += [name for name in (".text", ".image") if name not in names]
    symbols = _symbols(draw, names)
    targets = [*EXTERNALS, *names, *(name for name, *_ in symbols)]
    sections = tuple(_section(draw, name, targets) for name in names)
    slots = 2 * len(sections) + 3
    return FilePlan(
        sections=sections,
        symbols=symbols,
        shared_strings=draw(st.booleans()),
        header_order=tuple(draw(st.permutations(range(slots)))),
        file_order=tuple(draw(st.permutations(range(slots)))),
        gap=draw(st.integers(0, 9)),
        headers_first=draw(st.booleans()),
        trailing=draw(st.binary(max_size=5)),
    )


def relocatable_files() -> st.SearchStrategy[bytes]:
    """Files that ``build`` made of ``file_plans``."""
    return file_plans().map(build)


def modules() -> st.SearchStrategy[Module]:
    """The same files, read."""
    return relocatable_files().map(lambda data: read_module(data, "drawn.ko"))


@dataclass(frozen=True)
class Edits:
    """What ``append`` is asked to do."""

    overwrites: tuple[Overwrite, ...] = ()
    sections: tuple[NewSection, ...] = ()
    symbols: tuple[NewSymbol, ...] = ()
    relocations: tuple[NewRelocation, ...] = ()

    def done_to(self, module: Module) -> bytes:
        """The module's file with these edits."""
        return append(
            module,
            overwrites=self.overwrites,
            sections=self.sections,
            symbols=self.symbols,
            relocations=self.relocations,
        )


@st.composite
def edits(draw: st.DrawFn, module: Module, *, tag: str = "kpatch") -> Edits:
    """Edits that fit ``module``; all names that they add end in ``tag``."""
    sections = tuple(
        NewSection(name, elf.SHT_NOBITS, elf.SHF_WRITE | elf.SHF_ALLOC, align, size=64)
        if name.startswith(".bss")
        else NewSection(name, elf.SHT_PROGBITS, elf.SHF_ALLOC, align, bytes([0x90]) * 64)
        for name in draw(st.lists(st.sampled_from((f".text.{tag}", f".bss.{tag}")), unique=True))
        for align in (draw(st.sampled_from((1, 4, 16, 64, 4096))),)
    )
    homes = st.sampled_from([None, *(section.name for section in sections)])
    symbols = tuple(
        NewSymbol(f"{name}_{tag}", draw(homes), draw(st.integers(0, 63)), 1, elf.STT_OBJECT)
        for name in draw(st.lists(st.sampled_from(("entry", "exit", "lock", "ext")), unique=True))
    )
    known = [s.name for s in module.symbols if s.name and not s.is_local]
    wanted = NewSymbol(draw(st.sampled_from(EXTERNALS)), None)
    relocations = _new_relocations(draw, module, sections, (*known, *(s.name for s in symbols)))
    symbols = symbols if wanted.name in {s.name for s in symbols} else (*symbols, wanted)
    return Edits(_overwrites(draw, module), sections, symbols, relocations)


def build(plan: FilePlan) -> bytes:
    """The bytes of a planned file."""
    return _Builder(plan).build()


def _section(draw: st.DrawFn, name: str, targets: list[str]) -> SectionPlan:
    is_bss = name == ".bss"
    is_set = name.startswith("set_")
    size = 8 * draw(st.integers(1, 4)) if is_set else draw(st.integers(32, 200))
    types = (elf.R_X86_64_64,) if is_set else _TYPES
    relocations = None
    if not is_bss and not name.startswith(".note") and draw(st.booleans()):
        slots = draw(st.lists(st.integers(0, size // 8 - 1), unique=True, max_size=6))
        relocations = tuple(
            RelocationPlan(
                8 * slot,
                draw(st.sampled_from(types)),
                draw(st.sampled_from(targets)),
                draw(st.integers(-16, 16)),
            )
            for slot in slots
        )
    return SectionPlan(
        name=name,
        type=elf.SHT_NOBITS if is_bss else elf.SHT_PROGBITS,
        flags={".comment": 0, ".text": elf.SHF_ALLOC | elf.SHF_EXECINSTR, ".note.tag": 0}.get(
            name, elf.SHF_ALLOC | elf.SHF_WRITE
        ),
        align=8 if is_set else draw(st.sampled_from((1, 2, 4, 8, 16, 32, 64))),
        size=size,
        fill=draw(st.integers(0, 255)),
        relocations=relocations,
    )


def _symbols(draw: st.DrawFn, names: list[str]) -> tuple[tuple[str, str, int, bool], ...]:
    return tuple(
        (symbol, draw(st.sampled_from(names)), draw(st.integers(0, 24)), draw(st.booleans()))
        for symbol in draw(
            st.lists(st.sampled_from(("monitor_code", "f", "g", "kqemu_exec")), unique=True)
        )
    )


def _is_plain(section: Section) -> bool:
    """Whether any bytes will do in it: other tools look into frame tables and merged strings."""
    is_loose = section.flags & (elf.SHF_ALLOC | elf.SHF_MERGE) == elf.SHF_ALLOC
    is_plain = section.type == elf.SHT_PROGBITS and section.name != ".eh_frame"
    return is_loose and is_plain and section.size >= 32


def _overwrites(draw: st.DrawFn, module: Module) -> tuple[Overwrite, ...]:
    chosen = []
    for section in module.sections:
        if _is_plain(section) and draw(st.booleans()):
            at = FileOffset(section.offset + draw(st.integers(0, section.size - 16)))
            old = module.data[at : at + 16]
            chosen.append(Overwrite(at, old, draw(st.binary(min_size=16, max_size=16))))
    return tuple(chosen)


def _new_relocations(
    draw: st.DrawFn, module: Module, sections: tuple[NewSection, ...], names: tuple[str, ...]
) -> tuple[NewRelocation, ...]:
    if not names:
        return ()
    homes: list[tuple[int | str, int]] = [
        (section.index, section.size) for section in module.sections if _is_plain(section)
    ]
    homes += [(s.name, s.length) for s in sections if s.type == elf.SHT_PROGBITS]
    fields = [(home, 8 * slot) for home, size in homes for slot in range(size // 8)]
    return tuple(
        NewRelocation(
            home,
            SectionOffset(offset),
            draw(st.sampled_from(_TYPES)),
            draw(st.sampled_from(names)),
            draw(st.integers(-16, 16)),
        )
        for home, offset in draw(st.lists(st.sampled_from(fields), unique=True, max_size=5))
    )


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
