"""What lies at an address, for the input check: code to follow, and memory to know things about."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from kpatch.elf.module import Module
from kpatch.isa.decode import decode_one
from kpatch.isa.instruction import MAX_LENGTH, Instruction
from kpatch.verify.hardware.memory import Region, place_name
from kpatch.verify.world.filled import Filled, FilledField
from kpatch.verify.world.guest import COPY_AT
from kpatch.verify.world.kernel_text import RETURN_AT
from kpatch.verify.world.origins import (
    CPUID,
    NONE,
    PLACED,
    SHARED,
    STACK,
    TSS,
    Byte,
    Machine,
    Origins,
)
from kpatch.verify.world.world import World

BELOW: Final = Byte(None, frozenset({"memory below the stack pointer"}))
"""An NMI may come at any time, and then the CPU writes there (SDM vol. 3, 6.14.2)."""

_GUARDED: Final = 8
"""Bytes of struct pcpu that a patch looks at: cpuid, and the mask behind it."""


class Site(NamedTuple):
    """The image offsets at which the patch has put code of its own, and the instructions that
    stood there and that it runs elsewhere as they are, in their order.
    """

    at: range
    displaced: tuple[bytes, ...]


class Places:
    """The memory of a world as code on one CPU sees it."""

    def __init__(
        self, world: World, module: Module, cpuid: int, sites: tuple[Site, ...] = ()
    ) -> None:
        """``cpuid`` is the offset that the patch was made for. ``pair`` are the offsets of the
        number and of its mask.
        """
        self.guest = world.guest
        self._world = world
        self._cpuid = cpuid
        self.pair = range(cpuid, cpuid + _GUARDED)
        self._sites = tuple(range(COPY_AT + one.at.start, COPY_AT + one.at.stop) for one in sites)
        sections = [section for section in module.sections if section.is_code]
        self.patch = tuple(
            world.module.part(
                section.name, world.loaded.sections[section.index] - world.loaded.base, section.size
            )
            for section in sections
            if section.index in world.loaded.sections
        )
        filled = [region for region in (*self.patch, self.guest.nexus) if region.size]
        self._code = sorted(filled, key=lambda region: region.virtual)
        self._starts = [region.virtual for region in self._code]
        self._is_patch: dict[int, bool] = {}  # asked again and again, of the same few
        self.filled = Filled(_fields(world, module))

    def is_patch(self, address: int) -> bool:
        """Whether it is code of the patch: at a site, or the module's own, as the trampolines
        are. (The image lies in the module's data.)
        """
        known = self._is_patch.get(address)
        if known is None:
            known = self._is_patch[address] = self._lies_in_the_patch(address)
        return known

    def _lies_in_the_patch(self, address: int) -> bool:
        region = self._region(address)
        is_own = region is not None and region is not self.guest.nexus
        return is_own or any(address in site for site in self._sites)

    def _region(self, address: int) -> Region | None:
        """The code that an address is in: a module may have thousands of sections of it."""
        at = bisect_right(self._starts, address) - 1
        return self._code[at] if at >= 0 and self._code[at].holds(address) else None

    def instruction(self, address: int) -> Instruction | None:
        """The instruction there; None where there is no code."""
        region = self._region(address)
        if region is None:
            return None
        arena = self.guest.arena if region.private else self._world.host.arena
        room = min(MAX_LENGTH, region.end - address)
        return decode_one(arena.read(region.physical_of(address), room), address)

    def is_tracked(self, address: int) -> bool:
        """Whether what is stored there is followed: the own stack, and the state."""
        return self.guest.stack.holds(address) or self.guest.state.holds(address)

    def is_state(self, address: int) -> bool:
        """Whether it is in the state structure."""
        return self.guest.state.holds(address)

    def is_stack(self, address: int) -> bool:
        """Whether it is on the thread's stack below the caller's frame."""
        return self.guest.stack.virtual <= address < self.guest.rsp

    def byte(self, machine: Machine, address: int) -> Byte:
        """What is known of the byte there."""
        found = machine.memory.get(address)
        if found is not None:
            return found
        guest = self.guest
        if guest.rsp <= address < guest.rsp + 8:
            return Byte(RETURN_AT >> 8 * (address - guest.rsp) & 0xFF, PLACED)
        if guest.state.holds(address):
            at = address - guest.state.virtual
            return Byte(None, frozenset({f"the state's byte at {at:#x}, which no entry saves"}))
        if guest.stack.holds(address):
            return Byte(None, frozenset({"its caller's stack"})) if address >= guest.rsp else BELOW
        return Byte(None, self._elsewhere(address))

    def forget(self, machine: Machine, start: int, end: int) -> None:
        """What lies between these two addresses of the stack is below the stack pointer now."""
        stack = self.guest.stack
        for address in range(max(start, stack.virtual), min(end, stack.end)):
            machine.memory[address] = BELOW

    def tag(self, address: int) -> Origins:
        """What an address is called when something unknown is added to it."""
        world = self._world
        if any(region.virtual <= address <= region.end for region in world.lock_regions):
            return frozenset({SHARED})
        if world.host.tss.holds(address):
            return frozenset({TSS})
        if self.is_tracked(address):
            return frozenset({STACK})
        return NONE

    def pcpu(self, offset: int | None, *, in_kernel: bool) -> Origins:
        """Where a byte at ``%gs:offset`` comes from."""
        if not in_kernel:
            return frozenset({"%gs, which is the guest's"})
        if offset in self.pair:
            return frozenset({CPUID})
        place = "an unknown offset" if offset is None else f"{offset:#x}"
        return frozenset({f"%gs:{place}, which is not cpuid"})

    def may_read(self, cpu: int, physical: int, size: int) -> bool:
        """Whether a patch has business with memory of the host's, on one CPU."""
        host = self._world.host
        at = self._world.model.pcpu_of(cpu) - host.pcpu.virtual + self._cpuid
        regions = (
            host.slot(cpu),
            host.pcpu.part("cpuid", at, _GUARDED),
            *self._world.lock_regions,
            *self.patch,
        )
        return any(region.holds_physical(physical, size) for region in regions)

    def name(self, physical: int) -> str:
        """A place in the host's memory, for messages."""
        return place_name(self._world.host.regions, physical)

    def _elsewhere(self, address: int) -> Origins:
        world = self._world
        if any(region.holds(address) for region in world.lock_regions):
            return frozenset({SHARED})
        if self._region(address) is not None:
            return PLACED if address in self.filled else NONE
        if self.guest.copy.holds(address):
            # The monitor is a program: behind the switch's own page come its variables, too.
            at = address - self.guest.copy.virtual
            return frozenset({f"the image's byte at {at:#x}, which the monitor may write"})
        place = next((region for region in world.host.regions if region.holds(address)), None)
        if place is None:
            return frozenset({f"memory at {address:#x}"})
        return frozenset({f"{place.name}+{address - place.virtual:#x}"})


def _fields(world: World, module: Module) -> Iterator[FilledField]:
    """What the kernel linker fills in, of the module and of the image where it is copied to."""
    sections, image = world.loaded.sections, world.guest.copy.size
    for relocation in module.relocations:
        if relocation.target in sections:
            at = sections[relocation.target] + relocation.offset
            yield FilledField(at, relocation.width, relocation.type)
            if world.image_at <= at < world.image_at + image:
                at += COPY_AT - world.image_at
                yield FilledField(at, relocation.width, relocation.type)
