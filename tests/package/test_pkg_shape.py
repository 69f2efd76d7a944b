"""Packages of pkg 2.4 and later, whose manifest has an object for each file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

from tests.cli.harness import patched_bytes, run, sample
from tests.package import libarchive, pkg_writer
from tests.package.makers import files_of
from tests.package.pkg_writer import File

ORIGINAL = sample("kqemu-7.ko").read_bytes()
MODULE = "/boot/modules/kqemu.ko"
FILES = (
    File("/usr/local/include/kqemu/kqemu.h", b"#define KQEMU 1\n"),
    File(MODULE, ORIGINAL, 0o555),
)
SECOND_NAME = File("/boot/modules/kq2.ko", ORIGINAL, 0o555, link=MODULE)


def of(module: bytes, files: tuple[File, ...] = FILES) -> tuple[File, ...]:
    """The same files, with another module."""
    return tuple(each._replace(data=module) if each.data == ORIGINAL else each for each in files)


def path_of(data: bytes, folder: Path) -> Path:
    path = folder / "kqemu-kmod-1.4.0.p1_11.pkg"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("files", [FILES, (*FILES, SECOND_NAME)], ids=["plain", "hard link"])
@pytest.mark.parametrize("filters", ["none", "zstd"])
def test_it_becomes_the_package_that_pkg_would_make_of_the_patched_module(
    files: tuple[File, ...], filters: str, tmp_path: Path
) -> None:
    """To the last byte, but for how it is compressed."""
    path = path_of(pkg_writer.written(files, filters=filters), tmp_path)
    before = path.read_bytes()
    done = run("apply", "--no-verify", path)
    assert done.code == 0, done.err
    flatsize = len(FILES[0].data) + len(patched_bytes())
    after = files_of(path.read_bytes())
    assert json.loads(after["+MANIFEST"])["flatsize"] == flatsize
    wanted = pkg_writer.written(of(patched_bytes(), files), filters="none")
    assert plain(path.read_bytes()) == plain(wanted)
    assert libarchive.read(plain(path.read_bytes())) is not None
    assert run("revert", path).code == 0
    assert plain(path.read_bytes()) == plain(before)


def test_a_package_of_pkg_comes_back_byte_for_byte_or_revert_says_so(tmp_path: Path) -> None:
    path = path_of(before := pkg_writer.written(FILES), tmp_path)
    run("apply", "--no-verify", "--no-copy", path)
    done = run("revert", path)
    assert ("the original is back" in done.err) == (path.read_bytes() == before)
    assert "original's" in done.err or "the original is back" in done.err


def test_objects_and_plain_sums_may_stand_in_one_manifest(tmp_path: Path) -> None:
    """Both are read by pkg, and a tool that edits manifests may leave them side by side."""
    raw = pkg_writer.written(FILES, filters="none")
    text = pkg_writer.manifest(FILES)
    document = json.loads(text)
    document["files"][FILES[0].name] = document["files"][FILES[0].name]["sum"]
    mixed = json.dumps(document, separators=(",", ":")).encode().ljust(len(text))
    path = path_of(raw.replace(text, mixed), tmp_path)
    assert run("apply", "--no-verify", path).code == 0
    after = json.loads(files_of(path.read_bytes())["+MANIFEST"])["files"]
    assert after[FILES[0].name] == document["files"][FILES[0].name]
    expected = json.loads(pkg_writer.manifest(of(patched_bytes())))["files"]
    assert after[MODULE] == expected[MODULE]


def plain(data: bytes) -> bytes:
    """The tar archive inside."""
    if not data.startswith(b"\x28\xb5\x2f\xfd"):
        return data
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
