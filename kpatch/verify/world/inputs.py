"""What the trampolines depend on, on every way through them, for every value of it.

The emulation gives a register that the guest or the caller left one value or two. Here their
values do not count: what a trampoline decides, stores or addresses may come from nothing but the
state's address, the fields that the entry saves, the stack as the switch has left it, cpuid and
what stands behind it at the entry, addresses that the kernel linker fills in, and what the patch
itself has written. Nor may anything in the switch depend on a flag that the SDM leaves undefined.

The switch is followed from its entry to the change of cr3, and from the return into the kernel's
code segment to its ``ret``. (Between them nothing of the patch runs.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kpatch.elf.module import Module
from kpatch.verify.world.findings import Findings
from kpatch.verify.world.guest import COPY_AT
from kpatch.verify.world.origins import Machine, number
from kpatch.verify.world.places import Places, Site
from kpatch.verify.world.walk import Walk, started
from kpatch.verify.world.world import World

_NOTHING: Final[frozenset[int]] = frozenset()


def findings(
    world: World,
    module: Module,
    cpuid: int,
    sites: tuple[Site, ...],
) -> Findings:
    """Follow the patched switch of ``module``, which ``world`` was made of.

    ``cpuid`` is the offset that the patch was made for. An instruction of a site that its
    trampoline runs may depend there on what it depended on before.
    """
    places = Places(world, module, cpuid, sites)
    guest, layout = world.guest, world.guest.layout
    walk = Walk(places, displaced(world, sites, entry=True), kernel=True)
    ended = walk.follow(guest.entry, at_entry(world))
    if ended is None:
        walk.unknown.setdefault("no way leads from the entry to the monitor")
        return walk.found(_NOTHING)
    back = _back(places, ended, layout.host_rsp)
    if back is None:
        walk.unknown.setdefault("where the entry saves the stack pointer")
        return walk.found(ended.saved)
    leave = Walk(places, displaced(world, sites, entry=False), kernel=False, kept=walk.kept)
    leave.follow(COPY_AT + layout.kernel_side, back)
    return walk.found(ended.saved).joined(leave.found(_NOTHING))


def at_entry(world: World) -> Machine:
    """What is known of the CPU when the switch is called."""
    guest = world.guest
    return started("its caller", {"rdi": guest.state.virtual, "rsp": guest.rsp})


def displaced(world: World, sites: Iterable[Site], *, entry: bool) -> tuple[bytes, ...]:
    """The instructions that the sites of one side run elsewhere, in their order."""
    exit_begins = world.guest.layout.kernel_side
    of_side = [site for site in sites if (site.at.start < exit_begins) == entry]
    return tuple(raw for site in of_side for raw in site.displaced)


def _back(places: Places, ended: Machine, host_rsp: int) -> Machine | None:
    """The CPU when the kernel has it again: its memory, its stack, the guest's registers."""
    state = places.guest.state.virtual
    saved = tuple(places.byte(ended, state + host_rsp + at) for at in range(8))
    rsp = number(saved)
    if rsp is None:
        return None
    machine = started(
        "the guest", {"rsp": rsp, **dict.fromkeys(places.guest.layout.state_at_exit, state)}
    )
    # What is not the switch's own in the state, the monitor and its guest may use.
    machine.memory = {
        at: byte
        for at, byte in ended.memory.items()
        if not places.is_state(at) or at in ended.saved
    }
    machine.saved = ended.saved
    return machine
