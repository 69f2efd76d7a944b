"""Files and folders that somebody may not read, list or write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.children import in_child
from tests.cli.harness import copied, listing, patched_bytes, run, sample

NOBODY: Final = 65534


def test_a_file_of_somebody_else_can_be_repaired_elsewhere(open_folder: Path) -> None:
    theirs, mine = open_folder / "theirs", open_folder / "mine"
    theirs.mkdir()
    mine.mkdir()
    path = copied("kqemu-7.ko", theirs)
    if os.geteuid() == 0:
        os.chown(mine, NOBODY, NOBODY)
    assert as_nobody("apply", "--no-verify", "-o", mine / "new.ko", path) == 0
    assert (mine / "new.ko").read_bytes() == patched_bytes()
    assert (mine / "new.ko").stat().st_uid == mine.stat().st_uid


def test_a_folder_that_cannot_be_listed_is_no_folder_without_modules(open_folder: Path) -> None:
    copied("other.ko", open_folder)
    closed = open_folder / "closed"
    closed.mkdir(mode=0)
    assert as_nobody("scan", open_folder) == 18
    assert run("scan", open_folder / "other.ko").code == 0


def test_a_folder_that_cannot_be_written_leaves_the_file_alone(open_folder: Path) -> None:
    path = copied("kqemu-7.ko", open_folder)
    path.chmod(0o666)
    open_folder.chmod(0o555)
    before = listing(open_folder)
    for options in ([], ["--no-copy"]):
        assert as_nobody("apply", "--no-verify", *options, path) == 18
    assert listing(open_folder) == before


def test_a_file_that_cannot_be_read_is_exit_code_18(open_folder: Path) -> None:
    path = copied("kqemu-7.ko", open_folder)
    path.chmod(0)
    for command in ("scan", "apply", "revert", "diff"):
        assert as_nobody(command, path) == 18


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches; the one of pytest is for its user alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def as_nobody(*arguments: str | Path) -> int:
    """The exit code of a call without the rights of root."""
    # So that what it imports is there: it may not read our own files later.
    with tempfile.TemporaryDirectory() as folder:
        run("apply", "--no-verify", "-o", Path(folder, "out.ko"), sample("kqemu-7.ko"))

    def call() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os._exit(run(*arguments).code)

    return in_child(call)
