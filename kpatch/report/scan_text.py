"""``scan`` as text: the verdict of each file, and with ``-v`` what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kpatch.errors import KpatchError
from kpatch.report.printable import printable
from kpatch.report.style import Style

if TYPE_CHECKING:
    from kpatch.report.documents import Document

_MEANING = {
    "affected": "bad",
    "patched-then-changed": "bad",
    "patched": "good",
    "patched-then-stripped": "good",
    "not-affected": "good",
    "fixed-by-source": "doubt",
    "unknown-build": "doubt",
    "not-kqemu": "title",
}


def scan_text(document: Document, style: Style, *, verbose: int, path: str = "") -> str:
    """Render one file's document from :func:`kpatch.report.documents.assessment`."""
    document = printable(document)
    verdict = document["verdict"]
    word = style.paint(_MEANING[verdict], verdict.upper())
    lines = [f"{document['file']}: {word}", f"  {document['reason']}"]
    lines += _short(document)
    if verbose:
        lines += _evidence(document)
    lines += _next(document, printable(path))
    return "\n".join(lines)


def not_kqemu_text(name: str, refusal: KpatchError, style: Style) -> str:
    """The same for a file that is nothing for kpatch, of which there is no document."""
    document = {
        "file": name,
        "verdict": "not-kqemu",
        "reason": refusal.what,
        "refusal": refusal.to_document(),
    }
    return scan_text(document, style, verbose=False)


def _short(document: Document) -> Iterator[str]:
    match, kernel = document.get("match"), document.get("kernel")
    if match and document["verdict"] in ("affected", "fixed-by-source"):
        for site in match["sites"]:
            yield (
                f"  {site['site']} site: image offset {site['image_offset']:#x}, "
                f"{match['image']['section']}+{site['section_offset']:#x}, "
                f"file offset {site['file_offset']:#x}, {site['size']} bytes"
            )
    if kernel and document["verdict"] in ("affected", "fixed-by-source", "not-affected"):
        yield f"  kernel: {_kernel(kernel)}"
    refusal = document.get("refusal")
    if document["verdict"] in ("patched", "patched-then-stripped") and not refusal:
        yield "  scan does not prove it: 'kpatch verify' does"
    if refusal and refusal["todo"]:
        yield f"  {refusal['todo']}"


def _next(document: Document, path: str) -> Iterator[str]:
    """The command to run now. A refusal has said what to do."""
    if not path or document.get("refusal"):
        return
    if document["verdict"] == "affected":
        yield f"  next: kpatch apply {path}"
    elif document["verdict"] == "patched":
        yield f"  next: nothing; 'kpatch verify {path}' proves it again"


def _kernel(kernel: dict[str, Any]) -> str:
    names = ", ".join(kernel["kernels"]) or "unknown"
    cpuid = "in doubt" if kernel["cpuid"] is None else f"%gs:{kernel['cpuid']:#x}"
    gdt = kernel["gdt"]
    if gdt == "private" and not kernel["not_affected"]:
        gdt = "probably private, not certain"  # by traces alone, which settle nothing
    return f"{names}; GDT {gdt}; cpuid {cpuid}"


def _evidence(document: Document) -> Iterator[str]:
    yield "  evidence:"
    for reason in document["identity"]["reasons"]:
        yield f"    {reason}"
    match = document.get("match")
    if match:
        yield f"    {match['image']['evidence']}"
        bound = ", ".join(
            f"${name} = {value if isinstance(value, str) else hex(value)}"
            for name, value in match["names"].items()
        )
        yield f"    {match['signature']}: {bound}"
        for site in match["sites"]:
            for text in site["instructions"]:
                yield f"      {site['site']}: {text}"
    for each in (document.get("source_fix") or {}).get("evidence", []):
        yield f"    {each}"
    kernel = document.get("kernel") or {"evidence": [], "conflicts": []}
    for each in kernel["evidence"]:
        yield f"    {each['source']}: {each['seen']}: {each['means']}"
    for each in kernel["conflicts"]:
        yield f"    conflict: {each['what']}"
    for each in document["linker"]:
        yield f"    kernel linker: {each['rule']}: {each['what']}"
    if document.get("patch"):
        yield f"    original: {document['patch']['original_sha256']}"
