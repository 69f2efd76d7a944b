"""Lets each system call of a run fail once, by strace, and judges what is left behind.

A first run counts the calls from the moment on when the file's folder is first named; a point is
one of them. At each point each kind of fault is injected in a run of its own.
"""

from __future__ import annotations

import gzip
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.cli.harness import environment, package_bytes, patched_bytes, run, sample

CALLS: Final = (
    *("open", "openat", "read", "write", "close", "fsync", "rename", "renameat2", "unlink"),
    *("fchmod", "fchown", "stat", "newfstatat", "lstat", "fstat", "mmap", "getdents64", "ioctl"),
    *("flistxattr", "listxattr", "pipe2", "clone", "clone3", "fork", "vfork"),
)
ERRORS: Final = ("EIO", "ENOSPC", "EINTR", "EMFILE", "EAGAIN", "ENOMEM")
SIGNALS: Final = ("SIGKILL", "SIGTERM")
_LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)")
_HANGS: Final = 300
MISSED: Final = "the fault never struck: the call did not come"
"""Processes of a proof do not make the same calls in each run."""
_STRUCK: Final = re.compile(r"\(INJECTED\)$|= \?$|--- SIGTERM ", re.MULTILINE)
"""How strace tells an error, a call that never returned, and a signal that was handled."""
_TEMPORARY: Final = re.compile(r"\.kpatch-[0-9a-f]{16}\.symbols")
_HASHLIB: Final = re.compile(
    r"ERROR:root:code for hash \w+ was not found\.\n"
    r"Traceback .*?\nValueError: unsupported hash type \w+\n",
    re.DOTALL,
)
"""What CPython's hashlib logs by itself where it cannot load one of its hashes, and goes on."""
_REFUSED: Final = (10, 11, 17, 18)
"""Exit codes that a fault may have: a file that cannot be read whole may be a damaged one."""

_A_SHORT_PROOF: Final = (
    *("verify", "--jobs", "2", "--cpus", "2", "--model", "sc", "--scenario", "leave"),
)


@dataclass(frozen=True)
class Scenario:
    """A command on a file; ``done`` is what the file, or the output, holds afterwards."""

    name: str
    arguments: tuple[str, ...]
    file: str
    before: bytes
    output: str = ""

    def words(self, folder: Path) -> list[str]:
        """The arguments of kpatch in ``folder``."""
        options = [f"{folder}/{each}" if each == self.output else each for each in self.arguments]
        return [*options, str(folder / self.file)]

    def command(self, folder: Path) -> list[str]:
        """The command line in ``folder``."""
        # -B: Python would keep compiled code that a fault has cut short, for every later run.
        return [sys.executable, "-B", "-m", "kpatch", *self.words(folder)]


@dataclass(frozen=True)
class Fault:
    """A fault at the ``number``-th call of a system call in the first process."""

    call: str
    number: int
    what: str

    @property
    def option(self) -> str:
        """How strace is told."""
        kind = "signal" if self.what in SIGNALS else "error"
        return f"inject={self.call}:{kind}={self.what}:when={self.number}"


def scenarios() -> tuple[Scenario, ...]:
    """Apply in place and elsewhere, revert, a package, and proofs with their workers."""
    module, patched = sample("kqemu-7.ko").read_bytes(), patched_bytes()
    bare = ("apply", "--no-verify")
    return (
        Scenario("apply", bare, "kqemu.ko", module),
        Scenario("apply -o", (*bare, "-o", "new.ko"), "kqemu.ko", module, "new.ko"),
        Scenario("revert", ("revert",), "kqemu.ko", patched),
        Scenario("package", bare, "kqemu.tbz", package_bytes("bzip2")),
        Scenario("proof", ("apply",), "kqemu.ko", module),
        Scenario("verify", _A_SHORT_PROOF, "kqemu.ko", patched),
    )


@cache
def expected(scenario: Scenario) -> bytes:
    """What a run without a fault leaves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / scenario.file).write_bytes(scenario.before)
        done = run(*scenario.words(folder))
        assert done.code == 0, done.err
        return (folder / (scenario.output or scenario.file)).read_bytes()


def points(scenario: Scenario) -> list[tuple[str, int]]:
    """The calls of the first process from the first one on that names the folder."""
    with tempfile.TemporaryDirectory() as name, tempfile.NamedTemporaryFile() as log:
        folder = Path(name)
        (folder / scenario.file).write_bytes(scenario.before)
        trace = ["strace", "-f", "-o", log.name, "-e", f"trace={','.join(_known())}"]
        subprocess.run(
            [*trace, *scenario.command(folder)],
            env=environment(),
            check=True,
            capture_output=True,
            timeout=300,
        )
        return list(_counted(Path(log.name).read_text(errors="replace"), name))


def _counted(log: str, folder: str) -> Iterator[tuple[str, int]]:
    first = ""
    began = False
    counts: Counter[str] = Counter()
    for line in log.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        first = first or found["pid"]
        if found["pid"] != first:
            continue
        counts[found["call"]] += 1
        # The first line is the execve of the command itself, whose arguments name the folder too.
        began = began or (folder in found["rest"] and found["call"] != "execve")
        if began:
            yield found["call"], counts[found["call"]]


def _known() -> list[str]:
    """Those of the calls that this machine has: arm64 has no open, say."""
    listed = subprocess.run(
        ["strace", "-e", "trace=" + ",".join(f"?{call}" for call in CALLS), "true"],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert listed.returncode == 0, listed.stderr
    return [f"?{call}" for call in CALLS]


def faults(scenario: Scenario, most: int | None, seed: int = 1) -> list[Fault]:
    """All faults of a scenario, or ``most`` of them, chosen by ``seed``."""
    every = [
        Fault(call, number, what)
        for call, number in points(scenario)
        for what in (*ERRORS, *SIGNALS)
    ]
    if most is None or most >= len(every):
        return every
    return random.Random(seed).sample(every, most)


def judged(scenario: Scenario, fault: Fault, done: bytes) -> str:
    """What is wrong after one fault; empty where nothing is, MISSED where it never struck."""
    with tempfile.TemporaryDirectory() as name, tempfile.NamedTemporaryFile() as log:
        folder = Path(name)
        (folder / scenario.file).write_bytes(scenario.before)
        command = [
            *("strace", "-f", "-o", log.name, "-e", f"trace={fault.call}", "-e", fault.option),
            *scenario.command(folder),
        ]
        try:
            ended = subprocess.run(
                command, env=environment(), capture_output=True, check=False, timeout=_HANGS
            )
        except subprocess.TimeoutExpired:
            return "it hangs"
        wrong = _verdict(scenario, fault, folder, ended, done)
        struck = _STRUCK.search(Path(log.name).read_text(errors="replace"))
        return wrong or ("" if struck else MISSED)


def _verdict(
    scenario: Scenario,
    fault: Fault,
    folder: Path,
    ended: subprocess.CompletedProcess[bytes],
    done: bytes,
) -> str:
    said = _HASHLIB.sub("", ended.stderr.decode(errors="replace"))
    killed = fault.what in SIGNALS
    if "Traceback" in said:
        return f"a traceback: {said[-300:]}"
    if not killed and ended.returncode not in (0, *_REFUSED):
        return f"exit code {ended.returncode}: {said[-300:]}"
    place = folder / (scenario.output or scenario.file)
    found = place.read_bytes() if place.exists() else None
    whole = (done, None) if scenario.output else (done, scenario.before)
    if found not in whole:
        return "a third file"
    if ended.returncode == 0 and found != done and not killed:
        return "exit code 0, and nothing was done"
    replaced = found == done != scenario.before
    if ended.returncode != 0 and replaced and not killed and "it is replaced" not in said:
        return f"it is replaced, and nobody says so: {said[-300:]}"
    if scenario.output and (folder / scenario.file).read_bytes() != scenario.before:
        return "the input changed"
    return left_behind(scenario, folder, killed=killed)


def left_behind(scenario: Scenario, folder: Path, *, killed: bool) -> str:
    for path in folder.iterdir():
        if path.name in (scenario.file, scenario.output):
            continue
        if _TEMPORARY.fullmatch(path.name):
            if not killed:
                return f"{path.name} is left behind"
            continue
        copy = path.read_bytes()
        if (gzip.decompress(copy) if path.name.endswith(".gz") else copy) != scenario.before:
            return f"{path.name} is not the original"
    return ""
