"""Padding in a diff, as one line: for people; the document has every line of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

_SHORTEST_RUN: Final = 3
"""Of padding that is shown as one line."""


def with_folded_padding(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows, with a run of the same one-byte instruction (padding) as its first one.

    That one has ``times``, the length of the run.
    """

    def alike(row: Mapping[str, Any]) -> tuple[Any, ...]:
        line = row["after"] or row["before"]
        is_short = len(line["raw"]) == 2 and not line["labels"]
        return row["change"], line["raw"] if is_short else line["offset"]

    for _, group in groupby(rows, alike):
        run = list(group)
        if len(run) < _SHORTEST_RUN:
            yield from run
            continue
        sides = {
            side: run[0][side] and {**run[0][side], "times": len(run)}
            for side in ("before", "after")
        }
        yield {"change": run[0]["change"], **sides}
