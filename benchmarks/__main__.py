"""``python -m benchmarks [NAME...]``: all of them without a name. RESULTS.md keeps it all.

With KPATCH_BRIEF in the environment they only show that they run.
"""

from __future__ import annotations

import contextlib
import io
import sys

from benchmarks import (
    explore,
    folder,
    growth,
    machine,
    packages,
    pairs,
    proof,
    reductions,
    results,
    startup,
    throughput,
)
from benchmarks.measure import IS_BRIEF

_ALL = {
    "startup": startup.main,
    "throughput": throughput.main,
    "folder": folder.main,
    "growth": growth.main,
    "packages": packages.main,
    "proof": proof.main,
    "pairs": pairs.main,
    "explore": explore.main,
    "reductions": reductions.main,
    "machine": machine.main,
}


class _Copy(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]
        return super().write(text)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    for name in names or list(_ALL):
        if name not in _ALL:
            print(f"no benchmark '{name}': choose among {', '.join(_ALL)}", file=sys.stderr)
            return 2
        print(f"== {name}")
        copy = _Copy()
        with contextlib.redirect_stdout(copy):
            _ALL[name]()
        if not IS_BRIEF:
            results.keep(name, copy.getvalue())
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
