"""Finds the TOML files: inside an installed wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from kpatch.errors import SignatureError

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
