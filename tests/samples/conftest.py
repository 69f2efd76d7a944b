"""What the tests of the samples share."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.referees import require
from tests.samples.listing import SAMPLES


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all samples, built anew from their sources, once for all workers of a run."""
    require("gcc", "ld", "objcopy")
    base = tmp_path_factory.getbasetemp()
    # A worker's own folder lies in that of the run (pytest-xdist).
    target = (base.parent if base.name.startswith("popen-") else base) / "rebuilt"
    done = target / "MANIFEST.toml"  # it is written last
    with target.with_name("rebuilt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            subprocess.run([sys.executable, SAMPLES / "build.py", target], check=True)
    return target
