"""What two other readers, pyelftools and LIEF, find in a patched module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from kpatch.elf.module import Module
from kpatch.errors import VerificationError

if TYPE_CHECKING:
    from kpatch.witness.readers.readback import Background, Reading


def others_reading() -> AbstractContextManager[Background]:
    """Have another process load pyelftools and LIEF, which then read what they are told."""
    # Imported here: most commands read nothing back.
    from kpatch.witness.readers.readback import in_background

    return in_background()


@contextmanager
def read_beside(module: Module | None) -> Iterator[Callable[[], tuple[Reading, ...]]]:
    """Have pyelftools and LIEF read a module in another process, while this one goes on.

    They are compared with our own reader. What is yielded waits for what they say; of no module
    they say nothing.
    """
    if module is None:
        yield lambda: ()
        return
    with others_reading() as others:
        from kpatch import expected

        others.read(module.data, expected.as_read(module))
        yield others.readings


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
