"""Finds the TOML files and the pages: in a wheel inside the package, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path

from kpatch.errors import FileAccessError, SignatureError

_PACKAGE = Path(__file__).resolve().parent


def signatures_folder() -> Path:
    """The folder of the TOML files.

    A wheel carries it as ``kpatch/signatures``; a checkout and an editable install have it
    beside the package. Raises SignatureError where neither exists.
    """
    for folder in (_PACKAGE / "signatures", _PACKAGE.parent / "signatures"):
        if folder.is_dir() and any(folder.glob("*.toml")):
            return folder
    raise SignatureError(
        "the signature files are missing",
        where=str(_PACKAGE),
        todo="install kpatch again",
    )


def pages_folder() -> Path:
    """The folder of the documentation, found as that of the TOML files.

    Raises FileAccessError where a distribution has left the pages out.
    """
    for folder in (_PACKAGE / "docs", _PACKAGE.parent / "docs"):
        if folder.is_dir():
            return folder
    raise FileAccessError(
        "the pages are not installed", where=str(_PACKAGE), todo="install kpatch again"
    )
