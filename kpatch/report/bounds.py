"""How far a proof goes, in half a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpatch.report.documents import obligations

if TYPE_CHECKING:
    from kpatch.report.typed_proof import ProofFacts


def how_far(proof: ProofFacts) -> str:
    """``90 explorations (1, 2 and 4 CPUs; memory models sc and tso)``."""
    held = obligations(proof)
    *counts, most = sorted({explored["cpus"] for explored in held})
    models = " and ".join(sorted({explored["model"] for explored in held}))
    cpus = f"{', '.join(map(str, counts))} and {most}" if counts else f"{most}"
    return f"{len(held)} explorations ({cpus} CPUs; memory models {models})"
