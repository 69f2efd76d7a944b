"""What two other readers, pyelftools and LIEF, find in a patched module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kpatch.elf.module import Module
from kpatch.errors import VerificationError

if TYPE_CHECKING:
    from kpatch.patch.plan import Plan
    from kpatch.witness.readers.readback import Reading


def read_by_others(module: Module, plan: Plan) -> tuple[Reading, ...]:
    """What pyelftools and LIEF see in a patched module.

    Raises VerificationError where it is not what the plan says.
    """
    # Imported here: LIEF alone takes longer to import than a scan takes.
    from kpatch import expected
    from kpatch.witness.readers.readback import read_by_each

    readings = read_by_each(module.data, expected.after(plan, module.data))
    require_agreement(readings, module.name)
    return readings


@contextmanager
def read_beside(module: Module | None) -> Iterator[Callable[[], tuple[Reading, ...]]]:
    """Have pyelftools and LIEF read a module in another process, while this one goes on.

    They are compared with our own reader. What is yielded waits for what they say; of no module
    they say nothing.
    """
    if module is None:
        yield lambda: ()
        return
    from kpatch import expected
    from kpatch.witness.readers.readback import in_background

    with in_background(module.data, expected.as_read(module)) as read:
        yield read


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
