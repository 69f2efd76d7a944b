"""Disassembly as values: instructions with their relocations resolved to names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kpatch.elf.constants import relocation_name
from kpatch.elf.module import Module, Relocation, Section
from kpatch.isa.decode import decode


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction, or bytes that are none. ``offset`` counts in its section.

    ``labels`` are the symbols that stand here, ``relocations`` the fields that the kernel linker
    fills in, as ``R_X86_64_64 common_tss``.
    """

    offset: int
    raw: str
    text: str
    labels: tuple[str, ...] = ()
    relocations: tuple[str, ...] = ()


def listing(module: Module, section: Section, start: int, end: int) -> tuple[Line, ...]:
    """The instructions of ``section`` from offset ``start`` to ``end``."""
    return tuple(_lines(module, section, start, end))


def _lines(module: Module, section: Section, start: int, end: int) -> Iterator[Line]:
    data = module.contents(section)[start:end]
    labels = _labels(module, section)
    position = start
    while position < end:
        for each in decode(data[position - start :], position):
            marks = tuple(labels.get(each.address, ()))
            fields = module.relocations_at(section.index, each.address, each.end)
            names = tuple(_relocation(module, field) for field in fields)
            yield Line(each.address, each.raw.hex(), each.text, marks, names)
            position = each.end
        if position < end:
            value = data[position - start]
            marks = tuple(labels.get(position, ()))
            yield Line(position, f"{value:02x}", f".byte {value:#04x}", marks)
            position += 1


def _labels(module: Module, section: Section) -> dict[int, list[str]]:
    labels: dict[int, list[str]] = {}
    for symbol in module.symbols:
        if symbol.section == section.index and symbol.name:
            labels.setdefault(symbol.value, []).append(symbol.name)
    return labels


def _relocation(module: Module, relocation: Relocation) -> str:
    return f"{relocation_name(relocation.type)} {target_name(module, relocation)}"


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
