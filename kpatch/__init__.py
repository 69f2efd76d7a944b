"""kpatch repairs a compiled kqemu kernel module and proves the repair.

For scripts (docs/library.md): ``from kpatch import scan, apply, prove, revert, read_module``. Each
is imported when it is first asked for, so that ``import kpatch`` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself would cost more than all the rest of this file
if TYPE_CHECKING:
    from typing import Any

    from kpatch.elf.module import Module, read_module
    from kpatch.errors import KpatchError
    from kpatch.kernel.host import Host
    from kpatch.patch.assess import Assessment, Verdict
    from kpatch.proving import Proving
    from kpatch.repair import Repaired, apply, prove, revert, scan
    from kpatch.report.proof_documents import proof_document
    from kpatch.signature.load import load_signatures
    from kpatch.verify.proof.verdict import Proof

__version__ = "1.0.0"
__all__ = [
    "Assessment",
    "Host",
    "KpatchError",
    "Module",
    "Proof",
    "Proving",
    "Repaired",
    "Verdict",
    "apply",
    "load_signatures",
    "proof_document",
    "prove",
    "read_module",
    "revert",
    "scan",
]

_HOMES = {
    "kpatch.kernel.host": ("Host",),
    "kpatch.elf.module": ("Module", "read_module"),
    "kpatch.errors": ("KpatchError",),
    "kpatch.patch.assess": ("Assessment", "Verdict"),
    "kpatch.proving": ("Proving",),
    "kpatch.report.proof_documents": ("proof_document",),
    "kpatch.repair": ("Repaired", "apply", "prove", "revert", "scan"),
    "kpatch.signature.load": ("load_signatures",),
    "kpatch.verify.proof.verdict": ("Proof",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of the library's face, imported now. Raises AttributeError for any other name."""
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module 'kpatch' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names that ``import kpatch`` offers."""
    return sorted((*__all__, "__version__"))
