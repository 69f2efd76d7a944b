"""``scan`` as text: the verdict of each file, with ``-v`` what it rests on, with ``-vv`` all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from kpatch.errors import KpatchError
from kpatch.report.command_line import Given, command_line, names_kernel, repair_with
from kpatch.report.printable import printable
from kpatch.report.style import Style
from kpatch.report.verdict_text import verdict_line
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed import Assessed, ErrorFacts, KernelFacts


def scan_text(
    document: Assessed,
    style: Style,
    *,
    verbose: int,
    path: str = "",
    given: Given = (),
    kept_for: str = "",
) -> str:
    """Render one file's document from :func:`kpatch.report.documents.assessment`.

    With ``path`` it ends with the command to run now, which repeats the options ``given``.
    With ``kept_for`` it is the kept original of the file of that name.
    """
    document = printable(document)
    verdict = document["verdict"]
    lines = [verdict_line(document["file"], verdict, style), f"  {document['reason']}"]
    lines += _short(document, path)
    if verbose:
        lines += _evidence(document)
    if verbose > 1:
        lines += _details(document)
    if kept_for and verdict == "affected":
        name = printable(kept_for)
        lines.append(f"  by its name it is the copy of the original that kpatch keeps of {name}")
        lines.append("  next: nothing; it is the original that kpatch revert uses")
    else:
        lines += _next(document, path, given)
    return "\n".join(lines)


def not_kqemu_text(name: str, refusal: KpatchError, style: Style) -> str:
    """The same for a file that is nothing for kpatch, of which there is no document."""
    todo = [f"  {printable(refusal.todo)}"] if refusal.todo else []
    head = verdict_line(name, "not-kqemu", style)
    return "\n".join([head, f"  {printable(refusal.what)}", *todo])


def _short(document: Assessed, path: str) -> Iterator[str]:
    match, kernel = document.get("match"), document.get("kernel")
    if match and document["verdict"] in ("affected", "fixed-by-source"):
        for site in match["sites"]:
            yield (
                f"  {site['site']} site: image offset {site['image_offset']:#x}, "
                f"{match['image']['section']}+{site['section_offset']:#x}, "
                f"file offset {site['file_offset']:#x}, {counted(site['size'], 'byte')}"
            )
    if kernel and document["verdict"] in ("affected", "fixed-by-source", "not-affected"):
        yield f"  kernel: {_kernel(kernel)}"
    if document["linker"]:
        # Imported here: hardly any module breaks a rule.
        from kpatch.report.linker_text import linker_warning

        yield from (f"  {warning}" for warning in linker_warning(document["linker"]))
    refusal = document.get("refusal")
    if refusal and refusal["todo"] and not (path and _says_it_all(refusal)):
        yield f"  {refusal['todo']}"


def _says_it_all(refusal: ErrorFacts) -> bool:
    """Whether the command that does it needs no words beside it: one with a VERSION does."""
    return refusal.get("option") == "--replace-source-fix"


def _next(document: Assessed, path: str, given: Given) -> Iterator[str]:
    """The command to run now. A refusal has said what to do, but for the file's name."""
    refusal = document.get("refusal")
    if not path:
        return
    if refusal:
        if "option" in refusal:
            yield f"  next: {repair_with(refusal['option'], path, given)}"
    elif document["verdict"] == "affected":
        kernel = document.get("kernel")
        if kernel and kernel["gdt"] == "unknown" and not names_kernel(given):
            yield (
                "  a kernel with a GDT for each CPU needs no repair; to be told, add --osversion "
                "N, as `sysctl -n kern.osreldate` prints it"
            )
        yield f"  next: {command_line('apply', path, given)}"
    elif document["verdict"] in ("patched", "patched-then-stripped"):
        # The note says nothing of a proof: anybody could write that.
        yield (
            "  whether it was proven cannot be seen in the file; to prove it: "
            f"{command_line('verify', path, given)}"
        )


def _kernel(kernel: KernelFacts) -> str:
    if any(conflict["matters"] for conflict in kernel["conflicts"]):
        return "in doubt: the evidence contradicts itself, see 'conflict'"
    names = _ranges(kernel["kernels"]) or "unknown"
    cpuid = "in doubt" if kernel["cpuid"] is None else f"%gs:{kernel['cpuid']:#x}"
    gdt = kernel["gdt"]
    if gdt == "private" and not kernel["not_affected"]:
        gdt = "probably private, not certain"  # by traces alone, which settle nothing
    elif gdt == "unknown":
        gdt = "shared or private"
    return f"{names}; GDT {gdt}; cpuid {cpuid}"


def _ranges(names: Sequence[str]) -> str:
    """The kernels ``names``; those that follow each other in the table as first and last."""
    # Imported here: most files in a folder have no kernel.
    from kpatch.kernel.kernels import builtin_table

    following = dict(pairwise(kernel.name for kernel in builtin_table().kernels))
    runs: list[list[str]] = []
    for name in names:
        if runs and following.get(runs[-1][-1]) == name:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(map(_extent, runs))


def _extent(run: Sequence[str]) -> str:
    """``8-CURRENT (before 800046)`` and the kernels after that are 8-CURRENT together."""
    first, last = run[0], run[-1]
    plain = first.split(" (")[0]
    if first == last:
        return first
    return plain if plain == last.split(" (")[0] else f"{first} to {last}"


def _evidence(document: Assessed) -> Iterator[str]:
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
    if "source_fix" in document:
        for evidence in document["source_fix"]["evidence"]:
            yield f"    {evidence}"
    if "kernel" in document:
        for word in document["kernel"]["evidence"]:
            sure = word["confidence"]
            mark = f" ({sure})" if sure and sure != "proven" else ""
            yield f"    {word['source']}: {word['seen']}: {word['means']}{mark}"
        for conflict in document["kernel"]["conflicts"]:
            label = "conflict" if conflict["matters"] else "overruled"
            yield f"    {label}: {conflict['what']}"
    for rule in document["linker"]:
        yield f"    kernel linker: {rule['rule']}: {rule['what']}"
    if "patch" in document:
        yield f"    original: {document['patch']['original_sha256']}"


def _details(document: Assessed) -> Iterator[str]:
    """What else the document holds: numbers that people compare with those of other tools."""
    yield "  details:"
    yield f"    file: {counted(document['size'], 'byte')}, SHA-256 {document['sha256']}"
    match = document.get("match")
    if match:
        image = match["image"]
        yield f"    signature: {match['signature']}: {match['title']}"
        yield (
            f"    image: {image['section']}+{image['section_offset']:#x}, "
            f"file offset {image['file_offset']:#x}, {counted(image['size'], 'byte')}"
        )
        yield from (f"      {name}: {offset:#x}" for name, offset in image["header"].items())
    kernel = document.get("kernel")
    if kernel:
        yield f"    __FreeBSD_version: {_range(kernel['low'], kernel['high'])}"
        for word in kernel["evidence"]:
            ranges = ", ".join(_range(each["first"], each["last"]) for each in word["versions"])
            if not ranges:
                continue
            decisive = ", decisive" if word["is_decisive"] else ""
            overruled = ", overruled" if word["is_overridden"] else ""
            yield f"      {word['source']}: {word['seen']}: {ranges}{decisive}{overruled}"
    if "patch" in document:
        patch = document["patch"]
        yield (
            f"    patch: kpatch {patch['version']}, {patch['signature']}, "
            f"cpuid %gs:{patch['cpuid']:#x}"
        )
        size = counted(patch["original_size"], "byte")
        yield f"    original: {size}, SHA-256 {patch['original_sha256']}"
    if document["refusal"]:
        yield f"    apply would exit with {document['refusal']['exit_code']}"


def _range(first: int | None, last: int | None) -> str:
    # Imported here: only -vv needs it.
    from kpatch.kernel.versions import PLAUSIBLE

    if first is None or last is None:
        return "unknown"
    return f"{first} and later" if last >= PLAUSIBLE[-1] else f"{first} to {last}"
