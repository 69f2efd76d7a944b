"""What a file is: a module, a module that is compressed by itself, or a package. Asked once."""

from __future__ import annotations

from enum import Enum

from kpatch.containers.compression import (
    TAR_MAGIC,
    TAR_MAGIC_OFFSET,
    Compression,
    first_bytes,
    recognise,
)
from kpatch.elf.constants import ELF_MAGIC
from kpatch.storage import MODULE_SUFFIXES, PACKAGE_SUFFIXES, Bulk

_ENOUGH = TAR_MAGIC_OFFSET + len(TAR_MAGIC)


class Kind(Enum):
    """What a file is. What nobody knows is a MODULE, and refused where it is read as one."""

    MODULE = "module"
    PACKED = "packed"
    PACKAGE = "package"


def sniff(data: Bulk, name: str) -> tuple[Kind, Compression]:
    """What ``data`` is by its first bytes; by its name only where they leave it open.

    The compression is NONE for what is not compressed.
    """
    if data.part(0, len(ELF_MAGIC)) == ELF_MAGIC:
        return Kind.MODULE, Compression.NONE
    compression = recognise(data)
    lower = name.lower()
    if compression is None:
        is_package = lower.endswith(PACKAGE_SUFFIXES)
        return (Kind.PACKAGE if is_package else Kind.MODULE), Compression.NONE
    if compression is Compression.NONE:
        return Kind.PACKAGE, compression
    inside = first_bytes(data, compression, _ENOUGH)
    is_module = inside.startswith(ELF_MAGIC) or (
        # Neither: an archive of the time before POSIX, or a damaged file.
        not inside.startswith(TAR_MAGIC, TAR_MAGIC_OFFSET) and lower.endswith(MODULE_SUFFIXES)
    )
    return (Kind.PACKED if is_module else Kind.PACKAGE), compression
