"""What the command line has to know of a proof before it loads what makes one."""

from __future__ import annotations

from typing import Final

MAX_STATES: Final = 200_000
"""States of one exploration: with 16 CPUs they take about 1 GiB."""
