"""A wrong patch, and which check of the whole switch must find it."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.verify.mutants.changes import Change
from tests.verify.mutants.machine_state import leave
from tests.verify.mutants.variant import Variant

INPUTS, READS, STORES = "inputs", "reads", "stores"
DEFINED, SAME = "defined-flags", "same-effect"

STRIDE: Final = "imul rcx, rcx, $tss_stride"
"""Where the entry makes an address of the CPU's number."""

SPOIL: Final = "mov byte [$state + 0x330], 1"
"""A byte of the guest's state becomes another."""


class Wrong(NamedTuple):
    """A wrong patch, and the check that must find it."""

    name: str
    broken: str
    changes: tuple[Change, ...]

    @property
    def variant(self) -> Variant:
        """The patch."""
        return Variant(self.name, self.changes)


def unless(test: str, jump: str = "jne") -> Change:
    """At the exit: spoil the guest's state, unless ``jump`` is taken."""
    return leave(f"{test}; {jump} fine; {SPOIL}; fine:")


def inputs(name: str, *changes: Change) -> Wrong:
    """Depends on what it may not."""
    return Wrong(name, INPUTS, changes)


def undefined(name: str, *changes: Change) -> Wrong:
    """Depends on what a CPU does not define."""
    return Wrong(name, DEFINED, changes)


def reads(name: str, *changes: Change) -> Wrong:
    """Reads what it has no business with."""
    return Wrong(name, READS, changes)


def stores(name: str, *changes: Change) -> Wrong:
    """Stores what another may look at."""
    return Wrong(name, STORES, changes)


def effect(name: str, *changes: Change) -> Wrong:
    """Leaves something else than the unpatched switch."""
    return Wrong(name, SAME, changes)
