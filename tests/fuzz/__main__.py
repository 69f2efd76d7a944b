"""``python -m tests.fuzz SECONDS [TARGET...]``: so many seconds for all targets together.

Each runs in a process of its own, by atheris, over its seeds; what it finds is written to the
folder ``build/fuzz/TARGET``. A finding belongs into ``tests/fuzz/corpus/TARGET``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_HANG: Final = 60
"""Seconds on the clock after which an execution is ended; ``targets.HANG`` is of processor time,
which a busy machine does not stretch.
"""
_MEMORY: Final = 512
"""MiB of a process above which it is a finding."""


def main(seconds: int, names: list[str]) -> int:
    """Run the targets one after the other. Returns 1 if one has a finding."""
    from tests.fuzz.targets import TARGETS

    chosen = names or list(TARGETS)
    findings = executions = 0
    for name in chosen:
        count, failed = _fuzz(name, max(1, seconds // len(chosen)))
        print(f"{name:<12} {count:9} executions  {'FINDING' if failed else 'no finding'}")
        executions += count
        findings += failed
    print(f"{'all':<12} {executions:9} executions  {findings} findings")
    return int(findings > 0)


def _fuzz(name: str, seconds: int) -> tuple[int, bool]:
    from tests.fuzz.targets import TARGETS

    found = Path("build/fuzz", name)
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(TARGETS[name].corpus()):
            Path(folder, str(number)).write_bytes(data)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.one", name, folder),
                *(f"-max_total_time={seconds}", f"-timeout={_HANG}", f"-rss_limit_mb={_MEMORY}"),
                *("-max_len=200000", "-print_final_stats=1", f"-artifact_prefix={found}/"),
                # A process that the target forks would answer signals as libFuzzer does.
                *("-handle_term=0", "-handle_int=0"),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    counted = re.search(r"number_of_executed_units: *([0-9]+)", done.stderr)
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
    return int(counted[1]) if counted else 0, done.returncode != 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2:]))
