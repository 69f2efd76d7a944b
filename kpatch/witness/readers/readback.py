"""Has every reader look at a file, in this process."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import IO, Final, NamedTuple

from kpatch.witness.readers.picture import Picture, differences, left_over


class Reading(NamedTuple):
    """What one reader says: nothing where it agrees."""

    reader: str
    version: str
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether it sees what is expected, and all of it."""
        return not self.differences


class HalfRead(NamedTuple):
    """What a reader says, and the part of its picture that only the original tells to be right."""

    reading: Reading
    rest: Picture | None = None


def read_by_each(data: bytes, expected: Picture) -> tuple[Reading, ...]:
    """Each reader's own view of ``data`` against what is expected.

    Raises ImportError, MemoryError or OSError where a reader cannot be had: that says nothing about
    the file.
    """
    return judged(seen_by_each(BytesIO(data), len(data), expected), data, expected)


def seen_by_each(opened: IO[bytes], size: int, expected: Picture) -> tuple[HalfRead, ...]:
    """What each reader sees in ``opened``, of ``size`` bytes, against what is expected of it.

    Raises what :func:`read_by_each` raises.
    """
    return tuple(_seen(name, opened, size, expected) for name in READERS)


def judged(found: tuple[HalfRead, ...], data: bytes, expected: Picture) -> tuple[Reading, ...]:
    """What the readers say of ``data``, with what they left to who has the original."""
    if expected.original is None:
        return tuple(each.reading for each in found)
    return tuple(
        reading._replace(
            differences=(*reading.differences, *left_over(data, expected.original, rest))
        )
        if rest is not None
        else reading
        for reading, rest in found
    )


def _seen(name: str, opened: IO[bytes], size: int, expected: Picture) -> HalfRead:
    version, read = READERS[name]()
    opened.seek(0)
    try:
        seen = read(opened, size, expected.note_sections)
    # The machine's reasons.
    except (ImportError, MemoryError, OSError):
        raise
    # Both raise what they like on a damaged file, pyelftools some ten kinds.
    except Exception as error:
        why = f"it cannot read the file: {type(error).__name__}: {error}"
        return HalfRead(Reading(name, version, (why,)))
    reading = Reading(name, version, differences(expected, seen, ordered=name != "LIEF"))
    return HalfRead(reading, Picture(seen.header, (), (), (), outside=seen.outside))


Read = Callable[[IO[bytes], int, frozenset[str]], Picture]


# Imported in the functions: LIEF alone costs 0.4 s, and a process of its own pays for it.
def _pyelftools() -> tuple[str, Read]:
    from kpatch.witness.readers import by_pyelftools

    return by_pyelftools.VERSION, by_pyelftools.read


def _lief() -> tuple[str, Read]:
    from kpatch.witness.readers import by_lief

    return by_lief.VERSION, lambda opened, size, _: by_lief.read(opened, size)


READERS: Final = {"pyelftools": _pyelftools, "LIEF": _lief}
"""What loads each reader: its version, and how it reads. Raises as :func:`read_by_each`."""
