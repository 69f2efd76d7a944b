"""Takes a patch back, from the patched file alone."""

from __future__ import annotations

from kpatch.digest import digest_of
from kpatch.elf.edits import Pieces
from kpatch.elf.layouts import E_SHNUM, E_SHOFF, HEADER_SIZE
from kpatch.elf.module import Module
from kpatch.errors import DamagedFileError
from kpatch.patch.note import RESTORE, Note, read_note
from kpatch.units import counted


def original_of(module: Module, note: Note | None = None) -> bytes:
    """The file before it was patched, byte for byte.

    Raises DamagedFileError if ``module`` is not patched, or was changed since.
    """
    note = note or read_note(module)
    if note is None:
        raise DamagedFileError(
            "it has no kpatch note, so it was not patched by kpatch",
            where=module.name,
            todo="nothing to take back",
        )
    original = put_back(module, note)
    if digest_of(original) != note.original_sha256:
        raise _changed(module, "the original's SHA-256 does not come back")
    return b"".join(original)


def put_back(module: Module, note: Note) -> Pieces:
    """What the note makes of the file, in pieces, whatever its digest.

    Raises DamagedFileError where a replaced byte is not what the note says it became, or is
    replaced twice, and where the ELF header differs by more than where the section headers are.
    """
    if not HEADER_SIZE <= note.original_size <= len(module.data):
        raise _changed(
            module, f"it cannot hold an original of {counted(note.original_size, 'byte')}"
        )
    original = memoryview(module.data)[: note.original_size]
    found: list[bytes | memoryview] = [note.original_header]
    behind = HEADER_SIZE
    for change in sorted(note.replaced, key=lambda change: change.offset):
        end = change.offset + len(change.after)
        if change.offset < behind or bytes(original[change.offset : end]) != change.after:
            raise _changed(
                module, f"the {change.what} at file offset {change.offset:#x} was changed"
            )
        found += (original[behind : change.offset], change.before)
        behind = end
    if not has_its_header(module, note):
        raise _changed(module, "its ELF header is another one")
    return [*found, original[behind:]]


def has_its_header(module: Module, note: Note) -> bool:
    """Whether the ELF header is the original's but for where the section headers are."""
    header = bytearray(module.data[:HEADER_SIZE])
    for field in (E_SHOFF, E_SHNUM):
        header[field] = note.original_header[field]
    return header == note.original_header


def _changed(module: Module, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"changed since kpatch patched it: {what}",
        where=module.name,
        todo=RESTORE,
    )
