"""A module, a .ko.gz and a package: the same patch, and the same way back."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import zstandard

from kpatch.containers import copies, encoders
from kpatch.containers.gzip import MOST_TEXTS, read_header
from kpatch.storage import writer
from kpatch.storage.bulk import Bulk
from tests.cli import schema
from tests.cli.harness import (
    copied,
    listing,
    names,
    package_bytes,
    patched_bytes,
    run,
    sample,
)
from tests.package import makers

_ORIGINAL = sample("kqemu-7.ko").read_bytes()
_PACKAGES = {".tbz": "bzip2", ".tgz": "gzip", ".txz": "xz", ".pkg": "zstd", ".tar": "none"}


_PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    ".ko.xz": lzma.compress,
    ".ko.bz2": bz2.compress,
    ".ko.zst": zstandard.ZstdCompressor(level=3).compress,
}
_UNPACK: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": gzip.decompress,
    "xz": lzma.decompress,
    "bz2": bz2.decompress,
    "zst": lambda data: zstandard.ZstdDecompressor().decompress(data),
}


def _made(suffix: str, folder: Path) -> Path:
    if suffix in _PACKED:
        path = folder / f"kqemu{suffix}"
        path.write_bytes(_PACKED[suffix](_ORIGINAL))
        return path
    if suffix in (".ko", ".ko.gz"):
        return copied(f"kqemu-7{suffix}", folder, f"kqemu{suffix}")
    path = folder / f"kqemu-kmod-1.4.0.p1{suffix}"
    path.write_bytes(package_bytes(_PACKAGES[suffix]))
    return path


@cache
def _left_by_apply(suffix: str) -> tuple[str, dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as name:
        path = _made(suffix, Path(name))
        assert run("apply", "--no-verify", path).code == 0
        return path.name, {each.name: each.read_bytes() for each in path.parent.iterdir()}


def _applied(suffix: str, folder: Path) -> Path:
    """What one ``apply`` left, with the copy beside it: it runs once for all that look at it."""
    name, files = _left_by_apply(suffix)
    for each, data in files.items():
        (folder / each).write_bytes(data)
    return folder / name


def _module_in(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name.endswith(".ko"):
        return data
    if path.name.startswith("kqemu.ko."):
        return _UNPACK[path.name.rpartition(".")[2]](data)
    return makers.files_of(data)[makers.PKG_NAME]


_ALL = pytest.mark.parametrize("suffix", [".ko", ".ko.gz", *_PACKED, *_PACKAGES])


@_ALL
def test_the_patch_is_the_same_through_every_container(suffix: str, tmp_path: Path) -> None:
    assert _module_in(_applied(suffix, tmp_path)) == patched_bytes()


@_ALL
def test_apply_twice_is_apply_once(suffix: str, tmp_path: Path) -> None:
    path = _applied(suffix, tmp_path)
    before = listing(tmp_path)
    done = run("apply", "--no-verify", path)
    assert (done.code, done.err) == (0, f"{path}: patched already, nothing to do\n")
    assert listing(tmp_path) == before


@_ALL
def test_revert_gives_back_every_byte(suffix: str, tmp_path: Path) -> None:
    path = _made(suffix, tmp_path)
    original = path.read_bytes()
    assert _applied(suffix, tmp_path) == path
    assert path.read_bytes() != original
    done = run("revert", path)
    assert done.code == 0 and f"{path}: the original is back, SHA-256 " in done.err
    assert path.read_bytes() == original


@_ALL
def test_the_same_input_gives_the_same_output_everywhere(suffix: str, tmp_path: Path) -> None:
    path = _made(suffix, tmp_path)
    assert run("apply", "--no-verify", path).code == 0
    another = tmp_path / "another"
    another.mkdir()
    assert path.read_bytes() == _applied(suffix, another).read_bytes()


@_ALL
def test_the_copy_beside_it_is_the_original(suffix: str, tmp_path: Path) -> None:
    path = _made(suffix, tmp_path)
    original = path.read_bytes()
    done = run("apply", "--no-verify", "--json", path)
    (copy,) = set(names(tmp_path)) - {path.name}
    assert copy == f"{path.name}.orig{'.gz' if suffix == '.ko' else ''}"
    data = (tmp_path / copy).read_bytes()
    assert (gzip.decompress(data) if suffix == ".ko" else data) == original
    (document,) = done.document["files"]
    schema.check(done.document, "apply", 0)
    assert document["copy"] == str(tmp_path / copy)
    assert document["before"]["size"] == len(original)
    assert document["after"]["size"] == path.stat().st_size


@_ALL
def test_no_copy_keeps_none(suffix: str, tmp_path: Path) -> None:
    path = _made(suffix, tmp_path)
    assert run("apply", "--no-verify", "--no-copy", path).code == 0
    assert names(tmp_path) == [path.name]


@_ALL
def test_scan_and_diff_look_inside(suffix: str, tmp_path: Path) -> None:
    path = _made(suffix, tmp_path)
    assert ": AFFECTED\n" in run("scan", path).out
    assert run("diff", path, sample("kqemu-7.ko")).code == 0
    assert run("diff", path, sample("kqemu-6.ko")).code == 1
    assert _applied(suffix, tmp_path) == path
    assert ": PATCHED\n" in run("scan", path).out
    assert "kpatch_tss_entry" in run("diff", path).out


@_ALL
def test_a_dry_run_of_a_container_shows_the_module_and_writes_nothing(
    suffix: str, tmp_path: Path
) -> None:
    path = _made(suffix, tmp_path)
    before = listing(tmp_path)
    plain = run("apply", "--dry-run", sample("kqemu-7.ko")).out.splitlines()
    shown = run("apply", "--dry-run", path).out.splitlines()
    assert shown[2:] == plain[2:], "all but the names in the first two lines"
    assert listing(tmp_path) == before


@pytest.mark.parametrize("suffix", list(_PACKAGES))
def test_the_checksum_of_a_package_is_mended_and_the_catalogue_is_named(
    suffix: str, tmp_path: Path
) -> None:
    path = _made(suffix, tmp_path)
    done = run("apply", "--no-verify", path)
    assert f"{path}: the checksum of the package file is another one" in done.err
    found = makers.files_of(path.read_bytes())
    assert found["+MANIFEST"].decode() == makers.manifest(patched_bytes()).replace(
        f'"flatsize":{len(patched_bytes()) + 5}', f'"flatsize":{len(_ORIGINAL) + 5}'
    ) or found["+MANIFEST"].decode() == makers.manifest(patched_bytes())


def test_a_package_with_a_refused_module_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "kqemu-kmod.txz"
    path.write_bytes(package_bytes("xz", "kqemu-7-fix-c.ko"))
    before = listing(tmp_path)
    done = run("apply", "--no-verify", path)
    assert done.code == 14
    assert done.complaint.startswith(f"kpatch: {path}: {makers.PKG_NAME}: it carries source fix C")
    assert listing(tmp_path) == before


def test_a_package_without_a_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.txz"
    members = {"+MANIFEST": b"{}", "/usr/local/readme": b"text"}
    path.write_bytes(makers.COMPRESSORS["xz"](makers.package(members)))
    for command in ("scan", "apply", "revert", "diff"):
        done = run(command, path)
        assert done.code == 11 and "no kernel module in this package" in done.complaint


def test_a_module_that_is_compressed_in_its_package_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "kqemu-kmod.txz"
    members = {"+MANIFEST": b"{}", "/boot/modules/kqemu.ko.gz": gzip.compress(_ORIGINAL)}
    path.write_bytes(makers.COMPRESSORS["xz"](makers.package(members)))
    for command in ("scan", "apply"):
        done = run(command, path)
        assert done.code == 11 and "the kernel module is compressed by itself" in done.complaint
        assert "kqemu.ko.gz" in done.complaint


def test_a_damaged_container_is_refused(tmp_path: Path) -> None:
    for suffix in (".ko.gz", ".tbz", ".txz", ".pkg"):
        path = _made(suffix, tmp_path)
        path.write_bytes(path.read_bytes()[:-100])
        before = listing(tmp_path)
        for command in ("scan", "apply", "revert"):
            done = run(command, path)
            assert done.code == 10 and done.complaint.startswith(f"kpatch: {path}: ")
        assert listing(tmp_path) == before


def test_revert_says_byte_for_byte_only_where_it_is_so(tmp_path: Path) -> None:
    path = tmp_path / "kqemu-kmod.tgz"
    # Two members, so no level of zlib makes this file.
    raw = package_bytes("none")
    path.write_bytes(original := gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]))
    assert run("apply", "--no-verify", path).code == 0
    patched = path.read_bytes()
    assert "the original is back" in run("revert", path).err, "the kept copy is used"
    assert path.read_bytes() == original
    path.write_bytes(patched)
    path.with_name("kqemu-kmod.tgz.orig").write_bytes(b"something else")
    done = run("revert", path)
    assert done.code == 0 and "original is back" not in done.err
    assert "the contents are the original's" in done.err
    assert path.read_bytes() != original
    assert gzip.decompress(path.read_bytes()) == raw


def test_revert_compresses_nothing_where_the_kept_copy_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [_made(suffix, tmp_path) for suffix in (".txz", ".pkg", ".ko.xz", ".tbz")]
    originals = [path.read_bytes() for path in places]
    assert run("apply", "--no-verify", *places).code == 0
    for encoder in (encoders.Xz, encoders.Zstd, encoders.Bzip2):
        monkeypatch.delattr(encoder, "compress")
    done = run("revert", *places)
    assert done.code == 0 and done.err.count("the original is back") == 4
    assert [path.read_bytes() for path in places] == originals


def test_of_two_copies_with_the_same_contents_the_one_that_comes_back_is_taken(
    tmp_path: Path,
) -> None:
    path = _made(".txz", tmp_path)
    original = path.read_bytes()
    raw = lzma.decompress(original)
    assert run("apply", "--no-verify", path).code == 0
    patched = path.read_bytes()
    other = path.with_name(f"{path.name}.00000000.orig")
    other.write_bytes(lzma.compress(raw, preset=0))
    assert "the original is back" in run("revert", path).err
    assert path.read_bytes() == original
    path.write_bytes(patched)
    path.with_name(f"{path.name}.orig").write_bytes(lzma.compress(raw, preset=1))
    assert "the contents are the original's" in run("revert", path).err
    assert path.read_bytes() == original


def test_a_gzip_file_that_knows_its_original_needs_no_copy_of_the_same_contents(
    tmp_path: Path,
) -> None:
    path = _made(".ko.gz", tmp_path)
    original = path.read_bytes()
    assert run("apply", "--no-verify", path).code == 0
    path.with_name(f"{path.name}.orig").write_bytes(gzip.compress(gzip.decompress(original), 1))
    assert "the original is back" in run("revert", path).err
    assert path.read_bytes() == original


def test_a_copy_that_another_kpatch_has_just_made_is_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _made(".ko", tmp_path)
    create = writer.create

    def too_late(copy: Path, data: Bulk, *, like: Path) -> tuple[str, ...]:
        create(copy, data, like=like)
        return create(copy, data, like=like)

    monkeypatch.setattr(copies, "create", too_late)
    assert run("apply", "--no-verify", path).code == 0
    assert names(tmp_path) == [path.name, f"{path.name}.orig.gz"]


def test_a_copy_of_another_file_is_never_written_over(tmp_path: Path) -> None:
    path = _made(".pkg", tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    foreign = [path.with_name(f"{path.name}{infix}.orig") for infix in ("", f".{digest[:8]}")]
    for each in foreign:
        each.write_bytes(b"foreign")
    assert run("apply", "--no-verify", path).code == 0
    assert [each.read_bytes() for each in foreign] == [b"foreign"] * 2
    assert path.with_name(f"{path.name}.{digest}.orig").exists()


@pytest.mark.parametrize("suffix", [".ko.gz", ".tgz"])
def test_a_gzip_file_with_a_header_without_end_is_refused_by_whoever_reads_it(
    suffix: str, tmp_path: Path
) -> None:
    path = _made(suffix, tmp_path)
    stream = path.read_bytes()[read_header(path.read_bytes()).size :]
    for length, code in ((MOST_TEXTS, 1), (MOST_TEXTS + 1, 10)):
        path.write_bytes(b"\x1f\x8b\x08\x10" + bytes(6) + b"c" * length + b"\0" + stream)
        assert run("scan", path).code == code
    done = run("apply", "--no-verify", path)
    assert done.code == 10 and "comment in its gzip header have more than 4 MiB" in done.complaint
