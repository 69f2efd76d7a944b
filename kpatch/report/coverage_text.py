"""What a proof covers, as text: how much was explored, and exactly what of it is proven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kpatch.kernel.host import SELECTOR_TO_7
from kpatch.report.documents import obligations
from kpatch.report.style import Style
from kpatch.report.table import drawn
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed_proof import ExploredFacts, ProofFacts


def coverage(document: ProofFacts, style: Style, width: int) -> Iterator[str]:
    """How much was explored, and exactly what of it is proven."""
    if document["verdict"] == "not-judged":
        yield "nothing was explored: the module may be right or wrong"
        return
    wanted = obligations(document)
    proven = [obligation for obligation in wanted if obligation["holds"]]
    states = sum(obligation["states"] for obligation in wanted)
    transitions = sum(obligation["transitions"] for obligation in wanted)
    switches = "instruction by instruction" if document["every_instruction"] else ""
    words = ("over every interleaving" if proven else "", switches)
    yield (
        f"{len(proven)} of {counted(document['obligations'], 'exploration')} proven "
        f"{', '.join(filter(None, words))}".rstrip()
        + f": {counted(states, 'state')}, {counted(transitions, 'transition')}, "
        + f"{document['seconds']:.1f} s"
    )
    yield from _table(proven, style, width) if width and proven else _by_model(proven)
    if proven:
        yield f"on hosts whose struct pcpu has cpuid at {document['cpuid']:#x}"


def selector_words(each: ExploredFacts, form: str) -> str:
    """The TR selector, where it is not the usual one."""
    return "" if each["tr_selector"] == SELECTOR_TO_7 else form.format(each["tr_selector"])


def _by_model(proven: Sequence[ExploredFacts]) -> Iterator[str]:
    for model in sorted({explored["model"] for explored in proven}):
        # Numbers of CPUs at which the same scenarios are proven share a line.
        counts: dict[tuple[str, ...], list[int]] = {}
        own = [explored for explored in proven if explored["model"] == model]
        for count in sorted({explored["cpus"] for explored in own}):
            scenarios = tuple(_scenario(explored) for explored in own if explored["cpus"] == count)
            counts.setdefault(scenarios, []).append(count)
        for scenarios, cpus in counts.items():
            word = "CPU" if cpus == [1] else "CPUs"
            yield f"{model}, {', '.join(map(str, cpus))} {word}: {', '.join(scenarios)}"


def _table(proven: Sequence[ExploredFacts], style: Style, width: int) -> Iterator[str]:
    """A row for each scenario, a column for each model: the numbers of CPUs proven there."""
    models = sorted({explored["model"] for explored in proven})
    rows: dict[tuple[str, ...], list[str]] = {}
    for scenario, selector in dict.fromkeys(
        (explored["scenario"], explored["tr_selector"]) for explored in proven
    ):
        own = [
            explored
            for explored in proven
            if (explored["scenario"], explored["tr_selector"]) == (scenario, selector)
        ]
        cells = (
            ", ".join(
                map(str, sorted(explored["cpus"] for explored in own if explored["model"] == model))
            )
            for model in models
        )
        rows.setdefault((scenario, *cells), []).append(f"{selector:#x}")
    heads = ("proven", *(f"{model}, CPUs" for model in models), "TR")
    cells_of = [(*row, ", ".join(selectors)) for row, selectors in rows.items()]
    return drawn(heads, cells_of, max(width - 2, 0), style)


def _scenario(each: ExploredFacts) -> str:
    return f"{each['scenario']}{selector_words(each, ' (TR {:#x})')}"
