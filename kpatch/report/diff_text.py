"""Differences as text: unified like ``diff -u``, or side by side. Exact when piped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from kpatch.report.documents import Document
from kpatch.report.printable import printable
from kpatch.report.style import Style

_LEAST_COLUMN = 38
_COLUMN_FOR_BYTES = 56
"""Narrower columns show instructions without their bytes, so that no instruction is cut off."""


def unified(document: Document, style: Style) -> str:
    """Render :func:`kpatch.report.documents.difference` like the diffs people know."""
    return "\n".join(_unified(printable(document), style))


def side_by_side(document: Document, style: Style, width: int) -> str:
    """The same with the disassembly in two columns, ``width`` characters together."""
    return "\n".join(_columns(printable(document), style, max(_LEAST_COLUMN, (width - 3) // 2)))


def _unified(document: Document, style: Style) -> Iterator[str]:
    before, after = document["before"], document["after"]
    yield style.paint("title", f"--- {before['name']}")
    yield style.paint("title", f"+++ {after['name']}")
    yield from _sizes(document, style)
    for hunk in document["hunks"]:
        yield style.paint("hunk", f"@@ {hunk['title']} @@")
        for side, sign, meaning in (("before", "-", "removed"), ("after", "+", "added")):
            for text in _folded(hunk[side]):
                yield style.paint(meaning, f"{sign}{text}")
    yield from _tables(document, style)


def _columns(document: Document, style: Style, column: int) -> Iterator[str]:
    before, after = document["before"], document["after"]
    yield style.paint("title", f"{before['name'][:column]:<{column}} | {after['name']}")
    yield from _sizes(document, style)
    for hunk in document["hunks"]:
        yield style.paint("hunk", f"@@ {hunk['title']} @@")
        with_bytes = column >= _COLUMN_FOR_BYTES
        sides = (_folded(hunk[side], with_bytes) for side in ("before", "after"))
        for left, right in zip_longest(*sides, fillvalue=""):
            cells = (
                style.paint("removed", f"{left[:column]:<{column}}"),
                style.paint("added", right.rstrip()),
            )
            yield f"{cells[0]} | {cells[1]}".rstrip()
    yield from _tables(document, style)


def _sizes(document: Document, style: Style) -> Iterator[str]:
    before, after = document["before"], document["after"]
    if before["sha256"] == after["sha256"]:
        yield "the same, byte for byte"
        return
    yield style.paint("hunk", "@@ file @@")
    for sign, meaning, side in (("-", "removed", before), ("+", "added", after)):
        yield style.paint(meaning, f"{sign}{side['size']} bytes, SHA-256 {side['sha256']}")
    if document["omitted"]:
        yield f"({document['omitted']} more changed stretches are not shown)"


def _folded(lines: list[dict[str, Any]], with_bytes: bool = True) -> Iterator[str]:
    """Instructions as lines; a run of the same one-byte instruction is one line."""
    index = 0
    while index < len(lines):
        line = lines[index]
        run = 1
        while (
            index + run < len(lines)
            and len(line["raw"]) == 2
            and lines[index + run]["raw"] == line["raw"]
            and not lines[index + run]["labels"]
        ):
            run += 1
        yield from _instruction(line, run, with_bytes)
        index += run


def _instruction(line: dict[str, Any], run: int, with_bytes: bool) -> Iterator[str]:
    for label in line["labels"]:
        yield f"{label}:"
    raw = line["raw"] if run == 1 else f"{line['raw']} x {run}"
    text = line["text"] if run == 1 else f"{line['text']} (x {run})"
    names = "".join(f"  ; {each}" for each in line["relocations"])
    bytes_column = f"{raw:<21} " if with_bytes else ""
    yield f"{line['offset']:6x}: {bytes_column}{text}{names}"


def _tables(document: Document, style: Style) -> Iterator[str]:
    for table in document["tables"]:
        yield style.paint("hunk", f"@@ {table['table']} @@")
        rows = [table["columns"], *table["removed"], *table["added"]]
        widths = [max(len(row[index]) for row in rows) for index in range(len(table["columns"]))]

        def line(row: list[str], widths: list[int] = widths) -> str:
            return "  ".join(
                f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
            ).rstrip()

        yield f" {line(table['columns'])}"
        for row in table["removed"]:
            yield style.paint("removed", f"-{line(row)}")
        for row in table["added"]:
            yield style.paint("added", f"+{line(row)}")
