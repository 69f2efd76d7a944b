"""Takes a patch back, from the patched file alone."""

from __future__ import annotations

from kpatch.digest import digest
from kpatch.elf.layouts import E_SHNUM, E_SHOFF, HEADER_SIZE
from kpatch.elf.module import Module
from kpatch.errors import DamagedFileError
from kpatch.patch.note import RESTORE, Note, read_note


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
    if digest(original) != note.original_sha256:
        raise _changed(module, "the original's SHA-256 does not come back")
    return original


def put_back(module: Module, note: Note) -> bytes:
    """What the note makes of the file, whatever its digest.

    Raises DamagedFileError where a replaced byte is not what the note says it became, and where
    the ELF header differs by more than where the section headers are.
    """
    if not HEADER_SIZE <= note.original_size <= len(module.data):
        raise _changed(module, f"it cannot hold an original of {note.original_size} bytes")
    original = bytearray(module.data[: note.original_size])
    for change in note.replaced:
        found = bytes(original[change.offset : change.offset + len(change.before)])
        if found != change.after:
            raise _changed(
                module, f"the {change.what} at file offset {change.offset:#x} was changed"
            )
        original[change.offset : change.offset + len(change.before)] = change.before
    for field in (E_SHOFF, E_SHNUM):
        original[field] = note.original_header[field]
    if original[:HEADER_SIZE] != note.original_header:
        raise _changed(module, "its ELF header is another one")
    return bytes(original)


def _changed(module: Module, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"changed since kpatch patched it: {what}",
        where=module.name,
        todo=RESTORE,
    )
