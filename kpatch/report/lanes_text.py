"""A schedule as lanes: one column a CPU, with the descriptor and every TR beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpatch.report.style import Style

_LEAST_LANE = 34


def lanes_text(lanes: dict[str, Any], style: Style) -> Iterator[str]:
    """Render the document of :class:`kpatch.verify.proof.lanes.Lanes`, line by line."""
    cpus = lanes["cpus"]
    width = max(
        [_LEAST_LANE] + [len(text) for step in lanes["steps"] for text in step["instructions"][:1]]
    )
    heads = " ".join(f"{f'CPU {cpu}':<{width}}" for cpu in range(cpus))
    yield f"{heads} {'descriptor':<16} TR"
    for step in lanes["steps"]:
        indent = " " * (step["cpu"] * (width + 1))
        for index, text in enumerate(_shortened(step)):
            lane = f"{indent + text:<{cpus * (width + 1) - 1}}"
            beside = f" {', '.join(step['descriptor']):<16} {', '.join(step['tasks'])}"
            yield (lane + (beside if index == 0 else "")).rstrip()
        for text in step["violations"]:
            yield indent + style.paint("bad", f"^ {text}")


def _shortened(step: dict[str, Any]) -> Iterator[str]:
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
        more = len(instructions) - 1
        yield f"  and {more} local instruction{'s' * (more > 1)}"
