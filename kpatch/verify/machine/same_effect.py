"""Translation validation: alone on its host, the patched switch does what the unpatched one does.

Both are run to their return, on one CPU that nobody disturbs, twice: with junk and with zeros in
what a guest and a caller leave. Then all that code behind the switch can see has to be the same:
the guest's and the host's memory, and the registers that the calling convention keeps. Only TR and
its descriptor may differ, which the patch is there to change, and what is dead: the stack below the
return address, scratch registers and status flags (psABI 3.2.1), and the field in which the entry
saves the stack pointer, which the stash has moved. What must not change at all, the code and the
data of the patched module but for its lock, is compared with what it was.

Both are compared on their way, too, where the monitor's side begins: what the entry hands over to
the monitor, such as the direction flag, may be gone at the return.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from kpatch.verify.hardware.cpu import Engine
from kpatch.verify.hardware.cpustate import Execution
from kpatch.verify.hardware.memory import Arena, Region
from kpatch.verify.hardware.registers import Registers
from kpatch.verify.machine.arrival import back_in_kernel
from kpatch.verify.world.guest import COPY_AT, MONITOR_BASE
from kpatch.verify.world.kernel_text import RETURN_AT
from kpatch.verify.world.places import Places
from kpatch.verify.world.sinks import writes_cr3
from kpatch.verify.world.world import World

# What the switch leaves in DS, ES, FS and GS is the guest's; kqemu_exec restores them.
COMPARED: Final = (
    "rbx", "rbp", "rsp", "r12", "r13", "r14", "r15", "rip",
    "cr0", "cr2", "cr3", "cr4", "cr8", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "cs", "ss",
)  # fmt: skip
# What the monitor finds. General registers it takes from its own stack.
_HANDED_OVER: Final = (
    "rsp", "rip", "cr0", "cr2", "cr3", "cr4", "cr8", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7",
    "cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base",
)  # fmt: skip
_OTHERWISE: Final = {
    "cr0": 1 << 3,  # TS: whether the FPU holds somebody's registers
    "cr4": 1 << 8 | 1 << 3 | 1 << 2,  # PCE, DE, TSD
    **dict.fromkeys(("cr2", "dr0", "dr1", "dr2", "dr3"), 0xFFFF_FFFF_FFFF_FFFF),
    "dr6": 0xF,
}
"""Bits that differ from kernel to kernel and from call to call. They are turned over in the second
round: code that sets or clears one is not seen where it is so already."""
_TABLES: Final = ("ldtr", "gdtr", "idtr")
_STATUS_FLAGS: Final = 0x8D5  # OF, SF, ZF, AF, PF, CF: psABI 3.2.1, not kept over a call
_ROUNDS: Final = ("the first round", "the second round")
_RSP_SIZE: Final = 8
_MOST_PAUSES: Final = 1000


class Differences(NamedTuple):
    """What the patched switch does otherwise, and why some of it could not be compared."""

    wrong: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    """What the patch's code has read that it has no business to read."""


def differences(patched: World, original: World, cpu: int, places: Places) -> Differences:
    """Run CPU ``cpu`` of two worlds with the same host, and compare it after each round.

    ``places`` says which code of ``patched`` is the patch's.
    """
    ours, theirs = Alone(patched, cpu), Alone(original, cpu)
    try:
        return _compared(ours, theirs, places)
    finally:
        ours.engine.close()
        theirs.engine.close()


def _compared(ours: Alone, theirs: Alone, places: Places) -> Differences:
    reads: dict[str, None] = {}
    for name, on_the_way in itertools.product(_ROUNDS, (True, False)):
        go = Alone.to_monitor if on_the_way else Alone.to_return
        failures = go(ours), go(theirs)
        reads |= dict.fromkeys(ours.reads(places))
        if failures[1]:
            why = f"the unpatched switch does not return: {failures[1]}"
            return Differences(unknown=(why,), reads=tuple(reads))
        found: tuple[str, ...] = (f"in {name} it does not return: {failures[0]}",)
        if not failures[0]:
            registers = _HANDED_OVER if on_the_way else COMPARED
            changes = (
                *other_registers(ours.registers, theirs.registers, registers),
                *_memory(ours, theirs),
                *ours.changed(),
            )
            when = f"in {name}, when the monitor begins," if on_the_way else f"after {name}"
            found = tuple(f"{when} {change}" for change in changes)
        if found:
            return Differences(wrong=found, reads=tuple(reads))
    return Differences(reads=tuple(reads))


class Alone:
    """One CPU of a host, the others booted and at rest."""

    def __init__(self, world: World, cpu: int) -> None:
        world.reset()
        self.world = world
        self.engine: Engine = world.engine()
        everything = world.host.arena.base, world.host.arena.end
        self.engine.watch_reads((everything,))
        self._territory = replace(world.territory(cpu), watched=(everything,))
        self._runs: list[Execution] = []
        called = [world.boot(self.engine, each) for each in range(world.model.cpus)]
        self._called = called[cpu]
        self._cpu = cpu
        self._rounds = 0
        self._kept = {region: self.contents(region) for region in (world.module, world.guest.copy)}
        self.registers: Registers = self._called.registers

    def round(self, stops: Container[int] = frozenset({RETURN_AT})) -> str:
        """The next round, up to the return; why it does not come to that, or nothing."""
        if self._rounds == 0:
            self.engine.load(self._called, self._territory)
        else:
            back_in_kernel(self.world, self.engine, self._called, round_over=True)
            before = self.engine.registers
            self.engine.write_registers(
                {name: before[name] ^ _OTHERWISE[name] for name in _OTHERWISE}
            )
        self._rounds += 1
        return self.go_on(stops)

    def to_monitor(self) -> str:
        """The next round, up to where the monitor's side begins."""
        return self.round({MONITOR_BASE + self.world.guest.layout.monitor_side})

    def to_return(self) -> str:
        """The rest of it."""
        return self.go_on()

    def go_on(self, stops: Container[int] = frozenset({RETURN_AT})) -> str:
        """On from where it is; a run ends in front of each ``pause``, and goes on behind it."""
        self._runs = []
        for _ in range(_MOST_PAUSES):
            run = self.engine.run(self._territory, stops)
            self._runs.append(run)
            self.registers = self.engine.registers
            if run.failure is not None:
                return run.failure.what
            if self.registers["rip"] in stops:
                return ""
        return "it waits for another CPU"

    def contents(self, region: Region) -> bytes:
        """What a region holds now."""
        return _arena(self.world, self.engine, region).read(region.physical, region.size)

    def reads(self, places: Places) -> Iterator[str]:
        """What of the host's memory the patch has read in the last round, and may not."""
        for run, access in ((one, seen) for one in self._runs for seen in one.accesses):
            address = run.trace[access.step]
            if access.write or not places.is_patch(address):
                continue
            if not places.may_read(self._cpu, access.physical, access.size):
                where = places.name(access.physical)
                yield f"'{self.engine.info(address).label}' reads {where}"

    def path(self, places: Places) -> tuple[tuple[int, ...], ...]:
        """The patch's instructions in the last round, and what they did to the patch's memory."""
        locks = self.world.lock_regions
        return tuple(
            (
                *(address for address in run.trace if places.is_patch(address)),
                *(
                    number
                    for seen in run.accesses
                    if any(lock.holds_physical(seen.physical, seen.size) for lock in locks)
                    for number in seen
                ),
            )
            for run in self._runs
        )

    def on_kernel_side(self, places: Places) -> Iterator[int]:
        """The instructions of the last round up to the change to the monitor's page tables, and
        from where the kernel has the CPU again.
        """
        trace = iter(self.trace())
        for address in trace:
            yield address
            found = places.instruction(address)
            if found is not None and writes_cr3(found):
                break
        back = COPY_AT + self.world.guest.layout.kernel_side
        yield from itertools.dropwhile(lambda address: address != back, trace)

    def trace(self) -> list[int]:
        """The addresses of the instructions of the last round, in order."""
        return [address for run in self._runs for address in run.trace]

    def changed(self) -> Iterator[str]:
        """What of the module and the copy of its image is not what it was."""
        for region, before in self._kept.items():
            locks = [lock for lock in self.world.lock_regions if region.virtual <= lock.virtual]
            now = bytearray(self.contents(region))
            for lock in locks:
                at = lock.virtual - region.virtual
                now[at : at + lock.size] = before[at : at + lock.size]
            yield from unequal(region, bytes(now), before, "it was")


def other_registers(one: Registers, other: Registers, names: Iterable[str]) -> Iterator[str]:
    """What differs in these registers, in the tables, and in the flags that a caller keeps."""
    for name in names:
        if one[name] != other[name]:
            yield f"{name} is {one[name]:#x}, unpatched {other[name]:#x}"
    for name in _TABLES:
        if one.table(name) != other.table(name):
            yield f"{name} is another than unpatched"
    if (one["rflags"] ^ other["rflags"]) & ~_STATUS_FLAGS:
        yield f"rflags is {one['rflags']:#x}, unpatched {other['rflags']:#x}"


def _memory(ours: Alone, theirs: Alone) -> Iterator[str]:
    for region in compared(ours.world):
        yield from unequal(region, ours.contents(region), theirs.contents(region), "unpatched")


def compared(world: World) -> Iterator[Region]:
    """The memory that has to be the same."""
    guest, host = world.guest, world.host
    dead = guest.dead_stack.size
    yield guest.stack.part("host stack", dead, guest.stack.size - dead)
    saved = guest.layout.host_rsp
    behind = saved + _RSP_SIZE
    yield guest.state.part("state", 0, saved)
    yield guest.state.part(f"state+{behind:#x}", behind, guest.state.size - behind)
    yield from (guest.gdt, guest.idt, guest.ldt, guest.tss, guest.monitor_stack, guest.stub)
    yield from (host.idt, host.tss, host.pcpu, host.gdt_segs, host.text)
    slots = {host.slot(cpu).virtual - host.gdt.virtual for cpu in range(world.model.cpus)}
    at = 0
    for slot in (*sorted(slots), host.gdt.size):
        yield host.gdt.part(f"host GDT+{at:#x}", at, slot - at)
        at = slot + 16


def unequal(region: Region, one: bytes, other: bytes, what: str) -> Iterator[str]:
    """The first byte of a region that differs."""
    if one != other:
        at = next(n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        yield f"{region.name}+{at:#x} is {one[at]:#04x}, {what} {other[at]:#04x}"


def _arena(world: World, engine: Engine, region: Region) -> Arena:
    return engine.private if region.private else world.host.arena
