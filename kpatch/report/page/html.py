"""Draws the page: one HTML file that needs no network. Everything from the file is escaped.

The templates hold the words and the shapes; here are only the numbers that they need.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

from kpatch.report.documents import Document, obligations
from kpatch.report.padding import with_folded_padding
from kpatch.report.printable import printable
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed import Reported
    from kpatch.report.typed_diff import SectionFacts
    from kpatch.report.typed_proof import ExploredFacts, ProofFacts

WIDTH: Final = 1000
"""Of the drawing of the file, in units of the SVG."""

_LEAST: Final = 2.0
"""Width of a mark for something too small to see at this scale."""

PROPERTIES: Final = {
    "own-tss": "TR is this CPU's at each return",
    "no-fault": "no instruction faults",
    "progress": "from every state each CPU can finish",
    "restored": "registers, tables and flags are as before",
    "footprint": "nothing else is written",
    "descriptor": "the slot is well-formed whenever a CPU may load it",
}


def page(document: Reported) -> str:
    """The page for :func:`kpatch.report.page.document.page_document`, as HTML."""
    shown: Reported = printable(document)
    size = max(shown["size"]["before"], shown["size"]["after"]) or 1
    return (
        _environment()
        .get_template("page.html")
        .render(
            **shown,
            bars=[_bar(section, size) for section in shown["sections"] if section["in_file"]],
            marks=_marks(shown, size),
            width=WIDTH,
            original_width=_scaled(shown["size"]["before"], size),
            table=_verdicts(shown["proof"]),
            totals=_totals(shown["proof"]),
            counterexamples=_counterexamples(shown["proof"]),
            appended={section["name"] for section in shown["sections"] if section["is_new"]},
            properties=PROPERTIES,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["hex"] = hex
    environment.filters["counted"] = counted
    environment.globals["include_text"] = _text
    environment.globals["with_folded_padding"] = with_folded_padding
    return environment


def _text(name: str) -> str:
    return (resources.files("kpatch.report.page") / name).read_text(encoding="utf-8")


def _scaled(value: int, size: int) -> float:
    return round(WIDTH * value / size, 2)


def _bar(section: SectionFacts, size: int) -> dict[str, Any]:
    return {
        **section,
        "x": _scaled(section["offset"], size),
        "w": max(_scaled(section["size"], size), 0.4),
    }


def _marks(document: Reported, size: int) -> list[dict[str, Any]]:
    """The image and the sites, at their places in the file."""
    match = document["module"].get("match")
    if not match:
        return []
    image = match["image"]
    found = [("monitor image", "image", image["file_offset"], image["size"])]
    for site in match["sites"]:
        found.append((f"{site['site']} site", "site", site["file_offset"], site["size"]))
    return [
        {
            "name": name,
            "kind": kind,
            "offset": offset,
            "size": length,
            "x": _scaled(offset, size),
            "w": max(_scaled(length, size), _LEAST),
        }
        for name, kind, offset, length in found
    ]


def _obligations(proof: ProofFacts | None) -> list[ExploredFacts]:
    return obligations(proof) if proof else []


def _verdicts(proof: ProofFacts | None) -> dict[str, Any]:
    """Scenario and selector down, model and number of CPUs across."""
    explored = _obligations(proof)
    columns = sorted({(obligation["model"], obligation["cpus"]) for obligation in explored})
    rows: dict[tuple[str, int], dict[tuple[str, int], ExploredFacts]] = {}
    for each in explored:
        row = rows.setdefault((each["scenario"], each["tr_selector"]), {})
        row[each["model"], each["cpus"]] = each
    return {
        "columns": columns,
        "rows": [
            {"scenario": scenario, "tr": tr, "cells": [cells.get(column) for column in columns]}
            for (scenario, tr), cells in rows.items()
        ],
    }


def _totals(proof: ProofFacts | None) -> dict[str, Any]:
    found = _obligations(proof)
    most = max((explored["states"] for explored in found), default=1) or 1
    return {
        "obligations": len(found),
        "states": sum(explored["states"] for explored in found),
        "transitions": sum(explored["transitions"] for explored in found),
        "most": most,
        "all": found,
    }


def _counterexamples(proof: ProofFacts | None) -> list[Document]:
    """One of each control, first that of the unpatched module; and the module's own, if any."""
    found: dict[str, Document] = {}
    for explored in proof["explored"] if proof else ():
        is_control = explored["kind"] == "control"
        title = explored["name"] if is_control else f"this module: {explored['name']}"
        for one in explored["counterexamples"][:1]:
            more = {"of": title, "model": explored["model"], "is_control": is_control}
            found.setdefault(title, {**one, **more})
    return list(found.values())
