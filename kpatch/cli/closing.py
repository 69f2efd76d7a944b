"""What became of the files of one call: the closing line, and with ``--json`` the document.

Neither keeps the files' documents, so that memory does not grow with their number. The exit code
stands in front of them all, so their text waits for it, in a temporary file where it is long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Final

from kpatch.errors import NotAffectedError
from kpatch.storage.bulk import PIECE

if TYPE_CHECKING:
    from kpatch.report.typed import FileEntry

_INDENT: Final = "\n    "
"""In front of a line of a file's entry: two levels of the whole document."""


class Closing:
    """Takes the documents of the files, in order."""

    def __init__(self, *, as_json: bool) -> None:
        self.count = 0
        self._words: Counter[str] = Counter()
        self._entries = _spool() if as_json else None

    def add(self, results: Iterable[FileEntry]) -> None:
        """Count the documents of a file. Raises OSError where a temporary file cannot be had."""
        for entry in results:
            self._words[_outcome(entry)] += 1
            if self._entries is not None:
                self._entries.write(("," if self.count else "").encode() + _text(entry))
            self.count += 1

    def counted(self) -> str:
        """What became of the files, as ``10 patched, 2 refused, 9 nothing to do``."""
        return ", ".join(f"{count} {word}" for word, count in self._words.items())

    def document(self, command: str, exit_code: int) -> Iterator[str]:
        """The whole answer of the command as JSON, in pieces."""
        import json

        from kpatch.report import documents

        text = json.dumps(documents.envelope(command, [], exit_code), indent=2, sort_keys=True)
        if self._entries is None or not self.count:
            yield text
            return
        before, empty, behind = text.partition('"files": [')
        yield before + empty
        self._entries.seek(0)
        while piece := self._entries.read(PIECE):
            yield piece.decode("ascii")
        yield "\n  " + behind


def _spool() -> IO[bytes]:
    # Imported here: hardly anybody asks for JSON.
    import tempfile

    return tempfile.SpooledTemporaryFile(PIECE)


def _text(entry: FileEntry) -> bytes:
    import json

    text = json.dumps(entry, indent=2, sort_keys=True)
    return (_INDENT + text.replace("\n", _INDENT)).encode("ascii")


def _outcome(entry: Mapping[str, Any]) -> str:
    """One word for the closing line; what needs no repair is not called refused."""
    if entry.get("status") == "patched":
        return "patched"
    if entry.get("status") in ("already-patched", "passed-over"):
        return "nothing to do"
    if "error" in entry and entry["error"]["exit_code"] == NotAffectedError.exit_code:
        return "nothing to do"
    return str(entry["verdict"])
