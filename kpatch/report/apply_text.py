"""What ``apply`` did to a file, on one screen: for somebody who has never seen kpatch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kpatch.report.bounds import extent
from kpatch.report.command_line import Given, command_line
from kpatch.report.fold import NARROWEST, WIDEST, filled
from kpatch.report.printable import printable
from kpatch.report.style import Style
from kpatch.units import counted

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
    kernel = module.get("kernel")
    names = kernel["kernels"] if kernel else []
    if not kernel or len(names) < 2:
        return " ".join(("kqemu for FreeBSD/amd64", *names))
    first, last = (name.split(" (")[0] for name in (names[0], names[-1]))
    return f"kqemu for FreeBSD/amd64 {first} to {last} ({kernel['low']} to {kernel['high']})"


def _wrong(document: Applied) -> str:
    match = document["module"]["match"]
    section = match["image"]["section"]
    at = {site["site"]: f"{section}+{site['section_offset']:#x}" for site in match["sites"]}
    return (
        f"Leaving the guest ({at.get('exit', '?')}), it loaded TR from a GDT slot that may hold "
        "another CPU's TSS, and two CPUs could do so at once: the kernel panics. It saved only the "
        f"slot's number ({at.get('entry', '?')})."
    )


def _changed(document: Applied) -> str:
    before, after = document["before"]["size"], document["after"]["size"]
    fix = document["module"].get("source_fix")
    rest = f"No other code or data changed; {counted(before, 'byte')} became {after}."
    if fix:
        rest = f"Source fix {fix['variant']} now returns at once. {rest}"
    return (
        "Both places now call new code at the end of the file: one CPU at a time puts its own TSS "
        f"into the slot and loads it. {rest}"
    )


def _proven(proof: ProofFacts) -> str:
    done = extent(proof)
    return (
        f"In every order of instructions of {done.cpus} "
        f"({counted(done.explorations, 'exploration')}, {counted(done.states, 'state')}, "
        f"models {done.models}) each CPU gets its TSS back, if its number is found; nothing "
        "faults, hangs or stays altered. The old module, and the patch without lock, failed."
    )


def _left_out(proof: ProofFacts) -> str:
    window = proof["window"]
    size = (
        f" ({counted(window['patched'], 'instruction')}; {window['unpatched']} before the patch)"
        if window and window["patched"] is not None
        else ""
    )
    return (
        f"Other CPU counts; kernels whose CPU number is not at %gs:{proof['cpuid']:#x}; NMIs, "
        f"machine checks before TR is back{size}; DMA, other kernel code. It ran on emulated "
        "CPUs only."
    )


def _next(document: Applied) -> str:
    packed = document["module"]["file"] != document["file"]
    return f"On its machine, {loading('the old', packed=packed)}"


def loading(running: str, *, packed: bool) -> str:
    """What the machine does until the module is loaded anew, and how that is done.

    A kernel that runs knows nothing of the file: kldload(8) has copied it.
    """
    return (
        f"which runs {running} one until then: stop all guests, install "
        f"{'the package' if packed else 'it'}, kldunload kqemu; kldload kqemu"
    )


def _kept(document: Applied) -> str:
    if not document["in_place"]:
        return f"; {document['file']} is as it was"
    copy = document.get("copy")
    return f"; the original is also kept in {copy}" if copy else ""
