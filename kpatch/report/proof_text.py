"""A proof as text: the verdict, what it covers, and counterexamples as lanes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kpatch.report.command_line import Given, command_line
from kpatch.report.coverage_text import coverage, selector_words
from kpatch.report.documents import obligations, title_of
from kpatch.report.fold import fold
from kpatch.report.lanes_text import lanes_text
from kpatch.report.machine_text import machine_lines
from kpatch.report.printable import printable
from kpatch.report.style import Style
from kpatch.report.verdict_text import MEANING, verdict_line
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed_proof import (
        CheckFacts,
        CounterexampleFacts,
        ExploredFacts,
        ProofFacts,
        ReadingFacts,
        Verified,
        WindowFacts,
    )

_IN_IMAGE = " image+0x"
"""What lanes call a place in the monitor image begins with this."""

_FEW = 4
"""Explorations that ended early are told one by one, if they are no more."""


def proof_text(
    file: str,
    document: ProofFacts | Verified,
    style: Style,
    *,
    verbose: int,
    width: int = 0,
    path: str = "",
    given: Given = (),
    repair: str = "",
    image: str = "",
) -> str:
    """Render the document of :class:`kpatch.verify.proof.verdict.Proof` about the module ``file``.

    ``width`` is that of a terminal, where what was proven is a table and lines fold; 0 for none.
    ``path`` is the file to name in a command, where the module is inside another; the command
    repeats the options ``given``. With ``repair`` the module is not patched, and the text ends with
    the command of these words. ``image`` is where the monitor image begins, for lanes that count
    from there.
    """
    shown = printable(document)
    witnesses: list[str] = []
    if "readers" in shown:  # What verify found has other witnesses beside the proof.
        witnesses = list(_witnesses(shown, style))
    command = command_line("verify", path or file, given)
    lines = list(_lines(file, command, shown, witnesses, style, verbose, width))
    if image and any(_IN_IMAGE in line for line in lines):
        lines.append(f" {_IN_IMAGE}0 is {printable(image)}")
    if repair and document["verdict"] == "proven":
        lines.append("  it is not patched: this is proven of the switch as it was built")
    if repair and document["verdict"] in ("violated", "proven"):
        lines.append(f"  next: {command_line(repair, path or file, given)}")
    return fold("\n".join(lines), width)


def quiet_text(file: str, document: Verified, style: Style) -> str:
    """The same with ``-q``: the verdict, and which other reader or machine contradicts it."""
    shown = printable(document)
    lines = [verdict_line(file, shown["verdict"], style)]
    for reader in shown["readers"]:
        if not reader["agrees"]:
            lines += (f"  {line}" for line in _readers([reader], style))
    for machine in shown["machines"]:
        if machine["verdict"] != "passed":
            lines += (f"  {line}" for line in machine_lines(machine, style))
    return "\n".join(lines)


def _lines(
    file: str,
    command: str,
    document: ProofFacts,
    witnesses: Sequence[str],
    style: Style,
    verbose: int,
    width: int,
) -> Iterator[str]:
    yield verdict_line(file, document["verdict"], style)
    yield from (
        f"  {line}" for line in (*_broken(document, style), *coverage(document, style, width))
    )
    for each in document["explored"]:
        if each["kind"] == "control":
            yield f"  {_control(each, style)}"
    if document["window"]:
        yield f"  window: {window_line(document['window'], style)}"
    for check in document["checks"]:
        yield from (f"  {line}" for line in _check(check, style))
    yield from (f"  {line}" for line in witnesses)
    if verbose:
        for explored in document["explored"]:
            yield f"  {_explored(explored)}"
    yield from _failures(command, document, style, verbose, width)
    if document["missing"]:
        yield f"  not run: {'; '.join(document['missing'])}"
    if document["caveat"]:
        yield f"  note: {document['caveat']}"
    yield "  not modelled: NMIs and machine checks in the window, DMA, other kernel code"


def _failures(
    command: str, document: ProofFacts, style: Style, verbose: int, width: int
) -> Iterator[str]:
    """Each exploration that does not hold, and the first counterexample to each property. Many that
    a bound ended are told in one line; with ``-vv`` the controls are shown as well.
    """
    shown: set[str] = set()
    alike = [] if verbose else _ended_early(document)
    if len(alike) <= _FEW:
        alike = []
    else:
        word = style.paint(MEANING["not-proven"], "not proven")
        bounds = ", ".join(dict.fromkeys(_bound(each) for each in alike))
        yield f"  {counted(len(alike), 'exploration')}: {word}: {bounds} (-v lists them)"
    for each in document["explored"]:
        wanted = each["kind"] == "control" and verbose > 1
        if wanted or (each["kind"] == "obligation" and not each["holds"] and each not in alike):
            yield f"  {_title(each)}: {style.paint(MEANING[each['verdict']], _why(each))}"
            for found in each["counterexamples"]:
                if found["prop"] not in shown:
                    shown.add(found["prop"])
                    replay = f"{command} {_replay(each, found, document)}"
                    yield from _counterexample(found, replay, style, width)


def _witnesses(document: Verified, style: Style) -> Iterator[str]:
    yield from _readers(document["readers"], style)
    for machine in document["machines"]:
        yield from machine_lines(machine, style)


def _check(check: CheckFacts, style: Style) -> Iterator[str]:
    """One property of the whole switch, and what is wrong with it."""
    if check["holds"]:
        yield f"{check['name']}: {style.paint('good', 'holds')}"
    for found, colour, word in (
        (check["wrong"], "bad", "VIOLATED"),
        (check["unknown"], "doubt", "cannot tell"),
    ):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        if found:
            yield f"{check['name']}: {style.paint(colour, word)}: {found[0]}{more}"


def _readers(readers: Sequence[ReadingFacts], style: Style) -> Iterator[str]:
    """Which other readers see the file as kpatch does, and what the others see."""
    agreeing = [f"{reader['reader']} {reader['version']}" for reader in readers if reader["agrees"]]
    if agreeing:
        yield f"read back: {' and '.join(agreeing)} agree with kpatch"
    for reader in readers:
        if not reader["agrees"]:
            yield style.paint("bad", f"read back: {reader['reader']} does not agree:")
            yield from (f"  {line}" for line in reader["differences"])


def _broken(document: ProofFacts, style: Style) -> Iterator[str]:
    """What is violated, and in how many explorations: before how much else went well."""
    broken = [each for each in obligations(document) if each["counterexamples"]]
    if broken:
        found = dict.fromkeys(one["prop"] for each in broken for one in each["counterexamples"])
        what = style.paint("bad", f"violated: {', '.join(found)}")
        yield f"{what}, in {len(broken)} of {counted(document['obligations'], 'exploration')}"


def _ended_early(document: ProofFacts) -> list[ExploredFacts]:
    """The explorations in which nothing was found, and not everything was visited."""
    found = obligations(document)
    return [each for each in found if not each["holds"] and not each["counterexamples"]]


def _control(each: ExploredFacts, style: Style) -> str:
    name = _title(each)
    found = ", ".join(dict.fromkeys(one["prop"] for one in each["counterexamples"]))
    if each["holds"]:
        return f"{name}: {style.paint('good', 'refuted')}, found {found}"
    if each["bound"]:
        return f"{name}: {style.paint('doubt', 'not refuted')}: {_end(each)}"
    return f"{name}: {style.paint('bad', 'NOT REFUTED')}, found {found or 'nothing'}"


def _title(each: ExploredFacts) -> str:
    return title_of(each["kind"], each["name"], each["model"])


def window_line(window: WindowFacts, style: Style) -> str:
    """How long a foreign TSS stays loaded, and whether that is within the bound."""
    patched, unpatched = window["patched"], window["unpatched"]
    found = (
        "the patched switch does not return"
        if patched is None
        else f"{counted(patched, 'instruction')} with a foreign TSS"
    )
    before = "does not return" if unpatched is None else f"{unpatched}"
    holds = style.paint("good" if window["holds"] else "bad", _holds(window["holds"]))
    return f"{found}, unpatched {before}, bound +{window['bound']}: {holds}"


def _explored(each: ExploredFacts) -> str:
    return (
        f"{_title(each)}: {each['verdict']}, {counted(each['states'], 'state')}, "
        f"{counted(each['transitions'], 'transition')}, symmetry {each['symmetry']}, "
        f"{each['seconds']:.2f} s"
    )


def _why(each: ExploredFacts) -> str:
    if each["counterexamples"]:
        found = "violates " + ", ".join(found["prop"] for found in each["counterexamples"])
        return f"{found}; ended early: {_end(each)}" if each["bound"] else found
    return f"not proven: {_end(each)}"


def _end(each: ExploredFacts) -> str:
    """What ended an exploration early, and where it was."""
    return (
        f"{_bound(each)} after {counted(each['states'], 'state')}, {each['frontier']} of them "
        "not looked into"
    )


def _bound(each: ExploredFacts) -> str:
    return each["bound"] if each["bound"] == "interrupted" else f"{each['bound']} reached"


def _holds(value: bool) -> str:
    return "holds" if value else "TOO LONG"


def _replay(each: ExploredFacts, found: CounterexampleFacts, document: ProofFacts) -> str:
    """The options of ``kpatch verify`` that show this counterexample again."""
    return (
        f"--scenario {each['scenario']} --cpus {each['cpus']} --model {each['model']}"
        f"{selector_words(each, ' --tr-selector {:#x}')}"
        f"{' --every-instruction' if document['every_instruction'] else ''}"
        f" --replay '{found['schedule']}'"
    )


def _counterexample(
    found: CounterexampleFacts, replay: str, style: Style, width: int
) -> Iterator[str]:
    yield f"    {found['prop']}: {found['what']}"
    word = "fewest possible" if found["fewest"] else "shortest found"
    yield f"    {counted(found['preemptions'], 'preemption')} ({word}); replay: {replay}"
    yield from (f"    {line}" for line in lanes_text(found["lanes"], style, max(width - 4, 0)))
