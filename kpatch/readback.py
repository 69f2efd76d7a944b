"""What two other readers, pyelftools and LIEF, find in a patched module."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kpatch.elf.module import Module
from kpatch.errors import VerificationError

if TYPE_CHECKING:
    from kpatch.patch.plan import Plan
    from kpatch.witness.readers.readback import Reading


def read_by_others(module: Module, plan: Plan | None = None) -> tuple[Reading, ...]:
    """What pyelftools and LIEF see in a patched module.

    With a plan it must be what the plan says, else VerificationError is raised; without one they
    are compared with our own reader.
    """
    # Imported here: LIEF alone takes longer to import than a scan takes.
    from kpatch import expected
    from kpatch.witness.readers.readback import read_by_each

    if plan is None:
        return read_by_each(module.data, expected.as_read(module))
    readings = read_by_each(module.data, expected.after(plan, module.data))
    require_agreement(readings, module.name)
    return readings


def require_agreement(readings: Iterable[Reading], name: str) -> None:
    """Raise VerificationError if another reader sees something else than what was planned."""
    for reading in readings:
        if not reading.agrees:
            raise VerificationError(
                f"{reading.reader} reads the patched file otherwise than planned: "
                f"{'; '.join(reading.differences)}",
                where=name,
                todo="nothing was written; report this file",
            )
