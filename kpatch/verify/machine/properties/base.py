"""What a property is, and what it gets to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kpatch.verify.hardware.cpustate import Execution
from kpatch.verify.hardware.registers import Registers
from kpatch.verify.world.host import HostModel


@dataclass(frozen=True)
class Seen:
    """One step of one CPU, after it was made.

    ``called`` are the registers with which the kernel called the switch. ``returned`` are those
    with which it came back, ``settled`` those at the end of the round: behind a source fix, if the
    module has one, else the same. Both are None where this step did not end there. ``slot`` and
    ``booted_slot`` are the TSS descriptor in the CPU's own GDT, then and as the boot left it;
    empty where the CPUs share one GDT.
    """

    host: HostModel
    cpu: int
    run: Execution
    called: Registers
    returned: Registers | None
    settled: Registers | None
    slot: bytes = b""
    booted_slot: bytes = b""

    @property
    def is_uneventful(self) -> bool:
        """Nothing went wrong, TR was not loaded, no round ended: there is nothing to judge."""
        run = self.run
        return not run.loaded and (run.failure or self.returned or self.settled) is None


class Property:
    """A demand on every step that is not uneventful. ``sentence`` is true of a good module."""

    name: ClassVar[str]
    sentence: ClassVar[str]

    def complaint(self, seen: Seen) -> str | None:
        """What is wrong with this step; None if nothing."""
        failure = seen.run.failure
        return failure.what if failure is not None and failure.prop == self.name else None
