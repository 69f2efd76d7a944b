"""Whatever happens to apply, and whenever: the file is the old one or the new one, whole."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import pytest

from kpatch import repair
from kpatch.containers import copies
from kpatch.repair import Repaired
from kpatch.storage import attributes, files, writer
from tests.children import in_child
from tests.cli.harness import (
    command_line,
    copied,
    environment,
    kpatch,
    names,
    patched_bytes,
    run,
    sample,
)

_OLD: Final = sample("kqemu-7.ko").read_bytes()
_NEW: Final = patched_bytes()


_TRACED: Final = {each.__file__ for each in (writer, attributes, files, copies)}


class Steps:
    """The lines that touch files, from the first write on; ends the run at one of them.

    What changes a folder is a call, and every call stands on a line of its own.
    """

    def __init__(self, at: int, end: Callable[[], NoReturn]) -> None:
        self.count = 0
        self._at = at
        self._end = end
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
            if self.count == self._at:
                self.count += 1
                self._end()
            self.count += 1
        return self._trace


def _die() -> NoReturn:
    os._exit(77)


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patch is made once: what is tested here is how the file is replaced."""
    made: dict[bytes, Repaired] = {}

    original = repair.apply

    def remembered(data: bytes, *arguments: Any, **options: Any) -> Repaired:
        if data not in made:
            made[data] = original(data, *arguments, **options)
        return made[data]

    monkeypatch.setattr(repair, "apply", remembered)


def _steps_of_a_whole_run(path: Path) -> int:
    with Steps(-1, _die) as steps:
        assert run("apply", "--no-verify", path).code == 0
    return steps.count


def _fresh(folder: Path, number: int) -> Path:
    place = folder / str(number)
    place.mkdir()
    return copied("kqemu-7.ko", place)


@pytest.mark.usefixtures("quick")
def test_killed_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    steps = _steps_of_a_whole_run(_fresh(tmp_path, 10_000))
    assert steps > 50, "the tracing does not see storage"
    seen: dict[tuple[bytes, tuple[str, ...]], Path] = {}
    for step in range(steps):
        path = _fresh(tmp_path, step)

        def dies(path: Path = path, step: int = step) -> None:
            with Steps(step, _die):
                run("apply", "--no-verify", path)

        assert in_child(dies) == 77
        found = path.read_bytes()
        assert found in (_OLD, _NEW), f"step {step} leaves a third file"
        if found == _NEW:
            assert (path.parent / f"{path.name}.orig.gz").exists(), "replaced before it was kept"
        left = tuple(each.split("-")[0] for each in names(path.parent))
        seen.setdefault((found, left), path)
    assert {found for found, _ in seen} == {_OLD, _NEW}
    for path in seen.values():
        assert run("apply", "--no-verify", path).code == 0
        assert path.read_bytes() == _NEW
        assert run("scan", path.parent).code == 0, "what was left behind counts as a module"
        assert run("revert", path).code == 0
        assert path.read_bytes() == _OLD


@pytest.mark.usefixtures("quick")
def test_interrupted_at_any_step_it_leaves_nothing_else_behind(tmp_path: Path) -> None:
    steps = _steps_of_a_whole_run(_fresh(tmp_path, 10_000))
    for step in range(steps):
        path = _fresh(tmp_path, step)
        with Steps(step, _interrupt):
            done = run("apply", "--no-verify", path)
        assert done.code == 130, step
        assert done.complaint == "kpatch: interrupted; no file was changed half-way"
        assert path.read_bytes() in (_OLD, _NEW)
        assert set(names(path.parent)) <= {path.name, f"{path.name}.orig.gz"}, step


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "function", ["open", "fsync", "fchmod", "fchown", "replace", "fstat", "_exchange"]
)
def test_a_failing_call_is_exit_code_18_and_changes_nothing(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _fresh(tmp_path, 0)
    path.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(path, 1, 1)
    owner: Any = {"replace": Path, "_exchange": writer}.get(function, os)
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


@pytest.mark.parametrize("largest", [4096, len(_NEW) - 1])
def test_a_disk_that_is_full_leaves_the_old_file(largest: int, tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    done = subprocess.run(
        command_line("apply", "--no-verify", "--no-copy", path),
        env=environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )
    assert done.returncode == 18
    assert done.stderr.count(b"\n") == 1 and b"File too large" in done.stderr
    assert path.read_bytes() == _OLD and names(tmp_path) == [path.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_at_random_times_leave_the_old_file_or_the_new_one(
    number: signal.Signals, tmp_path: Path
) -> None:
    times = random.Random(int(number))
    for turn in range(2):
        path = _fresh(tmp_path, turn)
        process = subprocess.Popen(
            command_line("apply", path),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        time.sleep(times.uniform(0.3, 1.2))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert path.read_bytes() in (_OLD, _NEW)
        if process.returncode == 0:
            assert path.read_bytes() == _NEW
        elif number == signal.SIGINT and said.startswith(b"kpatch: "):
            # Python ends itself by the signal if the interrupt came inside an exec of its own.
            assert process.returncode in (130, -signal.SIGINT)
            assert said == b"kpatch: interrupted; no file was changed half-way\n"
            assert path.read_bytes() == _OLD and names(path.parent) == [path.name]
        _assert_nobody_is_left(path)


def test_an_interrupt_ends_the_whole_command_and_not_one_file_of_it(tmp_path: Path) -> None:
    paths = [copied("kqemu-7.ko", tmp_path, f"{index}.ko") for index in range(3)]
    process = subprocess.Popen(
        command_line("apply", "--no-copy", *paths), env=environment(), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first == f"{paths[0]}: patched and proven\n".encode()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert said.splitlines()[-1] == b"kpatch: interrupted; no file was changed half-way"
    assert paths[0].read_bytes() == _NEW and paths[-1].read_bytes() == _OLD
    _assert_nobody_is_left(paths[0])


def _assert_nobody_is_left(path: Path) -> None:
    """No process goes on with the proof of ``path``, soon after the first one has ended."""
    for _ in range(100):
        if not any(os.fsencode(path) in line for line in _command_lines()):
            return
        time.sleep(0.05)
    pytest.fail(f"processes are left: {list(_command_lines())}")


def _command_lines() -> Iterator[bytes]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield each.read_bytes()
        except OSError:  # it has ended since
            continue


def test_a_dry_run_opens_nothing_for_writing(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    script = tmp_path / "audit.py"
    script.write_text(_AUDIT)
    before = {each: each.stat() for each in (path, script, tmp_path)}
    dry = ["apply", "--dry-run", str(path)]
    more = ([], ["--json"], ["--replace-source-fix"], ["-o", str(tmp_path / "new.ko")])
    done = _audited(script, *([*dry, *options] for options in more))
    assert (done.returncode, done.stderr.count(b"WRITES")) == (0, 0), done.stderr
    assert done.stderr.count(b"DONE 0") == len(more)
    now = {each: each.stat() for each in before}
    assert {each: (now[each].st_mtime_ns, now[each].st_ino) for each in now} == {
        each: (before[each].st_mtime_ns, before[each].st_ino) for each in before
    }


def test_the_audit_of_a_dry_run_sees_what_apply_writes(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    script = tmp_path / "audit.py"
    script.write_text(_AUDIT)
    done = _audited(script, ["apply", "--no-verify", str(path)])
    assert done.stderr.count(b"WRITES os.rename") == 1, "the copy; the file itself is exchanged"
    assert done.stderr.count(b"WRITES open") >= 2


def _audited(script: Path, *calls: list[str]) -> subprocess.CompletedProcess[bytes]:
    """These calls of kpatch, one after the other in one process, under the audit."""
    return subprocess.run(
        [sys.executable, "-B", script, json.dumps(calls)],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )


_AUDIT: Final = """
import json, os, sys

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
           "os.truncate", "os.chmod", "os.chown", "os.utime"}

def audit(event, arguments):
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if opened or event in CHANGES or event.startswith(("tempfile.", "shutil.")):
        print("WRITES", event, arguments, file=sys.stderr)

sys.addaudithook(audit)
from kpatch.cli.main import run
for call in json.loads(sys.argv[1]):
    print("DONE", run(call), file=sys.stderr)
"""


def test_a_run_after_a_killed_one_succeeds_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    (tmp_path / ".kpatch-0123456789abcdef.new").write_bytes(_NEW[:5000])
    assert kpatch("apply", "--no-verify", path).code == 0
    assert path.read_bytes() == _NEW
