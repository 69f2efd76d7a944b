"""What a run means: its accesses as a CPU would make them, and the promises that it breaks."""

from __future__ import annotations

from kpatch.verify.cpu import Access, Engine, Run
from kpatch.verify.program import Violation
from kpatch.verify.properties import Seen, named
from kpatch.verify.scenarios import Scenario


def judge(scenario: Scenario, seen: Seen) -> tuple[Violation, ...]:
    """The first promise of the scenario that a step breaks, or nothing."""
    for each in named(scenario.promised):
        complaint = each.complaint(seen)
        if complaint is not None:
            return (Violation(each.name, complaint),)
    return ()


def shared_accesses(engine: Engine, run: Run) -> list[Access]:
    """The accesses of a run to shared memory, those of ``ltr`` as a CPU makes them.

    Unicorn reads the descriptor in four parts, and writes four bytes, on success only. A CPU
    sets the busy bit in one locked operation (SDM vol. 3, 8.1.2.1): here the descriptor is read at
    once, and its first half written.
    """
    loads: dict[int, int] = {}
    others: list[Access] = []
    for access in run.accesses:
        if engine.info(run.trace[access.step]).is_ltr:
            loads[access.step] = min(access.physical, loads.get(access.step, access.physical))
        else:
            others.append(access)
    for step, slot in loads.items():
        others += (Access(step, False, slot, 16), Access(step, True, slot, 8))
    return others
