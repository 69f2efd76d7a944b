"""What ``apply`` did to a file, on one screen: for somebody who has never seen kpatch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kpatch.report.command_line import Given, command_line
from kpatch.report.documents import obligations
from kpatch.report.fold import NARROWEST, WIDEST, filled
from kpatch.report.printable import printable
from kpatch.report.style import Style

if TYPE_CHECKING:
    from kpatch.report.typed import Applied
    from kpatch.report.typed_proof import ProofFacts

_LABEL = 12


def applied_text(document: Applied, style: Style, width: int, given: Given = ()) -> str:
    """Render the entry of one file that ``apply`` patched, in at most 20 lines of 80 columns.

    The commands that it names repeat the options ``given``.
    """
    path = document["file"] if document["in_place"] else document["output"]
    document = printable(document)
    width = max(NARROWEST, min(WIDEST, width))
    verdict = _headline(document)
    lines = [f"{printable(path)}: {style.paint('good' if document['proof'] else 'doubt', verdict)}"]
    for label, text in _parts(document, path, given):
        lines += filled(text, width, f"  {label:<{_LABEL}}", " " * (_LABEL + 2))
    return "\n".join(lines)


def _headline(document: Applied) -> str:
    """Whether it was verified."""
    return "PATCHED AND PROVEN" if document["proof"] else "PATCHED, NOT VERIFIED (--no-verify)"


def _parts(document: Applied, path: str, given: Given) -> Iterator[tuple[str, str]]:
    yield "file", _what(document)
    yield "wrong", _wrong(document)
    yield "changed", _changed(document)
    proof = document["proof"]
    if proof:
        yield "proven", _proven(proof)
        yield "not proven", _left_out(proof)
    else:
        yield "proven", f"nothing (--no-verify). Do it with: {command_line('verify', path, given)}"
    yield "next", _next(document)
    yield "undo", f"{command_line('revert', path, given)}{_kept(document)}"
    explain, diff = command_line("explain", path, given), command_line("diff", path, given)
    yield "more", f"{explain}; every change: {diff}"


def _what(document: Applied) -> str:
    module = document["module"]
    names = module["kernel"]["kernels"] if "kernel" in module else []
    known = f" {names[0]}" if len(names) == 1 else f" {names[0]} to {names[-1]}" if names else ""
    return f"kqemu for FreeBSD/amd64{known}"


def _wrong(document: Applied) -> str:
    match = document["module"]["match"]
    section = match["image"]["section"]
    at = {site["site"]: f"{section}+{site['section_offset']:#x}" for site in match["sites"]}
    return (
        f"Leaving the guest ({at.get('exit', '?')}), it loaded TR from a GDT slot that may hold "
        "another CPU's TSS, and two CPUs could do so at once: the kernel panics. Entering "
        f"({at.get('entry', '?')}), it saved no TSS."
    )


def _changed(document: Applied) -> str:
    before, after = document["before"]["size"], document["after"]["size"]
    fix = document["module"].get("source_fix")
    rest = f"Nothing else changed but pointers in the ELF header; {before} bytes became {after}."
    if fix:
        name = f"Source fix {fix['variant']}"
        rest = f"{name} now returns at once. Else only pointers in the ELF header changed."
    return (
        "Both places now call new code at the end of the file: one CPU at a time puts its own TSS "
        f"into the slot and loads it. {rest}"
    )


def _proven(proof: ProofFacts) -> str:
    held = obligations(proof)
    counts = sorted({explored["cpus"] for explored in held})
    models = " and ".join(sorted({explored["model"] for explored in held}))
    states = sum(explored["states"] for explored in held)
    cpus = f"{', '.join(map(str, counts[:-1]))} and {counts[-1]}" if counts[1:] else f"{counts[0]}"
    return (
        f"In every order of the instructions of {cpus} CPUs ({len(held)} explorations, {states} "
        f"states, memory models {models}) each CPU gets its own TSS back; nothing faults, hangs "
        "or stays altered. Controls (old module; patch without lock) failed, as they must."
    )


def _left_out(proof: ProofFacts) -> str:
    return (
        f"Other numbers of CPUs; kernels whose cpuid is not at %gs:{proof['cpuid']:#x}; NMIs and "
        "machine checks at the wrong moment, DMA, other kernel code. It ran emulated, not on "
        "your machine."
    )


def _next(document: Applied) -> str:
    """A kernel that runs knows nothing of the file: kldload(8) has copied it."""
    packed = document["module"]["file"] != document["file"]
    return (
        f"{'Install the package' if packed else 'Put it in place'} and reload it on its machine, "
        "which runs the old one until then: kldunload kqemu; kldload kqemu"
    )


def _kept(document: Applied) -> str:
    if not document["in_place"]:
        return f"; {document['file']} is as it was"
    copy = document.get("copy")
    return f"; the original is also kept in {copy}" if copy else ""
