"""``scan FILE`` without click says and returns what it says with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.cli import fast_path
from kpatch.cli.main import run
from tests.cli.harness import SAMPLES, package_bytes, patched_bytes

NAMES = ("kqemu-7.ko", "kqemu-7-fix-a.ko", "kqemu-7-cut.ko", "kqemu-linux.ko", "other.ko")


def both(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What both ways print; they agree."""
    brief = run(["scan", str(path)]), *capsys.readouterr()
    assert brief == (run(["scan", "--color", "auto", str(path)]), *capsys.readouterr())
    return brief[1]


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_say_the_same(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert both(SAMPLES / name, capsys).startswith(f"{SAMPLES / name}: ")


def test_patched_packed_and_missing_files_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.ko"
    for data, word in (
        (patched_bytes(), "PATCHED"),
        (package_bytes("bzip2"), "AFFECTED"),
        (b"\x7fELF", ""),
    ):
        path.write_bytes(data)
        assert word in both(path, capsys)
    path.unlink()
    assert both(path, capsys) == "" and both(tmp_path, capsys) == ""


def test_an_error_of_any_kind_is_left_to_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(fast_path, "scan_file", fails)
    assert fast_path.scan_one([str(SAMPLES / "other.ko")]) is None
