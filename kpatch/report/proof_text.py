"""A proof as text: the verdict, what it covers, and counterexamples as lanes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpatch.report.documents import Document
from kpatch.report.lanes_text import lanes_text
from kpatch.report.printable import printable
from kpatch.report.style import Style

_MEANING = {"proven": "good", "violated": "bad", "not-proven": "doubt", "withheld": "doubt"}


def proof_text(file: str, document: Document, style: Style, *, verbose: bool) -> str:
    """Render the document of :class:`kpatch.verify.proof.Proof`."""
    return "\n".join(_lines(printable(file), printable(document), style, verbose))


def _lines(file: str, document: Document, style: Style, verbose: bool) -> Iterator[str]:
    verdict = document["verdict"]
    yield f"{file}: {style.paint(_MEANING[verdict], verdict.upper())}"
    yield from (f"  {line}" for line in _coverage(document))
    for each in document["explored"]:
        if each["kind"] == "control":
            yield f"  {_control(each, style)}"
    window = document["window"]
    if window:
        yield (
            f"  window: {window['patched']} instructions with a foreign TSS, unpatched "
            f"{window['unpatched']}, bound +{window['bound']}: "
            + style.paint("good" if window["holds"] else "bad", _holds(window["holds"]))
        )
    if verbose:
        for each in document["explored"]:
            yield f"  {_explored(each)}"
    shown: set[str] = set()
    for each in document["explored"]:
        if each["kind"] == "obligation" and not each["holds"]:
            yield f"  {each['name']}: {style.paint(_MEANING[each['verdict']], _why(each))}"
            for found in each["counterexamples"]:
                if found["prop"] not in shown:
                    shown.add(found["prop"])
                    yield from _counterexample(found, style)
    if document["missing"]:
        yield f"  not run: {'; '.join(document['missing'])}"
    if document["caveat"]:
        yield f"  note: {document['caveat']}"
    yield "  not modelled: NMIs and machine checks in the window, DMA, other kernel code"


def _coverage(document: Document) -> Iterator[str]:
    obligations = [each for each in document["explored"] if each["kind"] == "obligation"]
    proven = [each for each in obligations if each["holds"]]
    states = sum(each["states"] for each in obligations)
    transitions = sum(each["transitions"] for each in obligations)
    yield (
        f"{len(proven)} of {len(obligations) + len(document['missing'])} explorations proven, "
        f"every interleaving: {states} states, {transitions} transitions, "
        f"{document['seconds']:.1f} s"
    )
    for model in sorted({each["model"] for each in obligations}):
        own = [each for each in obligations if each["model"] == model]
        cpus = ", ".join(str(count) for count in sorted({each["cpus"] for each in own}))
        scenarios = ", ".join(dict.fromkeys(each["scenario"] for each in own))
        yield f"{model}: {cpus} CPUs: {scenarios}"


def _control(each: Document, style: Style) -> str:
    found = ", ".join(dict.fromkeys(one["prop"] for one in each["counterexamples"])) or "nothing"
    word = style.paint("good", "refuted") if each["holds"] else style.paint("bad", "NOT REFUTED")
    return f"control: {each['name']} ({each['model']}): {word}, found {found}"


def _explored(each: Document) -> str:
    return (
        f"{each['kind']} {each['name']}: {each['verdict']}, {each['states']} states, "
        f"{each['transitions']} transitions, symmetry {each['symmetry']}, {each['seconds']:.2f} s"
    )


def _why(each: Document) -> str:
    if each["counterexamples"]:
        return ", ".join(
            f"{found['prop']}: {found['what']}" for found in each["counterexamples"][:1]
        )
    return f"not proven: {each['bound']} reached after {each['states']} states"


def _holds(value: bool) -> str:
    return "holds" if value else "TOO LONG"


def _counterexample(found: dict[str, Any], style: Style) -> Iterator[str]:
    yield f"    {found['prop']}: {found['what']}"
    word = "fewest possible" if found["fewest"] else "shortest found"
    yield f"    {found['preemptions']} preemptions ({word}); replay: {found['schedule']}"
    yield from (f"    {line}" for line in lanes_text(found["lanes"], style))
