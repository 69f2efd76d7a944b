"""Trees and overlays: which folder is which, and where a port lies.

An overlay is a folder of ports beside the tree, with categories and Mk/Uses as the tree has
them, but without Mk/bsd.port.mk. Trees since May 2019 look into each folder that OVERLAYS names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kpatch.errors import UsageError
from kpatch.ports import makefile
from kpatch.ports.makefile import Makefile
from kpatch.ports.traps import Trap

FRAMEWORK = Path("Mk", "bsd.port.mk")
_USUAL_TREE = Path("/usr/ports")


def tree_of(ports_dir: Path, origins: Sequence[str], conf: Makefile) -> Path:
    """The ports tree behind ``ports_dir``: itself, or for an overlay the one that make.conf names.

    Raises UsageError for a folder that is neither, and for an overlay whose tree is not found.
    """
    if (ports_dir / FRAMEWORK).is_file():
        return ports_dir
    if not ports_dir.is_dir():
        raise UsageError(
            "there is no such folder",
            where=str(ports_dir),
            todo="give the folder of the tree, usually /usr/ports",
        )
    if not any(_has(ports_dir, origin) for origin in origins):
        raise UsageError(
            "not a ports tree: it has no Mk/bsd.port.mk; and no overlay: it has none of "
            + ", ".join(origins),
            where=str(ports_dir),
            todo="give the folder of the tree, usually /usr/ports, or of the overlay with the port",
        )
    named = conf.value("PORTSDIR")
    tree = Path(named) if named and "$" not in named else _USUAL_TREE
    if not (tree / FRAMEWORK).is_file():
        raise UsageError(
            f"an overlay, and its ports tree is not at {tree}",
            where=str(ports_dir),
            todo=f"set PORTSDIR in {conf.path}, or give the tree as --ports-dir and this folder as"
            " --overlay",
        )
    return tree


def folders_of(
    ports_dir: Path, tree: Path, overlays: Sequence[Path], origins: Sequence[str]
) -> Mapping[str, Path | None]:
    """Where each port lies: in what the user named first, then in the overlays, then in the tree.

    Raises UsageError for a text that is no origin.
    """
    roofs = dict.fromkeys((ports_dir, *overlays, tree))
    return {
        origin: next((roof / origin for roof in roofs if _has(roof, origin)), None)
        for origin in origins
    }


def uses_file(folders: Sequence[Path]) -> Path | None:
    """The first kpatch.mk in Mk/Uses of these folders."""
    found = (folder / "Mk" / "Uses" / "kpatch.mk" for folder in folders)
    return next((path for path in found if path.is_file()), None)


def of_category(origin: str, folder: Path, tree: Path) -> Iterator[Trap]:
    """A port that the Makefile of its category does not name is not in indexes and bulk builds."""
    if folder.is_relative_to(tree):
        return
    category = folder.parent / "Makefile"
    found = makefile.read_if_there(category)
    if found is None or folder.name not in found.value("SUBDIR").split():
        yield Trap(
            "no-category",
            f"the overlay's category does not name {origin}: make in its folder builds it, make"
            " index and poudriere do not see it",
            str(category),
            f"write SUBDIR += {folder.name}",
            blocks=False,
        )


def check_origin(origin: str) -> None:
    """Raises UsageError for a text that is no origin: category/name."""
    parts = origin.split("/")
    if len(parts) != 2 or any(part in ("", ".", "..") for part in parts):
        raise UsageError(
            f"not the origin of a port: {origin!r}",
            todo="write category/name, for example emulators/kqemu-kmod",
        )


def _has(roof: Path, origin: str) -> bool:
    check_origin(origin)
    return (roof / origin / "Makefile").is_file()
