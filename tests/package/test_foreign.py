"""What kpatch does not read is told by its bytes, under any name: what it is, and what to do."""

from __future__ import annotations

import gzip
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.cli.harness import run, sample

LZMA = ("xz", "--format=lzma", "-c")
MADE_BY: dict[str, tuple[tuple[str, ...], str]] = {
    "tlz": ((*LZMA, "kqemu.tar"), "a tar archive compressed with lzma"),
    "ko.lzma": ((*LZMA, "kqemu.ko"), "a module compressed with lzma"),
    "tar.lz4": (("bsdtar", "--lz4", "-cf", "-", "kqemu.ko"), "a file compressed with lz4"),
    "tar.Z": (("bsdtar", "-cZf", "-", "kqemu.ko"), "a file compressed with compress"),
    "deb": (("bsdtar", "--format", "arbsd", "-cf", "-", "debian-binary"), "a Debian package"),
    "a": (("bsdtar", "--format", "arbsd", "-cf", "-", "kqemu.ko"), "an ar archive"),
    "zip": (("bsdtar", "--format", "zip", "-cf", "-", "kqemu.ko"), "a zip archive"),
    "7z": (("bsdtar", "--format", "7zip", "-cf", "-", "kqemu.ko"), "a 7-Zip archive"),
    "cpio": (("bsdtar", "--format", "cpio", "-cf", "-", "kqemu.ko"), "a cpio archive"),
    "newc": (("bsdtar", "--format", "newc", "-cf", "-", "kqemu.ko"), "a cpio archive"),
    "bin": (("bsdtar", "--format", "bin", "-cf", "-", "kqemu.ko"), "a cpio archive"),
    "xar": (("bsdtar", "--format", "xar", "-cf", "-", "kqemu.ko"), "a xar archive"),
    "iso": (("bsdtar", "--format", "iso9660", "-cf", "-", "kqemu.ko"), "an ISO 9660 image"),
    "shar": (("bsdtar", "--format", "shar", "-cf", "-", "kqemu.ko"), "a shell archive"),
    "uu": (("bsdtar", "--uuencode", "-cf", "-", "kqemu.ko"), "a uuencoded file"),
}
MAGICS = {
    "rpm": (b"\xed\xab\xee\xdb\3\0", "an RPM package"),
    "tar.lzo": (b"\x89LZO\0\r\n\x1a\n", "a file compressed with lzop"),
    "tar.lrz": (b"LRZI\0\6", "a file compressed with lrzip"),
    "tar.lz": (b"LZIP\1", "a file compressed with lzip"),
    "html": (b"<!DOCTYPE html><html>404 Not Found", "a web page"),
    "sh": (b"#!/bin/sh\necho\n", "a script"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Each kind as the program that writes it makes it; the rest by its magic."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "kqemu.ko").write_bytes(sample("kqemu-7.ko").read_bytes())
    (folder / "debian-binary").write_bytes(b"2.0\n")
    subprocess.run(["bsdtar", "-cf", "kqemu.tar", "kqemu.ko"], cwd=folder, check=True)
    made = {
        name: subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
        for name, (command, _) in MADE_BY.items()
    }
    return made | {name: magic + bytes(500) for name, (magic, _) in MAGICS.items()}


@pytest.mark.parametrize("name", [*MADE_BY, *MAGICS])
@pytest.mark.parametrize("command", ["scan", "apply"])
def test_it_is_told_under_its_own_name_and_as_module_and_package(
    name: str, command: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    says = {**{n: s for n, (_, s) in MADE_BY.items()}, **{n: s for n, (_, s) in MAGICS.items()}}
    for path, code in ((f"x.{name}", 10), ("kqemu.ko", 10), ("kqemu.pkg", 11)):
        (tmp_path / path).write_bytes(files[name])
        done = run(command, tmp_path / path)
        assert done.code == code, path
        assert done.complaint.startswith(f"kpatch: {tmp_path / path}: this is {says[name]}")
        assert "ELF" not in done.complaint and "; " in done.complaint
        assert (tmp_path / path).read_bytes() == files[name]


@pytest.mark.parametrize("kind", ["gzip", "xz"])
@pytest.mark.parametrize("name", ["zip", "cpio", "tar.lz4"])
def test_it_is_told_inside_a_compressed_file_too(
    kind: str, name: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "kqemu.txz"
    data = files[name]
    path.write_bytes(gzip.compress(data) if kind == "gzip" else lzma.compress(data))
    done = run("apply", path)
    assert done.code == 11 and f"this is {kind} data with {MADE_BY[name][1]}" in done.complaint


def test_what_is_compressed_twice_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kqemu.tgz"
    path.write_bytes(gzip.compress(gzip.compress(bytes(2000))))
    assert "gzip data with gzip data in it" in run("scan", path).complaint


@pytest.mark.parametrize("name", ["kqemu.ko", "kqemu.pkg"])
def test_an_empty_file_is_called_empty(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "this is an empty file" in run("scan", tmp_path / name).complaint


@pytest.mark.parametrize("first", ["begin of it", "MZ", "BC\u00c0"])
def test_an_archive_begins_with_a_name_which_may_be_any(first: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    with tarfile.open(path, "w:gz", format=tarfile.USTAR_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo(first))
        archive.add(sample("kqemu-7.ko"), "boot/modules/kqemu.ko")
    # It is read, and found to be no package of pkg.
    assert "no +CONTENTS and no +MANIFEST in it" in run("scan", path).complaint
