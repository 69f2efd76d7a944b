"""Just enough reading of makefiles to see assignments, targets and includes.

Not a make: conditions are not evaluated and variables not expanded. The survey asks whether a
file *could* do something, and warns; it never relies on the answer to repair a module. All of it
is linear in the size of the file, whatever the file holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpatch.errors import FileAccessError

# The largest makefile of the real tree, Mk/bsd.port.mk, has 200 kB.
_LARGEST = 1 << 20

_ASSIGNMENT = re.compile(r"^ *(?P<name>[\w.${}/-]+)\s*(?P<operator>[+?:!]?=)\s*(?P<value>.*)$")
_INCLUDE = re.compile(r"^\.\s*-?s?include\s+[<\"](?P<file>[^>\"]+)[>\"]")


@dataclass(frozen=True)
class LogicalLine:
    """One logical line: continuations joined, comments gone. ``number`` counts from 1."""

    number: int
    text: str


@dataclass(frozen=True)
class Makefile:
    """A makefile as its logical lines. Those of recipes start with a tab, as in the file."""

    path: Path
    lines: tuple[LogicalLine, ...]

    def assignments(self, name: str) -> Iterator[tuple[LogicalLine, str, str]]:
        """Each assignment to ``name``: its line, operator (``=``, ``+=``, ...) and value."""
        for line in self.lines:
            found = _ASSIGNMENT.match(line.text)
            if found and found["name"] == name:
                yield line, found["operator"], found["value"].strip()

    def value(self, name: str) -> str:
        """What the assignments to ``name`` leave in it, if every condition holds."""
        value: str | None = None
        for _line, operator, text in self.assignments(name):
            if operator == "+=" and value is not None:
                value = f"{value} {text}"
            elif operator != "?=" or value is None:
                value = text
        return value or ""

    def target(self, name: str) -> LogicalLine | None:
        """The first line that gives ``name`` as a target."""
        for line in self.lines:
            names, colon, rest = line.text.partition(":")
            is_rule = colon and not rest.startswith("=") and not names.startswith((".", "\t"))
            if is_rule and "=" not in names and name in names.split():
                return line
        return None

    def include(self, *names: str) -> LogicalLine | None:
        """The first line that includes one of these files, by the end of its name."""
        for line in self.lines:
            found = _INCLUDE.match(line.text)
            if found and found["file"].rsplit("/", 1)[-1] in names:
                return line
        return None

    def mentions(self, text: str) -> bool:
        """Whether any line that is not a comment has ``text`` in it."""
        return any(text in line.text for line in self.lines)


def read(path: Path) -> Makefile:
    """Read a makefile. Raises FileAccessError if it cannot be read or is no makefile by size."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise FileAccessError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            todo="name a ports tree that you may read",
        ) from error
    if len(data) > _LARGEST:
        raise FileAccessError(
            f"has more than {_LARGEST >> 20} MiB, which no makefile has",
            where=str(path),
            todo="name a ports tree",
        )
    return Makefile(path, tuple(_logical(data.decode("utf-8", errors="replace"))))


def read_if_there(path: Path) -> Makefile | None:
    """As ``read``, or None when there is no such file."""
    return read(path) if path.is_file() else None


def _logical(text: str) -> Iterator[LogicalLine]:
    """Joins continued lines, drops comments and empty lines."""
    joined = ""
    start = 0
    for number, physical in enumerate(text.splitlines(), 1):
        if not joined:
            start = number
        if physical.endswith("\\"):
            joined += physical[:-1] + " "
            continue
        line = _without_comment(joined + physical)
        joined = ""
        if line.strip():
            yield LogicalLine(start, line)


def _without_comment(line: str) -> str:
    """make(1): ``#`` starts a comment unless a backslash is before it."""
    return re.split(r"(?<!\\)#", line, maxsplit=1)[0].rstrip()
