"""Which relocations the kernel linker carries out, and on what (elf_machdep.c, link_elf_obj.c)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.entries import Relocation, Symbol
from kpatch.elf.module import Module

_Formula = Callable[[int, int, int, int], int]

# A type, and what elf_reloc_internal() writes for it, with the letters of psABI table 4.9: the
# address of the symbol (s), the addend (a), the place of the field (p) and the base (b), which to
# the kernel is that of the section with the field. Those in the first table look their symbol up,
# and fail if its address is 0.
_BY_SYMBOL: Final[Mapping[int, _Formula]] = {
    elf.R_X86_64_64: lambda s, a, p, b: s + a,
    elf.R_X86_64_PC32: lambda s, a, p, b: s + a - p,
    elf.R_X86_64_32S: lambda s, a, p, b: s + a,
    elf.R_X86_64_GLOB_DAT: lambda s, a, p, b: s,
    elf.R_X86_64_JUMP_SLOT: lambda s, a, p, b: s,
}
FORMULAS: Final[Mapping[int, _Formula]] = {
    **_BY_SYMBOL,
    elf.R_X86_64_RELATIVE: lambda s, a, p, b: b + a,
}
SYMBOL_TYPES: Final = frozenset(_BY_SYMBOL)
KNOWN_TYPES: Final = frozenset({*FORMULAS, elf.R_X86_64_NONE})


def takes_effect(module: Module, relocation: Relocation) -> bool:
    """Whether the kernel carries out a relocation against a symbol of this file. It looks up none
    that is local and undefined (elf_obj_lookup in link_elf_obj.c), whatever others are called.
    """
    if relocation.type not in SYMBOL_TYPES:
        return relocation.type in KNOWN_TYPES
    symbol = module.symbols[relocation.symbol]
    return not symbol.is_undefined and _has_address(module, symbol)


def meant(module: Module, symbol: Symbol) -> Symbol:
    """The symbol whose address the kernel takes: for an undefined global one the first of its name
    that the module itself defines, a local one too, unless that has address 0. Only then it asks
    others (link_elf_lookup_symbol in link_elf_obj.c, linker_file_lookup_symbol in kern_linker.c).
    """
    looked_up = symbol.is_undefined and symbol.bind == elf.STB_GLOBAL
    own = module.first_defined.get(symbol.name) if looked_up else None
    return own if own is not None and _has_address(module, own) else symbol


def _has_address(module: Module, symbol: Symbol) -> bool:
    """Whether the kernel gets another address than 0 for a symbol that the module defines."""
    return symbol.value != 0 or is_placed(module, symbol)


def is_placed(module: Module, symbol: Symbol) -> bool:
    """Whether its section gets an address, which the kernel then adds to its value."""
    return symbol.section < len(module.sections) and module.sections[symbol.section].is_loaded
