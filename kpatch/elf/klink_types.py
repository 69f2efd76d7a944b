"""Which relocations the kernel linker carries out, and on what (elf_machdep.c, link_elf_obj.c)."""

from __future__ import annotations

from kpatch.elf import constants as elf
from kpatch.elf.entries import Relocation, Symbol
from kpatch.elf.module import Module

# Relocation types that elf_reloc_internal() carries out. Those in the first set look their
# symbol up, and fail if its address is 0.
SYMBOL_TYPES = frozenset(
    {
        elf.R_X86_64_64,
        elf.R_X86_64_PC32,
        elf.R_X86_64_32S,
        elf.R_X86_64_GLOB_DAT,
        elf.R_X86_64_JUMP_SLOT,
    }
)
KNOWN_TYPES = SYMBOL_TYPES | {elf.R_X86_64_NONE, elf.R_X86_64_RELATIVE}


def takes_effect(module: Module, relocation: Relocation) -> bool:
    """Whether the kernel carries out a relocation against a symbol of this file."""
    if relocation.type not in SYMBOL_TYPES:
        return relocation.type in KNOWN_TYPES
    symbol = module.symbols[relocation.symbol]
    return not symbol.is_undefined and (symbol.value != 0 or is_placed(module, symbol))


def is_placed(module: Module, symbol: Symbol) -> bool:
    """Whether its section gets an address, which the kernel then adds to its value."""
    return symbol.section < len(module.sections) and module.sections[symbol.section].is_loaded
