"""How long a CPU runs under the host's page tables with a TSS in TR that is not its own.

In that window an NMI or a machine check would use another stack than the kernel meant. The
unpatched module has such a window, too: from the change of cr3 to its ``ltr``.
"""

from __future__ import annotations

from kpatch.verify.hardware.cpu import BUDGET, Engine
from kpatch.verify.hardware.cpustate import EVERYWHERE
from kpatch.verify.world.kernel_text import RETURN_AT
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
