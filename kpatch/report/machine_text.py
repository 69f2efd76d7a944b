"""What a test on another machine showed, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kpatch.report.style import Style
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed_proof import MachineFacts, TriedFacts

_MEANING = {"passed": "good", "failed": "bad", "withheld": "doubt"}


def machine_lines(machine: MachineFacts, style: Style) -> Iterator[str]:
    """The verdict with its count, a line for each run, and what was wrong in it."""
    verdict = style.paint(_MEANING[machine["verdict"]], machine["verdict"])
    name = " ".join(filter(None, (machine["name"], machine["version"])))
    yield (
        f"test on {name}, {counted(machine['cpus'], 'CPU')}, "
        f"{counted(machine['rounds'], 'round')} a CPU: {verdict} "
        "(a test, no proof)"
    )
    yield from (f"  {line}" for line in _advice(machine))
    for run in machine["runs"]:
        yield f"  {_run(run, style)}"
        if run["kind"] == "test" or not run["holds"]:
            yield from (f"    {line}" for line in (*run["findings"], *run["registers"]))


def _advice(machine: MachineFacts) -> Iterator[str]:
    """What to do about a verdict that is withheld."""
    if machine["verdict"] != "withheld":
        return
    if any(run["outcome"] == "unfinished" for run in machine["runs"]):
        yield "the clock ended a run: give more --machine-seconds, or less other work"
    if machine["enough"]:
        yield (
            f"too few rounds for a missing lock to show: --rounds {machine['enough']} should do, "
            "or leave --rounds out"
        )
    elif any(run["kind"] == "control" and not run["holds"] for run in machine["runs"]):
        yield "no missing lock shows in so many rounds: give --machine-seconds more, or --rounds"


def _run(run: TriedFacts, style: Style) -> str:
    counts = (run["rounds"], "round"), (run["wrong_tss"], "wrong TSS"), (run["faults"], "fault")
    said = ", ".join(counted(*each) for each in counts)
    if run["outcome"] == "unfinished":
        said += f", unfinished after {run['seconds']:.0f} s"
    if run["kind"] == "control":
        word = "fails, as it must" if run["holds"] else "did not fail: the verdict is withheld"
        return f"control: {run['name']} {style.paint(_good(run['holds']), word)}: {said}"
    word = "right" if run["holds"] else "wrong" if run["findings"] else "not done"
    return f"{run['name']}: {style.paint(_good(run['holds']), word)}: {said}"


def _good(holds: bool) -> str:
    return "good" if holds else "bad"
