"""Killed, interrupted or failing at any step of its own: the file is the old one or the new one."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from kpatch import repair
from kpatch.containers import copies, gzip
from kpatch.repair import Repaired
from kpatch.storage import attributes, files, writer
from kpatch.storage.bulk import Bulk
from tests.cli.harness import (
    copied,
    names,
    patched_bytes,
    run,
    sample,
)

_OLD: Final = sample("kqemu-7.ko").read_bytes()
_NEW: Final = patched_bytes()


_TRACED: Final = {each.__file__ for each in (writer, attributes, files, copies)}


class Steps:
    """The lines that touch files, from the first write on; ``before`` is told each one's number.

    What changes a folder is a call, and every call stands on a line of its own.
    """

    def __init__(self, before: Callable[[int], object]) -> None:
        self.count = 0
        self._before = before
        self._began = False

    def __enter__(self) -> Steps:
        """Begin to count."""
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        """Count no more."""
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in _TRACED:
            return None
        self._began |= frame.f_code is copies.keep_copy.__code__
        if self._began and event in ("line", "return"):
            self.count += 1
            self._before(self.count - 1)
        return self._trace


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patch is made once, and the copy is packed once: what is tested here is how the file is
    replaced. Nothing waits for the disk.
    """
    made: dict[bytes, Repaired] = {}

    original = repair.apply

    def remembered(data: bytes, *arguments: Any, **options: Any) -> Repaired:
        if data not in made:
            made[data] = original(data, *arguments, **options)
        return made[data]

    packed: dict[str, list[bytes]] = {}
    compress = gzip.compress

    def packed_once(data: Bulk) -> list[bytes]:
        known_by = data.digest()
        if known_by not in packed:
            packed[known_by] = list(compress(data))
        return packed[known_by]

    monkeypatch.setattr(repair, "apply", remembered)
    monkeypatch.setattr(copies, "compress", packed_once)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def _fresh(folder: Path, number: int) -> Path:
    place = folder / str(number)
    place.mkdir()
    return copied("kqemu-7.ko", place)


def _contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@pytest.mark.usefixtures("quick")
def test_killed_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    # What a process leaves that is killed lies there at that step: so it is looked at then.
    path = _fresh(tmp_path, 0)
    left: list[dict[str, bytes]] = []
    with Steps(lambda _: left.append(_contents(path.parent))):
        assert run("apply", "--no-verify", path).code == 0
    assert len(left) > 50, "the tracing does not see storage"
    for step, found in enumerate(left):
        assert found[path.name] in (_OLD, _NEW), f"step {step} leaves a third file"
        if found[path.name] == _NEW:
            assert f"{path.name}.orig.gz" in found, "replaced before it was kept"
    assert {found[path.name] for found in left} == {_OLD, _NEW}
    different = {tuple(sorted(found.items())) for found in left}
    assert len(different) >= 6, "not every change of the folder was looked at"
    for number, items in enumerate(different, 1):
        path = _fresh(tmp_path, number)
        for name, data in items:
            path.with_name(name).write_bytes(data)
        assert run("apply", "--no-verify", path).code == 0
        assert path.read_bytes() == _NEW
        assert run("scan", path.parent).code == 0, "what was left behind counts as a module"
        assert run("revert", path).code == 0
        assert path.read_bytes() == _OLD


@pytest.mark.usefixtures("quick")
def test_interrupted_at_any_step_it_leaves_nothing_else_behind(tmp_path: Path) -> None:
    step, is_over = 0, False
    while not is_over:
        path = _fresh(tmp_path, step)

        def interrupt(number: int, step: int = step) -> None:
            if number == step:  # it strikes at once, or where it is not held back any more
                signal.raise_signal(signal.SIGINT)

        with Steps(interrupt) as steps:
            done = run("apply", "--no-verify", path)
        is_over = steps.count <= step
        assert done.code == (0 if is_over else 130), step
        if not is_over:
            assert done.complaint == "kpatch: interrupted; no file was changed half-way"
        assert path.read_bytes() in (_OLD, _NEW)
        assert set(names(path.parent)) <= {path.name, f"{path.name}.orig.gz"}, step
        step += 1
    assert step > 50, "the tracing does not see storage"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("function", ["open", "fsync", "fchmod", "fchown", "fstat", "_renamed"])
def test_a_failing_call_is_exit_code_18_and_changes_nothing(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _fresh(tmp_path, 0)
    path.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(path, 1, 1)
    owner: Any = {"_renamed": writer}.get(function, os)
    real = getattr(owner, function)
    whole = _Failing(real, -1)
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, whole)
        assert run("apply", "--no-verify", path).code == 0
    if whole.count == 0:
        assert function == "fchown", "only root gives files away"
        return
    for at in range(whole.count):
        path = _fresh(tmp_path, at + 1)
        if os.geteuid() == 0:
            os.chown(path, 1, 1)
        with monkeypatch.context() as patch:
            patch.setattr(owner, function, _Failing(real, at))
            done = run("apply", "--no-verify", path)
        assert done.code == 18, at
        assert "No space left on device" in done.complaint
        assert set(names(path.parent)) <= {path.name, f"{path.name}.orig.gz"}
        last_sync = function == "fsync" and at == whole.count - 1
        assert path.read_bytes() == (_NEW if last_sync else _OLD)


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for owner, name in ((os, "fsync"), (os, "fchmod"), (writer, "_exchange")):
        real = getattr(owner, name)

        def noted(*arguments: Any, name: str = name, real: Callable[..., Any] = real) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            done.append("fsync of the folder" if is_folder else name)
            return real(*arguments)

        monkeypatch.setattr(owner, name, noted)
    path = _fresh(tmp_path, 0)
    assert run("apply", "--no-verify", "--no-copy", path).code == 0
    assert done == ["fchmod", "fsync", "_exchange", "fsync of the folder"]


class _Failing:
    """A function of the system of which one call, counted from 0, fails."""

    def __init__(self, real: Callable[..., Any], at: int) -> None:
        self._real = real
        self._at = at
        self.count = 0

    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]:
        return lambda *arguments, **options: self(instance, *arguments, **options)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.count == self._at:
            self.count += 1
            raise OSError(28, "No space left on device")
        self.count += 1
        return self._real(*arguments, **options)
