"""What a run means: its accesses as a CPU would make them, and the promises that it breaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kpatch.isa.calling import SCRATCH
from kpatch.verify.explore.program import OpKind, Violation
from kpatch.verify.hardware.cpu import Engine
from kpatch.verify.hardware.cpustate import Access, Execution, Snapshot
from kpatch.verify.hardware.registers import Registers
from kpatch.verify.machine.cells import SharedMemory
from kpatch.verify.machine.properties import Seen, named
from kpatch.verify.machine.scenarios import Scenario
from kpatch.verify.world.kernel_text import RETURN_AT, TAIL_AT, TAIL_DONE_AT
from kpatch.verify.world.world import World

MOST_WITH_SAVED_FIELDS: Final = 4
"""On hosts with more CPUs a guest that rests loses what its last entry saved: junk is there again.

Each entry saves these fields before anything reads them, so a right module cannot tell. Where each
CPU has a GDT of its own they would name the CPU that the guest was on, and the guests that wait
would all be different. Hosts with up to this many CPUs are explored without this.
"""

_PART_OF_LTR: Final = 4
"""Bytes of each access that Unicorn makes of the descriptor that ``ltr`` loads."""


def judge(scenario: Scenario, seen: Seen) -> tuple[Violation, ...]:
    """The first promise of the scenario that a step breaks, or nothing."""
    if seen.is_uneventful:
        return ()
    for prop in named(scenario.promised):
        complaint = prop.complaint(seen)
        if complaint is not None:
            return (Violation(prop.name, complaint),)
    return ()


@dataclass(frozen=True)
class Arrival:
    """What a step came to. ``registers`` are those with which it ended."""

    violations: tuple[Violation, ...]
    registers: Registers
    returned: bool
    round_over: bool


def arrive(
    world: World,
    scenario: Scenario,
    cpu: int,
    registers: Registers,
    slot: bytes,
    called: Snapshot,
    run: Execution,
) -> Arrival:
    """Look at a CPU where a run has left it. ``slot`` is its own descriptor, if it has one."""
    rip = registers["rip"] if run.failure is None else None
    returned = rip == RETURN_AT
    round_over = rip == (TAIL_DONE_AT if world.tail is not None else RETURN_AT)
    seen = Seen(
        host=world.model,
        cpu=cpu,
        run=run,
        called=called.registers,
        returned=registers if returned else None,
        settled=registers if round_over else None,
        slot=slot,
        booted_slot=called.owned,
    )
    return Arrival(judge(scenario, seen), registers, returned, round_over)


def own_slot(world: World, cpu: int) -> bytes:
    """The descriptor that a CPU alone loads, as it is now; empty where all share one."""
    if world.shared_slot is not None:
        return b""
    slot = world.host.slot(cpu)
    return world.host.arena.read(slot.physical, slot.size)


def back_in_kernel(world: World, engine: Engine, called: Snapshot, *, round_over: bool) -> None:
    """Let kqemu_exec go on: behind the switch, or with the next call of it.

    What it restores by itself (data segments, GS base, FS base) is restored, and what the
    switch had to restore was compared: the CPU gets the registers of the first call again, but
    keeps TR. Between two rounds interrupts are on and other kernel code runs on this stack, so
    what lies below it is as at the start: whoever left something there has lost it. (So guests that
    wait for a CPU are alike, whatever CPU they were on.)
    The scratch registers were junk at the first call and are zero from then on: nothing may depend
    on either.
    """
    tr = engine.tr
    if round_over:
        engine.guest.forget(world.guest.dead_stack)
        if world.model.cpus > MOST_WITH_SAVED_FIELDS:
            for field in world.guest.saved_fields:
                engine.guest.forget(field)
    engine.take_registers(called)
    engine.write_registers(dict.fromkeys(SCRATCH, 0))
    engine.write_tr(*tr)
    if not round_over:
        engine.write_registers({"rip": TAIL_AT})


def interruptible(engine: Engine, shared: SharedMemory, run: Execution) -> tuple[Violation, ...]:
    """Refuses a first instruction that does to shared memory what takes a CPU several accesses.

    The model makes one load, then one store a step, and between two of either a CPU may let
    others in: between the two loads of ``cmps``, the parts of ``sgdt``, or those of an operand
    that is not aligned. A locked instruction is one access, wherever it lies (SDM vol. 3, 8.1.2.2).
    """
    accesses = [access for access in run.accesses if access.step == 0]
    if len(accesses) < 2:
        return ()
    info = engine.info(run.trace[0])
    if info.kind is OpKind.LOCKED:
        return ()
    if info.is_ltr:  # it reads the descriptor in one piece, and may read the selector before
        selector = [access for access in accesses if access.size != _PART_OF_LTR]
        accesses = [*selector, *(access for access in accesses if access.size == _PART_OF_LTR)][
            : len(selector) + 1
        ]
    for kind, write in (("load", False), ("store", True)):
        parts = [access for access in accesses if access.write == write and shared.holds(access)]
        if len(parts) > 1:
            what = f"one instruction makes {len(parts)} {kind}s of shared memory"
            why = "between which others may come in: beyond what the emulation models"
            return (Violation("no-fault", f"{what}, {why}, at {info.label}"),)
    return ()


def shared_accesses(engine: Engine, run: Execution) -> list[Access]:
    """The accesses of a run to shared memory, those of ``ltr`` as a CPU makes them.

    Unicorn reads the descriptor in four parts of 4 bytes, and writes one of them, on success only.
    A CPU sets the busy bit in one locked operation (SDM vol. 3, 8.1.2.1): here the descriptor is
    read at once, and its first half written. A selector in shared memory, 2 bytes, stays as it is.
    """
    loads: dict[int, int] = {}
    others: list[Access] = []
    for access in run.accesses:
        if access.size == _PART_OF_LTR and engine.info(run.trace[access.step]).is_ltr:
            loads[access.step] = min(access.physical, loads.get(access.step, access.physical))
        else:
            others.append(access)
    for step, slot in loads.items():
        others += (Access(step, False, slot, 16), Access(step, True, slot, 8))
    return others
