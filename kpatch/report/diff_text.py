"""Differences as text: unified like ``git diff``, or side by side. Exact when piped.

Lines fold at the width of the terminal; nothing is ever cut off, because half an operand is
another instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from kpatch.report.fold import folded
from kpatch.report.padding import with_folded_padding
from kpatch.report.printable import printable
from kpatch.report.style import Style
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed_diff import Compared, HunkFacts

_LEAST_COLUMN = 38
_COLUMN_FOR_BYTES = 56
"""Narrower columns show instructions without their bytes."""

_RAW = 21
"""Characters for an instruction's bytes: ten of them; longer ones push the text aside."""

_START = re.compile(r"[ +-]* *([0-9a-f]+: )?")
"""What stands in front of a line's text: the sign and the offset."""

_SIGNS = {"same": " ", "removed": "-", "added": "+"}


def unified(document: Compared, style: Style, width: int = 0) -> str:
    """Render :func:`kpatch.report.diff_documents.difference` like the diffs people know.

    ``width`` is where lines fold; 0 for nowhere.
    """
    return "\n".join(_unified(printable(document), style, width))


def side_by_side(document: Compared, style: Style, width: int) -> str:
    """The same with the contents in two columns, ``width`` characters together.

    Where two columns have no room, it is the unified form.
    """
    column = (width - 3) // 2
    if column < _LEAST_COLUMN:
        return unified(document, style, width)
    return "\n".join(_columns(printable(document), style, column))


def summary(document: Compared, style: Style) -> str:
    """One line for each changed function or object, as ``git diff --stat``."""
    return "\n".join(_summary(printable(document), style))


def _unified(document: Compared, style: Style, width: int) -> Iterator[str]:
    before, after = document["before"], document["after"]
    yield from _painted("title", f"--- {before['name']}", style, width)
    yield from _painted("title", f"+++ {after['name']}", style, width)
    yield from _sizes(document, style, width)
    for hunk in document["hunks"]:
        yield from _painted("hunk", _heading(hunk), style, width)
        for row in with_folded_padding(hunk["rows"]):
            line = row["after"] or row["before"]
            for text in _shown(line, with_bytes=True):
                meaning = row["change"]
                yield from _painted(meaning, f"{_SIGNS[meaning]}{text}", style, width)
    yield from _omitted(document, style, width)
    yield from _tables(document, style, width)


def _columns(document: Compared, style: Style, column: int) -> Iterator[str]:
    before, after = document["before"], document["after"]
    heads = _folded(before["name"], column), _folded(after["name"], column)
    for left, right in zip_longest(*heads, fillvalue=""):
        yield style.paint("title", f"{left:<{column}} | {right}".rstrip())
    yield from _sizes(document, style, 2 * column + 3)
    for hunk in document["hunks"]:
        yield from _painted("hunk", _heading(hunk), style, 2 * column + 3)
        for change, group in groupby(
            with_folded_padding(hunk["rows"]), lambda row: row["change"] == "same"
        ):
            rows = list(group)
            if change:
                pairs = [(row["before"], row["after"]) for row in rows]
            else:
                sides = ([row[side] for row in rows if row[side]] for side in ("before", "after"))
                pairs = list(zip_longest(*sides))
            for left, right in pairs:
                yield from _pair(left, right, change, style, column)
    yield from _omitted(document, style, 2 * column + 3)
    yield from _tables(document, style, 2 * column + 3)


def _pair(
    left: dict[str, Any] | None,
    right: dict[str, Any] | None,
    is_same: bool,
    style: Style,
    column: int,
) -> Iterator[str]:
    with_bytes = column >= _COLUMN_FOR_BYTES
    cells = (
        [part for text in _shown(line, with_bytes) for part in _folded(text, column)]
        if line
        else []
        for line in (left, right)
    )
    for one, other in zip_longest(*cells, fillvalue=""):
        padded = f"{one:<{column}}"
        if not is_same:
            padded, other = style.paint("removed", padded), style.paint("added", other)
        yield f"{padded} | {other}".rstrip()


def _sizes(document: Compared, style: Style, width: int) -> Iterator[str]:
    before, after = document["before"], document["after"]
    if before["sha256"] == after["sha256"]:
        yield "the same, byte for byte"
        return
    yield style.paint("hunk", "@@ file @@")
    for sign, meaning, side in (("-", "removed", before), ("+", "added", after)):
        text = f"{sign}{counted(side['size'], 'byte')}, SHA-256 {side['sha256']}"
        yield from _painted(meaning, text, style, width)


def _heading(hunk: HunkFacts) -> str:
    """As of ``git diff``: offsets and numbers of lines; then the place and its relocations."""
    spans = (
        f"{sign}{hunk['section']}+{span['offset']:#x},{span['lines']}" if span["lines"] else ""
        for sign, span in (("-", hunk["before"]), ("+", hunk["after"]))
    )
    names = dict.fromkeys(name.split(" ", 1)[-1] for name in hunk["relocations"])
    place = f" {hunk['place']}" if hunk["place"] else ""
    return f"@@ {' '.join(filter(None, spans))} @@{place}{_listed(names)}"


def _listed(names: dict[str, None]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _shown(line: dict[str, Any], with_bytes: bool) -> Iterator[str]:
    """A line of contents; its labels and further relocations have lines of their own."""
    for label in line["labels"]:
        yield f"{label}:"
    if line["text"]:
        raw = f"{line['raw']:<{_RAW}} " if with_bytes else ""
        text = f"{raw}{line['text']}"
    else:
        text = f"{bytes.fromhex(line['raw']).hex(' '):<47}  {_characters(line['raw'])}"
    notes = "".join(f"  ; {relocation}" for relocation in line["relocations"])
    if "times" in line:
        notes += f"  ; {counted(line['times'], 'time')}"
    yield f"{line['offset']:6x}: {text}{notes}"


def _characters(raw: str) -> str:
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F else "." for byte in bytes.fromhex(raw)
    ).rstrip()


def _painted(meaning: str, text: str, style: Style, width: int) -> Iterator[str]:
    for part in _folded(text, width) if width else [text]:
        yield part if meaning == "same" else style.paint(meaning, part)


def _folded(text: str, width: int) -> Iterator[str]:
    """``text`` in lines of ``width``, cut at blanks; the later ones indented below the text."""
    start = _START.match(text)
    return folded(text, width, start.end() if start else 0)


def _omitted(document: Compared, style: Style, width: int) -> Iterator[str]:
    for omitted in document["omitted"]:
        place = " ".join(filter(None, (omitted["section"], omitted["place"])))
        sizes = f"{omitted['before']} and {counted(omitted['after'], 'byte')}"
        yield from _painted(
            "hunk", f"@@ {place}: {sizes} differ, too much to show @@", style, width
        )


def _tables(document: Compared, style: Style, width: int) -> Iterator[str]:
    for table in document["tables"]:
        yield style.paint("hunk", f"@@ {table['table']} @@")
        rows = [table["columns"], *table["removed"], *table["added"]]
        widths = [max(len(row[index]) for row in rows) for index in range(len(table["columns"]))]
        gap = "  " if not width or sum(widths) + 2 * len(widths) <= width else " "
        heads = _joined(table["columns"], widths, gap)
        yield from _painted("same", f" {heads}", style, width)
        for meaning in ("removed", "added"):
            for row in table[meaning]:
                text = f"{_SIGNS[meaning]}{_joined(row, widths, gap)}"
                yield from _painted(meaning, text, style, width)


def _joined(row: Sequence[str], widths: Sequence[int], gap: str) -> str:
    return gap.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _summary(document: Compared, style: Style) -> Iterator[str]:
    counts: dict[tuple[str, str], list[int]] = {}
    for hunk in document["hunks"]:
        count = counts.setdefault((hunk["section"], hunk["place"]), [0, 0])
        for row in hunk["rows"]:
            count[0] += row["change"] == "removed"
            count[1] += row["change"] == "added"
    names = {place: " ".join(filter(None, place)) for place in counts}
    width = max(map(len, names.values()), default=0)
    for each, (removed, added) in counts.items():
        yield (
            f" {names[each]:<{width}} | {style.paint('added', f'+{added}')} "
            f"{style.paint('removed', f'-{removed}')}"
        )
    for table in document["tables"]:
        yield f" {table['table']}: +{len(table['added'])} -{len(table['removed'])}"
