"""What kpatch prints, word for word. ``python -m tests.cli.golden`` writes it: read the diff."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cli.harness import GOLDEN, SAMPLES, Done, patched_bytes, run

_READERS: Final = re.compile(r"pyelftools \S+ and LIEF \S+ agree with\s+kpatch")
WIDTH: Final = {"COLUMNS": "160"}


@dataclass(frozen=True)
class Case:
    """A call in a folder that holds all samples, and ``patched.ko``, which is kqemu-7 patched."""

    name: str
    arguments: tuple[str, ...]


def _case(name: str, *arguments: str) -> Case:
    return Case(name, arguments)


CASES: Final = (
    _case("help", "--help"),
    *(_case(f"help-{each}", each, "--help") for each in ("scan", "apply", "diff", "verify")),
    *(_case(f"help-{each}", each, "--help") for each in ("report", "demo", "revert", "hook")),
    *(_case(f"help-{each}", each, "--help") for each in ("explain", "schema", "lint-signatures")),
    _case("version", "--version"),
    _case("scan", "scan", "."),
    _case("scan-verbose", "scan", "-v", "kqemu-7.ko", "kqemu-7-fix-a.ko", "patched.ko"),
    _case("scan-details", "scan", "-vv", "kqemu-7-ambiguous.ko", "patched.ko"),
    _case("scan-quiet", "scan", "-q", "kqemu-7.ko", "kqemu-7-fix-a.ko", "patched.ko", "other.ko"),
    _case("scan-colour", "scan", "--color", "always", "."),
    _case("scan-osversion", "scan", "-v", "--osversion", "703000", "kqemu-7.ko"),
    _case("dry-run", "apply", "--dry-run", "kqemu-7.ko"),
    _case("dry-run-colour", "apply", "--dry-run", "--color", "always", "kqemu-6.ko"),
    _case("dry-run-patched", "apply", "--dry-run", "patched.ko"),
    _case("dry-run-source-fix", "apply", "--dry-run", "--replace-source-fix", "kqemu-7-fix-a.ko"),
    _case("apply", "apply", "--no-verify", "kqemu-7-data.ko", "kqemu-7.ko.gz", "patched.ko"),
    _case("apply-refused", "apply", "."),
    _case("apply-source-fix", "apply", "--no-verify", "--replace-source-fix", "kqemu-7-fix-b.ko"),
    _case("diff", "diff", "kqemu-7.ko"),
    _case("diff-unified", "diff", "-u", "kqemu-7-offsets.ko"),
    _case("diff-colour", "diff", "--color", "always", "patched.ko"),
    _case("diff-two", "diff", "-u", "kqemu-7.ko", "kqemu-7-global.ko"),
    _case("diff-stat", "diff", "--stat", "kqemu-7.ko", "kqemu-7-data.ko"),
    _case("diff-context", "diff", "-U", "0", "kqemu-7-fix-a.ko", "kqemu-7-fix-b.ko"),
    _case("diff-same", "diff", "kqemu-7.ko", "kqemu-7.ko.gz"),
    _case("explain", "explain", "kqemu-7-offsets.ko"),
    _case("explain-patched", "explain", "patched.ko"),
    _case("explain-fixed", "explain", "kqemu-7-fix-a.ko"),
    _case("explain-term", "explain", "TR 0x48"),
    _case("apply-screen", "apply", "--no-verify", "kqemu-6.ko"),
    _case("revert", "revert", "patched.ko"),
    _case("revert-refused", "revert", "kqemu-7.ko"),
    _case("error-usage", "apply", "--dry-runn", "kqemu-7.ko"),
    _case("error-osversion", "scan", "--osversion", "7.2-RELEASE", "kqemu-7.ko"),
    _case("error-missing", "scan", "missing.ko"),
    _case("error-damaged", "apply", "damaged.ko"),
    _case("error-no-elf", "scan", "text.ko"),
    _case("error-verify", "verify", "--cpus", "2", "other.ko"),
)


@contextmanager
def folder() -> Iterator[Path]:
    """The folder of the cases, which is the current one meanwhile."""
    back = Path.cwd()
    columns = os.environ.get("COLUMNS")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for path in SAMPLES.glob("kqemu*.ko*"):
            shutil.copy(path, place)
        shutil.copy(SAMPLES / "other.ko", place)
        os.chdir(place)
        os.environ.update(WIDTH)
        try:
            (place / "patched.ko").write_bytes(patched_bytes())
            yield place
        finally:
            os.chdir(back)
            del os.environ["COLUMNS"]
            if columns is not None:
                os.environ["COLUMNS"] = columns


def printed(case: Case) -> str:
    """Everything that one case prints, and its exit code."""
    with folder() as place:
        whole = (place / "kqemu-7.ko").read_bytes()
        if case.name.startswith("error"):
            (place / "damaged.ko").write_bytes(whole[: len(whole) // 2])
            (place / "text.ko").write_text("no module at all\n")
        if case.name == "apply-refused":
            for path in place.glob("*"):
                if run("apply", "--dry-run", path.name).code == 0:
                    path.unlink()
        return shown(case, run(*case.arguments))


def shown(case: Case, done: Done) -> str:
    """A call as a person would see it, standard error behind standard output."""
    error = f"--- standard error\n{done.err}" if done.err else ""
    return f"$ kpatch {' '.join(case.arguments)}\n{done.out}{error}--- exit code {done.code}\n"


def without_versions(text: str) -> str:
    """Which readers are installed, and so where the line folds, is no part of what kpatch says."""
    return _READERS.sub("pyelftools - and LIEF - agree with kpatch", text)


def path_of(case: Case) -> Path:
    """Where the text of a case is kept."""
    return GOLDEN / f"{case.name}.txt"


if __name__ == "__main__":
    for each in CASES:
        path_of(each).write_text(printed(each))
