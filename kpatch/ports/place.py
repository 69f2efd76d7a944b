"""Where the files of the hook go, writing them there, and taking them away again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from kpatch import storage
from kpatch.errors import FileAccessError, UsageError
from kpatch.ports import stamp
from kpatch.ports.ready import Way
from kpatch.ports.traps import Trap
from kpatch.ports.tree import Method, Port, Survey

_DATA = Path(__file__).resolve().parent / "data"

_OVERLAY_FILES = ("overlay/Mk/Uses/kpatch.mk",)
_SCRIPT_FILES = (
    "scripts/kpatch.sh",
    "scripts/post-build",
    "scripts/post-install",
    "scripts/pre-package",
)
_FRAGMENT = "files/kpatch.mk"


@dataclass(frozen=True)
class HookFile:
    """One file of the hook, and where it belongs. ``roof`` is the lowest folder not ours."""

    template: str
    destination: Path
    roof: Path

    @property
    def contents(self) -> bytes:
        """The bytes to write: the shipped text and its stamp."""
        return stamp.stamped((_DATA / self.template).read_text(encoding="utf-8"))


class Change(Enum):
    """What happens to one file."""

    WRITE = "write"
    UPDATE = "update"
    SAME = "already there"
    REMOVE = "remove"
    ABSENT = "not there"
    ADOPTED = "left: not ours, and it calls kpatch"
    KEPT = "kept: not as kpatch wrote it"


@dataclass(frozen=True)
class Action:
    """One file and its change: planned first, shown, then done."""

    file: HookFile
    change: Change


def fragment() -> Path:
    """The shipped makefile fragment, for maintainers who edit the port."""
    return _DATA / _FRAGMENT


def files_for(method: Method, ports: Sequence[Port], overlay: Path) -> tuple[HookFile, ...]:
    """The files that a method needs. Ports that share a master port share its scripts."""
    if method is Method.OVERLAY:
        return tuple(
            HookFile(name, overlay / name.removeprefix("overlay/"), overlay.parent)
            for name in _OVERLAY_FILES
        )
    folders = dict.fromkeys(port.scripts for port in ports)
    return tuple(
        HookFile(name, folder / name.removeprefix("scripts/"), folder.parent)
        for folder in folders
        for name in _SCRIPT_FILES
    )


def needed(survey: Survey, overlay: Path) -> tuple[HookFile, ...]:
    """The files of the tree's method that its ports need: none where another way runs the steps."""
    if survey.method is None:
        return ()
    others = (Way.FRAGMENT, Way.SCRIPTS) if survey.method is Method.OVERLAY else (Way.FRAGMENT,)
    ports = [port for port in survey.ports if port.way not in others]
    if not ports or (survey.method is Method.OVERLAY and survey.kpatch_mk is not None):
        return ()
    return files_for(survey.method, ports, overlay)


def plan_install(files: Sequence[HookFile]) -> tuple[Action, ...]:
    """What writing the files would do. Raises UsageError if a file of somebody else is there."""
    actions = []
    for file in files:
        path = file.destination
        if not path.exists() and not path.is_symlink():
            change = Change.WRITE
        elif stamp.calls_us(path):
            change = Change.ADOPTED
        elif not stamp.is_ours(path):
            raise UsageError(
                "there is a file that kpatch did not write, or that was changed since",
                where=str(path),
                todo="move it away, or put the call of kpatch into it, as "
                "'kpatch explain docs/ports.md' says",
            )
        else:
            same = _read(path) == file.contents
            change = Change.SAME if same else Change.UPDATE
        actions.append(Action(file, change))
    return tuple(actions)


def plan_uninstall(files: Sequence[HookFile]) -> tuple[Action, ...]:
    """What taking the files away would do. A changed file is kept, and said so."""
    return tuple(Action(file, _removal(file.destination)) for file in files)


def checked(survey: Survey, overlay: Path) -> Survey:
    """The survey with what the hook's own files say: are they there, and of this version?"""
    found = _about_files(needed(survey, overlay), survey.ports_dir)
    # Where make says that the steps are run, a file that is missing is no more than a note.
    kept = [replace(trap, blocks=trap.blocks and not survey.hooked) for trap in found]
    # What is missing explains better why the steps are not run than that they are not.
    explained = any(trap.blocks for trap in kept)
    traps = [trap for trap in survey.traps if not (explained and trap.rule == "not-run")]
    return replace(survey, traps=(*traps, *kept))


def carry_out(actions: Sequence[Action]) -> None:
    """Do what was planned. Raises FileAccessError; a file is written wholly or not at all."""
    for action in actions:
        path = action.file.destination
        try:
            if action.change in (Change.WRITE, Change.UPDATE):
                _write(path, action.file.contents)
            elif action.change is Change.REMOVE:
                path.unlink()
                _remove_empty(path.parent, action.file.roof)
        except OSError as error:
            raise FileAccessError(
                f"cannot {action.change.value} it: {error.strerror}",
                where=str(error.filename or path),
                todo="run as a user who may write there",
            ) from error


def _about_files(files: Sequence[HookFile], ports_dir: Path) -> Iterator[Trap]:
    for file in files:
        path = file.destination
        if not path.exists():
            yield Trap(
                "not-installed",
                "a file of the hook is not there",
                str(path),
                f"write it with kpatch hook --ports-dir {ports_dir} --install",
                blocks=True,
            )
        elif stamp.is_ours(path) and _read(path) != file.contents:
            yield Trap(
                "outdated",
                "a file of the hook was written by another version of kpatch",
                str(path),
                f"write it anew with kpatch hook --ports-dir {ports_dir} --install",
                blocks=False,
            )


def _removal(path: Path) -> Change:
    if not path.exists() and not path.is_symlink():
        return Change.ABSENT
    return Change.REMOVE if stamp.is_ours(path) else Change.KEPT


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileAccessError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            todo="call it as a user who may read it",
        ) from error


def _write(path: Path, contents: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.replace(path, contents)


def _remove_empty(folder: Path, roof: Path) -> None:
    """Folders that held nothing but our files go too, up to ``roof``, which stays."""
    while folder != roof and folder.is_relative_to(roof) and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
