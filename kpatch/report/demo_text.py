"""The panic of 2008, as it looked on a console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kpatch.report.printable import printable
from kpatch.report.style import Style
from kpatch.units import counted
from kpatch.witness.machine.result import NOBODY

if TYPE_CHECKING:
    from kpatch.report.typed_proof import Demonstrated, PanicFacts, SceneFacts

_GENERAL_PROTECTION = 13


def demo_text(file: str, document: Demonstrated, style: Style) -> str:
    """Render the document of :class:`kpatch.panicdemo.Demonstration`."""
    return "\n".join(_lines(printable(file), printable(document), style))


def _lines(file: str, document: Demonstrated, style: Style) -> Iterator[str]:
    name = " ".join(filter(None, (document["name"], document["version"])))
    cpus = counted(document["cpus"], "CPU")
    yield f"{file}: {cpus} of {name}, each with a process that uses kqemu"
    for scene in document["scenes"]:
        yield ""
        word = style.paint(
            "bad" if scene["panicked"] or scene["outcome"] != "done" else "good", _what(scene)
        )
        yield f"{scene['name']}: {word}, {scene['seconds']:.1f} s"
        yield from (f"  {line}" for line in _scene(scene))


def _what(scene: SceneFacts) -> str:
    if scene["panic"] or scene["outcome"] == "reset":
        return "the kernel panics"
    if scene["panicked"]:
        return "kernel stacks are overwritten"
    return {
        "done": "it runs on",
        "unfinished": "it ran until the clock ended it",
        "hang": "the machine hangs",
    }.get(scene["outcome"], "the machine stopped")


def _scene(scene: SceneFacts) -> Iterator[str]:
    panic = scene["panic"]
    if panic:
        yield from (f"| {line}" for line in panic["message"])
        yield _why(panic)
    elif scene["outcome"] == "reset":
        yield "The machine reset itself: a fault while a fault was delivered."
    for process in scene["processes"]:
        yield f"CPU {process['cpu']}: {counted(process['rounds'], 'call')} of the switch" + (
            f", its stack overwritten {counted(process['clobbered'], 'time')}"
            if process["clobbered"]
            else ""
        )
    yield from scene["registers"]
    if scene["said"]:
        yield scene["said"]


def _why(panic: PanicFacts) -> str:
    cpu, stack = panic["cpu"], panic["stack"]
    if panic["vector"] == _GENERAL_PROTECTION and panic["error"]:
        return f"CPU {cpu}'s ltr found the descriptor busy: another CPU was loading it too."
    if stack == NOBODY:
        return f"CPU {cpu} was on no kernel stack any more."
    if stack != cpu:
        return f"CPU {cpu} was on the kernel stack of CPU {stack}'s process."
    return f"CPU {cpu} was on its own kernel stack, which another CPU used too."
