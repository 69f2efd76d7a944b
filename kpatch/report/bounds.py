"""How far a proof goes, by numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kpatch.report.documents import obligations
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed_proof import ProofFacts


class Extent(NamedTuple):
    """What was explored. ``cpus`` and ``models`` are in words, as ``1, 2 and 4 CPUs``."""

    explorations: int
    states: int
    cpus: str
    models: str


def extent(proof: ProofFacts) -> Extent:
    """Of a proof with at least one obligation."""
    held = obligations(proof)
    *fewer, most = sorted({explored["cpus"] for explored in held})
    most_cpus = counted(most, "CPU")
    return Extent(
        len(held),
        sum(explored["states"] for explored in held),
        f"{', '.join(map(str, fewer))} and {most_cpus}" if fewer else most_cpus,
        " and ".join(sorted({explored["model"] for explored in held})),
    )


def how_far(proof: ProofFacts) -> str:
    """``90 explorations (1, 2 and 4 CPUs; memory models sc and tso)``."""
    done = extent(proof)
    explorations = counted(done.explorations, "exploration")
    return f"{explorations} ({done.cpus}; memory models {done.models})"
