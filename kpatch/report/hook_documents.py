"""The results of ``kpatch hook`` as JSON-ready data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kpatch.report.documents import failure

if TYPE_CHECKING:
    from kpatch.errors import KpatchError
    from kpatch.ports.build import Report
    from kpatch.ports.guide import Guide
    from kpatch.ports.place import Action
    from kpatch.ports.traps import Trap
    from kpatch.ports.tree import Survey
    from kpatch.report.typed import Beside
    from kpatch.report.typed_hook import GuideFacts, StepFacts, SurveyFacts, TrapFacts


def beside(
    *,
    guides: Sequence[Guide] | None = None,
    survey: Survey | None = None,
    actions: Sequence[Action] | None = None,
    error: KpatchError | None = None,
) -> Beside:
    """What an answer of the hook has beside its files."""
    found: Beside = {}
    if guides is not None:
        found["guides"] = [_guide(guide) for guide in guides]
    if survey is not None:
        found["survey"] = _survey(survey)
    if actions is not None:
        found["actions"] = [
            {"file": str(action.file.destination), "change": action.change.value}
            for action in actions
        ]
    if error is not None:
        found["error"] = failure(error)
    return found


def step(report: Report) -> StepFacts:
    """What one step of a build did to one file."""
    document: StepFacts = {
        "step": report.step,
        "file": str(report.path),
        "verdict": report.standing.value,
        "standing": report.standing.value,
        "sha256": report.sha256,
        "line": report.line,
        "proof": None,
    }
    if report.proof is not None:
        # Imported here: most steps prove nothing.
        from kpatch.report.proof_documents import proof_document

        document["proof"] = proof_document(report.proof)
    return document


def _guide(guide: Guide) -> GuideFacts:
    return {
        "title": guide.title,
        "steps": [
            {"what": todo.what, "where": todo.where, "lines": list(todo.lines)}
            for todo in guide.steps
        ],
    }


def _survey(seen: Survey) -> SurveyFacts:
    return {
        "ports_dir": str(seen.ports_dir),
        "era": seen.era,
        "method": seen.method.value if seen.method else None,
        "ports": [port.origin for port in seen.ports],
        "ways": {port.origin: port.way.value if port.way else None for port in seen.ports},
        "blocked": seen.blocked,
        "traps": [_trap(trap) for trap in seen.traps],
    }


def _trap(trap: Trap) -> TrapFacts:
    return {
        "rule": trap.rule,
        "what": trap.what,
        "where": trap.where,
        "todo": trap.todo,
        "blocks": trap.blocks,
    }
