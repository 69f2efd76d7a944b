"""How far a proof goes, by numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kpatch.report.documents import obligations
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed_proof import ProofFacts


class Extent(NamedTuple):
    """What was explored. ``cpus`` and ``models`` are lists in words, as ``1, 2 and 4``."""

    explorations: int
    states: int
    cpus: str
    models: str


def extent(proof: ProofFacts) -> Extent:
    """Of a proof with at least one obligation."""
    held = obligations(proof)
    *counts, most = sorted({explored["cpus"] for explored in held})
    return Extent(
        len(held),
        sum(explored["states"] for explored in held),
        f"{', '.join(map(str, counts))} and {most}" if counts else f"{most}",
        " and ".join(sorted({explored["model"] for explored in held})),
    )


def how_far(proof: ProofFacts) -> str:
    """``90 explorations (1, 2 and 4 CPUs; memory models sc and tso)``."""
    done = extent(proof)
    explorations = counted(done.explorations, "exploration")
    return f"{explorations} ({done.cpus} CPUs; memory models {done.models})"
