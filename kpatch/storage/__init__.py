"""Who touches files: everything that is read, and the one writer of files."""

from pathlib import Path

from kpatch.storage.bulk import Bulk
from kpatch.storage.files import (
    MODULE_SUFFIXES,
    PACKAGE_SUFFIXES,
    destination,
    expand,
    is_folder,
    is_same,
    kept_for,
    output_file,
    read,
    read_bulk,
    require_no_folder,
    require_output,
    require_replaceable,
)
from kpatch.storage.reasons import naming

__all__ = [
    "MODULE_SUFFIXES",
    "PACKAGE_SUFFIXES",
    "Bulk",
    "destination",
    "expand",
    "is_folder",
    "is_same",
    "kept_for",
    "naming",
    "output_file",
    "read",
    "read_bulk",
    "replace",
    "require_no_folder",
    "require_output",
    "require_replaceable",
]


def replace(
    path: Path,
    data: Bulk | bytes,
    *,
    like: Path | None = None,
    expected: Bulk | bytes | None = None,
) -> tuple[str, ...]:
    """:func:`kpatch.storage.writer.replace`. Imported on its first use: a scan writes nothing."""
    from kpatch.storage import writer

    return writer.replace(path, data, like=like, expected=expected)
