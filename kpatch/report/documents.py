"""Results as JSON-ready data. Every renderer reads these documents and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from kpatch import __version__
from kpatch.errors import KpatchError
from kpatch.storage.bulk import Bulk

# Only named in annotations: scan does not pay for what makes diffs.
if TYPE_CHECKING:
    from kpatch.elf.module import Module
    from kpatch.kernel.detect import Detection
    from kpatch.patch.assess import Assessment
    from kpatch.patch.diff import ModuleDiff
    from kpatch.report.typed import (
        Assessed,
        Beside,
        Envelope,
        Facts,
        KernelFacts,
        MatchFacts,
        Refused,
    )
    from kpatch.signature.model import Match

Document = Mapping[str, Any]
"""What a renderer reads. Those that several commands print have their keys in ``typed``."""


SCHEMA = 1
"""The version of the documents; docs/json.md says what may change within one."""


def envelope(
    command: str, files: Sequence[Document], exit_code: int, beside: Beside | None = None
) -> Envelope:
    """The whole answer of one command. Every file's entry gets its ``verdict``, in one word."""
    return {
        **(beside or {}),
        "schema": SCHEMA,
        "kpatch": __version__,
        "command": command,
        "exit_code": exit_code,
        "files": [with_verdict(each) for each in files],
    }


def with_verdict(entry: Document) -> dict[str, Any]:
    """The entry with its verdict in the one place where every document has it."""
    return {**entry, "verdict": verdict_of(entry)}


def verdict_of(entry: Document) -> str:
    """What the command found of one file, in one word."""
    status = entry.get("status", "")
    if "verdict" in entry:
        return str(entry["verdict"])
    if status == "patched":
        return str(entry["proof"]["verdict"]) if entry["proof"] else "not-verified"
    if status:
        return str(status)
    if "scenes" in entry:
        return "shown" if entry["holds"] else "not-shown"
    if "findings" in entry:
        return "wrong" if entry["findings"] else "right"
    if "hunks" in entry:
        return "same" if entry["before"]["sha256"] == entry["after"]["sha256"] else "different"
    return "replayed" if "lanes" in entry else str(entry.get("standing", ""))


def refusal(file: str, error: KpatchError) -> Refused:
    """A file that was refused, and why."""
    return {"file": file, "status": "refused", "error": error.to_document()}


def contents(data: Bulk, module: Module) -> Facts:
    """Size and digest of a file, which is ``module`` itself or has it inside."""
    sha256 = module.sha256 if data == Bulk(module.data) else data.digest()
    return {"size": data.size, "sha256": sha256}


def assessment(found: Assessment) -> Assessed:
    """What ``scan`` says of one module."""
    document: Assessed = {
        "file": found.module.name,
        "size": len(found.module.data),
        "sha256": found.module.sha256,
        "verdict": found.verdict.value,
        "reason": found.reason,
        "identity": plain(found.identity),
        "linker": [{**plain(each), "fatal": each.is_fatal} for each in found.linker],
        "refusal": found.refusal.to_document() if found.refusal else None,
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


def _kernel(found: Detection) -> KernelFacts:
    return {
        "low": found.low,
        "high": found.high,
        "kernels": [each.name for each in found.candidates],
        "gdt": found.gdt,
        "cpuid": found.cpuid,
        "evidence": [plain(each) for each in found.evidence],
        "conflicts": [plain(each) for each in found.conflicts],
        "not_affected": found.not_affected,
        "uncovered": found.uncovered,
    }


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
                "instructions": [each.text for each in site.instructions],
            }
            for site in found.sites.values()
        ],
    }


def difference(found: ModuleDiff) -> dict[str, Any]:
    """What differs between two modules."""
    document = plain(found)
    if not isinstance(document, dict):
        raise TypeError("a dataclass becomes a dictionary")
    return document


def plain(value: object) -> Any:
    """Dataclasses, named tuples, enums, bytes, tuples and sets as JSON-ready data."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(each) for each in value)
    return value
