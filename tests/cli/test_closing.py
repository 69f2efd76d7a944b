"""What a call with many files says at its end, without keeping what it said of each."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pytest

from kpatch.cli.closing import Closing
from kpatch.report import documents
from kpatch.report.typed import CountedOnly


def _entries(count: int, size: int = 8) -> Iterator[CountedOnly]:
    for number in range(count):
        yield {
            "file": f"{number}\u2028\n" + "x" * size,
            "verdict": ("affected", "patched")[number % 2],
        }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_document_in_pieces_is_the_document(count: int) -> None:
    closing = Closing(as_json=True)
    for entry in _entries(count):
        closing.add([entry])
    whole = documents.envelope("scan", list(_entries(count)), 1)
    said = "".join(closing.document("scan", 1))
    assert said == json.dumps(whole, indent=2, sort_keys=True)


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_said_of_files_is_not_kept_in_memory(as_json: bool) -> None:
    closing, said = Closing(as_json=as_json), 0
    tracemalloc.start()
    try:
        for entry in _entries(300, 1 << 16):
            closing.add([entry])
        said = sum(map(len, closing.document("scan", 0)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (said > 300 << 16) == as_json
    assert peak < 8 << 20
    assert closing.counted() == "150 affected, 150 patched"
