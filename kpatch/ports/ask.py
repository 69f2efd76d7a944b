"""What the real make says of a port: conditions, includes and overlays as a build sees them.

Reading makefiles as text cannot tell what ``.if`` decides or where ``.include`` leads. Where a make
that runs the tree is there, it is asked. A recipe prints the values, as in the hook's own script:
the make of old releases answers ``-V`` in another order than it builds.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NAMES = (
    "USES",
    "_USES_build",
    "KPATCH_FRAGMENT",
    "SCRIPTDIR",
    "PATCHDIR",
    "IGNORE",
    "KPATCH_OSVERSION",
    "OSVERSION",
    "KPATCH_FLAGS",
    "BUILD_WRKSRC",
)
_PREFIX = "kpatch:"
_QUESTIONS = "kpatch-answers:\n" + "".join(
    f"\t@printf '{_PREFIX}{name}=%s\\n' ${{{name}:Q}}\n" for name in _NAMES
)

# Parsing a real tree takes a second or two; a make that hangs must not take the survey with it.
_SECONDS = 60


@dataclass(frozen=True)
class Make:
    """The make that runs the tree: its command line, and the environment to run it in."""

    words: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Answers:
    """What make says of one port. ``kernel`` is empty where the tree knows no OSVERSION."""

    uses: tuple[str, ...]
    runs_uses: bool
    fragment: bool
    scripts: Path
    patches: Path
    ignore: str
    kernel: str
    flags: tuple[str, ...]


def ask(make: Make, port: Path, tree: Path, make_conf: Path | None) -> Answers | None:
    """Ask ``make`` about the port in folder ``port``. None when it is not there or fails.

    ``tree`` is the ports tree for a port that does not say; make.conf may name another.
    """
    environment = {**make.environment, "PORTSDIR": str(tree)}
    if make_conf is not None:
        environment["__MAKE_CONF"] = str(make_conf)
    try:
        done = subprocess.run(
            [*make.words, "-f", "Makefile", "-f", "-", "kpatch-answers"],
            cwd=port,
            env=environment,
            input=_QUESTIONS,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith(_PREFIX)]
    values = dict(line.removeprefix(_PREFIX).split("=", 1) for line in lines)
    # BUILD_WRKSRC is empty in no tree: without it make has not read one.
    if done.returncode != 0 or not values.get("BUILD_WRKSRC") or len(values) != len(_NAMES):
        return None
    return _answers(port, values)


def _answers(port: Path, values: dict[str, str]) -> Answers:
    steps = values["_USES_build"].split()
    return Answers(
        uses=tuple(values["USES"].split()),
        runs_uses=any(step.partition(":")[2] == "kpatch-apply" for step in steps),
        fragment=values["KPATCH_FRAGMENT"] != "",
        scripts=port / (values["SCRIPTDIR"] or "scripts"),
        patches=port / (values["PATCHDIR"] or "files"),
        ignore=values["IGNORE"],
        kernel=values["KPATCH_OSVERSION"] or values["OSVERSION"],
        flags=tuple(values["KPATCH_FLAGS"].split()),
    )
