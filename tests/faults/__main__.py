"""``python -m tests.faults [MOST [SCENARIO...]]``: all faults, or so many of each scenario."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.faults import short
from tests.faults.campaign import MISSED, expected, faults, judged, scenarios


def run(names: Sequence[str], most: int | None) -> int:
    """Run the campaign and print its figures. Returns the number of failures."""
    failures = 0
    for scenario in scenarios():
        if names and scenario.name not in names:
            continue
        done = expected(scenario)
        chosen = faults(scenario, most)
        told = [(each, what) for each in chosen if (what := judged(scenario, each, done))]
        bad = [(each, what) for each, what in told if what != MISSED]
        at = len({(each.call, each.number) for each in chosen})
        missed = f", {len(told) - len(bad)} never struck" if len(told) > len(bad) else ""
        figures = f"{at:5} points {len(chosen):6} faults {len(bad):4} failures"
        print(f"{scenario.name:<10} {figures}{missed}")
        for fault, what in bad:
            print(f"  {fault.option}: {what}")
        shorts = short.judged(scenario, done)
        print(f"{scenario.name:<10} {short.RUNS:5} runs with short writes {len(shorts):8} failures")
        for what in shorts:
            print(f"  {what}")
        failures += len(bad) + len(shorts)
        sys.stdout.flush()
    return failures


if __name__ == "__main__":
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    sys.exit(run(sys.argv[2:], most or None) > 0)
