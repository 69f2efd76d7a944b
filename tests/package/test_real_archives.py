"""Archives of the real tar programs go through, and the real programs read the results."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.package.makers import (
    MODULE,
    PATCHED,
    PKG_INSTALL_NAME,
    make_with,
    manifest,
    packing_list,
    to_original,
    to_patched,
    write_tree,
)
from tests.package.whole import modules_in, replace_module

PROGRAMS = ("tar", "bsdtar")
FORMATS = ("--format=ustar", "--format=pax", "--format=gnutar")
COMPRESSIONS = {"none": "", "bzip2": "-j", "xz": "-J", "gzip": "-z", "zstd": "--zstd"}


def flags_for(format_: str, compression: str) -> list[str]:
    option = COMPRESSIONS[compression]
    return [format_.replace("gnutar", "gnu"), *([option] if option else [])]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("staged")
    members = write_tree(folder)
    return folder, members


def made(staged: tuple[Path, list[str]], program: str, format_: str, compression: str) -> bytes:
    folder, members = staged
    flags = flags_for(format_, compression)
    if program == "bsdtar":
        flags[0] = format_
    if format_ == "--format=ustar":
        members = [name for name in members if len(name) < 90]
    return make_with(program, flags, folder, members)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_only_the_module_and_its_checksums_change(
    staged: tuple[Path, list[str]], tmp_path: Path, program: str, compression: str
) -> None:
    original = made(staged, program, "--format=pax", compression)
    result = replace_module(original, "kqemu.pkg", to_patched)

    assert result.changed == ("+CONTENTS", "+COMPACT_MANIFEST", "+MANIFEST", PKG_INSTALL_NAME)
    before, after = (
        unpack(tmp_path / name, data)
        for name, data in (("before", original), ("after", result.data))
    )
    expected = before | {
        PKG_INSTALL_NAME: PATCHED,
        "+CONTENTS": packing_list(PATCHED).encode(),
        "+MANIFEST": manifest(PATCHED).encode(),
        "+COMPACT_MANIFEST": manifest(PATCHED, compact=True).encode(),
    }
    assert after == expected
    assert list(after) == list(before)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("format_", FORMATS)
def test_owners_modes_times_and_order_stay(
    staged: tuple[Path, list[str]], format_: str, program: str
) -> None:
    original = made(staged, program, format_, "bzip2")
    result = replace_module(original, "kqemu.tbz", to_patched)
    for reader in PROGRAMS:
        before, after = listing(reader, original), listing(reader, result.data)
        sizes = {len(MODULE): len(PATCHED)} | {
            len(text(MODULE)): len(text(PATCHED))
            for text in (manifest, lambda module: manifest(module, compact=True))
        }
        assert after == [
            [str(sizes.get(int(word), word)) if word.isdigit() else word for word in line]
            for line in before
        ]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    ("program", "compression"),
    [("tar", "none"), ("tar", "bzip2"), ("tar", "xz")]
    + [("bsdtar", name) for name in ("none", "bzip2", "xz", "gzip")],
)
def test_reverting_gives_back_the_same_file(
    staged: tuple[Path, list[str]], program: str, compression: str, format_: str
) -> None:
    original = made(staged, program, format_, compression)
    patched = replace_module(original, "kqemu.pkg", to_patched)
    assert patched.data != original
    assert replace_module(patched.data, "kqemu.pkg", to_original).data == original
    assert not [notice for notice in patched.notices if "revert" in notice]


@pytest.mark.parametrize(("program", "compression"), [("tar", "gzip"), ("bsdtar", "zstd")])
def test_an_unknown_compressor_is_announced_and_the_archive_inside_comes_back(
    staged: tuple[Path, list[str]], program: str, compression: str
) -> None:
    """GNU gzip has a deflate of its own; zstd differs from version to version."""
    original = made(staged, program, "--format=pax", compression)
    patched = replace_module(original, "kqemu.pkg", to_patched)
    reverted = replace_module(patched.data, "kqemu.pkg", to_original)
    announced = any("compressed differently" in notice for notice in patched.notices)
    assert announced == (reverted.data != original)
    assert plain_tar(reverted.data, compression) == plain_tar(original, compression)
    assert replace_module(reverted.data, "kqemu.pkg", to_patched).data == patched.data


@pytest.mark.parametrize("level", ["1", "9"])
def test_the_level_of_bsdtar_is_found(staged: tuple[Path, list[str]], level: str) -> None:
    folder, members = staged
    for option in ("gzip", "xz", "bzip2"):
        flags = [f"--{option}", "--options", f"{option}:compression-level={level}"]
        original = make_with("bsdtar", flags, folder, members)
        patched = replace_module(original, "kqemu.pkg", to_patched)
        assert replace_module(patched.data, "kqemu.pkg", to_original).data == original


def test_a_package_written_into_a_pipe_keeps_its_padding(
    staged: tuple[Path, list[str]],
) -> None:
    """Into a pipe, bsdtar fills the compressed file up with zeros to whole records."""
    folder, members = staged
    command = ["bsdtar", "-C", str(folder), "-cjf", "-", *members]
    original = subprocess.run(command, check=True, capture_output=True, timeout=300).stdout
    assert len(original) % 10240 == 0
    patched = replace_module(original, "kqemu.tbz", to_patched)
    assert len(patched.data) % 10240 == 0
    assert replace_module(patched.data, "kqemu.tbz", to_original).data == original


def test_the_same_package_gives_the_same_result(staged: tuple[Path, list[str]]) -> None:
    for compression in COMPRESSIONS:
        original = made(staged, "tar", "--format=pax", compression)
        results = [replace_module(original, "kqemu.pkg", to_patched) for _ in range(2)]
        assert results[0] == results[1]


def test_a_package_whose_module_needs_no_change_is_untouched(
    staged: tuple[Path, list[str]],
) -> None:
    original = made(staged, "tar", "--format=pax", "xz")
    result = replace_module(original, "kqemu.txz", lambda _name, data: data)
    assert (result.data, result.changed, result.notices) == (original, (), ())


def test_the_module_is_found_with_its_name(staged: tuple[Path, list[str]]) -> None:
    (module,) = modules_in(made(staged, "bsdtar", "--format=pax", "zstd"), "kqemu.pkg")
    assert (module.name, module.data) == (PKG_INSTALL_NAME, MODULE)


def test_sha256sum_agrees_with_the_mended_manifest(
    staged: tuple[Path, list[str]], tmp_path: Path
) -> None:
    original = made(staged, "bsdtar", "--format=pax", "xz")
    files = unpack(tmp_path, replace_module(original, "kqemu.txz", to_patched).data)
    (tmp_path / "kqemu.ko").write_bytes(files[PKG_INSTALL_NAME])
    for program, metadata in (("sha256sum", "+MANIFEST"), ("md5sum", "+CONTENTS")):
        run = subprocess.run(
            [program, tmp_path / "kqemu.ko"], check=True, capture_output=True, text=True
        )
        assert run.stdout.split()[0] in files[metadata].decode()
    assert hashlib.sha256(MODULE).hexdigest() not in files["+MANIFEST"].decode()


def unpack(folder: Path, data: bytes) -> dict[str, bytes]:
    """What bsdtar makes of an archive, in its order."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["bsdtar", "-C", str(folder), "-xf", "-"], input=data, check=True, timeout=300)
    names = subprocess.run(
        ["bsdtar", "-tf", "-"], input=data, check=True, capture_output=True, timeout=300
    ).stdout.decode()
    return {
        name: (folder / name).read_bytes()
        for name in names.splitlines()
        if (folder / name).is_file()
    }


def listing(program: str, data: bytes) -> list[list[str]]:
    """Modes, owners, sizes, times, names and link targets; no warning from the reader."""
    flags = ["-j"] if program == "tar" else []
    run = subprocess.run(
        [program, *flags, "-tvf", "-"], input=data, check=True, capture_output=True, timeout=300
    )
    assert run.stderr == b""
    return [line.split() for line in run.stdout.decode().splitlines()]


def plain_tar(data: bytes, compression: str) -> bytes:
    program = [compression, "-dc"]
    return subprocess.run(program, input=data, check=True, capture_output=True, timeout=300).stdout
