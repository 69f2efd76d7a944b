"""A ports tree in a temporary folder, and the real bmake over it."""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from kpatch.ports import place
from kpatch.ports.build import Standing
from kpatch.ports.tree import Method, survey
from tests.cli.harness import environment
from tests.ports import serve

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
ORIGIN = "emulators/kqemu-kmod"
OSVERSION = "700055"


@dataclass(frozen=True)
class Outcome:
    """One run of make: its status and its log, output and errors together, in order."""

    status: int
    log: str

    def line(self, text: str) -> int:
        """The number of the only log line with ``text``."""
        found = [n for n, line in enumerate(self.log.splitlines()) if text in line]
        assert len(found) == 1, f"{text!r} is in {len(found)} lines of:\n{self.log}"
        return found[0]


@cache
def _requests() -> Path:
    """Where kpatch is asked; its server ends with this process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    requests = folder / "requests"
    os.mkfifo(requests)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.ports.serve", str(requests)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        env=environment(),
    )
    assert server.stdin is not None
    assert server.wait() == 0  # it goes on by itself
    atexit.register(server.stdin.close)
    return requests


class Tree:
    """A tree of one era with one port. ``era`` is a folder of ``trees``, or ``2014``.

    ``modern`` is a tree of 2019 and later, ``old`` one of 2010 or 2012, ``2014`` one with a stage
    and without targets from USES.
    """

    def __init__(self, root: Path, era: str) -> None:
        self.root = root
        self.era = era
        self.stage = era != "old"
        self.program_of_make = "bmake"
        self.ports_dir = root / "ports"
        self.port = self.ports_dir / ORIGIN
        self.overlay = root / "overlay"
        self.make_conf = root / "make.conf"
        self.work = self.port / "work"
        self.wrksrc = self.work / "kqemu-1.0"
        self.dest = root / "dest"
        folder = "old" if era == "2014" else era
        shutil.copytree(HERE / "trees" / folder, self.ports_dir)
        shutil.copytree(HERE / "trees" / "port", self.port)
        self.dest.mkdir()
        self.binaries = root / "bin"
        self.binaries.mkdir()
        bmake = shutil.which("bmake")
        if bmake is None:
            raise FileNotFoundError(errno.ENOENT, "not installed", "bmake")
        (self.binaries / "make").symlink_to(bmake)
        # FreeBSD's which(1) has -s, on which Mk/Scripts/do-depends.sh relies.
        self.script("which", '[ "$1" = -s ] && shift; command -v "$1" >/dev/null')
        self.served("play")
        self.conf()
        self.build_gives(Standing.AFFECTED)

    def served(self, kind: str) -> None:
        """Put the ``real`` kpatch or the ``play`` one into PATH, without its start."""
        path = self.binaries / "kpatch"
        path.write_text(serve.CLIENT.format(requests=_requests(), kind=kind))
        path.chmod(0o755)

    def program(self, name: str, command: list[str]) -> Path:
        """Put a program into PATH."""
        path = self.binaries / name
        words = " ".join(f"'{word}'" for word in command)
        packages = Path(click.__file__).parents[1]
        path.write_text(f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}:{packages}" exec {words} "$@"\n')
        path.chmod(0o755)
        return path

    def script(self, name: str, text: str) -> Path:
        """Put a shell script into PATH."""
        path = self.binaries / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def conf(self, *lines: str) -> None:
        """Write make.conf: what the machine needs, and ``lines``."""
        base = [f"PORTSDIR={self.ports_dir}", "WRKDIRPREFIX="]
        if self.era == "2014":
            base.append("WITH_STAGE=yes")
        self.make_conf.write_text("\n".join([*base, *lines]) + "\n")

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that make.conf needs for the overlay."""
        return (
            f"OVERLAYS+=\t{self.overlay}",
            "emulators_kqemu-kmod_VARS=\tUSES+=kpatch",
            f"KPATCH_OSVERSION?=\t{OSVERSION}",
        )

    def hook(self, *lines: str) -> None:
        """Install the hook as the guide says, and add ``lines`` to make.conf."""
        seen = survey(self.ports_dir)
        assert seen.method is not None
        files = place.files_for(seen.method, seen.ports, self.overlay)
        place.carry_out(place.plan_install(files))
        if seen.method is Method.OVERLAY:
            lines = (*self.lines, *lines)
        self.conf(*lines)

    def build_gives(self, module: Standing | bytes) -> None:
        """What "compiling" makes: a play module, or the bytes of a real one."""
        data = module if isinstance(module, bytes) else f"{module.value}\n".encode()
        (self.root / "built.ko").write_bytes(data)

    def edit(self, old: str, new: str) -> None:
        """Change the port's Makefile."""
        path = self.port / "Makefile"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def old_make(self) -> None:
        """Build from now on with a make that answers -V as that of FreeBSD 6.2 to 9.x does."""
        script = HERE / "trees" / "oldmake.py"
        path = self.binaries / "oldmake"
        self.script(path.name, f'exec "{sys.executable}" -S "{script}" "{path}" "$@"')
        self.program_of_make = str(path)

    def make(self, *arguments: str, **environment: str) -> Outcome:
        """Run make in the port. Keyword arguments go to the environment."""
        done = subprocess.run(
            [self.program_of_make, "-m", str(HERE / "trees" / "mk"), *arguments],
            cwd=self.port,
            env={
                "PATH": f"{self.binaries}:{os.environ['PATH']}",
                "HOME": str(self.root),
                "LC_ALL": "C.UTF-8",
                "__MAKE_CONF": str(self.make_conf),
                "OSVERSION": OSVERSION,
                "BUILT": str(self.root / "built.ko"),
                "DESTDIR": "" if self.stage else str(self.dest),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Outcome(done.returncode, done.stdout)

    @property
    def module(self) -> Path:
        """Where the build leaves the module."""
        return self.wrksrc / "kqemu.ko"

    @property
    def refused(self) -> Path:
        """Where a module is kept that a step refused."""
        return self.module.with_name("kqemu.ko.refused")

    @property
    def installed(self) -> Path:
        """Where the module is staged, or installed in a tree without a stage."""
        top = self.work / "stage" if self.stage else self.dest
        return top / "boot" / "modules" / "kqemu.ko"

    def cookies(self) -> set[str]:
        """The phases that count as done."""
        return {path.name.split("_done")[0].lstrip(".") for path in self.work.glob(".*_done.*")}


def sha256(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def by_uses(tree: Tree) -> None:
    """Hook a tree with overlays as the guide says."""
    tree.hook()


def by_scripts(tree: Tree) -> None:
    """Hook any tree by the scripts."""
    ports = survey(tree.ports_dir).ports
    place.carry_out(place.plan_install(place.files_for(Method.SCRIPTS, ports, tree.overlay)))


def by_fragment(tree: Tree) -> None:
    """Edit the port as the guide for maintainers says."""
    files = tree.port / "files"
    files.mkdir(exist_ok=True)
    shutil.copy(place.fragment(), files / "kpatch.mk")
    last = ".include <bsd.port.post.mk>"
    tree.edit(last, '.include "${.CURDIR}/files/kpatch.mk"\n' + last)
