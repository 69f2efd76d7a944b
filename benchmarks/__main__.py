"""``python -m benchmarks [NAME...]``: all of them without a name."""

from __future__ import annotations

import sys

from benchmarks import explore, folder, machine, pairs, proof, reductions, startup, throughput

_ALL = {
    "startup": startup.main,
    "throughput": throughput.main,
    "folder": folder.main,
    "proof": proof.main,
    "pairs": pairs.main,
    "explore": explore.main,
    "reductions": reductions.main,
    "machine": machine.main,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    for name in names or list(_ALL):
        if name not in _ALL:
            print(f"no benchmark '{name}': choose among {', '.join(_ALL)}", file=sys.stderr)
            return 2
        print(f"== {name}")
        _ALL[name]()
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
