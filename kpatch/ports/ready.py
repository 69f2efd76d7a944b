"""Whether the next build of a port would repair its module, as far as can be known before it.

Which way of the hook the build takes, and what would keep it from repairing though it is hooked:
a port that is not built, a source fix that is refused, a kernel that needs no repair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from kpatch.kernel.kernels import builtin_table
from kpatch.kqemu.sourcefix import races
from kpatch.ports import makefile, stamp
from kpatch.ports.ask import Answers
from kpatch.ports.traps import Trap

# The largest patch of the two ports has a few kB.
_LARGEST_PATCH = 1 << 20


class Way(Enum):
    """How a build of one port comes to run the steps."""

    USES = "USES=kpatch"
    SCRIPTS = "scripts of the port"
    FRAGMENT = "files/kpatch.mk of the port"


HOOK_RULES = frozenset(
    {
        "no-way-in",
        "late-uses",
        "no-overlay-line",
        "no-uses-line",
        "not-installed",
        "script-in-the-way",
    }
)
"""The traps that say why a build would not run the steps."""


def way_by_make(answers: Answers, *, runs_scripts: bool) -> Way | None:
    """The way that make takes. ``runs_scripts``: whether the tree runs scripts of a port."""
    if answers.fragment:
        return Way.FRAGMENT
    if answers.runs_uses:
        return Way.USES
    if runs_scripts and has_scripts(answers.scripts):
        return Way.SCRIPTS
    return None


def way_by_text(folder: Path) -> Way | None:
    """The one way that the port's text tells: it includes the fragment, which is there."""
    if makefile.read(folder / "Makefile").include("kpatch.mk") is None:
        return None
    fragment = folder / "files" / "kpatch.mk"
    found = makefile.read_if_there(fragment)
    return Way.FRAGMENT if found is not None and found.mentions("KPATCH_FRAGMENT=") else None


def has_scripts(folder: Path) -> bool:
    """Whether both scripts that repair and check are there, and call kpatch."""
    scripts = [folder / name for name in ("post-build", "post-install")]
    called = all(stamp.is_ours(path) or stamp.calls_us(path) for path in scripts)
    return called and (folder / "kpatch.sh").is_file()


def of_answers(origin: str, answers: Answers, way: Way | None, seen: Sequence[Trap]) -> list[Trap]:
    """What make says against a repair by the next build. ``seen`` is what the text said."""
    found = [*_of_kernel(origin, answers)]
    if answers.ignore:
        found.append(
            Trap(
                "ignored",
                f'make does not build {origin}: it "{answers.ignore}"',
                origin,
                "take the BROKEN, IGNORE or ONLY_FOR lines that say so out of the port",
                blocks=True,
            )
        )
    if way is None and not any(trap.blocks and trap.rule in HOOK_RULES for trap in seen):
        found.append(
            Trap(
                "not-run",
                f"make does not run the hook for {origin}: there USES is"
                f' "{" ".join(answers.uses)}"',
                origin,
                "see which conditions (.if) in make.conf and in the port hide its lines",
                blocks=True,
            )
        )
    return found


def of_text(origin: str, folder: Path) -> Iterator[Trap]:
    """Lines of a port that can keep it from being built, where no make says whether they do."""
    port = makefile.read(folder / "Makefile")
    for name in ("BROKEN", "IGNORE", "FORBIDDEN"):
        for line, _operator, value in port.assignments(name):
            yield Trap(
                "broken",
                f'{origin} may not be built: {name}= "{value}"',
                f"{port.path}:{line.number}",
                "take the line out of the port, if it holds for your system",
                blocks=False,
            )


def of_patches(origin: str, patches: Path, flags: Sequence[str]) -> Iterator[Trap]:
    """A patch of the port that puts source fix A or B into the module, which ends a build."""
    if "--replace-source-fix" in flags or not patches.is_dir():
        return
    for path in sorted(patches.glob("patch-*")):
        if races(_text(path)):
            yield Trap(
                "source-fix",
                f"{origin} puts a source fix into the module that still races (A or B):"
                " the build ends with 14",
                str(path),
                "set KPATCH_FLAGS= --replace-source-fix in make.conf, or remove that patch",
                blocks=True,
            )


def of_silence(port: Path) -> Trap:
    """No make could be asked."""
    return Trap(
        "not-asked",
        "make could not be asked, so makefiles are read as text: conditions (.if) and files that"
        " they include are not seen",
        str(port),
        "name a make that runs the tree: --make",
        blocks=False,
    )


def of_no_kernel(make_conf: Path) -> Trap:
    """In a tree of 2019 and later OSVERSION is that of no kqemu kernel."""
    return Trap(
        "no-kernel",
        "nothing says which kernel the module is for; the OSVERSION of a tree with overlays is not"
        " its version: the build would not repair it",
        str(make_conf),
        "write KPATCH_OSVERSION= 700055 (the kernel that loads the module; there: sysctl -n"
        " kern.osreldate)",
        blocks=True,
    )


def _of_kernel(origin: str, answers: Answers) -> Iterator[Trap]:
    names_file = any(flag.partition("=")[0] == "--kernel" for flag in answers.flags)
    if not answers.kernel.isdecimal() or names_file:
        return
    kernel = next(
        (known for known in builtin_table().kernels if int(answers.kernel) in known.versions), None
    )
    if kernel is not None and kernel.gdt == "private":
        yield Trap(
            "other-kernel",
            f"{origin} is built for the kernel {answers.kernel} ({kernel.name}), which gives every"
            " CPU a GDT of its own: the build would repair nothing",
            origin,
            "set KPATCH_OSVERSION to the version of the kernel that loads the module, if it is"
            " another",
            blocks=True,
        )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_PATCH).decode("latin-1")
    except OSError:
        return ""
