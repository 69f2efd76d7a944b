"""What the tests of the samples share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.referees import require
from tests.samples.listing import SAMPLES


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all samples, built anew from their sources."""
    require("gcc", "ld", "objcopy")
    target = tmp_path_factory.mktemp("samples")
    subprocess.run([sys.executable, SAMPLES / "build.py", target], check=True)
    return target
