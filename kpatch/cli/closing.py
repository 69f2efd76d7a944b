"""The closing line of a call with several files: what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kpatch.errors import NotAffectedError

if TYPE_CHECKING:
    from kpatch.report.documents import Document


def counted(results: Iterable[Document]) -> str:
    """What became of the files, as ``10 patched, 2 refused, 9 nothing to do``."""
    words = [_outcome(result) for result in results]
    return ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words), key=words.index))


def _outcome(entry: Document) -> str:
    """One word for the closing line; what needs no repair is not called refused."""
    if entry.get("status") == "patched":
        return "patched"
    if entry.get("status") in ("already-patched", "passed-over"):
        return "nothing to do"
    if "error" in entry and entry["error"]["exit_code"] == NotAffectedError.exit_code:
        return "nothing to do"
    from kpatch.report import documents

    return documents.verdict_of(entry)
