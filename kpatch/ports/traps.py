"""What in a tree, a port or a make.conf would make the hook do nothing, or not be found.

Most of these fail silently: the build ends with 0 and the module is not repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kpatch.ports import makefile, stamp
from kpatch.ports.makefile import Makefile

# bsd.port.mk lets a port set USES only before it loads them, which the first of these does.
_LOADS_USES = ("bsd.port.pre.mk", "bsd.port.mk")
_READS_ORIGIN_VARS = ("bsd.port.options.mk", *_LOADS_USES)


@dataclass(frozen=True)
class Trap:
    """One thing to know before a build. ``blocks``: the hook will not work until it is gone."""

    rule: str
    what: str
    where: str
    todo: str
    blocks: bool


def of_framework(framework: Makefile, without_method: bool) -> Iterator[Trap]:
    """Traps in Mk/bsd.port.mk."""
    where = str(framework.path)
    if without_method:
        yield Trap(
            "no-way-in",
            "this tree loads no overlays and runs no scripts of a port",
            where,
            "put files/kpatch.mk into the port (kpatch hook shows it)",
            blocks=True,
        )
    old = re.compile(r"\$\{target:[UL]\}")
    if any(old.search(line.text) for line in framework.lines):
        yield Trap(
            "old-modifiers",
            'this tree writes :U for upper case, which means "default" to the make of FreeBSD 10'
            ' and later: with that make a build ends with "improper use of USE_PERL5", and with'
            " NO_IGNORE=yes it runs nothing and ends with 0",
            where,
            "build with the make of the FreeBSD release that the tree is for,"
            ' and look for the line "repaired" in the log',
            blocks=False,
        )


def of_port(origin: str, folder: Path, scripts: Path, *, by_overlay: bool) -> Iterator[Trap]:
    """Traps in a port's own folder."""
    port = makefile.read(folder / "Makefile")
    if by_overlay:
        yield from _late_uses(port)
    yield from _post_build(port, makefile.read_if_there(folder / "Makefile.local"))
    yield from _scripts(scripts, by_overlay=by_overlay)
    if not by_overlay and scripts.parent != folder.resolve() and scripts.parent != folder:
        yield Trap(
            "master-port",
            f"{origin} is made from another port, whose scripts/ it uses",
            str(folder / "Makefile"),
            f"the scripts go to {scripts}, for both ports",
            blocks=False,
        )


def of_make_conf(conf: Makefile, origins: Sequence[str]) -> Iterator[Trap]:
    """Traps in make.conf, for any way in."""
    for line, _operator, value in conf.assignments("USES"):
        yield Trap(
            "uses-overwritten",
            f'USES in make.conf does nothing ("{value}"): the port\'s own USES= overwrites it',
            f"{conf.path}:{line.number}",
            " ".join(f"write {variable(origin)}= USES+=kpatch" for origin in origins),
            blocks=False,
        )


def of_overlay_lines(
    conf: Makefile, ports: Sequence[tuple[str, Path]], overlay: Path, *, found: bool
) -> Iterator[Trap]:
    """The lines of make.conf that USES=kpatch needs. ``ports``: origins with their folders.

    ``found``: whether the tree finds a kpatch.mk without the hook's own overlay.
    """
    if not found and overlay not in overlays(conf):
        yield Trap(
            "no-overlay-line",
            "the overlay is not in OVERLAYS, so the tree will not find Mk/Uses/kpatch.mk",
            str(conf.path),
            f"write OVERLAYS+= {overlay}",
            blocks=True,
        )
    for origin, folder in ports:
        own = gives_kpatch(makefile.read(folder / "Makefile").value("USES"))
        if not own and not re.search(r"(^|\s)USES\+=\"?kpatch\b", conf.value(variable(origin))):
            yield Trap(
                "no-uses-line",
                f"nothing gives USES+=kpatch to {origin}",
                str(conf.path),
                f"write {variable(origin)}+= USES+=kpatch, behind every line that sets it",
                blocks=True,
            )


def overlays(conf: Makefile) -> tuple[Path, ...]:
    """The folders in OVERLAYS of make.conf. Words with a variable in them are left out."""
    return tuple(Path(word) for word in conf.value("OVERLAYS").split() if "$" not in word)


def gives_kpatch(uses: str) -> bool:
    """Whether this value of USES has kpatch in it."""
    return any(word.partition(":")[0] == "kpatch" for word in uses.split())


def variable(origin: str) -> str:
    """The make.conf variable that reaches one port alone: ``category_name_VARS``."""
    return f"{origin.replace('/', '_')}_VARS"


def _late_uses(port: Makefile) -> Iterator[Trap]:
    first = port.include(*_READS_ORIGIN_VARS)
    for line, operator, value in port.assignments("USES"):
        late = first is not None and line.number > first.number
        if late and operator != "+=" and not gives_kpatch(value):
            yield Trap(
                "late-uses",
                "the port sets USES after the tree has added to it, so the addition is lost",
                f"{port.path}:{line.number}",
                "add kpatch to that line of the port, or write += there",
                blocks=True,
            )


def _post_build(port: Makefile, local: Makefile | None) -> Iterator[Trap]:
    own = port.target("post-build")
    if own is not None:
        yield Trap(
            "own-post-build",
            "the port has a post-build of its own; the hook runs after it",
            f"{port.path}:{own.number}",
            "nothing; but do not add another post-build, in Makefile.local or elsewhere:"
            " it would take the place of this one",
            blocks=False,
        )
    second = local.target("post-build") if local is not None else None
    if local is not None and second is not None:
        what = "Makefile.local has a post-build"
        yield Trap(
            "local-post-build",
            f"{what}, which takes the place of the port's own" if own is not None else what,
            f"{local.path}:{second.number}",
            "remove it if it was meant to call kpatch; the hook does not need it",
            blocks=False,
        )


def _scripts(scripts: Path, *, by_overlay: bool) -> Iterator[Trap]:
    for name in ("post-build", "post-install"):
        path = scripts / name
        if not path.exists() and not path.is_symlink():
            continue
        if stamp.is_ours(path) or stamp.calls_us(path):
            if by_overlay:
                yield Trap(
                    "hooked-twice",
                    "the port has the script of kpatch too, so each step will run twice",
                    str(path),
                    "nothing breaks; remove the script if you do not need it",
                    blocks=False,
                )
        elif by_overlay:
            yield Trap(
                "own-script",
                "the port has a script of its own; the hook runs after it",
                str(path),
                "nothing",
                blocks=False,
            )
        else:
            yield Trap(
                "script-in-the-way",
                "the port has a script of its own, where the hook would go",
                str(path),
                'add to its end: . "$SCRIPTDIR/kpatch.sh"; '
                + (
                    "kpatch_step apply; kpatch_step verify"
                    if name == "post-build"
                    else "kpatch_step staged"
                ),
                blocks=True,
            )
