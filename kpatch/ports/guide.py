"""What the user does to get the hook into builds, per method, as data for any rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kpatch.ports import place, traps
from kpatch.ports.tree import Method


@dataclass(frozen=True)
class GuideStep:
    """One thing to do: a file to put somewhere, or lines to add to one."""

    what: str
    where: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guide:
    """The steps of one way into a build."""

    title: str
    steps: tuple[GuideStep, ...]


def for_method(
    method: Method, origins: Sequence[str], files: Sequence[Path], overlay: Path, make_conf: Path
) -> Guide:
    """What to do for ``method``: the files (``--install`` writes them) and make.conf."""
    puts = tuple(GuideStep("file (--install writes it)", str(path)) for path in files)
    optional = GuideStep(
        "optional lines",
        str(make_conf),
        (
            *(
                ["KPATCH_OSVERSION?=\t700055\t# when the kernel is not that of the build machine"]
                if method is Method.SCRIPTS
                else []
            ),
            "KPATCH_FLAGS=\t\t--no-verify\t# skip the proof",
            "KPATCH=\t\t\t/usr/local/bin/kpatch",
        ),
    )
    if method is Method.SCRIPTS:
        return Guide("trees of 2008 and later: scripts in the port", (*puts, optional))
    needed = GuideStep(
        "lines to add",
        str(make_conf),
        (
            f"OVERLAYS+=\t{overlay}",
            *(f"{traps.variable(origin)}+=\tUSES+=kpatch" for origin in origins),
            "KPATCH_OSVERSION?=\t700055\t# the kernel that loads the module, not the tree's",
        ),
    )
    return Guide("trees with overlays: USES=kpatch, no edit of the tree", (*puts, needed, optional))


def for_maintainers() -> Guide:
    """What to do for somebody who edits the port."""
    return Guide(
        "for the maintainer of a port",
        (
            GuideStep("in a tree with overlays, add to the port", "Makefile", ("USES+=\tkpatch",)),
            GuideStep("in an older tree, copy into files/ of the port", str(place.fragment())),
            GuideStep(
                "and add just before the last .include",
                "Makefile",
                ('.include "${.CURDIR}/files/kpatch.mk"',),
            ),
        ),
    )
