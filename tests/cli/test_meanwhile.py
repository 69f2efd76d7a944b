"""Other programs at the same file while it is replaced, and what fails once it is replaced."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from kpatch.errors import FileAccessError
from kpatch.storage import files, replace, writer
from kpatch.storage.bulk import Bulk
from kpatch.storage.files import read_bulk
from tests.cli.harness import copied, names, run


@pytest.mark.parametrize("can_exchange", [True, False])
def test_what_another_program_renames_there_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    looks: list[Path] = []

    def look(place: Path) -> Bulk:
        found = read_bulk(place)
        looks.append(place)
        # Behind the last look that comes before the rename.
        if len(looks) == (1 if can_exchange else 0):
            (tmp_path / "theirs").write_bytes(b"theirs")
            (tmp_path / "theirs").replace(path)
        return found

    monkeypatch.setattr(writer, "read_bulk", look)
    if not can_exchange:
        monkeypatch.setattr(writer, "_exchange", lambda *_: False)
        path.write_bytes(b"theirs")
    with pytest.raises(FileAccessError, match="somebody else changed it"):
        replace(path, b"ours", expected=b"old")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("moment", ["before the second exchange", "after it"])
def test_what_two_other_programs_do_to_it_is_not_lost(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first puts its file there behind our last look, the second its own over ours."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    exchange = writer._exchange
    calls: list[Path] = []

    def exchanging(one: Path, other: Path) -> bool:
        calls.append(one)
        if len(calls) == 1:
            (tmp_path / "first").write_bytes(b"first")
            (tmp_path / "first").replace(path)
        elif moment == "after it":
            (tmp_path / "second").write_bytes(b"second")
            (tmp_path / "second").replace(path)
        else:
            path.unlink()
        return exchange(one, other)

    monkeypatch.setattr(writer, "_exchange", exchanging)
    with pytest.raises(FileAccessError, match="more than once") as caught:
        replace(path, b"ours", expected=b"old")
    (kept,) = (each for each in names(tmp_path) if each != path.name)
    assert kept in str(caught.value) and kept.endswith(".kept.symbols")
    left = {(tmp_path / each).read_bytes() for each in names(tmp_path)}
    assert left == ({b"first", b"second"} if moment == "after it" else {b"first"})


@pytest.mark.parametrize("means", ["renameat2", "link", "neither"])
def test_a_copy_never_takes_the_place_of_a_file_that_came_meanwhile(
    means: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    copy = path.with_name(f"{path.name}.orig.gz")
    fsync = os.fsync

    def syncing(handle: int) -> None:
        if not copy.exists():
            copy.write_bytes(b"theirs")
        fsync(handle)

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", syncing)
    if means != "renameat2":
        monkeypatch.setattr(writer, "_renamed", lambda *_: False)
    if means == "neither":
        monkeypatch.setattr(os, "link", no_links)
    assert run("apply", "--no-verify", path).code == 0
    assert copy.read_bytes() == b"theirs"
    assert len(names(tmp_path)) == 3 and run("revert", path).code == 0


@pytest.mark.parametrize("call", ["fsync", "close"])
def test_after_the_rename_the_message_says_that_it_is_replaced(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    before = path.read_bytes()
    real: Callable[[int], None] = getattr(os, call)

    def broken(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode) and path.read_bytes() != before:
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, call, broken)
    done = run("apply", "--no-verify", path)
    assert done.code == 18
    assert "it is replaced, but its folder could not be written out" in done.err
    assert path.read_bytes() != before
    assert names(tmp_path) == [path.name, f"{path.name}.orig.gz"], "the only copy stays"


def test_a_file_system_that_cannot_write_out_folders_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    replace(tmp_path / "file", b"new")
    assert names(tmp_path) == ["file"]


def test_an_old_file_that_cannot_be_removed_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two names are exchanged, and then the old file is under the temporary one."""
    path = copied("kqemu-7.ko", tmp_path)
    before = path.read_bytes()
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self.name.startswith(".kpatch-"):
            raise OSError(errno.EIO, "Input/output error")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    done = run("apply", "--no-verify", "--no-copy", path)
    assert done.code == 18
    assert "it is replaced, but the old file could not be removed" in done.err
    assert path.read_bytes() != before
    (left,) = set(names(tmp_path)) - {path.name}
    assert left in done.err and (tmp_path / left).read_bytes() == before


def test_a_pipe_put_there_behind_the_first_look_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    look = Path.stat

    def exchanging(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        seen = look(self, follow_symlinks=follow_symlinks)
        path.unlink()
        os.mkfifo(path)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", exchanging)
        with pytest.raises(FileAccessError, match="it is not a file"):
            read_bulk(path)


@pytest.mark.parametrize("mode", ["ab", "wb", "r+b"])
@pytest.mark.parametrize("largest", [0, 1 << 20])
def test_a_file_that_changes_while_it_is_read_is_not_taken_for_one_that_was(
    mode: str, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows, shrinks, or is written over in its place."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.utime(path, (1, 1))
    require = files._require_plain

    def written(place: Path, status: os.stat_result) -> None:
        require(place, status)
        with path.open(mode) as file:
            file.write(b"n")

    monkeypatch.setattr(files, "IN_MEMORY", largest)
    monkeypatch.setattr(files, "_require_plain", written)
    with pytest.raises(FileAccessError, match="it changed while it was read"):
        read_bulk(path)


def test_what_has_no_end_is_not_read_to_it() -> None:
    """/proc is full of files of no bytes from which some come, or come for ever."""
    with pytest.raises(FileAccessError, match="or only looks like a file"):
        read_bulk(Path("/proc/self/status"))
