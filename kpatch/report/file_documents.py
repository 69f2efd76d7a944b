"""What ``apply``, ``revert``, the lints and ``explain`` say of a file, as JSON-ready data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpatch.report import documents
from kpatch.report.linker_text import linker_warning

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from kpatch.containers.rewrap import Changed
    from kpatch.containers.target import Target
    from kpatch.patch.draft import LintFinding
    from kpatch.patch.giveback import GivenBack
    from kpatch.repair import Repaired
    from kpatch.report.typed import Applied, Explained, Facts, Linted, Reverted
    from kpatch.storage.bulk import Bulk


def applied(
    target: Target, changed: Changed, done: Repaired, place: Path, *, in_place: bool
) -> Applied:
    """What ``apply`` made of ``target``, before it is written to ``place``."""
    module = documents.assessment(done.assessment)
    document: Applied = {
        "file": str(target.path),
        "output": str(place),
        "in_place": in_place,
        "verdict": "already-patched",
        "status": "already-patched",
        "before": documents.contents(target.data, done.assessment.module),
        "after": documents.contents(changed.data, done.module),
        "module": module,
        "proof": None,
        "readers": [],
        "notices": [*changed.notices, *linker_warning(module["linker"])],
    }
    if done.proof is not None:
        # Imported here, as what is below: without a proof nobody pays for the emulator.
        from kpatch.report.proof_documents import proof_document

        document["proof"] = proof_document(done.proof)
    if done.readings:
        from kpatch.report.machine_documents import readings

        document["readers"] = readings(done.readings)
    return document


def mark_would_patch(document: Applied) -> None:
    """Say that a dry run ended before the patch was written."""
    document["status"] = document["verdict"] = "would-patch"


def mark_patched(document: Applied) -> None:
    """Say that the patch is in the file, and how far it is proven."""
    proof = document["proof"]
    document["status"] = "patched"
    document["verdict"] = proof["verdict"] if proof else "not-verified"


def reverted(
    target: Target, changed: Changed, taken: GivenBack, place: Path, notices: Sequence[str]
) -> Reverted:
    """What ``revert`` made of ``target``, at ``place``."""
    status = "reverted" if taken.is_original else "taken-out"
    return {
        "file": str(target.path),
        "verdict": status,
        "status": status,
        "output": str(place),
        "before": _facts(target.data),
        "after": _facts(changed.data),
        "notices": list(notices),
    }


def _facts(data: Bulk) -> Facts:
    return {"size": data.size, "sha256": data.digest()}


def linted(file: str, found: Collection[LintFinding]) -> Linted:
    """What the lints found in one signature file."""
    return {
        "file": file,
        "verdict": "wrong" if found else "right",
        "findings": [
            {"lint": finding.lint, "what": finding.what, "todo": finding.todo} for finding in found
        ],
    }


def explained(about: str, verdict: str, lines: Sequence[str]) -> Explained:
    """What ``explain`` says, a paragraph a line."""
    return {"about": about, "verdict": verdict, "lines": list(lines)}
