"""What the page shows, as one JSON-ready document. The page reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kpatch.elf import constants as elf
from kpatch.elf.module import Module
from kpatch.patch.annotate import AnnotatedTrampoline, annotated
from kpatch.patch.diff import diff_modules
from kpatch.patch.sides import Sides
from kpatch.patch.tablediff import section_type
from kpatch.report import documents
from kpatch.report.diff_documents import difference

if TYPE_CHECKING:
    from kpatch.report.typed import Reported
    from kpatch.report.typed_diff import SectionFacts, TrampolineFacts
    from kpatch.report.typed_proof import ProofFacts
    from kpatch.signature.model import Signature


def page_document(
    sides: Sides, proof: ProofFacts | None, signatures: Sequence[Signature] | None = None
) -> Reported:
    """The module before the patch and after it, how it was patched, and the proof.

    ``signatures`` are those by which it was assessed: None for those that come with kpatch.
    """
    before, after, plan = sides.before.module, sides.after, sides.plan
    return {
        "file": before.name,
        "verdict": proof["verdict"] if proof else "not-verified",
        "module": documents.assessment(sides.before),
        "size": {"before": len(before.data), "after": len(after.data)},
        "sections": _sections(before, after),
        "trampolines": [_trampoline(made) for made in annotated(plan)] if plan else [],
        "difference": difference(diff_modules(before, after, signatures=signatures)),
        "proof": proof,
    }


def _trampoline(made: AnnotatedTrampoline) -> TrampolineFacts:
    return {
        "site": made.site,
        "symbol": made.symbol,
        "lines": [
            {
                "offset": line.offset,
                "raw": line.raw,
                "text": line.text,
                "label": line.label,
                "target": line.target,
                "comment": line.comment,
            }
            for line in made.lines
        ],
    }


def _sections(before: Module, after: Module) -> list[SectionFacts]:
    """The sections of the patched file in the order of their bytes, with what became of each."""
    known = {(section.name, section.offset, section.size) for section in before.sections}
    return [
        {
            "name": section.name,
            "type": section_type(section),
            "offset": section.offset,
            "size": section.size,
            "in_file": section.has_bytes,
            "is_loaded": section.is_loaded,
            "is_new": (section.name, section.offset, section.size) not in known,
        }
        for section in sorted(after.sections, key=lambda section: section.offset)
        if section.type != elf.SHT_NULL
    ]
