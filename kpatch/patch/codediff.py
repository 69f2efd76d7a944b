"""What differs in the contents of two sections: a function or an object at a time.

Functions are compared by their decoded instructions (difflib), wherever they lie; objects row by
row. Equal stretches are never decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final, Literal

from kpatch.patch.listing import Contents, Line
from kpatch.patch.stretches import Stretch

_MOST_PAIRS: Final = 200_000
"""Pairs of equal instructions that difflib looks at; beyond that a function is shown as replaced.
Its time grows with their number, for each piece that it finds.
"""

_LARGEST: Final = 4 << 20
"""Bytes of one function or object that are compared line by line."""

LineKind = Literal["same", "removed", "added"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of one side, or the same line of both, which may be at different offsets."""

    change: LineKind
    before: Line | None
    after: Line | None


@dataclass(frozen=True, slots=True)
class Span:
    """Lines of one side: the section offset of the first, and their number; 0 and 0 if none."""

    offset: int
    lines: int


@dataclass(frozen=True, slots=True)
class Hunk:
    """Changed lines of one function or object with those around them.

    ``place`` is the function's or object's name; ``before`` and ``after`` are where the hunk
    starts, as section and offset, and how many lines it has there. ``relocations`` are those in it.
    """

    section: str
    place: str
    before: Span
    after: Span
    relocations: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Omitted:
    """A function or an object that differs and is not shown; sizes in bytes, 0 where missing."""

    section: str
    place: str
    before: int
    after: int


class Side:
    """One of the two sections: its contents and its stretches, none of either where it lacks."""

    def __init__(self, contents: Contents | None, stretches: tuple[Stretch, ...] = ()) -> None:
        self.contents = contents
        self.stretches = stretches

    def lines(self, stretch: Stretch | None) -> list[Line]:
        """The lines of one stretch."""
        if stretch is None or self.contents is None:
            return []
        return list(stretch.lines(self.contents))

    def meaning(self, stretch: Stretch) -> tuple[memoryview, tuple[tuple[int, str], ...]]:
        """Bytes and relocations of a stretch, wherever it lies."""
        if self.contents is None:
            return memoryview(b""), ()
        fields = self.contents.relocations(stretch.start, stretch.end)
        names = self.contents.relocation_names(stretch.start, stretch.end)
        places = tuple(field.offset - stretch.start for field in fields)
        return self.contents.data[stretch.start : stretch.end], tuple(
            zip(places, names, strict=True)
        )


def hunks(name: str, one: Side, other: Side, context: int, room: int) -> Iterator[Hunk | Omitted]:
    """The hunks of a section called ``name``, with up to ``context`` equal lines around each.

    What differs behind ``room`` lines, or is too long to compare, is named and not shown.
    """
    for before, after in _pairs(one.stretches, other.stretches):
        if before and after and one.meaning(before) == other.meaning(after):
            continue
        place = (after or before or _NOWHERE).name
        sizes = [stretch.end - stretch.start if stretch else 0 for stretch in (before, after)]
        if room <= 0 or max(sizes) > _LARGEST:
            yield Omitted(name, place, *sizes)
            continue
        is_code = all(stretch.is_code for stretch in (before, after) if stretch)
        compared = _code if is_code else _data
        for group in _groups(compared(one.lines(before), other.lines(after)), context):
            room -= len(group)
            yield _hunk(name, place, group)


_NOWHERE: Final = Stretch("", 0, 0, False)


def _pairs(
    before: Sequence[Stretch], after: Sequence[Stretch]
) -> Iterator[tuple[Stretch | None, Stretch | None]]:
    """Stretches of the same name, in the order of ``after``; then those that only one side has."""
    there = dict(zip(_keys(before), before, strict=True))
    for key, stretch in zip(_keys(after), after, strict=True):
        yield there.pop(key, None), stretch
    yield from ((stretch, None) for stretch in there.values())


def _keys(stretches: Iterable[Stretch]) -> Iterator[tuple[str, int]]:
    count: Counter[str] = Counter()
    for stretch in stretches:
        count[stretch.name] += 1
        yield stretch.name, count[stretch.name]


def _code(before: Sequence[Line], after: Sequence[Line]) -> list[Row]:
    """Instructions, matched wherever they moved to."""
    first = 0
    shorter = min(len(before), len(after))
    while first < shorter and before[first].meaning == after[first].meaning:
        first += 1
    last = 0
    while last < shorter - first and before[-1 - last].meaning == after[-1 - last].meaning:
        last += 1
    old, new = before[first : len(before) - last], after[first : len(after) - last]
    rows = [_same(*pair) for pair in zip(before[:first], after[:first], strict=True)]
    rows += _matched(old, new)
    tail = len(before) - last, len(after) - last
    return rows + [_same(*pair) for pair in zip(before[tail[0] :], after[tail[1] :], strict=True)]


def _matched(old: Sequence[Line], new: Sequence[Line]) -> Iterator[Row]:
    sides = [line.meaning for line in old], [line.meaning for line in new]
    counts = Counter(sides[0]), Counter(sides[1])
    if sum(count * counts[1][meaning] for meaning, count in counts[0].items()) > _MOST_PAIRS:
        yield from _replaced(old, new)
        return
    for what, i, j, k, m in SequenceMatcher(None, *sides, autojunk=False).get_opcodes():
        if what == "equal":
            yield from map(_same, old[i:j], new[k:m])
        else:
            yield from _replaced(old[i:j], new[k:m])


def _data(before: Sequence[Line], after: Sequence[Line]) -> list[Row]:
    """Rows of bytes, each against the one at the same distance from the start."""
    rows: list[Row] = []
    old: list[Line] = []
    new: list[Line] = []
    for one, other in zip_longest(before, after):
        if one and other and one.meaning == other.meaning:
            rows += [*_replaced(old, new), _same(one, other)]
            old, new = [], []
        else:
            old += [one] if one else []
            new += [other] if other else []
    return [*rows, *_replaced(old, new)]


def _same(before: Line, after: Line) -> Row:
    return Row("same", before, after)


def _replaced(old: Iterable[Line], new: Iterable[Line]) -> Iterator[Row]:
    yield from (Row("removed", line, None) for line in old)
    yield from (Row("added", None, line) for line in new)


def _groups(rows: Sequence[Row], context: int) -> Iterator[Sequence[Row]]:
    """Runs of changed rows with ``context`` rows around them; runs that would touch are one."""
    start = end = 0
    for at, row in enumerate(rows):
        if row.change == "same":
            continue
        if end and at - context > end:
            yield rows[start:end]
            start = at - context
        elif not end:
            start = max(at - context, 0)
        end = min(at + context + 1, len(rows))
    if end:
        yield rows[start:end]


def _hunk(section: str, place: str, rows: Sequence[Row]) -> Hunk:
    changed = (side for row in rows if row.change != "same" for side in (row.before, row.after))
    names = dict.fromkeys(name for line in changed if line for name in line.relocations)
    return Hunk(
        section=section,
        place=place,
        before=_span([row.before for row in rows if row.before]),
        after=_span([row.after for row in rows if row.after]),
        relocations=tuple(names),
        rows=tuple(rows),
    )


def _span(lines: Sequence[Line]) -> Span:
    return Span(lines[0].offset, len(lines)) if lines else Span(0, 0)
