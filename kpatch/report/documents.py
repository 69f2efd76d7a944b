"""The answer of a command and what ``scan`` says of a file, as JSON-ready data.

Every renderer reads such documents and nothing else. Those of the other commands are made in
``file_documents``, ``proof_documents``, ``machine_documents``, ``diff_documents`` and
``hook_documents``, and nowhere outside this room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kpatch import __version__
from kpatch.errors import KpatchError
from kpatch.storage.bulk import Bulk

# Only named in annotations: scan does not pay for what makes diffs.
if TYPE_CHECKING:
    from kpatch.elf.klink_model import BrokenRule
    from kpatch.elf.module import Module
    from kpatch.kernel.detect import Conflict, Detection, Evidence
    from kpatch.patch.assess import Assessment
    from kpatch.report.typed import (
        Assessed,
        Beside,
        ConflictFacts,
        CountedOnly,
        Envelope,
        ErrorFacts,
        EvidenceFacts,
        Facts,
        FileEntry,
        KernelFacts,
        MatchFacts,
        Refused,
        RuleFacts,
    )
    from kpatch.report.typed_proof import ExploredFacts, ProofFacts
    from kpatch.signature.model import Match

Document = Mapping[str, Any]
"""What a renderer reads. The keys of each are in ``typed`` and the modules that it names."""


SCHEMA = 1
"""The version of the documents; docs/json.md says what may change within one."""


def envelope(
    command: str, files: Sequence[FileEntry], exit_code: int, beside: Beside | None = None
) -> Envelope:
    """The whole answer of one command."""
    return {
        **(beside or {}),
        "schema": SCHEMA,
        "kpatch": __version__,
        "command": command,
        "exit_code": exit_code,
        "files": list(files),
    }


def refusal(file: str, error: KpatchError, *, passed_over: bool = False) -> Refused:
    """A file that was refused, or passed over in a folder, and why."""
    status = "passed-over" if passed_over else "refused"
    return {"file": file, "verdict": status, "status": status, "error": failure(error)}


def failure(error: KpatchError) -> ErrorFacts:
    """What went wrong."""
    facts: ErrorFacts = {
        "error": error.kind,
        "exit_code": error.exit_code,
        "what": error.what,
        "where": error.where,
        "todo": error.todo,
    }
    if error.option is not None:
        facts["option"] = error.option
    return facts


def counted_only(file: str) -> CountedOnly:
    """A file that its bytes tell to be nothing for kpatch; it is only counted."""
    return {"file": file, "verdict": "not-kqemu"}


def obligations(proof: ProofFacts) -> list[ExploredFacts]:
    """What was to be proven, as far as it was explored: all but the controls."""
    return [run for run in proof["explored"] if run["kind"] == "obligation"]


def title_of(kind: str, name: str, model: str) -> str:
    """An exploration by a name that no other of its proof has."""
    return f"control: {name} ({model})" if kind == "control" else name


def contents(data: Bulk, module: Module) -> Facts:
    """Size and digest of a file, which is ``module`` itself or has it inside."""
    sha256 = module.sha256 if data == Bulk(module.data) else data.digest()
    return {"size": data.size, "sha256": sha256}


def assessment(found: Assessment, *, digest: bool = True) -> Assessed:
    """What ``scan`` says of one module.

    Without ``digest`` its ``sha256`` is empty: no text shows it, and OpenSSL takes time to load.
    """
    document: Assessed = {
        "file": found.module.name,
        "size": len(found.module.data),
        "sha256": found.module.sha256 if digest else "",
        "verdict": found.verdict.value,
        "reason": found.reason,
        "identity": {
            "kind": found.identity.kind,
            "is_kqemu": found.identity.is_kqemu,
            "reasons": list(found.identity.reasons),
        },
        "linker": [_rule(broken) for broken in found.linker],
        "refusal": failure(found.refusal) if found.refusal else None,
    }
    if found.note is not None:
        document["patch"] = {
            "version": found.note.version,
            "signature": found.note.signature,
            "cpuid": found.note.cpuid,
            "original_sha256": found.note.original_sha256,
            "original_size": found.note.original_size,
            "source_fix": found.note.source_fix,
        }
    if found.source_fix is not None:
        document["source_fix"] = {
            "variant": found.source_fix.variant,
            "judgement": found.source_fix.judgement,
            "evidence": list(found.source_fix.evidence),
        }
    if found.detection is not None:
        document["kernel"] = _kernel(found.detection)
    if found.match is not None:
        document["match"] = _match(found.match)
    return document


def _rule(broken: BrokenRule) -> RuleFacts:
    return {
        "rule": broken.rule,
        "what": broken.what,
        "where": broken.where,
        "todo": broken.todo,
        "outcome": broken.outcome.value,
        "fatal": broken.is_fatal,
    }


def _kernel(found: Detection) -> KernelFacts:
    return {
        "low": found.low,
        "high": found.high,
        "kernels": [kernel.name for kernel in found.candidates],
        "gdt": found.gdt,
        "cpuid": found.cpuid,
        "evidence": [_evidence(evidence) for evidence in found.evidence],
        "conflicts": [_conflict(conflict) for conflict in found.conflicts],
        "not_affected": found.not_affected,
        "uncovered": found.uncovered,
    }


def _evidence(found: Evidence) -> EvidenceFacts:
    return {
        "source": found.source,
        "seen": found.seen,
        "means": found.means,
        "versions": [{"first": known.first, "last": known.last} for known in found.versions],
        "confidence": found.confidence,
        "is_decisive": found.is_decisive,
        "is_overridden": found.is_overridden,
    }


def _conflict(found: Conflict) -> ConflictFacts:
    return {"what": found.what, "matters": found.matters, "in_module": found.in_module}


def _match(found: Match) -> MatchFacts:
    return {
        "signature": found.signature.id,
        "title": found.signature.title,
        "image": {
            "section": found.image.section.name,
            "section_offset": found.image.at,
            "file_offset": found.image.start,
            "size": found.image.size,
            "header": dict(found.image.header),
            "evidence": found.image.evidence,
        },
        "names": dict(sorted(found.names.items())),
        "sites": [
            {
                "site": site.rule.name,
                "image_offset": site.start,
                "section_offset": site.section_offset,
                "file_offset": site.file_offset,
                "size": len(site.raw),
                "instructions": [instruction.text for instruction in site.instructions],
            }
            for site in found.sites.values()
        ],
    }
