"""``kpatch hook``: the hook for ports builds, and the steps that it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from kpatch.errors import FINDING, UsageError
from kpatch.ports import build, guide, place, tree
from kpatch.ports.build import Report, Workshop
from kpatch.ports.guide import Guide
from kpatch.ports.locate import Folders
from kpatch.ports.place import Action
from kpatch.ports.tree import Method, Survey

_OVERLAY = Path("/usr/local/share/kpatch/overlay")
_MAKE_CONF = Path("/etc/make.conf")

_FOLDER = click.Path(path_type=Path)


@dataclass(frozen=True)
class Settings:
    """What a build step is told about the kernel and the proof."""

    osversion: int | None
    kernel: Path | None
    proof: bool


def make_command(open_workshop: Callable[[Settings], Workshop]) -> click.Group:
    """The command. ``open_workshop`` binds the steps to the part of kpatch that does the work."""

    @click.group(invoke_without_command=True)
    @click.option("--ports-dir", type=_FOLDER, help="Look at this tree, usually /usr/ports.")
    @click.option("--port", "origins", multiple=True, metavar="ORIGIN", help="The port to hook.")
    @click.option("--make-conf", type=_FOLDER, default=_MAKE_CONF, show_default=True)
    @click.option("--overlay", type=_FOLDER, default=_OVERLAY, show_default=True)
    @click.option("--install", is_flag=True, help="Write the files.")
    @click.option("--uninstall", is_flag=True, help="Take the files away, where unchanged.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.pass_context
    def hook(
        context: click.Context,
        ports_dir: Path | None,
        origins: tuple[str, ...],
        make_conf: Path,
        overlay: Path,
        install: bool,
        uninstall: bool,
        as_json: bool,
    ) -> None:
        """Show, check, install or remove the hook for ports builds.

        Alone it prints what goes where. With --ports-dir it checks that tree, and exits with 1
        if the hook would not work there.
        """
        if context.invoked_subcommand is not None:
            return
        if install and uninstall:
            raise UsageError("--install and --uninstall contradict each other")
        if ports_dir is None:
            if install or uninstall:
                raise UsageError("which tree?", todo="give --ports-dir, usually /usr/ports")
            _show_guides(_guides(overlay, make_conf), as_json)
            return
        seen = tree.survey(
            ports_dir.absolute(),
            origins=origins,
            make_conf=make_conf,
            overlay=overlay.absolute(),
        )
        if install:
            _show_actions(seen, _install(seen, overlay.absolute()), make_conf, overlay, as_json)
        elif uninstall:
            _show_removal(_uninstall(seen, overlay.absolute()), as_json)
        else:
            _show_survey(seen, make_conf, overlay.absolute(), as_json)
            context.exit(FINDING if seen.blocked else 0)

    for name, step, text in (
        ("apply", build.apply, "Repair what the build made, or say why it needs no repair."),
        ("verify", build.verify, "Prove the repair on the files as the build left them."),
        ("staged", build.staged, "Check that what was staged is what was proven."),
    ):
        hook.add_command(_step_command(name, step, text, open_workshop))
    return hook


Step = Callable[[Sequence[str], Folders, Workshop], Iterator[Report]]


def _step_command(
    name: str, step: Step, text: str, open_workshop: Callable[[Settings], Workshop]
) -> click.Command:
    @click.command(name, help=f"{text}\n\nRun by the hook in a ports build.")
    @click.option("--wrkdir", type=_FOLDER, required=True, help="WRKDIR of the port.")
    @click.option("--wrksrc", type=_FOLDER, required=True, help="BUILD_WRKSRC of the port.")
    @click.option("--stagedir", type=_FOLDER, required=True, help="STAGEDIR of the port.")
    @click.option("--osversion", default="", help="__FreeBSD_version of the kernel.")
    @click.option("--kernel", type=_FOLDER, help="The kernel file that the module is for.")
    @click.option("--no-verify", is_flag=True, help="Skip the proof, and say so.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
    @click.argument("files", nargs=-1, required=True, metavar="FILE...")
    def command(
        wrkdir: Path,
        wrksrc: Path,
        stagedir: Path,
        osversion: str,
        kernel: Path | None,
        no_verify: bool,
        as_json: bool,
        files: tuple[str, ...],
    ) -> None:
        settings = Settings(_osversion(osversion), kernel, proof=not no_verify)
        folders = Folders(wrkdir.absolute(), wrksrc.absolute(), stagedir.absolute())
        for report in step(files, folders, open_workshop(settings)):
            click.echo(
                json.dumps(report.to_document()) if as_json else f"kpatch {name}: {report.line}"
            )

    return command


def _osversion(text: str) -> int | None:
    """A tree that does not know its OSVERSION gives an empty one: then the module decides."""
    if not text.strip():
        return None
    if not text.strip().isdecimal():
        raise UsageError(
            f"not an __FreeBSD_version: {text!r}",
            todo="give a number such as 700055, or set KPATCH_OSVERSION in make.conf",
        )
    return int(text)


def _install(seen: Survey, overlay: Path) -> tuple[Action, ...]:
    if seen.method is None:
        raise UsageError(
            f"no way into the builds of this tree: {seen.era}",
            where=str(seen.ports_dir),
            todo="edit the port: kpatch hook shows the fragment for it",
        )
    actions = place.plan_install(place.files_for(seen.method, seen.ports, overlay))
    place.carry_out(actions)
    return actions


def _uninstall(seen: Survey, overlay: Path) -> tuple[Action, ...]:
    """Both methods: a tree may have been updated from one to the other since."""
    files = [file for method in Method for file in place.files_for(method, seen.ports, overlay)]
    actions = place.plan_uninstall(files)
    place.carry_out(actions)
    return actions


def _guides(overlay: Path, make_conf: Path) -> tuple[Guide, ...]:
    ports = tuple(
        tree.Port(origin, Path("PORTSDIR", origin), Path("PORTSDIR", origin, "scripts"))
        for origin in tree.KQEMU_PORTS[:1]
    )
    methods = (_guide(method, ports, overlay, make_conf) for method in Method)
    return (*methods, guide.for_maintainers())


def _guide(method: Method, ports: Sequence[tree.Port], overlay: Path, make_conf: Path) -> Guide:
    files = [file.destination for file in place.files_for(method, ports, overlay)]
    origins = [port.origin for port in ports]
    return guide.for_method(method, origins, files, overlay, make_conf)


def _show_guides(guides: Sequence[Guide], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"guides": [each.to_document() for each in guides]}, indent=2))
        return
    for each in guides:
        click.echo(f"{each.title}")
        for step in each.steps:
            click.echo(f"  {step.what}: {step.where}")
            for line in step.lines:
                click.echo(f"      {line}")
        click.echo()
    click.echo("Check a tree with: kpatch hook --ports-dir /usr/ports")


def _show_survey(seen: Survey, make_conf: Path, overlay: Path, as_json: bool) -> None:
    guides = [_guide(seen.method, seen.ports, overlay, make_conf)] if seen.method else []
    if as_json:
        document = seen.to_document() | {"guides": [each.to_document() for each in guides]}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"{seen.ports_dir}: {seen.era}")
    for port in seen.ports:
        click.echo(f"  port {port.origin}")
    for trap in seen.traps:
        click.echo(f"  {'blocks' if trap.blocks else 'note'}: {trap.what}")
        click.echo(f"      at {trap.where}")
        click.echo(f"      do: {trap.todo}")
    click.echo("the hook will not work yet" if seen.blocked else "the hook works here")
    for each in guides:
        for step in each.steps:
            click.echo(f"  {step.what}: {step.where}")
            for line in step.lines:
                click.echo(f"      {line}")


def _show_actions(
    seen: Survey, actions: Sequence[Action], make_conf: Path, overlay: Path, as_json: bool
) -> None:
    if as_json:
        document = seen.to_document() | {"actions": [each.to_document() for each in actions]}
        click.echo(json.dumps(document, indent=2))
        return
    for action in actions:
        click.echo(f"{action.change.value}: {action.file.destination}")
    for trap in seen.traps:
        click.echo(f"{'still to do' if trap.blocks else 'note'}: {trap.what}; {trap.todo}")


def _show_removal(actions: Sequence[Action], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"actions": [each.to_document() for each in actions]}, indent=2))
        return
    for action in actions:
        click.echo(f"{action.change.value}: {action.file.destination}")
