"""Contents as lines: instructions with their relocations resolved to names, or rows of bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from kpatch.elf import constants as elf
from kpatch.elf.constants import relocation_name
from kpatch.elf.module import Module, Relocation, Section
from kpatch.isa.decode import outline

ROW = 16
"""Bytes of data in one line."""

_NO_LABELS = (elf.STT_SECTION, elf.STT_FILE)


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction, or bytes that are none. ``offset`` counts in its section.

    ``raw`` is hexadecimal; ``text`` is empty for data. ``labels`` are the symbols that stand here,
    ``relocations`` the fields that the kernel linker fills in, as ``R_X86_64_64 common_tss``.
    """

    offset: int
    raw: str
    text: str
    labels: tuple[str, ...] = ()
    relocations: tuple[str, ...] = ()

    @property
    def meaning(self) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """What makes it the same line at another offset."""
        return self.raw, self.labels, self.relocations


class Contents:
    """The bytes of one section, its labels and its relocations, as lines."""

    def __init__(self, module: Module, section: Section) -> None:
        self.data = module.view(section)
        self.labels = _labels(module, section)
        self._module = module
        self._fields = module.relocations_of(section.index)

    def instructions(self, start: int, end: int) -> Iterator[Line]:
        """The instructions from offset ``start``, where one begins, to ``end``."""
        position = start
        while position < end:
            for instruction in outline(self.data[position:end], position):
                text = f"{instruction.mnemonic} {instruction.operands}".rstrip()
                yield self._line(position, position + instruction.size, text)
                position += instruction.size
            if position < end:
                yield self._line(position, position + 1, f".byte {self.data[position]:#04x}")
                position += 1

    def rows(self, start: int, end: int) -> Iterator[Line]:
        """The bytes from offset ``start`` to ``end``, in rows of :data:`ROW`."""
        for at in range(start, end, ROW):
            yield self._line(at, min(at + ROW, end), "")

    def relocations(self, start: int, end: int) -> tuple[Relocation, ...]:
        """Those whose fields start from ``start`` on, before ``end``."""
        first = bisect_left(self._fields, start, key=lambda field: field.offset)
        last = bisect_left(self._fields, end, key=lambda field: field.offset)
        return self._fields[first:last]

    def relocation_names(self, start: int, end: int) -> tuple[str, ...]:
        """The same as text: ``R_X86_64_64 common_tss``."""
        return tuple(
            f"{relocation_name(relocation.type)} {target_name(self._module, relocation)}"
            for relocation in self.relocations(start, end)
        )

    def _line(self, start: int, end: int, text: str) -> Line:
        names = self.relocation_names(start, end)
        return Line(start, self.data[start:end].hex(), text, self.labels.get(start, ()), names)


def _labels(module: Module, section: Section) -> dict[int, tuple[str, ...]]:
    labels: dict[int, tuple[str, ...]] = {}
    for symbol in module.symbols:
        if symbol.section == section.index and symbol.name and symbol.type not in _NO_LABELS:
            labels[symbol.value] = (*labels.get(symbol.value, ()), symbol.name)
    return labels


def target_name(module: Module, relocation: Relocation) -> str:
    """What a relocation points to: a symbol or section, and the addend where there is one."""
    symbol = module.symbols[relocation.symbol]
    name = symbol.name
    if not name and 0 < symbol.section < len(module.sections):
        name = module.sections[symbol.section].name
    addend = relocation.addend
    if not addend:
        return name or "0"
    return f"{name}{'+' if addend > 0 else '-'}{abs(addend):#x}"
