"""The differences between two modules; their contents are compared a function at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Section
from kpatch.patch.codediff import Hunk, Omitted, Side, hunks
from kpatch.patch.listing import Contents
from kpatch.patch.stretches import Switch, stretches, switch_of
from kpatch.patch.tablediff import TableChange, table_changes
from kpatch.signature.model import Signature

CONTEXT = 3
"""Equal lines around a change, as git and diff show them."""

_MOST_LINES = 1_000_000
"""Lines that one diff shows. Beyond it stretches are counted: memory has an end."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file: what it is called, bytes, hex SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModuleDiff:
    """Everything that differs between ``before`` and ``after``.

    ``omitted`` is what differs and has too many lines to show.
    """

    before: FileFacts
    after: FileFacts
    tables: tuple[TableChange, ...]
    hunks: tuple[Hunk, ...]
    omitted: tuple[Omitted, ...]

    @property
    def is_empty(self) -> bool:
        """True where the files are the same, byte for byte."""
        return self.before.sha256 == self.after.sha256


def diff_modules(
    before: Module,
    after: Module,
    context: int = CONTEXT,
    signatures: Sequence[Signature] | None = None,
) -> ModuleDiff:
    """Compare two modules, with ``context`` equal lines around every change.

    ``signatures`` tell where the switch is, which is shown as instructions; without them those
    that come with kpatch do.
    Raises DamagedFileError where a note of kpatch does not read.
    """
    switches = (
        switch_of(before, signatures, after),
        switch_of(after, signatures, before),
    )
    found: list[Hunk] = []
    omitted: list[Omitted] = []
    room = _MOST_LINES
    for one, other in _pairs(before, after):
        sides = (
            _side(before, one, switches[0] or switches[1]),
            _side(after, other, switches[1] or switches[0]),
        )
        for hunk in hunks(other.name if other else one.name if one else "", *sides, context, room):
            if isinstance(hunk, Hunk):
                found.append(hunk)
                room -= len(hunk.rows)
            else:
                omitted.append(hunk)
    return ModuleDiff(
        before=_facts(before),
        after=_facts(after),
        tables=table_changes(before, after),
        hunks=tuple(found),
        omitted=tuple(omitted),
    )


def _side(module: Module, section: Section | None, switch: Switch | None) -> Side:
    if section is None:
        return Side(None)
    contents = Contents(module, section)
    is_code = section.is_code and module.header.is_amd64
    parts = switch.parts if switch and switch.section == section.index and not is_code else ()
    # The switch may be the other module's, whose section of this number is longer.
    parts = tuple(part for part in parts if part.end <= len(contents.data))
    return Side(contents, stretches(contents, is_code, parts))


def _facts(module: Module) -> FileFacts:
    return FileFacts(module.name, len(module.data), module.sha256)


def _pairs(before: Module, after: Module) -> Iterator[tuple[Section | None, Section | None]]:
    """Sections of the same name, in order; those that only one side has come with None."""
    left: dict[str, list[Section]] = {}
    for section in _with_contents(before):
        left.setdefault(section.name, []).append(section)
    right: list[tuple[Section | None, Section]] = []
    for section in _with_contents(after):
        same = left.get(section.name)
        right.append((same.pop(0) if same else None, section))
    yield from right
    yield from ((section, None) for sections in left.values() for section in sections)


def _with_contents(module: Module) -> Iterator[Section]:
    return (section for section in module.sections if section.type == elf.SHT_PROGBITS)
