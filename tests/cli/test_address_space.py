"""Address space is limited on many machines (ulimit -v, login.conf's vmemoryuse)."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

from tests.cli.harness import environment, sample
from tests.cli.little import little_line

SAMPLE = sample("kqemu-7.ko")


def limited(size: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A kpatch command that has ``size`` bytes of address space, and proves little.

    What a proof takes it takes for its emulator, however many explorations there are.
    """
    return subprocess.run(
        little_line(*arguments),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )


def test_4_gib_of_address_space_are_enough_to_prove_a_patch(tmp_path: Path) -> None:
    out = tmp_path / "out.ko"
    applied = limited(4 << 30, "apply", "-o", out, SAMPLE)
    assert applied.returncode == 0, applied.stderr


def test_too_little_address_space_is_the_machine_s_reason(tmp_path: Path) -> None:
    out = tmp_path / "out.ko"
    found = limited(200 << 20, "apply", "-o", out, SAMPLE)
    assert found.returncode == 18, found.stderr
    assert "ulimit -v" in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not out.exists()
