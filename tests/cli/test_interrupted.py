"""Whatever happens to apply, and whenever: the file is the old one or the new one, whole."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

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
from tests.cli.little import little_line
from tests.processes import awaited, command_lines, is_on_its_way

_OLD: Final = sample("kqemu-7.ko").read_bytes()
_NEW: Final = patched_bytes()
_COPY: Final = "kqemu-7.ko.orig.gz"


@pytest.mark.parametrize("largest", [4096, len(_NEW) - 1])
def test_a_disk_that_is_full_leaves_the_old_file(largest: int, tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        done = run("apply", "--no-verify", "--no-copy", path)
        assert done.code == 18 and "File too large" in done.complaint

    assert in_child(limited) == 0
    assert path.read_bytes() == _OLD and names(tmp_path) == [path.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_at_random_times_leave_the_old_file_or_the_new_one(
    number: signal.Signals, tmp_path: Path
) -> None:
    times = random.Random(int(number))
    for turn in range(2):
        place = tmp_path / str(turn)
        place.mkdir()
        path = copied("kqemu-7.ko", place)
        process = subprocess.Popen(
            command_line("apply", path),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert is_on_its_way(process)
        time.sleep(times.uniform(0, 0.8))  # anywhere in the proof, or behind it: all is right
        process.send_signal(number)
        _, said = process.communicate(timeout=300)
        assert path.read_bytes() in (_OLD, _NEW)
        if process.returncode == 0:
            assert path.read_bytes() == _NEW
        elif number == signal.SIGINT and said.startswith(b"kpatch: "):
            # Python ends itself by the signal if the interrupt came inside an exec of its own.
            assert process.returncode in (130, -signal.SIGINT)
            assert said == b"kpatch: interrupted; no file was changed half-way\n"
            is_new = path.read_bytes() == _NEW  # where it came behind the replacement
            assert names(place) == [path.name, *([f"{path.name}.orig.gz"] if is_new else [])]
        assert nobody_is_left(path)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU"])
def test_a_signal_while_the_file_is_written_waits_until_it_is(name: str, tmp_path: Path) -> None:
    """Nothing else stays behind then; and what lies there meanwhile is no module to kldxref(8)."""
    path = copied("kqemu-7.ko", tmp_path)
    number = signal.Signals[name]

    def struck() -> None:
        fsync = os.fsync

        def syncing(handle: int) -> None:
            others = {each for each in names(tmp_path) if each not in (path.name, _COPY)}
            assert all(each.endswith(".symbols") for each in others)
            os.kill(os.getpid(), number)
            fsync(handle)

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", syncing)
            os._exit(run("apply", "--no-verify", path).code)

    assert in_child(struck) == (130 if number == signal.SIGINT else -number)
    assert path.read_bytes() == _NEW and names(tmp_path) == [path.name, _COPY]


def test_an_interrupt_ends_the_whole_command_and_not_one_file_of_it(tmp_path: Path) -> None:
    # So many that no machine is through with them before the interrupt comes.
    paths = [copied("kqemu-7.ko", tmp_path, f"{index}.ko") for index in range(100)]
    process = subprocess.Popen(
        little_line("apply", "--no-copy", *paths), env=environment(), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first == f"{paths[0]}: patched and proven\n".encode()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode in (130, -signal.SIGINT)
    assert said.splitlines()[-1] == b"kpatch: interrupted; no file was changed half-way"
    assert paths[0].read_bytes() == _NEW and paths[-1].read_bytes() == _OLD
    assert nobody_is_left(paths[0])


def nobody_is_left(path: Path) -> bool:
    """Whether no process goes on with the proof of ``path`` once the first one has ended."""
    return awaited(lambda: not any(os.fsencode(path) in line for line in command_lines()))


def test_a_dry_run_opens_nothing_for_writing(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    script = tmp_path / "audit.py"
    script.write_text(_AUDIT)
    before = {each: each.stat() for each in (path, script, tmp_path)}
    dry = ["apply", "--dry-run", str(path)]
    more = (["-q"], ["--json"], ["--replace-source-fix"], ["-o", str(tmp_path / "new.ko")])
    done = _audited(script, dry, *([*dry, *options] for options in more))
    assert (done.returncode, done.stderr.count(b"WRITES")) == (0, 0), done.stderr
    assert done.stderr.count(b"DONE 0") == 1 + len(more)
    now = {each: each.stat() for each in before}
    assert {each: (now[each].st_mtime_ns, now[each].st_ino) for each in now} == {
        each: (before[each].st_mtime_ns, before[each].st_ino) for each in before
    }


def test_the_audit_of_a_dry_run_sees_what_apply_writes(tmp_path: Path) -> None:
    path = copied("kqemu-7.ko", tmp_path)
    script = tmp_path / "audit.py"
    script.write_text(_AUDIT)
    elsewhere = ["-o", str(tmp_path / "new.ko")]
    done = _audited(script, *(["apply", "--no-verify", *to, str(path)] for to in (elsewhere, [])))
    assert done.stderr.count(b"WRITES os.rename") == 1, "in place two names are exchanged"
    assert done.stderr.count(b"WRITES open") >= 3


def _audited(script: Path, *calls: list[str]) -> subprocess.CompletedProcess[bytes]:
    """These calls of kpatch, one after the other in one process, under the audit."""
    return subprocess.run(
        [sys.executable, "-B", script, json.dumps(calls)],
        env=environment(),
        capture_output=True,
        timeout=300,
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
    (tmp_path / ".kpatch-0123456789abcdef.symbols").write_bytes(_NEW[:5000])
    assert kpatch("apply", "--no-verify", path).code == 0
    assert path.read_bytes() == _NEW
