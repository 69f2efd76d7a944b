"""What code may not move to a control or debug register."""

from __future__ import annotations

from typing import Final

from kpatch.verify.hardware.registers import Registers

_ENABLED: Final = 0xFF  # DR7: L0 to G3
_CACHES_OFF: Final = 1 << 30 | 1 << 29  # CR0: CD, NW
_RESERVED: Final = ~0xFFFF_FFFF  # CR0

LOOKED_AT: Final = frozenset({"dr7", "cr0"})
"""The registers of which some values are refused."""


def refused_move(target: str, source: str, registers: Registers) -> str:
    """Why one register may not be moved to one of :data:`LOOKED_AT` now; empty if it may.

    Unicorn 2.1.4 takes values of CR0 that are #GP for a CPU: SDM vol. 3, 2.5, and table 12-5.
    Without caches, or with caches that nobody keeps coherent, a CPU is none that is emulated.
    """
    value = registers[source]
    if target == "dr7":
        return "enables a breakpoint, beyond what the emulation models" if value & _ENABLED else ""
    if value & _RESERVED:
        return "#GP general protection: sets reserved bits of cr0"
    return "turns the caches off, beyond what the emulation models" if value & _CACHES_OFF else ""
