"""How long a CPU runs under the host's page tables with a TSS in TR that is not its own.

In that window an NMI or a machine check would use another stack than the kernel meant. The
unpatched module has such a window, too: from the change of cr3 to its ``ltr``.

It is counted step by step, by what cr3 and TR hold; and where a round is made with each number of a
CPU, which takes long enough, from what the round has run.
"""

from __future__ import annotations

from kpatch.verify.hardware.cpu import BUDGET, Engine
from kpatch.verify.hardware.cpustate import EVERYWHERE
from kpatch.verify.machine.same_effect import Alone
from kpatch.verify.world.kernel_text import RETURN_AT
from kpatch.verify.world.places import Places
from kpatch.verify.world.sinks import writes_cr3
from kpatch.verify.world.world import World


def window(world: World) -> int | None:
    """Instructions in the window, on a CPU that nobody disturbs.

    Counted on the last CPU, whose TSS the boot left in the descriptor, so that the unpatched
    module is right there, too. None if the switch does not come back.
    """
    world.reset()
    engine = world.engine()
    try:
        return _counted(world, engine)
    finally:
        engine.close()


def _counted(world: World, engine: Engine) -> int | None:
    cpus = range(world.model.cpus)
    cpu = cpus[-1]
    for each in cpus:
        world.boot(engine, each)
    territory = world.territory(cpu)
    own, host = world.model.tss_of(cpu), engine.registers["cr3"]
    count = 0
    for _ in range(BUDGET):
        registers = engine.registers
        if registers["rip"] == RETURN_AT:
            return count
        if engine.run(territory, EVERYWHERE).failure is not None:
            return None
        count += registers["cr3"] == host and registers.table("tr").base != own
    return None


def window_in(alone: Alone, places: Places) -> int:
    """Instructions in the last round of ``alone`` from the change of cr3 to the last ``ltr``."""
    trace = alone.trace()
    last = range(len(trace) - 1, -1, -1)
    load = next((at for at in last if alone.engine.info(trace[at]).is_ltr), None)
    back = next((at for at in last if _is_back(trace[at], places)), None)
    return load - back if load is not None and back is not None else 0


def _is_back(address: int, places: Places) -> bool:
    found = None if places.is_patch(address) else places.instruction(address)
    return found is not None and writes_cr3(found)
