"""A schedule as lanes: one column a CPU, with the descriptor and every TR beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from kpatch.report.fold import folded
from kpatch.report.style import Style
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed_proof import LanesFacts, LaneStepFacts

_LEAST_LANE: Final = 34
_NARROWEST: Final = 22
"""Columns of a lane that still takes any operand: ``[rdi + 0x8c]`` folds, ``0xfffffdff`` not."""

_DESCRIPTOR: Final = 16


def lanes_text(lanes: LanesFacts, style: Style, width: int = 0) -> Iterator[str]:
    """Render the document of :class:`kpatch.verify.proof.lanes.Lanes`, line by line.

    ``width`` is where lines fold; 0 for nowhere. Where the lanes have no room beside each other
    they stand below each other, each step with the CPU's number.
    """
    cpus = lanes["cpus"]
    first = [step["instructions"][0] for step in lanes["steps"] if step["instructions"]]
    lane = max([_LEAST_LANE, *map(len, first)])
    beside = max([2, *(len(", ".join(step["tasks"])) for step in lanes["steps"])])
    if not width or cpus * (lane + 1) + _DESCRIPTOR + 1 + beside <= width:
        yield from _with_machine(lanes, style, lane)
        return
    lane = min(lane, (width + 1) // cpus - 1)
    yield from _without_room(lanes, style, lane if lane >= _NARROWEST else 0, width)


def _with_machine(lanes: LanesFacts, style: Style, width: int) -> Iterator[str]:
    """The descriptor and every TR in columns of their own."""
    cpus = lanes["cpus"]
    yield f"{_heads(cpus, width)} {'descriptor':<{_DESCRIPTOR}} TR"
    for step in lanes["steps"]:
        indent = " " * (step["cpu"] * (width + 1))
        for index, text in enumerate(_shortened(step)):
            lane = f"{indent + text:<{cpus * (width + 1) - 1}}"
            descriptor = ", ".join(step["descriptor"])
            beside = f" {descriptor:<{_DESCRIPTOR}} {', '.join(step['tasks'])}"
            yield (lane + (beside if index == 0 else "")).rstrip()
        for text in step["violations"]:
            yield indent + style.paint("bad", f"^ {text}")


def _without_room(lanes: LanesFacts, style: Style, lane: int, width: int) -> Iterator[str]:
    """Lanes of ``lane`` columns, or below each other (0); the machine below where it changed."""
    if lane:
        yield _heads(lanes["cpus"], lane).rstrip()
    before = ""
    for step in lanes["steps"]:
        label = "" if lane else f"CPU {step['cpu']}  "
        indent = step["cpu"] * (lane + 1) if lane else 0
        for text in _shortened(step):
            for part in folded(f"{label}{text}", lane or width, len(label) + 2):
                yield " " * indent + part
            label = " " * len(label)
        after = f"{', '.join(step['descriptor'])}; TR {', '.join(step['tasks'])}"
        if after != before:
            yield from folded(f"  = descriptor {after}", width, 4)
            before = after
        for text in step["violations"]:
            yield from (style.paint("bad", line) for line in folded(f"^ {text}", width))


def _heads(cpus: int, width: int) -> str:
    return " ".join(f"{f'CPU {cpu}':<{width}}" for cpu in range(cpus))


def _shortened(step: LaneStepFacts) -> Iterator[str]:
    """The first instruction of a step is the one that others can tell; the rest is local."""
    if step["move"] == "drain":
        yield "(its oldest store reaches memory)"
        return
    if step["move"] == "take":
        yield "(takes a guest)"
    instructions = step["instructions"]
    if instructions:
        yield instructions[0]
    if len(instructions) > 1:
        yield f"  and {counted(len(instructions) - 1, 'local instruction')}"
