"""``kpatch hook``: the hook for ports builds, and the steps that it runs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from kpatch.cli import progress
from kpatch.cli.common import Signatures, console_options, read_host, signatures_option
from kpatch.cli.console import Console
from kpatch.errors import DONE, FINDING, KernelUnknownError, KpatchError, UsageError
from kpatch.kernel.host import Host
from kpatch.ports import build, guide, place, tree, trees
from kpatch.ports.ask import Make
from kpatch.ports.build import Report, Workshop
from kpatch.ports.guide import Guide
from kpatch.ports.locate import Folders
from kpatch.ports.place import Action
from kpatch.ports.tree import Method, Port, Survey
from kpatch.proving import Proving
from kpatch.report import documents, hook_documents
from kpatch.report import hook_text as text
from kpatch.report.typed import Beside

_OVERLAY = Path("/usr/local/share/kpatch/overlay")
_MAKE_CONF = Path("/etc/make.conf")

# The make of a BSD runs a ports tree; elsewhere that make is called bmake.
_SYSTEM_MAKE = "make" if "bsd" in sys.platform else "bmake"

_FOLDER = click.Path(path_type=Path)


@dataclass(frozen=True)
class BuildSettings:
    """What a build step is told about the kernel, the repair and the proof (None: without)."""

    host: Host
    replace_source_fix: bool
    signatures: Signatures
    proving: Proving | None


BuildStep = Callable[[Sequence[str], Folders, Workshop], Iterator[Report]]
OpenWorkshop = Callable[[BuildSettings], Workshop]


@dataclass(frozen=True)
class UserPaths:
    """Where the user keeps things outside the tree."""

    overlay: Path
    make_conf: Path


def make_command(open_workshop: OpenWorkshop) -> click.Group:
    """The command. ``open_workshop`` binds the steps to the part of kpatch that does the work."""
    group = click.Group(
        "hook",
        callback=_hook.callback,
        params=_hook.params,
        help=_hook.help,
        invoke_without_command=True,
    )
    for name, step, summary in (
        ("apply", build.apply, "Repair what the build made, or say why it needs no repair."),
        ("verify", build.verify, "Prove the repair on the files as the build left them."),
        ("staged", build.staged, "Check that what was staged is what was proven."),
        ("packaged", build.packaged, "Check it once more, right before a package is made."),
    ):
        group.add_command(_step_command(name, step, summary, open_workshop))
    return group


@click.command("hook")
@click.option("--ports-dir", type=_FOLDER, help="Check this tree or overlay, usually /usr/ports.")
@click.option(
    "--port",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="The port to hook, or several; without it those of kqemu.",
)
@click.option(
    "--make-conf",
    type=_FOLDER,
    default=_MAKE_CONF,
    show_default=True,
    help="The make.conf of the machine.",
)
@click.option(
    "--overlay",
    type=_FOLDER,
    default=_OVERLAY,
    show_default=True,
    help="Where the overlay goes.",
)
@click.option(
    "--make", "make", metavar="WORDS", help="The make that runs the tree, with its options."
)
@click.option("--install", is_flag=True, help="Write the files of the hook.")
@click.option("--uninstall", is_flag=True, help="Take them away, where they are unchanged.")
@console_options
@click.pass_context
def _hook(
    context: click.Context,
    ports_dir: Path | None,
    origins: tuple[str, ...],
    make_conf: Path,
    overlay: Path,
    make: str | None,
    install: bool,
    uninstall: bool,
    console: Console,
) -> int:
    """Show, check, install or remove the hook for ports builds.

    Alone it prints what goes where. With --ports-dir it checks that tree, and exits with 1
    if a build there would not be repaired, with --install too.
    """
    if context.invoked_subcommand is not None:
        return DONE
    places = UserPaths(overlay.absolute(), make_conf.absolute())
    if install and uninstall:
        raise UsageError("--install and --uninstall contradict each other")
    if ports_dir is None:
        if install or uninstall:
            raise UsageError("no ports tree is named", todo="give --ports-dir, usually /usr/ports")
        guides = _all_guides(places, origins or tree.KQEMU_PORTS)
        return _print(console, text.guides_text(guides), hook_documents.beside(guides=guides), DONE)
    look = partial(
        tree.survey,
        ports_dir.absolute(),
        origins=origins,
        make_conf=places.make_conf,
        overlay=places.overlay,
        make=Make(shlex.split(make or _SYSTEM_MAKE), os.environ),
    )
    seen = look()
    if install or uninstall:
        actions = _install(seen, places) if install else _uninstall(seen, places)
        seen = place.checked(look(), places.overlay)
        lines = [*text.actions_text(actions), *(text.verdict_text(seen) if install else ())]
        beside = hook_documents.beside(actions=actions, survey=seen)
        # Files alone repair nothing: what is still missing in make.conf is a finding here too.
        return _print(console, lines, beside, FINDING if install and seen.blocked else DONE)
    seen = place.checked(seen, places.overlay)
    guides = (_guide(seen.method, seen.ports, places),) if seen.method else ()
    beside = hook_documents.beside(survey=seen, guides=guides)
    exit_code = FINDING if seen.blocked else DONE
    return _print(console, text.survey_text(seen, guides), beside, exit_code)


def _step_command(
    name: str, step: BuildStep, summary: str, open_workshop: OpenWorkshop
) -> click.Command:
    @click.command(name, help=f"{summary}\n\nRun by the hook in a ports build.")
    @click.option("--wrkdir", type=_FOLDER, required=True, help="WRKDIR of the port.")
    @click.option("--wrksrc", type=_FOLDER, required=True, help="BUILD_WRKSRC of the port.")
    @click.option("--stagedir", type=_FOLDER, required=True, help="STAGEDIR of the port.")
    @click.option(
        "--osversion", metavar="N", default="", help="__FreeBSD_version of the kernel, as 700055."
    )
    @click.option("--kernel", type=_FOLDER, help="The kernel file that the module is for.")
    @click.option("--replace-source-fix", is_flag=True, help="Switch off source fix A or B.")
    @click.option("--no-verify", is_flag=True, help="Skip the proof, and say so.")
    @click.argument("files", nargs=-1, required=True, metavar="FILE...")
    @signatures_option
    @console_options
    def command(
        wrkdir: Path,
        wrksrc: Path,
        stagedir: Path,
        osversion: str,
        kernel: Path | None,
        replace_source_fix: bool,
        no_verify: bool,
        files: tuple[str, ...],
        signatures: Signatures,
        console: Console,
    ) -> int:
        folders = Folders(wrkdir.absolute(), wrksrc.absolute(), stagedir.absolute())
        reports = []
        failure: KpatchError | None = None
        try:
            host = _host_of_build(osversion, kernel)
            with progress.shown(console) as proving:
                settings = BuildSettings(
                    host, replace_source_fix, signatures, None if no_verify else proving
                )
                for report in step(files, folders, open_workshop(settings)):
                    reports.append(report)
                    if report.line and not (console.json or console.quiet):
                        console.data(f"kpatch {name}: {report.line}")
        except KpatchError as error:
            console.complain(error)
            failure = error
        exit_code = failure.exit_code if failure else DONE
        if console.json:
            entries = [hook_documents.step(report) for report in reports]
            beside = hook_documents.beside(error=failure)
            console.document(documents.envelope(f"hook {name}", entries, exit_code, beside))
        return exit_code

    return command


def _host_of_build(osversion: str, kernel: Path | None) -> Host:
    """The kernel that a build names.

    A tree that does not know its OSVERSION gives an empty one: then the module decides.
    """
    try:
        return read_host(
            osversion.strip() or None, kernel, said_by="KPATCH_OSVERSION (or the tree's OSVERSION)"
        )
    except KernelUnknownError as error:
        error.todo = (
            "name the kernel that loads the module in KPATCH_FLAGS (--kernel FILE), or set"
            " KPATCH_OSVERSION to its version instead, and build again"
        )
        raise


def _install(seen: Survey, places: UserPaths) -> tuple[Action, ...]:
    if seen.method is None and not seen.hooked:
        raise UsageError(
            f"no way into the builds of this tree: {seen.era}",
            where=str(seen.ports_dir),
            todo="edit the port; kpatch hook says how",
        )
    actions = place.plan_install(place.needed(seen, places.overlay))
    place.carry_out(actions)
    return actions


def _uninstall(seen: Survey, places: UserPaths) -> tuple[Action, ...]:
    """Both methods: a tree may have been updated from one to the other since."""
    files = [
        file for method in Method for file in place.files_for(method, seen.ports, places.overlay)
    ]
    actions = place.plan_uninstall(files)
    place.carry_out(actions)
    return actions


def _all_guides(places: UserPaths, origins: Sequence[str]) -> tuple[Guide, ...]:
    """For a tree that is not named: the paths as they are in any tree."""
    ports = []
    for origin in origins:
        trees.check_origin(origin)
        folder = Path("/usr/ports", origin)
        ports.append(Port(origin, folder, folder / "scripts"))
    methods = (_guide(method, ports, places) for method in Method)
    return (*methods, guide.for_maintainers())


def _guide(method: Method, ports: Sequence[Port], places: UserPaths) -> Guide:
    files = [file.destination for file in place.files_for(method, ports, places.overlay)]
    origins = [port.origin for port in ports]
    return guide.for_method(method, origins, files, places.overlay, places.make_conf)


def _print(console: Console, lines: Iterable[str], beside: Beside, exit_code: int) -> int:
    if console.json:
        console.document(documents.envelope("hook", [], exit_code, beside))
    else:
        for line in lines:
            console.exact(line)
    return exit_code


def _open(settings: BuildSettings) -> Workshop:
    # Imported here: only the steps need what reads and repairs modules.
    from kpatch.ports.workshop import ModuleWorkshop

    return ModuleWorkshop(
        settings.host,
        replace_source_fix=settings.replace_source_fix,
        signatures=settings.signatures,
        proving=settings.proving,
    )


command = make_command(_open)
