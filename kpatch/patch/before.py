"""What a patched module was before, however it looks now.

The untouched file gives its original back byte for byte. A file that another tool stripped or
linked again, or which has lost its note, is known by content (:mod:`kpatch.patch.unpatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, KpatchError, LinkerRefusalError, OtherSignatureError
from kpatch.patch.assessment import Means, Unpatched
from kpatch.patch.note import RESTORE, SECTION, Note, seal_holds
from kpatch.patch.original import has_its_header, original_of
from kpatch.patch.traces import traces_of
from kpatch.signature.model import Match, Signature
from kpatch.signature.scan import find_any

_STRIPPED: Final = "patched by kpatch; then all {} were stripped, and no kernel can load it"


def unpatched(
    module: Module, note: Note | None, signatures: Sequence[Signature]
) -> Unpatched | None:
    """What ``module``, whose note is ``note``, was before; None where it has no trace of a patch.

    Raises DamagedFileError for a patch that is not whole, LinkerRefusalError for a module that
    no kernel loads any more, OtherSignatureError where the note's signature is not known, and the
    refusals of the signature layer.
    """
    if note is None:
        return by_content(module, None, signatures)
    try:
        original = _original(module, note)
    except DamagedFileError as error:
        if seal_holds(module.data, note):
            raise  # as it was written, so the note lies
        if is_unpatched(module, signatures):
            raise DamagedFileError(
                "it has the note of a patched module, but no patch: its code is the unpatched one",
                where=module.name,
                todo="run 'objcopy -R .note.kpatch' on it, and apply the patch",
            ) from None
        found = by_content(module, note, signatures, error)
        if found is None:
            raise
        return found
    if not any(signature.id == note.signature for signature in signatures):
        # Whoever can write a file can seal a note over any original: only the signature tells.
        raise OtherSignatureError(
            f"it is patched with the signature {note.signature}, which is not here, so nothing "
            "tells whether its note is genuine",
            where=module.name,
            todo="name the folder of that signature with --signatures",
        )
    match = _genuine_match(original, signatures)
    # Imported here, as below: an unpatched module needs no assembler.
    from kpatch.patch.unpatch import switched_off

    switched_off(original, note, is_original=True)
    return Unpatched(original, Means.ORIGINAL, match, note.cpuid, note.tss_stride, note)


def _original(module: Module, note: Note) -> Module:
    if module.section_named(SECTION) is None:
        raise DamagedFileError(
            f"changed since kpatch patched it: its note is not in a section {SECTION}",
            where=module.name,
            todo=RESTORE,
        )
    return read_module(original_of(module, note), module.name)


def by_content(
    module: Module,
    note: Note | None,
    signatures: Sequence[Signature],
    otherwise: DamagedFileError | None = None,
) -> Unpatched | None:
    """The same for a file that was laid out anew, or has lost its note.

    None where there is no trace of a patch. Where the patch is not whole, ``otherwise`` is raised
    if it is given.
    """
    traces = traces_of(module, signatures)
    if traces is None or (note is None and is_unpatched(module, signatures)):
        return None
    if module.symtab is None or not module.relocations:
        gone = "relocations" if module.symtab else "symbols and relocations"
        raise LinkerRefusalError(_STRIPPED.format(gone), where=module.name, todo=RESTORE)
    # Imported here: this is rare, and costs the assembler.
    from kpatch.patch.unpatch import taken_out

    try:
        return taken_out(module, traces, note, signatures)
    except LinkerRefusalError:
        raise
    except KpatchError as error:
        in_place = note is not None and _lies_as_written(module, note)
        raise (otherwise if otherwise and in_place else error) from None


def _lies_as_written(module: Module, note: Note) -> bool:
    """Whether every replaced byte is where the note says, and no tool numbered sections anew."""
    sections = [(change, module.section_named(change.section)) for change in note.replaced]
    return (
        len(module.data) >= note.original_size
        and has_its_header(module, note)
        and all(
            section is None or section.offset + change.at == change.offset
            for change, section in sections
        )
    )


def _genuine_match(original: Module, signatures: Sequence[Signature]) -> Match:
    """The match of the original that a note gives back. Raises DamagedFileError for none.

    Whoever can write a file can seal a note over any original: it must be one that is patched.
    """
    try:
        return find_any(original, signatures)
    except KpatchError as error:
        raise DamagedFileError(
            f"what its note gives back is not what kpatch patches: {error.what}",
            where=original.name,
            todo=RESTORE,
        ) from error


def is_unpatched(module: Module, signatures: Sequence[Signature]) -> bool:
    """Whether the sites are there, so that names of ours in the module say nothing."""
    try:
        find_any(module, signatures)
    except KpatchError:
        return False
    return True
