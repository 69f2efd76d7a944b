"""``+MANIFEST`` and ``+COMPACT_MANIFEST`` of pkg, and the sums and sizes in them.

``files`` maps each path to its SHA-256 sum: ``1$`` and 64 hexadecimal digits, where 1 is the
type (libpkg, pkg_checksum.c), or since the beginning of pkg the digits alone; or to an object
that has the sum under ``sum``. ``flatsize`` is the size of all files together. The compact
manifest has no ``files``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote

from kpatch.containers.package.edit import (
    Edit,
    Mending,
    Replacement,
    like,
    listed,
    not_recorded,
    wrong_before,
)
from kpatch.containers.package.paths import plain
from kpatch.containers.package.ucl import Scalar, scalars
from kpatch.containers.package.yaml_block import block_scalars, is_block
from kpatch.digest import digest
from kpatch.errors import DamagedFileError, UnknownModuleError

NAME: Final = "+MANIFEST"
COMPACT_NAME: Final = "+COMPACT_MANIFEST"

MOST_VALUES: Final = 50_000
"""Values of a manifest that are read; one of a mebibyte, with a sum for each file, has 15,000."""

FLATSIZE: Final = ("flatsize",)

SHA256_HEX: Final = "1"
"""PKG_HASH_TYPE_SHA256_HEX, the only type that pkg ever wrote for a file."""

_SUM: Final = re.compile(r"(?:1\$)?([0-9a-fA-F]{64})")
_TYPED_SUM: Final = re.compile(r"([0-9]+)\$.+")
_NO_SUM: Final = ("", "-")


def mend(text: str, name: str, change: Replacement) -> Mending:
    """Give the changed file its new sum and size in the manifest ``name``.

    ``flatsize`` changes by as much as the file. A sum that was wrong before is kept, and a
    notice says so. Raises DamagedFileError when the manifest cannot be read, does not list the
    file, or lists it twice; UnknownModuleError for a type of sum other than SHA-256.
    """
    try:
        entries, sizes = _found(text, change.paths)
    except DamagedFileError as error:
        raise error.within(name) from None
    mending = Mending()
    if name == NAME:
        sums_of = {path: _sums(entry) for path, entry in entries.items()}
        for path in listed(sums_of, "manifest", NAME):
            mending += _mend_entry(text, path, entries[path], change)
    for value in sizes:
        mending += _mend_flatsize(text, value, name, change)
    return mending


def _found(text: str, wanted: Sequence[str]) -> tuple[dict[str, list[Scalar]], list[Scalar]]:
    """What ``files`` says of each path ``wanted``, and the sizes of all files together.

    pkg writes ``%`` and two digits for odd characters of a path.
    """
    entries: dict[str, list[Scalar]] = {path: [] for path in wanted}
    sizes: list[Scalar] = []
    last = path = ""
    for number, value in enumerate(_read(text)):
        if number == MOST_VALUES:
            raise DamagedFileError(
                f"it has more than {MOST_VALUES} values",
                todo="extract the module and patch it by itself",
            )
        if value.path == FLATSIZE:
            sizes.append(value)
        elif len(value.path) >= 2 and value.path[0] == "files":
            # All fields of one entry have the very same key: it is looked at once.
            if value.path[1] is not last:
                last = value.path[1]
                path = plain(unquote(last, "latin-1"))
            if path in entries:
                entries[path].append(value)
    return entries, sizes


def _read(text: str) -> Iterator[Scalar]:
    return block_scalars(text) if is_block(text) else scalars(text)


def _sums(entry: list[Scalar]) -> list[Scalar | None]:
    """The sums in an entry; None stands for an entry without one."""
    sums: list[Scalar | None] = [value for value in entry if _field(value) in ("", "sum")]
    return sums or [None] * bool(entry)


def _mend_entry(text: str, path: str, entry: list[Scalar], change: Replacement) -> Mending:
    """Mend what ``files`` says of the changed file: a sum, or an object that has one."""
    (found,) = _sums(entry)
    mending = not_recorded(path, NAME) if found is None else _mend_sum(text, path, found, change)
    for value in entry:
        if _field(value) == "size" and text[value.start : value.end] == str(len(change.old)):
            mending += Mending((Edit(value.start, value.end, str(len(change.new))),))
    return mending


def _field(value: Scalar) -> str:
    """The name of an object's field; pkg compares it without case."""
    return ".".join(value.path[2:]).lower()


def _mend_sum(text: str, path: str, value: Scalar, change: Replacement) -> Mending:
    recorded = text[value.start : value.end]
    if recorded in _NO_SUM:
        return not_recorded(path, NAME)
    typed = _TYPED_SUM.fullmatch(recorded)
    if typed and typed[1] != SHA256_HEX:
        raise UnknownModuleError(
            f"the checksum of {path} is of type {typed[1]}; kpatch knows type 1, SHA-256",
            where=NAME,
            todo="extract the module and patch it by itself",
        )
    match = _SUM.fullmatch(recorded)
    if match is None or match[1].lower() != digest(change.old):
        return wrong_before("SHA-256", path, NAME)
    new = like(match[1], digest(change.new))
    return Mending((Edit(value.start + match.start(1), value.start + match.end(1), new),))


def _mend_flatsize(text: str, value: Scalar, name: str, change: Replacement) -> Mending:
    recorded = text[value.start : value.end]
    growth = len(change.new) - len(change.old)
    if re.fullmatch(r"[0-9]{1,15}", recorded) and int(recorded) + growth >= 0:
        return Mending((Edit(value.start, value.end, str(int(recorded) + growth)),))
    return Mending(notices=(f"flatsize in {name} makes no sense and is kept as it was",))
