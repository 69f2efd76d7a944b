"""The keys of the documents of ``kpatch diff`` and ``kpatch report``, for the type checker."""

from __future__ import annotations

from typing import TypedDict


class NamedFacts(TypedDict):
    """One side of a comparison: bytes and SHA-256 of a file."""

    name: str
    size: int
    sha256: str


class TableFacts(TypedDict):
    """Rows that only one side has."""

    table: str
    columns: list[str]
    removed: list[list[str]]
    added: list[list[str]]


class SpanFacts(TypedDict):
    """Where a hunk starts in its section, and how many lines it has there."""

    offset: int
    lines: int


class LineFacts(TypedDict):
    """An instruction, or bytes that are none; the offset counts in its section."""

    offset: int
    raw: str
    text: str
    labels: list[str]
    relocations: list[str]


class RowFacts(TypedDict):
    """A line of one side, or the same line of both."""

    change: str
    before: LineFacts | None
    after: LineFacts | None


class HunkFacts(TypedDict):
    """Changed lines of one function or object with those around them."""

    section: str
    place: str
    before: SpanFacts
    after: SpanFacts
    relocations: list[str]
    rows: list[RowFacts]


class OmittedFacts(TypedDict):
    """What differs and is not shown; sizes in bytes."""

    section: str
    place: str
    before: int
    after: int


class Compared(TypedDict):
    """Everything that differs between two modules."""

    before: NamedFacts
    after: NamedFacts
    tables: list[TableFacts]
    hunks: list[HunkFacts]
    omitted: list[OmittedFacts]


class Differing(Compared):
    """What ``diff`` says of two modules."""

    verdict: str


class SizeFacts(TypedDict):
    """Bytes before and after."""

    before: int
    after: int


class SectionFacts(TypedDict):
    """A section of the patched file; offset and size in bytes."""

    name: str
    type: str
    offset: int
    size: int
    in_file: bool
    is_loaded: bool
    is_new: bool


class AnnotatedFacts(TypedDict):
    """An instruction of a trampoline, and what it is for."""

    offset: int
    raw: str
    text: str
    label: str
    target: str
    comment: str


class TrampolineFacts(TypedDict):
    """A trampoline, the symbol that stands for it, and the site that calls it."""

    site: str
    symbol: str
    lines: list[AnnotatedFacts]
