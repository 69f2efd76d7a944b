"""A file is replaced whole, with all that it has, or not at all; and why not is said."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from kpatch.errors import FileAccessError
from kpatch.storage import replace
from kpatch.storage.files import read_bulk, require_replaceable
from kpatch.storage.reasons import explain
from tests.children import in_child
from tests.cli.harness import copied, look, names, run


def shell(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=300)


def test_acl_and_extended_attributes_survive(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    os.setxattr(path, "user.origin", b"ports")
    path.chmod(0o640)
    shell("setfacl", "-m", "u:daemon:rw,g::r", path)
    before = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    assert len(before) == 2
    mode = path.stat().st_mode
    done = run("apply", "--no-verify", path)
    assert done.code == 0 and "could not be kept" not in done.err
    for each in (path, path.with_name(f"{path.name}.orig.gz")):
        assert {name: os.getxattr(each, name) for name in os.listxattr(each)} == before
        assert each.stat().st_mode == mode


def test_what_cannot_be_kept_is_told_and_a_mask_gives_the_group_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group's bits in the mode are the mask of the ACL: here they would let it write."""
    path = copied("kqemu-7.ko", tmp_path)
    shell("setfacl", "-m", "u:daemon:rw,g::-,m::rw", path)
    assert stat.S_IMODE(path.stat().st_mode) & 0o070 == 0o060

    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refused)
    done = run("apply", "--no-verify", "--no-copy", path)
    assert done.code == 0
    assert "its attribute system.posix_acl_access could not be kept" in done.err
    assert stat.S_IMODE(path.stat().st_mode) & 0o070 == 0


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_default_acl_of_the_folder_lets_nobody_in(tmp_path: Path, *, elsewhere: bool) -> None:
    """A new file has it from its folder; the old mode would be the mask of that ACL."""
    path = copied("kqemu-7.ko", tmp_path)
    path.chmod(0o660)
    (tmp_path / "out").mkdir()
    for folder in (tmp_path, tmp_path / "out"):
        shell("setfacl", "-d", "-m", "u:daemon:rwx,g:games:rw,g::r", folder)
    to = ("-o", tmp_path / "out") if elsewhere else ()
    assert run("apply", "--no-verify", *to, path).code == 0
    copy = path.with_name(f"{path.name}.orig.gz")
    for each in [tmp_path / "out" / path.name] if elsewhere else [path, copy]:
        assert os.listxattr(each) == []
        assert stat.S_IMODE(each.stat().st_mode) == 0o660


def test_an_owner_that_cannot_be_had_is_told_and_needed_in_place_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace it is no permission that lacks: the user is not known there."""
    path = copied("kqemu-7.ko", tmp_path)
    os.chown(path, 12345, 12345)

    def refused(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fchown", refused)
    assert run("apply", "--no-verify", "-o", tmp_path / "new.ko", path).code == 0
    done = run("apply", "--no-verify", path)
    assert done.code == 18 and names(tmp_path) == [path.name, "new.ko"]
    assert "it belongs to user 12345, and would not do so any more (Invalid argument)" in done.err


@pytest.mark.parametrize(("flag", "said"), [("i", "immutable"), ("a", "append-only")])
def test_an_immutable_file_is_named_as_such_and_no_copy_stays(
    flag: str, said: str, tmp_path: Path
) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    before = path.read_bytes()
    shell("chattr", f"+{flag}", path)
    try:
        done = run("apply", "--no-verify", path)
    finally:
        shell("chattr", f"-{flag}", path)
    assert done.code == 18 and f"it is {said}" in done.err and f"chattr -{flag}" in done.err
    assert names(tmp_path) == [path.name] and path.read_bytes() == before


def test_an_immutable_folder_is_named_and_nothing_stays_behind(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    shell("chattr", "+i", tmp_path)
    try:
        done = run("apply", "--no-verify", path)
        assert names(tmp_path) == ["kqemu-7.ko"]
    finally:
        shell("chattr", "-i", tmp_path)
    assert done.code == 18 and "its folder is immutable" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize(
    ("mode", "owner", "said"),
    [
        (0o1777, (0, 0), "it belongs to user 0, and its folder is sticky"),
        (0o777, (0, 0), "it belongs to user 0, and would not do so any more"),
        (0o777, (65534, 1), "it belongs to group 1, and would not do so any more"),
    ],
)
def test_a_file_of_another_user_is_said_to_be_one(
    mode: int, owner: tuple[int, int], said: str
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as text:  # tmp_path is closed to others
        folder = Path(text)
        path = copied("kqemu-7.ko", folder)
        folder.chmod(mode)
        path.chmod(0o666)
        os.chown(path, *owner)
        before = look(path)
        os.seteuid(65534)
        try:
            with pytest.raises(FileAccessError, match=said) as caught:
                replace(path, b"other")
        finally:
            os.seteuid(0)
        assert caught.value.exit_code == 18
        assert names(folder) == ["kqemu-7.ko"] and look(path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_what_may_not_be_read_is_told_so(tmp_path: Path) -> None:
    """Nothing of what writing would do, and nothing that -o could help."""
    with tempfile.TemporaryDirectory(dir="/tmp") as text:
        path = copied("kqemu-7.ko", Path(text))
        Path(text).chmod(0o777)
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(FileAccessError) as caught:
                read_bulk(path)
        finally:
            os.seteuid(0)
    assert caught.value.what == "cannot read it: Permission denied"
    assert caught.value.todo == "check the name and the permissions"


def test_a_file_that_is_a_mount_point_is_told_as_one(tmp_path: Path) -> None:
    what, todo = explain(tmp_path, OSError(errno.EBUSY, "Device or resource busy"))
    assert what == "something is mounted there (Device or resource busy)" and "unmount it" in todo


def test_what_an_earlier_run_left_goes_with_the_next(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    left = tmp_path / ".kpatch-0123456789abcdef.symbols"
    others = [
        tmp_path / name for name in (".kpatch-0123.symbols", "kpatch-0123456789abcdef.symbols")
    ]
    for each in (left, *others):
        each.write_bytes(b"left")
    assert run("apply", "--no-verify", "--no-copy", path).code == 0
    assert left.exists(), "another run may still need it"
    if os.geteuid() == 0:
        os.chown(left, 12345, 12345)  # as root's runs give it away before the rename
    now = time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 2 * 24 * 3600)
        assert run("revert", path).code == 0
    assert not left.exists() and all(each.exists() for each in others)


def test_a_file_in_shared_memory_is_a_file() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        assert require_replaceable(Path(file.name)) == Path(file.name)


@pytest.mark.parametrize("command", [["apply", "--no-verify"], ["revert"]])
def test_standard_input_is_no_name_for_the_file_behind_it(
    command: list[str], tmp_path: Path
) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    before = path.read_bytes()
    (tmp_path / "link.ko").symlink_to("/dev/stdin")

    def with_input() -> None:
        for name in ("/dev/stdin", "/proc/self/fd/0", tmp_path / "link.ko"):
            with path.open("rb") as file:
                os.dup2(file.fileno(), 0)
            done = run(*command, name)
            assert done.code == 18 and "stands for an open file" in done.complaint

    assert in_child(with_input) == 0
    assert path.read_bytes() == before and names(tmp_path) == [path.name, "link.ko"]
