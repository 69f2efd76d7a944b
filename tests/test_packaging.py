"""What setup.cfg says is what the tree holds."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from kpatch.data import signatures_folder

ROOT = Path(__file__).resolve().parent.parent


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def test_every_package_of_the_tree_is_listed() -> None:
    listed = set(_setup()["options"]["packages"].split())
    in_tree = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "kpatch").rglob("__init__.py")
    }
    assert listed == in_tree | {"kpatch.signatures"}


def test_every_dependency_has_the_bounds_that_are_tested() -> None:
    """The lowest ones are installed by a step of .ci/run, the newest ones by all others."""
    for line in _setup()["options"]["install_requires"].split("\n"):
        assert not line or re.fullmatch(r"[\w-]+ >=[\d.]+, <[\d.]+", line), line


def test_every_data_file_of_the_tree_is_listed() -> None:
    setup = _setup()["options.package_data"]
    covered = {
        path
        for package, patterns in setup.items()
        for pattern in patterns.split()
        for path in (
            ROOT / ("signatures" if package == "kpatch.signatures" else package.replace(".", "/"))
        ).glob(pattern)
    }
    in_tree = {
        path
        for folder in ("kpatch", "signatures")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert covered == in_tree


def test_the_signatures_of_a_checkout_are_those_at_the_top_level() -> None:
    assert signatures_folder() == ROOT / "signatures"
