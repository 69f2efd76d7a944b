"""The fast path to the verdict on a file that is nothing for kpatch: by its bytes.

:func:`kpatch.patch.assess.assess` says the same of such a file, and more; it decodes, and loads the
signatures and the table of kernels. In a folder nearly all files are of this kind.
"""

from __future__ import annotations

import re
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.module import Module
from kpatch.errors import LinkerRefusalError, NotAffectedError, OtherModuleError
from kpatch.kqemu.identify import KQEMU, Identity, kind_of
from kpatch.signature.prefilter import ANCHOR_REACH, IMAGE_ALIGNMENT, candidates

_TRACE: Final = re.compile(KQEMU.encode() + rb"|kpatch")
"""What a kqemu, of whatever build, or a patched module has in its bytes somewhere. To look for both
at once costs less than for each, as they begin alike.
"""

ANCHOR: Final = "str"
HEADER: Final = 20
FIRST_PAGE: Final = 4096
"""What the shipped signatures say of a monitor image: it has this instruction, in its first page,
and in front of that page a header of so many bytes, which begins with an offset to code. Tests hold
the signatures to it."""

_MOST_ANCHORS: Final = 64


def is_nothing_for_us(module: Module) -> OtherModuleError | None:
    """What the assessment of ``module`` will refuse it for; None where only that can tell.

    Right for the signatures that come with kpatch only: each of them looks for these instructions.
    """
    if _TRACE.search(module.data) or without_sections(module) is not None:
        return None
    kind, reasons = kind_of(module)
    if kind != "freebsd-amd64":
        return not_for_amd64(Identity(kind, False, reasons), module.name)
    return None if _may_hold_image(module) else not_kqemu(module.name)


def _may_hold_image(module: Module) -> bool:
    """Could ``signature.image`` find one? It looks where this does, and decodes what it finds."""
    looked_at = 0
    for section in module.sections:
        if not section.is_loaded or section.is_code:
            continue
        data = module.view(section)
        for anchor in candidates(ANCHOR, data, 0, len(data)):
            looked_at += 1
            if looked_at == _MOST_ANCHORS or _is_behind_header(data, anchor):
                return True
    return False


def _is_behind_header(data: memoryview, anchor: int) -> bool:
    lowest = max(0, anchor - FIRST_PAGE)
    for start in range(lowest + -lowest % IMAGE_ALIGNMENT, anchor - HEADER + 1, IMAGE_ALIGNMENT):
        entry = int.from_bytes(data[start : start + 4], "little")
        if HEADER <= entry <= anchor - start <= entry + ANCHOR_REACH:
            return True
    return False


def without_sections(module: Module) -> LinkerRefusalError | None:
    """The refusal of a relocatable file whose section headers were cut off; None for others."""
    if module.sections or module.header.type != elf.ET_REL:
        return None
    return LinkerRefusalError(
        "it has no section headers: a tool cut them off, and no kernel can load it",
        where=module.name,
        todo="use the module as it was before, or build it again",
    )


def not_kqemu(name: str) -> OtherModuleError:
    """The refusal of a module of FreeBSD/amd64 that is another one."""
    return OtherModuleError(
        "it is not kqemu: no such name in it, and no monitor image",
        where=name,
        todo="give kpatch a kqemu.ko",
    )


def not_for_amd64(identity: Identity, name: str) -> OtherModuleError:
    """The refusal of what is no module of FreeBSD/amd64."""
    return OtherModuleError(
        f"it is not a kernel module of FreeBSD/amd64: {identity.reasons[0]}",
        where=name,
        todo="give kpatch the kqemu.ko of a FreeBSD/amd64 host",
    )


def of_another_system(identity: Identity, name: str) -> NotAffectedError | None:
    """The refusal of a kqemu for Linux or FreeBSD/i386; None for anything else."""
    if not identity.is_kqemu or identity.kind not in ("freebsd-i386", "linux"):
        return None
    system = "FreeBSD/i386" if identity.kind == "freebsd-i386" else "Linux"
    return NotAffectedError(
        f"it is kqemu for {system}, whose kernels do not share a GDT slot for the TSS",
        where=name,
        todo="nothing to repair",
    )
