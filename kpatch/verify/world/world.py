"""A host, a module loaded into it, and a guest: everything that the CPUs will run in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.module import Module
from kpatch.errors import UnknownModuleError
from kpatch.units import PAGE, SectionOffset, counted
from kpatch.verify.hardware.codemap import CodeInfo, CodeMap
from kpatch.verify.hardware.cpu import Engine
from kpatch.verify.hardware.cpustate import Controls, Snapshot, Territory
from kpatch.verify.hardware.descriptors import BUSY, changed, parse
from kpatch.verify.hardware.memory import Arena, Region
from kpatch.verify.world.caller import LockedPart
from kpatch.verify.world.global_state import GlobalState
from kpatch.verify.world.guest import MONITOR_CS, MONITOR_LDT, Guest
from kpatch.verify.world.host import (
    CR0,
    CR4,
    EFER,
    MODULE_LIMIT,
    HostMemory,
    HostModel,
)
from kpatch.verify.world.hostile_guest import GUEST_DATA
from kpatch.verify.world.kernel_text import BOOT_DONE_AT, BOOT_LTR_AT
from kpatch.verify.world.linking import Linked, linked_for
from kpatch.verify.world.ranges import bounds, sections, writable
from kpatch.verify.world.worldswitch import SwitchLayout

# What C has in the registers that it expects back, and junk in the others. No zeros: that
# something is cleared would not be seen.
_CALLER: Final = {
    "rax": 0xC0DE_0000_0000_0001,
    "rcx": 0xC0DE_0000_0000_0002,
    "rdx": 0xC0DE_0000_0000_0003,
    "rsi": 0xC0DE_0000_0000_0004,
    "r8": 0xC0DE_0000_0000_0005,
    "r9": 0xC0DE_0000_0000_0006,
    "r10": 0xC0DE_0000_0000_0007,
    "r11": 0xC0DE_0000_0000_0008,
    "rbx": 0xC0DE_0000_0000_0009,
    "rbp": 0xC0DE_0000_0000_000A,
    "r12": 0xC0DE_0000_0000_000B,
    "r13": 0xC0DE_0000_0000_000C,
    "r14": 0xC0DE_0000_0000_000D,
    "r15": 0xC0DE_0000_0000_000E,
    "cr2": 0x0000_5EED_0000_2000,
    "dr0": 0x0000_5EED_0000_0000,
    "dr1": 0x0000_5EED_0000_1000,
    "dr2": 0x0000_5EED_0000_2000,
    "dr3": 0x0000_5EED_0000_3000,
    "dr6": 0xFFFF_4FF1,
}
_USER_FS_BASE: Final = 0x0000_0008_0050_0000
_FLAGS: Final = 0x2  # interrupts off: kqemu_exec turned them off before the call


@dataclass(frozen=True)
class ImagePlace:
    """Where the monitor image lies in a module: section index, offset there, bytes.

    ``lock_sections`` names the sections in which a patch keeps what its CPUs share.
    """

    section: int
    at: SectionOffset
    size: int
    lock_sections: frozenset[str] = frozenset()


class World:
    """Builds the memory of a scenario, and says what belongs to whom in it."""

    def __init__(
        self,
        model: HostModel,
        module: Module,
        image: ImagePlace,
        layout: SwitchLayout,
        tail: LockedPart | None = None,
        guests: int = 1,
        *,
        locks: bool = True,
        linked: Linked | None = None,
    ) -> None:
        """``linked`` is filled with the module as linked for some addresses of the kernel's
        symbols; worlds of one module may share it.
        ``guests`` is how many have addresses of their own: one for each CPU, or 1 for all.
        Without ``locks`` nothing orders the CPUs: each has a copy of its own of the memory in
        which a patch keeps what its CPUs share, and no instruction but ``ltr`` is locked.

        Raises LinkerRefusalError if the kernel would not load the module, UnknownModuleError
        if the module or its image is too large for the machine.
        """
        self.model = model
        self.host = HostMemory(model)
        symbols = self.host.resolve(module.undefined)
        linked = {} if linked is None else linked
        self.loaded = linked_for(model, module, symbols, image.lock_sections, linked)
        global_state = None if tail is None else GlobalState(self.loaded, tail)
        if global_state is not None:
            self.loaded = global_state.loaded
            self.host.go_on_at(global_state.tail)
        if len(self.loaded.memory) > MODULE_LIMIT:
            raise UnknownModuleError(
                f"loaded, the module takes {counted(len(self.loaded.memory), 'byte')}",
                todo=f"the emulation has room for {MODULE_LIMIT}",
            )
        self.module = self.host.load(self.loaded)
        self.image_at = self.loaded.address_of(image.section, image.at)
        start = self.image_at - self.loaded.base
        contents = self.loaded.memory[start : start + image.size]
        self.lock_regions = sections(
            module, self.loaded, self.module, lambda _, name: name in image.lock_sections
        )
        self.tail = tail
        if global_state is not None:
            self.lock_regions += (global_state.lock_in(self.module),)
        unshared = () if locks else self.lock_regions
        self.guest = Guest(
            self.host, layout, contents, guests, unshared, runs_tail=tail is not None
        )
        if unshared:
            self.lock_regions = ()
        self._locks = locks
        self._known_code: dict[int, CodeInfo] = {}
        self._code = (
            *((region, self.host.arena) for region in self._module_code(module)),
            (self.host.text, self.host.arena),
            *(
                (region, self.guest.arena)
                for region in (
                    *(seat.copy for seat in self.guest.seats),
                    self.guest.monitor_copy,
                    self.guest.stub,
                )
            ),
        )
        self._chunks, self._edges = writable(self.guest.writable)

    @property
    def shared_slot(self) -> Region | None:
        """The TSS descriptor that all CPUs share; None where each has its own."""
        return self.host.slot(0) if self.model.gdt == "shared" else None

    def slot_complaint(self) -> str:
        """What is wrong with the slots as they are; empty if nothing.

        A later round finds nothing there that an earlier one did not: every byte is what the boot
        left but the base, which is that of some CPU, and the busy bit.
        """
        bases = {self.model.tss_of(cpu) for cpu in range(self.model.cpus)}
        for cpu in range(1 if self.model.gdt == "shared" else self.model.cpus):
            slot = self.host.slot(cpu)
            raw = self.host.arena.read(slot.physical, slot.size)
            left = parse(raw)
            if not (left.is_tss and left.present and left.base in bases):
                return f"the slot is left with {left}"
            other = changed(raw, self.model.tss_descriptor(left.base, BUSY))
            if other:
                return f"the slot is left with {left}, but {other}"
        return ""

    def code_at(self, address: int, size: int) -> bytes:
        """Up to ``size`` bytes of code; none where no code may run."""
        for region, arena in self._code:
            if region.holds(address):
                return arena.read(region.physical_of(address), min(size, region.end - address))
        return b""

    def engine(self) -> Engine:
        """A new engine over the shared memory, with the memory of a new guest."""
        private = Arena(self.guest.arena.base, self.guest.arena.size)
        private.write(private.base, bytes(self.guest.arena.view))
        engine = Engine(
            self.host.arena,
            private,
            CodeMap(
                self._code, (self.guest.stub, self.host.text), self._known_code, locks=self._locks
            ),
            self._controls(),
            (
                *self.host.regions,
                self.guest.deep_stack,
                *self.guest.host_regions,
                *self.guest.monitor_regions,
                *self._threads(),
            ),
        )
        slots = (bounds(self.host.slot(cpu)) for cpu in range(self.model.cpus))
        engine.watch_reads(sorted({*slots, *self._watched()}))
        return engine

    def reset(self) -> None:
        """Make the patch's own data what it was when the module was loaded."""
        for region in self.lock_regions:
            start = region.virtual - self.loaded.base
            self.host.arena.write(region.physical, self.loaded.memory[start : start + region.size])

    def territory(self, cpu: int) -> Territory:
        """What this CPU may touch."""
        watched = self._watched()
        slots = [bounds(self.host.slot(each)) for each in range(self.model.cpus)]
        if self.model.gdt == "shared":
            return Territory(self._chunks, self._edges, (*watched, slots[0]), None, ())
        foreign = tuple(slot for number, slot in enumerate(slots) if number != cpu)
        return Territory(self._chunks, self._edges, watched, slots[cpu], foreign)

    def seat_of(self, cpu: int) -> int:
        """Which guest's addresses the guest has that begins on this CPU."""
        return cpu % len(self.guest.seats)

    def boot(self, engine: Engine, cpu: int) -> Snapshot:
        """What the kernel does on a CPU: write the slot, ``ltr``; then the first call.

        Booting the CPUs in order leaves the last one's TSS, busy, in a slot that they share.
        """
        model = self.model
        engine.power_on(
            {
                "cr0": CR0,
                "cr3": self.guest.seats[self.seat_of(cpu)].host_root,
                "cr4": CR4,
                "efer": EFER,
                "cs": model.code_selector,
                "ss": model.data_selector,
                "ds": model.data_selector,
                "es": model.data_selector,
                "fs": 0,
                "gs": 0,
                "fs_base": _USER_FS_BASE,
                "gs_base": model.pcpu_of(cpu),
                "rip": BOOT_LTR_AT,
                "rax": model.tr_selector,
                "rflags": _FLAGS,
            },
            {
                "gdtr": (model.gdt_of(cpu), model.gdt_limit),
                "idtr": (self.host.idt.virtual, PAGE - 1),
            },
        )
        self.host.write_slot(cpu)
        engine.run(self.territory(cpu), {BOOT_DONE_AT})
        engine.write_registers({**_CALLER, **self.guest.registers(self.seat_of(cpu))})
        engine.write_registers({"rflags": _FLAGS})
        for physical, data in self.guest.fields(self.seat_of(cpu)):
            engine.guest.write(physical, data)
        return engine.save(self.territory(cpu))

    def calls(self, engine: Engine, cpu: int, called: Snapshot) -> tuple[Snapshot, ...]:
        """The call as each guest makes it on this CPU; ``called`` is that of its first one."""
        made = []
        for seat in range(len(self.guest.seats)):
            engine.take_registers(called)
            engine.write_registers(self.guest.registers(seat))
            call = engine.save(self.territory(cpu))
            made.append(replace(call, chunks=called.chunks, owned=called.owned))
        engine.take_registers(called)
        return tuple(made)

    def _threads(self) -> Iterator[Region]:
        """The stack and the state of every thread, where its own page tables have them."""
        for seat in self.guest.seats:
            yield from (seat.stack, seat.state)

    def _controls(self) -> Controls:
        model = self.model
        own = (*self._threads(), *self.lock_regions, *self.guest.unshared)
        return Controls(
            page_tables={root: seat.roots for seat in self.guest.seats for root in seat.roots},
            gdt_bases=frozenset(
                {self.guest.gdt.virtual, *(model.gdt_of(cpu) for cpu in range(model.cpus))}
            ),
            own_tables=tuple((table.virtual, table.end) for table in own),
            code_selectors=frozenset({model.code_selector, MONITOR_CS}),
            # Of descriptors that nobody writes, with base 0: Unicorn adds the base of a segment
            # that a prefix names, a CPU in 64-bit mode does not.
            data_selectors=frozenset({0, GUEST_DATA, model.data_selector}),
            ldt_selectors=frozenset({0, MONITOR_LDT}),
        )

    def _watched(self) -> tuple[tuple[int, int], ...]:
        """Shared memory that the module may write, besides the descriptor."""
        regions = self.lock_regions
        if self.tail is not None:
            regions += (self.host.soft_segment,)
        return tuple(map(bounds, regions))

    def _module_code(self, module: Module) -> tuple[Region, ...]:
        return sections(module, self.loaded, self.module, lambda flags, _: bool(flags & _CODE))


_CODE: Final = elf.SHF_EXECINSTR
