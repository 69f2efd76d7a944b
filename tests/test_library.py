"""The library's face: lazy, silent, typed, and as docs/library.md shows it."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import kpatch
from tests.cli.little import prove_little

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "library.md"


def _python(script: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With little proofs: a whole one by ``apply`` is in tests/cli/test_people.py."""
    prove_little(monkeypatch)
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(ROOT / "samples" / "kqemu-7.ko", folder)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runpy.run_path(str(script))
    printed, complaints = capsys.readouterr()
    assert complaints == ""
    assert len(blocks) == 7
    assert "entry: file offset 0xa41, 25 bytes" in printed and "own-tss" in printed
    assert [path.name for path in folder.iterdir()] == ["kqemu-7.ko"]


def test_every_name_of_the_face_is_there(tmp_path: Path) -> None:
    names = ", ".join(kpatch.__all__)
    assert _python(f"from kpatch import {names}; print(callable(scan))", tmp_path) == "True\n"
    assert set(kpatch.__all__) <= set(dir(kpatch))


def test_importing_it_costs_next_to_nothing(tmp_path: Path) -> None:
    """Bound by counts: two dozen lines, and no module that Python has not loaded by itself."""
    script = (
        "import sys; before = set(sys.modules); import kpatch; "
        "print(sorted(set(sys.modules) - before - {'kpatch'}))"
    )
    assert _python(script, tmp_path) in ("[]\n", "['__future__']\n")


def test_nothing_is_printed_and_no_emulator_is_loaded_by_a_scan(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from kpatch import scan; "
        f"scan(Path({str(ROOT / 'samples' / 'kqemu-7.ko')!r}).read_bytes()); "
        "assert not {'unicorn', 'keystone', 'lief', 'click'} & set(sys.modules)"
    )
    assert _python(script, tmp_path) == ""
