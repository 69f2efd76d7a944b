"""The kernel linker, as far as it decides what a module will be once it is loaded.

``check`` and ``require`` ask whether FreeBSD/amd64 would load a module; ``load`` does what it
would do: place every PROGBITS and NOBITS section in one block, then relocate, first against
local symbols and then against global ones (FreeBSD sys/kern/link_elf_obj.c).
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.entries import Relocation, Symbol
from kpatch.elf.klink_model import BrokenRule, Consequence
from kpatch.elf.klink_rules import RULES
from kpatch.elf.klink_types import FORMULAS, SYMBOL_TYPES, meant, takes_effect
from kpatch.elf.module import Module
from kpatch.errors import LinkerRefusalError
from kpatch.units import ADDRESS_MASK, PAGE, Address, SectionOffset

__all__ = ["BrokenRule", "Consequence", "LoadedModule", "check", "load", "require"]

# Ours, not the kernel's: a bound on the memory that a hostile NOBITS size can take here.
LARGEST_BLOCK = 64 << 20


def check(module: Module) -> tuple[BrokenRule, ...]:
    """Everything about the module that the kernel linker or the boot loader objects to."""
    return tuple(_findings(module))


def require(module: Module) -> None:
    """Raises LinkerRefusalError for the first thing that makes kldload fail, or worse."""
    for finding in _findings(module):
        if finding.is_fatal:
            raise finding.error()


class LoadedModule(NamedTuple):
    """A module in kernel memory: ``memory`` holds the bytes from ``base`` on."""

    base: Address
    memory: bytes
    sections: Mapping[int, Address]
    symbols: Mapping[str, Address]
    silent_failures: tuple[Relocation, ...]

    def address_of(self, section_index: int, offset: SectionOffset) -> Address:
        """The address of a byte of a section. Raises LinkerRefusalError if it is not loaded."""
        if section_index not in self.sections:
            raise LinkerRefusalError(
                "the kernel does not load this section",
                where=f"section {section_index}",
                todo="look for it in the file",
            )
        return Address(self.sections[section_index] + offset)


def load(module: Module, base: Address, resolve: Mapping[str, Address]) -> LoadedModule:
    """Load the module at ``base``, with the kernel's symbols in ``resolve``.

    Raises LinkerRefusalError if the kernel would refuse the module or panic on it, if a global
    symbol is undefined, or if ``base`` is not the start of a page.
    """
    require(module)
    if base <= 0 or base % PAGE:
        raise LinkerRefusalError(
            f"a module cannot be loaded at 0x{base:x}", where=module.name, todo="give a page"
        )
    sections = _place(module, base)
    memory = _fill(module, base, sections)
    symbols = _symbol_addresses(module, sections)
    relocator = _Relocator(module, base, memory, sections, symbols, resolve)
    silent_failures = relocator.relocate_locals()
    relocator.relocate_globals()
    return LoadedModule(base, bytes(memory), sections, _by_name(module, symbols), silent_failures)


def _findings(module: Module) -> Iterator[BrokenRule]:
    for rule in RULES:
        yield from rule.check(module)


def _place(module: Module, base: Address) -> dict[int, Address]:
    """Addresses of the loaded sections: in header order, each aligned as it asks."""
    sections: dict[int, Address] = {}
    at = int(base)
    for section in module.sections:
        if section.is_loaded:
            at += -at % section.align
            sections[section.index] = Address(at)
            at += section.size
            if at - base > LARGEST_BLOCK:
                raise LinkerRefusalError(
                    f"the module wants more than {LARGEST_BLOCK >> 20} MiB of memory",
                    where=f"section {section.index} ({section.name})",
                    todo="get the file again",
                )
    return sections


def _fill(module: Module, base: Address, sections: Mapping[int, Address]) -> bytearray:
    last = max(sections, key=lambda index: sections[index] + module.sections[index].size)
    memory = bytearray(sections[last] + module.sections[last].size - base)
    for index, address in sections.items():
        contents = module.contents(module.sections[index])
        memory[address - base : address - base + len(contents)] = contents
    return memory


def _symbol_addresses(module: Module, sections: Mapping[int, Address]) -> list[int]:
    """The value of every symbol once its section's address was added to it.

    A symbol of a section that is not loaded keeps its bare value, an absolute one rightly so.
    """
    return [
        (symbol.value + sections.get(symbol.section, 0)) & ADDRESS_MASK for symbol in module.symbols
    ]


def _by_name(module: Module, addresses: list[int]) -> dict[str, Address]:
    """Addresses of the defined symbols; where a local shares a name, the global one's."""
    named: dict[str, Address] = {}
    for symbol in sorted(module.symbols, key=lambda s: s.is_local):
        if symbol.name and not symbol.is_undefined and symbol.type != elf.STT_FILE:
            named.setdefault(symbol.name, Address(addresses[symbol.index]))
    return named


class _Relocator(NamedTuple):
    module: Module
    base: Address
    memory: bytearray
    sections: Mapping[int, Address]
    symbols: list[int]
    resolve: Mapping[str, Address]

    def relocate_locals(self) -> tuple[Relocation, ...]:
        """Relocates against local symbols. Says which fail: the kernel ignores that."""
        failures = []
        for relocation in self._in_order():
            if not self._symbol(relocation).is_local:
                continue
            if takes_effect(self.module, relocation):
                self._apply(relocation, self.symbols[relocation.symbol])
            else:
                failures.append(relocation)
        return tuple(failures)

    def relocate_globals(self) -> None:
        """Relocates against the other symbols. Raises LinkerRefusalError for an undefined one."""
        for relocation in self._in_order():
            symbol = self._symbol(relocation)
            if symbol.is_local:
                continue
            symbol = meant(self.module, symbol)
            address = self.symbols[symbol.index]
            if relocation.type in SYMBOL_TYPES and symbol.is_undefined:
                address = self.resolve.get(symbol.name, Address(0))
                if address == 0:
                    raise LinkerRefusalError(
                        f"symbol {symbol.name} undefined",
                        where=self.module.name,
                        todo="load the module into the kernel that it was built for",
                    )
            self._apply(relocation, address)

    def _in_order(self) -> list[Relocation]:
        """The relocations as the kernel takes them: those of SHT_REL tables come first.

        It passes over an entry whose symbol is not in the symbol table.
        """
        sections = self.module.sections
        known = (r for r in self.module.relocations if r.symbol < len(self.module.symbols))
        return sorted(known, key=lambda r: sections[r.table].type == elf.SHT_RELA)

    def _symbol(self, relocation: Relocation) -> Symbol:
        return self.module.symbols[relocation.symbol]

    def _apply(self, relocation: Relocation, symbol: int) -> None:
        """Writes one field, as elf_reloc_internal() does: a value that does not fit is cut off."""
        width = relocation.width
        if not width:
            return
        base = self.sections[relocation.target]
        where = base + relocation.offset
        at = where - self.base
        addend = relocation.addend
        if self.module.sections[relocation.table].type == elf.SHT_REL:
            addend = int.from_bytes(self.memory[at : at + width], "little")
        value = FORMULAS[relocation.type](symbol, addend, where, base)
        cut = value & (1 << 8 * width) - 1
        self.memory[at : at + width] = cut.to_bytes(width, "little")
