"""The same input gives the same output: on every run, in every folder, under every name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).parents[2] / "samples"
PATCH = """
import sys
from pathlib import Path
from kpatch.elf.module import read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.digest import digest
from kpatch.patch.prepare import prepare
for path in map(Path, sys.argv[1:]):
    print(digest(apply_plan(prepare(assess(read_module(path.read_bytes(), str(path)))))))
"""
CHOSEN = ("kqemu-7.ko", "kqemu-6.ko", "kqemu-7-offsets.ko", "kqemu-7-ehframe.ko")


def digests(seed: str, folder: Path, names: list[str], zone: str = "UTC") -> list[str]:
    """The digests of the patched files, by a fresh interpreter in ``folder``."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", PATCH, *names],
        cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return done.stdout.split()


def test_hash_seed_folder_and_name_leave_no_trace(tmp_path: Path) -> None:
    renamed = []
    for number, name in enumerate(CHOSEN):
        copy = tmp_path / f"some folder {number}" / f"a name with äöü {number}.ko"
        copy.parent.mkdir()
        copy.write_bytes((SAMPLES / name).read_bytes())
        os.utime(copy, (number, number))
        renamed.append(str(copy))
    first = digests("0", SAMPLES, list(CHOSEN))
    assert len(set(first)) == len(CHOSEN)
    assert digests("1", tmp_path, renamed) == first
    assert digests("4242", Path("/"), renamed[::-1], "Asia/Kathmandu") == first[::-1]
