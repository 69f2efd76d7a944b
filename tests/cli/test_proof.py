"""The proof before a file is replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kpatch.verify.explore import MemoryModel
from kpatch.verify.proof import obligations, tasks
from kpatch.verify.proof.obligations import suite
from kpatch.verify.proof.tasks import Bounds
from tests.cli import schema
from tests.cli.harness import (
    copied,
    environment,
    look,
    names,
    patched_bytes,
    run,
    sample,
)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_is_not_proven_is_not_written(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = suite((), [2], (MemoryModel.SC,))[:1]
    monkeypatch.setattr(obligations, "default_suite", lambda with_maxcpu: few)
    monkeypatch.setattr(tasks, "Bounds", lambda: Bounds(max_states=10))
    path = copied("kqemu-7.ko", tmp_path)
    before = look(path)
    done = run("apply", *options, path)
    assert done.code == 17
    assert look(path) == before and names(tmp_path) == [path.name]
    if options:
        schema.check(done.document, "apply", 17)
        assert done.document["files"][0]["error"]["error"] == "verification-failed"
    else:
        assert done.out == "" and done.complaint.startswith(f"kpatch: {path}: ")
        assert "nothing was written" in done.complaint


def test_without_the_proof_it_says_so_loudly(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    for options in ([], ["-q"]):
        path.write_bytes(sample("kqemu-7.ko").read_bytes())
        done = run("apply", "--no-verify", "--no-copy", *options, path)
        assert done.code == 0 and "NOT VERIFIED" in done.err.splitlines()[0]


@pytest.mark.parametrize("call", [["scan"], ["revert"], ["apply", "--dry-run"]])
def test_only_a_proof_pays_for_the_emulator(call: list[str], tmp_path: Path) -> None:
    path = tmp_path / "kqemu.ko"
    path.write_bytes(patched_bytes() if call == ["revert"] else sample("kqemu-7.ko").read_bytes())
    # A revert patches the original again, to know that the note is kpatch's own.
    heavy = {"unicorn", "lief", "keystone"} - (set() if "scan" in call else {"keystone"})
    script = (
        "import sys; from kpatch.cli import main; "
        f"main.run({[*call, str(path)]!r}); "
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        timeout=300,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == b"[]"
