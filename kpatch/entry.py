"""Reads TOML data files: one reader for all of them, every key typed, no key unknown."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from kpatch import storage as files
from kpatch.errors import FileAccessError, SignatureError

Word = TypeVar("Word", bound=str)

U32_LIMIT = 1 << 32

MOST_TEXT = 64 << 10
"""Characters of a data file; those that are shipped have under 10,000."""
MOST_LINE = 4096
"""Characters of a line. The time for a key grows with the square of its parts."""
_MOST_SHOWN = 80

_GIVE_TOML = "give a signature file (.toml), or correct this one"


def read_text(path: Path, name: str = "") -> str:
    """The text of a data file, which messages call ``name``.

    Raises SignatureError for what is no text, or not there; FileAccessError where the machine
    cannot read it now: then nothing is wrong with the file.
    """
    name = name or path.name
    try:
        data = files.read(path)
    except FileAccessError as error:
        missing = error.__cause__
        if isinstance(missing, FileNotFoundError):
            raise SignatureError(
                f"cannot be read: {missing.strerror}", where=name, todo="put the data file there"
            ) from missing
        error.where = name
        raise
    return as_text(data, name)


def as_text(data: bytes, name: str) -> str:
    """What a data file holds. Raises SignatureError for what is no text."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SignatureError(
            f"is not UTF-8: the byte at offset {error.start:#x} is {error.object[error.start]:#x}",
            where=name,
            todo=_GIVE_TOML,
        ) from error


def parse(text: str, file: str) -> dict[str, object]:
    """The tables of a whole data file. Raises SignatureError."""
    if len(text) > MOST_TEXT:
        raise _no_toml(f"has more than {MOST_TEXT >> 10} KiB", file)
    if any(len(line) > MOST_LINE for line in text.splitlines()):
        raise _no_toml(f"has a line of more than {MOST_LINE} characters", file)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _no_toml("has brackets that are nested too deeply", file) from error
    except ValueError as error:
        raise _no_toml(f"is not TOML: {error}", file) from error


def _no_toml(what: str, file: str) -> SignatureError:
    return SignatureError(what, where=file, todo=_GIVE_TOML)


def _shown(value: object) -> str:
    """A value of a data file, as far as a message shows it."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits, which hexadecimal may have
        return "a number of very many digits"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


class Entry:
    """One TOML table and where it stands, for messages. Each method takes one key away.

    Every method raises SignatureError, which names the file and the entry.
    """

    def __init__(self, table: object, where: str) -> None:
        self.where = where
        if not isinstance(table, Mapping):
            raise self.error("is not a table")
        self._left: dict[str, object] = dict(table)

    def error(self, what: str) -> SignatureError:
        """The error ``what``, said of this entry."""
        return SignatureError(what, where=self.where, todo="correct the data file")

    def text(self, key: str) -> str:
        """A string that is not empty."""
        value = self._take(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"{key} must be a text that is not empty, not {_shown(value)}")
        return value

    def number(self, key: str, limit: int = U32_LIMIT) -> int:
        """An integer from 0 up to, and without, ``limit``."""
        return self._checked_number(key, self._take(key), limit)

    def optional_number(self, key: str, limit: int = U32_LIMIT) -> int | None:
        """The same, or None where the key is not given."""
        return self.number(key, limit) if key in self._left else None

    def flag(self, key: str) -> bool:
        """A boolean; False where the key is not given."""
        value = self._left.pop(key, False)
        if not isinstance(value, bool):
            raise self.error(f"{key} must be true or false, not {_shown(value)}")
        return value

    def word(self, key: str, allowed: Sequence[Word]) -> Word:
        """One of the words of ``allowed``."""
        value = self._take(key)
        for known in allowed:
            if value == known:
                return known
        raise self.error(f"{key} must be one of {', '.join(allowed)}, not {_shown(value)}")

    def optional_word(self, key: str, allowed: Sequence[Word]) -> Word | None:
        """The same, or None where the key is not given."""
        return self.word(key, allowed) if key in self._left else None

    def pairs(self, key: str) -> tuple[tuple[int, int], ...]:
        """A list, not empty, of ``[first, last]`` with first <= last."""
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise self.error(f"{key} must be a list of [first, last] pairs, not {_shown(value)}")
        return tuple(self._pair(key, pair) for pair in value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different texts, which may be empty."""
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{key} must be a list of texts, not {_shown(value)}")
        if len(set(value)) != len(value):
            raise self.error(f"{key} must be a list of different texts, not {_shown(value)}")
        return tuple(value)

    def power_of_two(self, key: str) -> int:
        """An integer that is a power of two."""
        value = self.number(key)
        if value.bit_count() != 1:
            raise self.error(f"{key} must be a power of two, not {value}")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None where the key is not given."""
        return self.text(key) if key in self._left else None

    def table(self, key: str) -> Entry:
        """A table inside this one."""
        return Entry(self._take(key), f"{self.where}: [{key}]")

    def tables(self, key: str, least: int = 1) -> Iterator[Entry]:
        """A list of at least so many tables, each called by its number and its name."""
        tables = self._left.pop(key, None)
        if not isinstance(tables, list) or len(tables) < least:
            raise self.error(f"there is no [[{key}]] entry")
        for number, table in enumerate(tables, start=1):
            name = (table.get("name") or table.get("symbol")) if isinstance(table, dict) else None
            yield Entry(table, f"{self.where}: [[{key}]] {number}" + (f" {name}" if name else ""))

    @property
    def keys(self) -> frozenset[str]:
        """The keys that nobody has asked for yet."""
        return frozenset(self._left)

    def finish(self) -> None:
        """Refuse the keys that nobody asked for."""
        if self._left:
            raise self.error(f"unknown key {', '.join(sorted(self._left))}")

    def _take(self, key: str) -> object:
        if key not in self._left:
            raise self.error(f"the key {key} is missing")
        return self._left.pop(key)

    def _pair(self, key: str, value: object) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2:
            raise self.error(f"{key} must hold [first, last] pairs, not {_shown(value)}")
        first, last = (self._checked_number(key, end, U32_LIMIT) for end in value)
        if first > last:
            raise self.error(f"{key}: {first} is above {last}")
        return first, last

    def _checked_number(self, key: str, value: object, limit: int) -> int:
        # bool is an int to Python, never to a reader of the file
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
            raise self.error(f"{key} must be an integer from 0 to {limit - 1}, not {_shown(value)}")
        return value
