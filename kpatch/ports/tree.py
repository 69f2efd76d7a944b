"""A survey of a ports tree: which hook fits it, and what would make the hook do nothing.

The facts about trees come from ``Mk/bsd.port.mk`` itself and are told from what it *can* do, not
from a date: trees are mixed, mirrored and patched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from kpatch.errors import UsageError
from kpatch.ports import makefile, ready, traps, trees
from kpatch.ports.ask import Answers, Make, ask
from kpatch.ports.makefile import Makefile
from kpatch.ports.ready import Way
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
    """One port: where it is, where its SCRIPTDIR will be, how it is hooked (None: not known)."""

    origin: str
    folder: Path
    scripts: Path
    way: Way | None = None


@dataclass(frozen=True)
class Survey:
    """What was seen. ``method`` is None when neither way works in this tree.

    ``kpatch_mk`` is a kpatch.mk that the tree finds without the hook's own overlay.
    """

    ports_dir: Path
    era: str
    method: Method | None
    ports: tuple[Port, ...]
    traps: tuple[Trap, ...]
    kpatch_mk: Path | None = None

    @property
    def hooked(self) -> bool:
        """Whether every port runs the steps, whatever files of the hook are there or not."""
        return all(port.way is not None for port in self.ports)

    @property
    def blocked(self) -> bool:
        """Whether the next build of a port would not be repaired."""
        return (self.method is None and not self.hooked) or any(trap.blocks for trap in self.traps)


def survey(
    ports_dir: Path,
    *,
    origins: Sequence[str] = (),
    make_conf: Path | None = None,
    overlay: Path | None = None,
    make: Make | None = None,
) -> Survey:
    """Look at a tree or an overlay, its ports and the make.conf it is used with. Writes nothing.

    Without ``origins``, the kqemu ports that are there: in ``ports_dir``, in the overlays that
    make.conf names, and in ``overlay``. With ``make`` that make is asked about each port, and its
    word outweighs what the text seems to say. Raises UsageError when ``ports_dir`` is neither a
    tree nor an overlay, or an origin is not there, and FileAccessError for unreadable files.
    """
    # A make.conf that is not there says nothing, which is a trap of its own.
    path = make_conf or Path("/etc/make.conf")
    conf = (makefile.read_if_there(make_conf) if make_conf else None) or Makefile(path, ())
    tree = trees.tree_of(ports_dir, origins or KQEMU_PORTS, conf)
    framework = makefile.read(tree / trees.FRAMEWORK)
    era, method = _era(framework)
    others = [*traps.overlays(conf), *([overlay] if overlay else [])]
    found = _ports(trees.folders_of(ports_dir, tree, others, origins or KQEMU_PORTS), origins)
    kpatch_mk = trees.uses_file([folder for folder in (*others, tree) if folder != overlay])
    looks = [_look(port, tree, method, make, make_conf) for port in found]
    ports = tuple(look.port for look in looks)
    seen = [*traps.of_framework(framework, method is None)]
    seen += [trap for look in looks for trap in look.traps]
    if make_conf is not None:
        seen += traps.of_make_conf(conf, [port.origin for port in ports])
    if make_conf is not None and overlay is not None and method is Method.OVERLAY:
        pairs = [(port.origin, port.folder) for port in ports if port.way is None]
        if pairs:
            seen += traps.of_overlay_lines(conf, pairs, overlay, found=kpatch_mk is not None)
        if not all(look.asked for look in looks) and not _names_kernel(conf):
            seen.append(ready.of_no_kernel(path))
    for look in looks:
        seen += look.by_make(seen)
    hooked = all(port.way is not None for port in ports)
    kept = [trap for trap in seen if not (hooked and trap.rule in ready.HOOK_RULES)]
    return Survey(ports_dir, era, method, ports, tuple(kept), kpatch_mk)


@dataclass(frozen=True)
class _Look:
    """One port as its text and make show it."""

    port: Port
    traps: tuple[Trap, ...]
    answers: Answers | None

    @property
    def asked(self) -> bool:
        return self.answers is not None

    def by_make(self, seen: Sequence[Trap]) -> Sequence[Trap]:
        if self.answers is None:
            return ()
        return ready.of_answers(self.port.origin, self.answers, self.port.way, seen)


def _look(
    port: Port,
    tree: Path,
    method: Method | None,
    make: Make | None,
    make_conf: Path | None,
) -> _Look:
    answers = ask(make, port.folder, tree, make_conf) if make else None
    conf = makefile.read_if_there(make_conf) if make_conf else None
    if answers is not None:
        way = ready.way_by_make(answers, runs_scripts=method is not None)
        patches, flags = answers.patches, answers.flags
    else:
        way = ready.way_by_text(port.folder)
        patches = port.scripts.parent / "files"
        flags = tuple(conf.value("KPATCH_FLAGS").split()) if conf else ()
    port = replace(port, way=way)
    by_overlay = method is Method.OVERLAY
    found = [*traps.of_port(port.origin, port.folder, port.scripts, by_overlay=by_overlay)]
    if way is not None:
        found = [trap for trap in found if trap.rule not in ready.HOOK_RULES]
    if answers is None:
        found += ready.of_text(port.origin, port.folder)
    if make and answers is None:
        found.append(ready.of_silence(port.folder))
    found += ready.of_patches(port.origin, patches, flags)
    found += trees.of_category(port.origin, port.folder, tree)
    return _Look(port, tuple(found), answers)


def _names_kernel(conf: Makefile) -> bool:
    """Whether make.conf says, in one of the two ways, which kernel a module is for."""
    return bool(conf.value("KPATCH_OSVERSION")) or "--kernel" in conf.value("KPATCH_FLAGS")


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


def _ports(folders: Mapping[str, Path | None], origins: Sequence[str]) -> Iterator[Port]:
    """The ports that are there. Those that were named must be."""
    for origin, folder in folders.items():
        if folder is not None:
            yield Port(origin, folder, _master(folder) / "scripts")
        elif origin in origins:
            raise UsageError(f"the tree has no port {origin}, nor has an overlay")
    if not any(folders.values()):
        raise UsageError(
            f"the tree has neither {' nor '.join(KQEMU_PORTS)}",
            todo="name the port that builds the module with --port, and the overlay that has it"
            " as --ports-dir",
        )


def _master(folder: Path) -> Path:
    """The folder whose scripts/ is used: MASTERDIR for a port that is made from another one."""
    for _line, _operator, value in makefile.read(folder / "Makefile").assignments("MASTERDIR"):
        relative = value.removeprefix("${.CURDIR}").lstrip("/")
        master = Path(os.path.realpath(folder / relative))  # a link in a circle is no error
        if "$" not in relative and (master / "Makefile").is_file():
            return master
    return folder
