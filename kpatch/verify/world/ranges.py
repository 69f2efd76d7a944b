"""Sections as regions of memory, and regions as ranges of physical addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kpatch.elf.klink import LoadedModule
from kpatch.elf.module import Module
from kpatch.verify.hardware.cpustate import CHUNK
from kpatch.verify.hardware.memory import Region


def sections(
    module: Module, loaded: LoadedModule, region: Region, wanted: Callable[[int, str], bool]
) -> tuple[Region, ...]:
    """The loaded sections of which ``wanted`` approves (flags, name), as parts of ``region``."""
    return tuple(
        region.part(section.name, loaded.sections[section.index] - loaded.base, section.size)
        for section in module.sections
        if section.index in loaded.sections and wanted(section.flags, section.name)
    )


def bounds(region: Region) -> tuple[int, int]:
    """The physical addresses of its first byte and behind its last."""
    return region.physical, region.physical + region.size


def writable(regions: Iterable[Region]) -> tuple[frozenset[int], tuple[tuple[int, int], ...]]:
    """Whole chunks, and the exact ranges."""
    edges = tuple(bounds(region) for region in regions)
    chunks = {chunk for low, high in edges for chunk in range(-(-low // CHUNK), high // CHUNK)}
    return frozenset(chunks), edges
