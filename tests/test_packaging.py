"""What setup.cfg says is what the tree holds."""

from __future__ import annotations

import configparser
import importlib
import io
import re
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

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
    assert listed == in_tree | {"kpatch.docs", "kpatch.signatures"}


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


def test_what_is_packed_again_has_no_clock_owner_or_umask() -> None:
    """The whole builds are compared by .ci/run, which has a network for the build tools."""
    sys.path.insert(0, str(ROOT / "packaging"))
    backend: Any = importlib.import_module("reproducible")
    tars, zips = set(), set()
    for when, mode in ((1_400_000_000, 0o644), (1_500_000_002, 0o600)):
        tar, wheel = io.BytesIO(), io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w:gz") as archive:
            member = tarfile.TarInfo("kpatch-1/file")
            member.size, member.mtime, member.mode, member.uid = 4, when, mode, when % 1000
            archive.addfile(member, io.BytesIO(b"text"))
        with zipfile.ZipFile(wheel, "w") as packed:
            info = zipfile.ZipInfo("kpatch/file", time.gmtime(when)[:6])
            info.external_attr = mode << 16
            packed.writestr(info, b"text")
        tars.add(backend._packed_again(tar.getvalue()))
        zips.add(backend._zipped_again(wheel.getvalue()))
    assert len(tars) == len(zips) == 1
    with tarfile.open(fileobj=io.BytesIO(tars.pop())) as archive:
        packed_file = archive.extractfile("kpatch-1/file")
        assert packed_file is not None and packed_file.read() == b"text"


def test_a_source_distribution_takes_every_folder_of_the_repository() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text().split()
    folders = {each.name for each in ROOT.iterdir() if each.is_dir()}
    ours = {"benchmarks", "docs", "findings", "kpatch", "packaging", "samples", "signatures"}
    assert ours | {"tests", ".ci"} <= folders & set(manifest)
    assert {"CHANGELOG.md", "LICENSE", "Makefile", "README.md"} <= set(manifest)


def test_a_wheel_carries_the_pages_that_messages_name() -> None:
    told = _setup()
    assert "kpatch.docs" in told["options"]["packages"].split()
    assert "kpatch.docs = docs" in told["options"]["package_dir"]
    assert told["options.package_data"]["kpatch.docs"] == "*.md"
    assert not list((ROOT / "docs").glob("*.py")), "setuptools would install it as a module"
