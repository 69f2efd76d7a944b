"""Switches off a source fix that a module carries, so that one lock alone guards the slot."""

from __future__ import annotations

from kpatch.elf.edits import Overwrite
from kpatch.elf.module import Module
from kpatch.errors import AlreadyFixedError
from kpatch.kqemu.sourcefix import SourceFix
from kpatch.patch.plan import Neutralised

RET = b"\xc3"


def neutralise(module: Module, fix: SourceFix) -> Neutralised:
    """A ``ret`` as the first byte of the fix's function, which then does nothing.

    Sound only if that function is all there is of the fix: every ``ltr`` of the module's own
    code must lie in it, and no relocation may write to the byte.
    """
    function = fix.function
    if function is None:
        raise _cannot(module, fix, "its function has no symbol any more")
    end = function.offset + max(function.size, 1)
    for place in fix.ltr_sites:
        if place.section != function.section or not function.offset <= place.offset < end:
            raise _cannot(module, fix, "the compiler put a copy of it elsewhere")
    if module.relocations_at(function.section, function.offset, function.offset + 1):
        raise _cannot(module, fix, "a relocation writes to its first byte")
    offset = module.file_offset(module.sections[function.section], function.offset)
    old = module.data[offset : offset + 1]
    return Neutralised(fix.variant, (Overwrite(offset, old, RET),))


def _cannot(module: Module, fix: SourceFix, why: str) -> AlreadyFixedError:
    return AlreadyFixedError(
        f"source fix {fix.variant} cannot be switched off: {why}",
        where=module.name,
        todo="build the module without it, then patch",
    )
