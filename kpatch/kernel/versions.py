"""Sets of ``__FreeBSD_version`` numbers, as ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from kpatch.errors import UsageError

PLAUSIBLE: Final = range(100_000, 10_000_000)
"""A ``__FreeBSD_version`` has six or seven digits."""

INT_SIZE: Final = 4
"""Bytes of one in a module or a kernel, an ``int``."""


class VersionRange(NamedTuple):
    """``__FreeBSD_version`` from ``first`` to ``last``, both inside."""

    first: int
    last: int

    def __contains__(self, version: object) -> bool:
        """True for an int inside the range."""
        return isinstance(version, int) and self.first <= version <= self.last

    def __str__(self) -> str:
        """``700055``, or ``700055-700099``."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


Versions = tuple[VersionRange, ...]
"""A set of versions: rising ranges that neither overlap nor touch."""


def join(ranges: Iterable[VersionRange]) -> Versions:
    """The same versions as rising ranges that neither overlap nor touch."""
    joined: list[VersionRange] = []
    for span in sorted(ranges):
        if joined and span.first <= joined[-1].last + 1:
            joined[-1] = VersionRange(joined[-1].first, max(joined[-1].last, span.last))
        else:
            joined.append(span)
    return tuple(joined)


def intersect(left: Iterable[VersionRange], right: Iterable[VersionRange]) -> Versions:
    """The versions that are in both."""
    others = tuple(right)
    pairs = ((max(a.first, b.first), min(a.last, b.last)) for a in left for b in others)
    return join(VersionRange(first, last) for first, last in pairs if first <= last)


def exactly(version: int) -> Versions:
    """The set that holds one version."""
    return (VersionRange(version, version),)


def show(versions: Iterable[VersionRange]) -> str:
    """``600000-702999, 800000-800106``."""
    return ", ".join(str(version) for version in versions)


def parse_osversion(text: str, said_by: str = "--osversion") -> int:
    """The ``__FreeBSD_version`` that ``text`` is, which the user gave with ``said_by``.

    Raises UsageError for anything but six or seven decimal digits: release names like ``7.0``
    stand for many versions, of which some have the bug and some do not.
    """
    if re.fullmatch(r"[1-9][0-9]{5,6}", text):  # seven digits from 10.0 on
        return int(text)
    todo = "give one number such as 700055; on the machine it is `sysctl -n kern.osreldate`"
    if release := re.fullmatch(r"([1-9])\.([0-9])(-[A-Za-z0-9-]+)?", text):
        major, minor = release.group(1), release.group(2)
        what = f"{text!r} is a release name, not a __FreeBSD_version"
        if minor != "0":  # From 6.1 on a release x.y is x0y000; each x.0 had a number of its own.
            todo = f"for {major}.{minor}-RELEASE give {major}0{minor}000; " + todo
        raise UsageError(what, where=said_by, todo=todo)
    raise UsageError(f"{text!r} is not a __FreeBSD_version", where=said_by, todo=todo)
