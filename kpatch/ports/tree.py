"""A survey of a ports tree: which hook fits it, and what would make the hook do nothing.

The facts about trees come from ``Mk/bsd.port.mk`` itself and are told from what it *can* do, not
from a date: trees are mixed, mirrored and patched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from kpatch.errors import UsageError
from kpatch.ports import makefile, traps
from kpatch.ports.makefile import Makefile
from kpatch.ports.traps import Trap

# The two ports that ever built kqemu.ko.
KQEMU_PORTS = ("emulators/kqemu-kmod", "emulators/kqemu-kmod-devel")

# ${${PKGORIGIN:S/\\//_/}_VARS...}: variables of make.conf that reach one port alone.
_ORIGIN_VARS = re.compile(r"\$\{PKGORIGIN[^}$]*\}_VARS\b")


class Method(Enum):
    """How the hook gets into a build."""

    OVERLAY = "overlay"  # USES=kpatch from a tree beside the ports tree; nothing in it is edited
    SCRIPTS = "scripts"  # scripts/post-build in the port


@dataclass(frozen=True)
class Port:
    """One port of the tree: where it is and where its SCRIPTDIR will be."""

    origin: str
    folder: Path
    scripts: Path


@dataclass(frozen=True)
class Survey:
    """What was seen. ``method`` is None when neither way works in this tree."""

    ports_dir: Path
    era: str
    method: Method | None
    ports: tuple[Port, ...]
    traps: tuple[Trap, ...]

    @property
    def blocked(self) -> bool:
        """Whether the hook would not work here."""
        return self.method is None or any(trap.blocks for trap in self.traps)

    def to_document(self) -> dict[str, object]:
        """The survey as JSON-ready data."""
        return {
            "ports_dir": str(self.ports_dir),
            "era": self.era,
            "method": self.method.value if self.method else None,
            "ports": [port.origin for port in self.ports],
            "blocked": self.blocked,
            "traps": [trap.to_document() for trap in self.traps],
        }


def survey(
    ports_dir: Path,
    *,
    origins: Sequence[str] = (),
    make_conf: Path | None = None,
    overlay: Path | None = None,
) -> Survey:
    """Look at a tree, its ports and the make.conf it is used with. Writes nothing.

    Without ``origins``, the kqemu ports that the tree has. Raises UsageError when ``ports_dir`` is
    no ports tree, or an origin is not in it, and FileAccessError for unreadable files.
    """
    framework_path = ports_dir / "Mk" / "bsd.port.mk"
    if not framework_path.is_file():
        raise UsageError(
            "not a ports tree: it has no Mk/bsd.port.mk",
            where=str(ports_dir),
            todo="give the folder of the tree, usually /usr/ports",
        )
    framework = makefile.read(framework_path)
    era, method = _era(framework)
    ports = tuple(_ports(ports_dir, origins))
    found = [*traps.of_framework(framework, method is None)]
    for port in ports:
        found += traps.of_port(
            port.origin, port.folder, port.scripts, by_overlay=method is Method.OVERLAY
        )
    if make_conf is not None:
        # A make.conf that is not there says nothing, which is a trap of its own.
        conf = makefile.read_if_there(make_conf) or Makefile(make_conf, ())
        by_overlay = method is Method.OVERLAY
        found += traps.of_make_conf(
            conf, [port.origin for port in ports], overlay if by_overlay else None
        )
    return Survey(ports_dir, era, method, ports, tuple(found))


def _era(framework: Makefile) -> tuple[str, Method | None]:
    """What the tree can do decides, newest ability first."""
    has_uses_targets = framework.mentions("_USES_build")
    has_origin_vars = any(_ORIGIN_VARS.search(line.text) for line in framework.lines)
    if has_uses_targets and has_origin_vars and framework.mentions("${OVERLAYS"):
        return "modern: overlays, and targets from USES", Method.OVERLAY
    has_scripts = framework.mentions("${SCRIPTDIR}/") and framework.mentions("-script")
    if not has_scripts:
        return "unknown: neither overlays nor scripts", None
    if has_uses_targets:
        return "2015 and later: targets from USES, but no overlays", Method.SCRIPTS
    return "2008 to 2015: scripts", Method.SCRIPTS


def _ports(ports_dir: Path, origins: Sequence[str]) -> Iterator[Port]:
    wanted = origins or [
        origin for origin in KQEMU_PORTS if (ports_dir / origin / "Makefile").is_file()
    ]
    if not wanted:
        raise UsageError(
            f"the tree has neither {' nor '.join(KQEMU_PORTS)}",
            where=str(ports_dir),
            todo="name the port that builds the module with --port",
        )
    for origin in wanted:
        parts = origin.split("/")
        if len(parts) != 2 or any(part in ("", ".", "..") for part in parts):
            raise UsageError(
                f"not the origin of a port: {origin!r}",
                todo="write category/name, for example emulators/kqemu-kmod",
            )
        folder = ports_dir / origin
        if not (folder / "Makefile").is_file():
            raise UsageError(f"the tree has no port {origin}", where=str(ports_dir))
        yield Port(origin, folder, _master(folder) / "scripts")


def _master(folder: Path) -> Path:
    """The folder whose scripts/ is used: MASTERDIR for a port that is made from another one."""
    for _line, _operator, value in makefile.read(folder / "Makefile").assignments("MASTERDIR"):
        relative = value.removeprefix("${.CURDIR}").lstrip("/")
        master = (folder / relative).resolve()
        if "$" not in relative and (master / "Makefile").is_file():
            return master
    return folder
