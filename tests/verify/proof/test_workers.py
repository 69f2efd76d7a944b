"""Where processes cannot be had the proof is made without them; it never waits for one."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kpatch.verify.proof import workers as crew
from tests.children import in_child
from tests.cli.harness import environment, sample
from tests.verify.proof.calls import LEAVE, patched

KPATCH = [sys.executable, "-m", "kpatch", "verify", "--jobs", "2", "--json"]
_UNPATCHED = ("--cpus", "1", "--model", "sc", "--scenario", "up")
"""Right without a patch, in two explorations: work for two processes."""

NEVER_SO_LONG = 300  # seconds; a run takes two


def few_descriptors(count: int) -> None:
    """In the child, before it becomes kpatch."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@pytest.mark.parametrize("count", [9, 13, 30])
def test_with_few_file_descriptors_a_proof_comes_to_an_end(count: int, tmp_path: Path) -> None:
    # An unpatched module is explored in the same way, and not checked in others; once is enough.
    options = (*LEAVE, patched(tmp_path)) if count == 13 else (*_UNPATCHED, sample("kqemu-7.ko"))
    done = subprocess.run(
        [*KPATCH, *options],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=NEVER_SO_LONG,
        check=False,
        preexec_fn=lambda: few_descriptors(count),
    )
    # Too few for the emulator itself: one line says so, and the exit code is the machine's.
    assert done.returncode in ((0,) if count >= 30 else (0, 18)), done.stderr
    assert json.loads(done.stdout)["exit_code"] == done.returncode
    assert "Traceback" not in done.stderr


def test_where_the_pool_gets_no_thread_of_its_own_the_proof_is_made_without_it() -> None:
    code = (
        "import sys, threading\n"
        "from multiprocessing.queues import Queue\n"
        'def none(self): raise RuntimeError("can\'t start new thread")\n'
        "Queue._start_thread = none\n"  # what the pool's thread starts: it is not told of elsewhere
        "from kpatch.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *KPATCH[3:], *_UNPATCHED, sample("kqemu-7.ko")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=NEVER_SO_LONG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["exit_code"] == 0


def test_what_the_processes_share_needs_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a folder stays behind where there is no /dev/shm, and may not be had."""

    def none(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, none)
    stop = crew.Stop()
    assert not stop
    assert in_child(stop.set) == 0
    assert stop
