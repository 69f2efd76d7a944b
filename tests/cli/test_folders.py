"""Folders that hold more than kqemu: what is nothing for kpatch is passed over there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kpatch.cli.main import run

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A module folder with kqemu and another driver."""
    for name in ("kqemu-7.ko", "other.ko"):
        shutil.copy(SAMPLES / name, tmp_path)
    return tmp_path


def test_apply_and_revert_of_a_folder_pass_over_other_modules(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(["apply", "--no-verify", "--no-copy", str(folder)]) == 0
    assert (folder / "kqemu-7.ko").read_bytes() != before["kqemu-7.ko"]
    assert "other.ko" not in capsys.readouterr().err
    assert run(["revert", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_module_that_is_named_is_not_passed_over(folder: Path) -> None:
    assert run(["apply", "--no-verify", str(folder), str(folder / "other.ko")]) == 11


def test_the_document_says_what_was_passed_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", "--dry-run", "--json", str(folder)]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [each["status"] for each in files] == ["would-patch", "passed-over"]


@pytest.mark.parametrize("command", ["apply", "verify", "revert"])
def test_a_folder_with_nothing_for_kpatch_is_refused(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "kqemu-7.ko").unlink()
    assert run([command, str(folder)]) == 11
    assert "the folders hold 1 file, and no module" in capsys.readouterr().err
