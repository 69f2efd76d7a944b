"""``python -m tests.campaign SECONDS [SEED]``: random trampolines, until the time is over.

Each disagreement of the two explorations is kept in ``build/campaign``, and ends the run with 1; it
belongs into ``tests/campaign/cases``.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from kpatch.errors import KpatchError
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import scenario_named
from kpatch.verify.proof.obligations import Obligation
from tests.campaign.judge import Trial, judge, macros, module_of
from tests.campaign.trampolines import trampolines

FOUND: Final = Path("build/campaign")
_PER_MODULE: Final = 25
_PLACES: Final = tuple(
    Obligation(scenario_named(scenario), 2, model)
    for scenario, models in (
        ("leave", (MemoryModel.SC, MemoryModel.SC, MemoryModel.SC, MemoryModel.TSO)),
        ("unknown-layout", (MemoryModel.SC,)),
    )
    for model in models
)


def main(seconds: float, seed: int) -> int:
    """Judge until ``seconds`` are over; 1 if there was a disagreement."""
    started = reported = time.monotonic()
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    while time.monotonic() - started < seconds:
        if sum(counts.values()) % _PER_MODULE == 0:
            own = macros(draw)
            module = module_of(own)
            gc.collect()
        try:
            trial = Trial(trampolines(draw), own, draw.choice(_PLACES))
            judged = judge(trial, module)
        except (KpatchError, ValueError):
            continue  # the assembler, or the plan, refuses it
        counts[judged.outcome] += 1
        verdicts[judged.reduced.split()[0]] += 1
        if judged.outcome == "other":
            FOUND.mkdir(parents=True, exist_ok=True)
            path = FOUND / f"{seed}-{sum(counts.values())}.toml"
            path.write_text(trial.text(), encoding="utf-8")
            print(f"{path}: {judged.reduced} | {judged.plain}", flush=True)
        if time.monotonic() - reported > 60:
            reported = time.monotonic()
            print(_line(seed, counts, verdicts), flush=True)
    print(_line(seed, counts, verdicts))
    return int(counts["other"] > 0)


def _line(seed: int, counts: Counter[str], verdicts: Counter[str]) -> str:
    found = ", ".join(f"{name} {count}" for name, count in sorted(verdicts.items()))
    return (
        f"seed {seed}: {sum(counts.values())} trampolines ({found}): {counts['same']} judged alike"
        f", {counts['bounded']} to a bound, {counts['other']} otherwise"
    )


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
