"""Where the kernel linker puts the module: it depends on what else was loaded before.

On a host with FreeBSD 8's TR selector a patched module lies where no bit of its lock's address is
what it is on the others, but for those within a page and those that all modules have in common: who
decides by one of them, or takes one for granted, is wrong there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kpatch.elf.klink import LoadedModule, load
from kpatch.elf.module import Module
from kpatch.units import PAGE, Address
from kpatch.verify.hardware.memory import page_down
from kpatch.verify.world.host import FREEBSD_8, HostModel

MODULE_AT: Final = Address(0xFFFF_FFFF_8140_0000)
_ANOTHER: Final = Address(0xFFFF_FFFF_826B_9000)
_BITS: Final = 0x7FFF_F000
"""In what the addresses of two pages can differ: modules lie in the top 2 GB."""

Linked = dict[tuple[tuple[str, Address], ...], LoadedModule]
"""What was linked already, by the addresses of the module ("") and of the kernel's symbols."""


def linked_for(
    model: HostModel,
    module: Module,
    symbols: Mapping[str, Address],
    shared: frozenset[str],
    linked: Linked,
) -> LoadedModule:
    """The module in the memory of a host. ``shared`` are the names of sections with a patch's lock.

    Raises LinkerRefusalError if the kernel would not load it.
    """
    at = MODULE_AT
    if model.tr_selector == FREEBSD_8:
        usual = _linked(module, MODULE_AT, symbols, linked)
        places = [
            usual.sections[section.index]
            for section in module.sections
            if section.name in shared and section.index in usual.sections
        ]
        at = _opposite(usual, min(places), model) if places else _ANOTHER
    return _linked(module, at, symbols, linked)


def _opposite(usual: LoadedModule, lock: Address, model: HostModel) -> Address:
    """Where the lock's address is another one in each bit; elsewhere if the kernel lies there."""
    at = page_down(usual.base - lock + (lock ^ _BITS))
    is_free = usual.base < at < page_down(model.tss_of(0)) - len(usual.memory) - PAGE
    return Address(at) if is_free else _ANOTHER


def _linked(
    module: Module, at: Address, symbols: Mapping[str, Address], linked: Linked
) -> LoadedModule:
    key = (("", at), *symbols.items())
    if key not in linked:
        linked[key] = load(module, at, symbols)
    return linked[key]
