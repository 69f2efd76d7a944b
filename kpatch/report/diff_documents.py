"""What differs between two modules, as JSON-ready data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpatch.patch.codediff import Hunk, Row, Span
    from kpatch.patch.diff import FileFacts, ModuleDiff
    from kpatch.patch.listing import Line
    from kpatch.patch.tablediff import TableChange
    from kpatch.report.typed_diff import (
        Compared,
        Differing,
        HunkFacts,
        LineFacts,
        NamedFacts,
        RowFacts,
        SpanFacts,
        TableFacts,
    )


def diff_document(found: ModuleDiff) -> Differing:
    """What ``diff`` says of two modules: what differs, and whether anything does."""
    return {**difference(found), "verdict": "same" if found.is_empty else "different"}


def difference(found: ModuleDiff) -> Compared:
    """What differs between two modules."""
    return {
        "before": _file(found.before),
        "after": _file(found.after),
        "tables": [_table(change) for change in found.tables],
        "hunks": [_hunk(hunk) for hunk in found.hunks],
        "omitted": [
            {
                "section": omitted.section,
                "place": omitted.place,
                "before": omitted.before,
                "after": omitted.after,
            }
            for omitted in found.omitted
        ],
    }


def _file(side: FileFacts) -> NamedFacts:
    return {"name": side.name, "size": side.size, "sha256": side.sha256}


def _table(change: TableChange) -> TableFacts:
    return {
        "table": change.table,
        "columns": list(change.columns),
        "removed": [list(row) for row in change.removed],
        "added": [list(row) for row in change.added],
    }


def _hunk(hunk: Hunk) -> HunkFacts:
    return {
        "section": hunk.section,
        "place": hunk.place,
        "before": _span(hunk.before),
        "after": _span(hunk.after),
        "relocations": list(hunk.relocations),
        "rows": [_row(row) for row in hunk.rows],
    }


def _span(span: Span) -> SpanFacts:
    return {"offset": span.offset, "lines": span.lines}


def _row(row: Row) -> RowFacts:
    return {"change": row.change, "before": _line(row.before), "after": _line(row.after)}


def _line(line: Line | None) -> LineFacts | None:
    if line is None:
        return None
    return {
        "offset": line.offset,
        "raw": line.raw,
        "text": line.text,
        "labels": list(line.labels),
        "relocations": list(line.relocations),
    }
