"""What is to be proven, who does it, and the verdict.

The command line names the default bound in its help, before it loads what makes a proof.
"""

from typing import Final

MAX_STATES: Final = 200_000
"""States of one exploration: with 16 CPUs they take about 1 GiB."""
