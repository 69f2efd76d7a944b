"""What two other readers, pyelftools and LIEF, find in a patched module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kpatch.errors import VerificationError
from kpatch.patch.note import SECTION

if TYPE_CHECKING:
    from kpatch.witness.readers.background import Background
    from kpatch.witness.readers.readback import Reading

_KQEMU: Final = b"kqemu"


@contextmanager
def others_reading(*, is_likely: bool) -> Iterator[Background]:
    """Have pyelftools and LIEF in another process, which reads beside what is done within.

    Where it ``is_likely`` that there will be something to read they are loaded at once: nothing
    else takes so long at a stretch.
    """
    # Imported here: most commands read nothing back.
    from kpatch.witness.readers.background import Background

    others = Background()
    try:
        if is_likely:
            others.load()
        yield others
    finally:
        others.end()


def has_note(data: bytes) -> bool:
    """Whether a file looks as if it were patched: a guess, from a name in it."""
    return SECTION.encode() in data


def will_be_patched(data: bytes) -> bool:
    """Whether a file will probably be patched: a guess, from names in it."""
    return _KQEMU in data and not has_note(data)


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
