"""What the page shows, as one JSON-ready document. The page reads nothing else."""

from __future__ import annotations

from kpatch.elf import constants as elf
from kpatch.elf.module import Module
from kpatch.patch.annotate import annotated
from kpatch.patch.diff import diff_modules, section_type
from kpatch.patch.sides import Sides
from kpatch.report import documents
from kpatch.report.documents import Document


def page_document(sides: Sides, proof: Document | None) -> Document:
    """The module before the patch and after it, how it was patched, and the proof."""
    before, after, plan = sides.before.module, sides.after, sides.plan
    return {
        "file": before.name,
        "verdict": proof["verdict"] if proof else "not-verified",
        "module": documents.assessment(sides.before),
        "size": {"before": len(before.data), "after": len(after.data)},
        "sections": _sections(before, after),
        "trampolines": documents.plain(annotated(plan)) if plan else [],
        "difference": documents.difference(diff_modules(before, after)),
        "proof": proof,
    }


def _sections(before: Module, after: Module) -> list[Document]:
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
        for section in sorted(after.sections, key=lambda each: each.offset)
        if section.type != elf.SHT_NULL
    ]
