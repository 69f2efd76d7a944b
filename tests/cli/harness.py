"""Calls kpatch as people do, and looks at files as they would."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from kpatch.cli import main
from kpatch.elf.module import read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from tests.package import makers

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = REPOSITORY / "samples"
GOLDEN: Final = REPOSITORY / "tests" / "golden" / "cli"
MANIFEST: Final[list[dict[str, Any]]] = tomllib.loads((SAMPLES / "MANIFEST.toml").read_text())[
    "sample"
]
COMMANDS: Final = ("scan", "apply", "diff", "verify", "demo", "revert", "hook")
_LIMIT: Final = 300


@dataclass(frozen=True)
class Done:
    """One call: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document that it must be."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def complaint(self) -> str:
        """The one line of standard error."""
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        return self.err.rstrip("\n")


def run(*arguments: str | Path) -> Done:
    """Call kpatch in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run([str(each) for each in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def command_line(*arguments: str | Path | bytes) -> list[str | Path | bytes]:
    """The command line that calls kpatch in a process of its own."""
    return [sys.executable, "-m", "kpatch", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process: this one's, without what changes the output."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "NO_COLOR") and not name.startswith("PYTHON")
    }
    return {**kept, "PYTHONPATH": str(REPOSITORY), **(extra or {})}


def kpatch(
    *arguments: str | Path | bytes, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Done:
    """Call kpatch in a process of its own."""
    done = subprocess.run(
        command_line(*arguments),
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        timeout=_LIMIT,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def sample(name: str) -> Path:
    """The path of a sample."""
    return SAMPLES / name


def copied(name: str, folder: Path, to: str = "") -> Path:
    """A copy of a sample in ``folder``."""
    return Path(shutil.copyfile(SAMPLES / name, folder / (to or name)))


@cache
def patched_bytes(name: str = "kqemu-7.ko") -> bytes:
    """What apply makes of a sample, by way of the library."""
    module = read_module(sample(name).read_bytes(), name)
    return apply_plan(prepare(assess(module)))


@cache
def package_bytes(compression: str = "xz", module: str = "kqemu-7.ko") -> bytes:
    """A package of pkg(8) with a sample inside."""
    data = sample(module).read_bytes()
    members = {
        "+COMPACT_MANIFEST": makers.manifest(data, compact=True).encode(),
        "+MANIFEST": makers.manifest(data).encode(),
        makers.PKG_NAME: data,
        "/usr/local/share/doc/kqemu.txt": b"text\n",
    }
    return makers.COMPRESSORS[compression](makers.package(members))


@dataclass(frozen=True)
class Seen:
    """A file as it was looked at: a rewritten one differs, even if its bytes do not."""

    data: bytes
    mode: int
    inode: int
    modified: int


def look(path: Path) -> Seen:
    """What ``path`` is now, links not followed."""
    status = path.lstat()
    data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    return Seen(data, stat.S_IMODE(status.st_mode), status.st_ino, status.st_mtime_ns)


def listing(folder: Path) -> dict[str, Seen]:
    """Every file under ``folder``, hidden ones too."""
    return {str(path.relative_to(folder)): look(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file())


def names(folder: Path) -> list[str]:
    """The names in ``folder``, hidden ones too."""
    return sorted(each.name for each in folder.iterdir())
