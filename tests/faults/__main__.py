"""``python -m tests.faults [MOST [SCENARIO...]]``: all faults, or so many of each scenario."""

from __future__ import annotations

import sys

from tests.faults.campaign import run

if __name__ == "__main__":
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    sys.exit(run(sys.argv[2:], most or None) > 0)
