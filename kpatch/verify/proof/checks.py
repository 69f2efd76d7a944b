"""What is proven beside the explorations: properties of the whole switch, each with a name.

``wrong`` and ``unknown`` say what was found, shortest story first; both empty means that it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Final

from kpatch.elf.module import Module
from kpatch.verify.machine.same_effect import differences
from kpatch.verify.machine.setup import Setup
from kpatch.verify.world.inputs import findings
from kpatch.verify.world.places import Places, Site

SENTENCES: Final = {
    "inputs": "The trampolines depend on nothing that a guest or a caller leaves, whatever it is.",
    "reads": (
        "Of the host's memory the trampolines read cpuid and what stands behind it, the TSS "
        "descriptor and what the patch itself has written."
    ),
    "stores": (
        "The trampolines store nothing to the state but where the module's own entry saves "
        "something."
    ),
    "defined-flags": "Nothing in the switch depends on what the SDM leaves undefined.",
    "same-effect": (
        "On one CPU that nobody disturbs the patched switch hands over to the monitor, and ends, "
        "as the unpatched one does, but for TR and its descriptor; where struct pcpu is none that "
        "is known, with TR too."
    ),
}
"""Check -> what is true of a good patch."""


@dataclass(frozen=True)
class Check:
    """What one check found. ``unknown`` is what it could not tell."""

    name: str
    wrong: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether it is proven."""
        return not self.wrong and not self.unknown

    @property
    def reason(self) -> str:
        """Why it is not proven; empty if it is."""
        if self.wrong:
            return f"not right: {self.name}: {self.wrong[0]}"
        return f"not proven: {self.name}: cannot tell {self.unknown[0]}" if self.unknown else ""


@dataclass(frozen=True)
class Window:
    """Instructions under the host's page tables with a foreign TSS, the lock being free."""

    patched: int | None
    unpatched: int | None
    bound: int

    @property
    def holds(self) -> bool:
        """True if the patch lengthens it by no more than the declared bound."""
        if self.patched is None or self.unpatched is None:
            return False
        return self.patched <= self.unpatched + self.bound


def check_inputs(
    setup: Setup,
    module: Module,
    cpuid: int,
    sites: tuple[Site, ...],
    ran: Set[int] = frozenset(),
) -> tuple[Check, ...]:
    """What the patched switch depends on: see :mod:`kpatch.verify.world.inputs`.

    ``ran`` are addresses of instructions that a CPU has run on the kernel's side. Each of them has
    to be on a way that was followed: otherwise a CPU calculates something else than is thought.
    """
    found = findings(setup.world, module, cpuid, sites)
    beside = sorted(ran - found.followed)
    unknown = (*found.unknown, *(f"how a CPU comes to {at:#x}" for at in beside[:1]))
    return (
        Check("inputs", found.junk, unknown),
        Check("stores", found.stores, unknown),
        Check("defined-flags", found.undefined, unknown),
    )


def check_same_effect(
    pairs: Iterable[tuple[str, Setup, Setup]], cpuid: int, sites: tuple[Site, ...]
) -> tuple[Check, Check]:
    """Compare the patched with the unpatched switch, on the first CPU of each host.

    ``pairs`` are a host's name, and the patched and the unpatched module on it.
    """
    reads: dict[str, None] = {}
    wrong: list[str] = []
    unknown: list[str] = []
    for name, patched, original in pairs:
        places = Places(patched.world, patched.subject.module, cpuid, sites)
        found = differences(patched.world, original.world, 0, places)
        reads |= dict.fromkeys(found.reads)
        wrong += (f"{name}: {finding}" for finding in found.wrong)
        unknown += (f"{name}: {finding}" for finding in found.unknown)
    return Check("reads", tuple(reads)), Check("same-effect", tuple(wrong), tuple(unknown))
