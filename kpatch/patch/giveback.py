"""What a patched module gives back: its original, or itself without the repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kpatch.digest import digest
from kpatch.elf.module import Module, read_module
from kpatch.elf.remover import dense
from kpatch.errors import DamagedFileError, KpatchError, OtherModuleError
from kpatch.patch.assessment import Means
from kpatch.patch.before import by_content, unpatched
from kpatch.patch.fast_path import without_sections
from kpatch.patch.note import RESTORE, read_note
from kpatch.signature.image import is_split_off, symbols_only
from kpatch.signature.load import load_signatures
from kpatch.signature.model import Signature


class GivenBack(NamedTuple):
    """What a patched module gives back. The digest is of the original, empty without a note."""

    data: bytes
    is_original: bool
    original_sha256: str


def is_original_of(
    copy: bytes, module: Module, signatures: Sequence[Signature] | None = None
) -> bool | None:
    """Whether ``copy`` is what ``module`` was before its patch; None where nothing tells."""
    known = load_signatures() if signatures is None else signatures
    try:
        note = read_note(module)
        if note is not None:
            return digest(copy) == note.original_sha256
        before = by_content(module, None, known)
    except KpatchError:
        return None
    if before is None:
        return None
    from kpatch.patch.unpatch import leads_to

    try:
        return leads_to(read_module(copy), module, before, known)
    except DamagedFileError:
        return False


def given_back(module: Module, signatures: Sequence[Signature] | None = None) -> GivenBack:
    """Take the patch out of one module, by ``signatures`` or those that come with kpatch.

    Raises OtherModuleError for a module without a patch, DamagedFileError where neither the
    original nor the module without the repair comes back, LinkerRefusalError for what no kernel
    loads, UnknownModuleError for split-off symbols, and what reading it raises.
    """
    cut = without_sections(module)
    if cut is not None:
        raise cut
    note = read_note(module)
    if note is not None and is_split_off(module):
        raise symbols_only().within(module.name)
    known = load_signatures() if signatures is None else signatures
    before = unpatched(module, note, known)
    if before is None:
        raise _not_patched(module, known)
    if note is None:
        raise DamagedFileError(
            "patched by kpatch, but its note is gone, and the bytes that were displaced with it",
            where=module.name,
            todo=RESTORE,
        )
    if before.means is Means.ORIGINAL:
        # Imported here: it assembles the patch again, which no other way needs.
        from kpatch.patch.unpatch import require_genuine

        require_genuine(module, before)
        return GivenBack(before.module.data, is_original=True, original_sha256=note.original_sha256)
    return GivenBack(
        dense(before.module.data), is_original=False, original_sha256=note.original_sha256
    )


def _not_patched(module: Module, known: Sequence[Signature]) -> OtherModuleError:
    """The refusal of a module without a patch: what is not kqemu's is called what scan calls it."""
    # Imported here: a module that is patched is not judged.
    from kpatch.patch.assess import assess

    found = assess(module, signatures=known)
    if found.identity.is_kqemu:
        what, todo = "it is not patched, so there is nothing to take back", ""
    else:
        what, todo = found.reason, "nothing to take back"
    return OtherModuleError(what, where=module.name, todo=todo)
