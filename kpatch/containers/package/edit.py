"""Small edits of a text, so that everything around them stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from kpatch.errors import DamagedFileError
from kpatch.units import counted

T = TypeVar("T")


@dataclass(frozen=True)
class Replacement:
    """The file at ``path`` (``paths.plain``) had the bytes ``old`` and has ``new``.

    ``links`` are its other names, hard links to it.
    """

    path: str
    old: bytes
    new: bytes
    links: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All its names."""
        return (self.path, *self.links)


@dataclass(frozen=True)
class Edit:
    """Characters ``start`` to ``end`` of a text become ``new``."""

    start: int
    end: int
    new: str


@dataclass(frozen=True)
class Mending:
    """What to change in a metadata file, and what the user should know about it."""

    edits: tuple[Edit, ...] = ()
    notices: tuple[str, ...] = ()

    def __add__(self, other: Mending) -> Mending:
        """Both."""
        return Mending(self.edits + other.edits, self.notices + other.notices)


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """``text`` with all ``edits``, which do not overlap, made."""
    parts: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        parts += (text[position : edit.start], edit.new)
        position = edit.end
    return "".join(parts) + text[position:]


def like(old: str, new: str) -> str:
    """The hexadecimal ``new`` in the case of ``old``."""
    return new.upper() if old != old.lower() else new


def wrong_before(kind: str, path: str, where: str) -> Mending:
    """The notice about a sum that did not fit the file even before the change."""
    return Mending(
        notices=(
            f"the {kind} sum of {path} in {where} was wrong before: something else has changed "
            "the package; the sum is kept as it was",
        )
    )


def not_recorded(path: str, where: str) -> Mending:
    """The notice about a file without a sum."""
    return Mending(notices=(f"{where} records no checksum for {path}; none was added",))


def listed(found: Mapping[str, list[T]], what: str, where: str) -> dict[str, list[T]]:
    """Of the file's names those under which ``found`` has it: one at least, and each once.

    Raises DamagedFileError, which says what ``what`` in the file ``where`` does instead.
    """
    names = {path: places for path, places in found.items() if places}
    wrong = next((path for path, places in names.items() if len(places) > 1), None)
    if wrong is not None or not names:
        path = next(iter(found)) if wrong is None else wrong
        raise DamagedFileError(
            f"the {what} lists {path} {counted(len(found[path]), 'time')}, not once",
            where=where,
            todo="build the package again",
        )
    return names
