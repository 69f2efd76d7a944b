"""What the CPUs do, on which kind of host, and what is promised of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from kpatch.errors import UsageError
from kpatch.kernel.host import SELECTOR_TO_7
from kpatch.verify.world.host import HostModel

ALWAYS: Final = frozenset({"no-fault", "footprint", "progress", "descriptor", "restored"})
OWN_TSS: Final = "own-tss"
ENDLESS: Final = 0xFFFF
"""As many rounds as a CPU likes: their number is not counted."""


@dataclass(frozen=True)
class Scenario:
    """One thing to prove.

    Every CPU begins with a guest of its own and makes ``rounds`` rounds with it; where guests
    move, an idle CPU may take any guest that waits. ``layout_known`` says whether struct pcpu is
    what the patch was made for; if not, ``pretence`` is what stands in the place of the CPU's
    number and its mask, ``pretence_8`` on hosts with FreeBSD 8's TR selector. ``one_cpu`` scenarios
    run on a kernel for one CPU only. ``promised`` are the names of the properties that must hold.
    """

    name: str
    title: str
    gdt: Literal["shared", "private"] = "shared"
    rounds: int = 1
    moves: bool = False
    layout_known: bool = True
    pretence: tuple[int, int] | None = None
    pretence_8: tuple[int, int] | None = None
    one_cpu: bool = False
    promised: frozenset[str] = ALWAYS | {OWN_TSS}

    def host(
        self, cpus: int, *, cpuid_offset: int = 0x34, tr_selector: int = SELECTOR_TO_7
    ) -> HostModel:
        """The host to prove it on. UsageError for a number of CPUs that no host has."""
        return HostModel(
            cpus=1 if self.one_cpu else cpus,
            gdt=self.gdt,
            cpuid_offset=cpuid_offset if self.layout_known else None,
            tr_selector=tr_selector,
            pretence=self.pretence if tr_selector == SELECTOR_TO_7 else self.pretence_8,
        )


LEAVE: Final = Scenario("leave", "all CPUs leave their guests at once")
PRIVATE_GDT: Final = Scenario(
    "private-gdt", "every CPU has a GDT of its own", gdt="private", rounds=2
)
UP: Final = Scenario("up", "a kernel for one CPU", rounds=2, one_cpu=True)
UNKNOWN_LAYOUT_PRIVATE: Final = Scenario(
    "unknown-layout-private",
    "an unknown struct pcpu, and every CPU has a GDT of its own",
    gdt="private",
    layout_known=False,
)
# What passes half of a guard: a small number whose mask has its bit and another one, as that
# of all CPUs has; and a number too large for a CPU, whose mask a shift (modulo 32) makes true.
# For guards that look at a part of either, or take the number as signed: the others.
WRONG_MASK_UP: Final = Scenario(
    "wrong-mask-up",
    "an unknown struct pcpu with what looks like a CPU's number, on a kernel for one CPU",
    layout_known=False,
    pretence=(1, 3),
    pretence_8=(1, 0x8001_0002),
    one_cpu=True,
)
WRONG_NUMBER_UP: Final = Scenario(
    "wrong-number-up",
    "an unknown struct pcpu with what looks like a CPU's mask, on a kernel for one CPU",
    layout_known=False,
    pretence=(33, 2),
    pretence_8=(0x8000_0001, 2),
    one_cpu=True,
)

SCENARIOS: Final = (
    LEAVE,
    Scenario("two-rounds", "every CPU enters and leaves twice", rounds=2),
    Scenario("moving", "guests move to other CPUs between two rounds", rounds=2, moves=True),
    PRIVATE_GDT,
    Scenario(
        "private-moving",
        "every CPU has a GDT of its own, and guests move between two rounds",
        gdt="private",
        rounds=2,
        moves=True,
    ),
    UP,
    # The guard takes the old path. On a shared GDT that is the old bug, but no new one: it faults
    # less than before, because the lock is held. Where no other CPU has the slot, it is right.
    Scenario(
        "unknown-layout",
        "an unknown struct pcpu: the patch must fall back to what the module did before",
        layout_known=False,
        promised=ALWAYS,
    ),
    UNKNOWN_LAYOUT_PRIVATE,
    Scenario(
        "unknown-layout-up",
        "an unknown struct pcpu on a kernel for one CPU",
        layout_known=False,
        one_cpu=True,
    ),
    WRONG_MASK_UP,
    WRONG_NUMBER_UP,
)
"""All of them, in the order in which they are explored and listed."""


def scenario_named(name: str) -> Scenario:
    """The scenario of that name. Raises UsageError where there is none."""
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    known = ", ".join(scenario.name for scenario in SCENARIOS)
    raise UsageError(f"no scenario '{name}'", where="--scenario", todo=f"choose among: {known}")
