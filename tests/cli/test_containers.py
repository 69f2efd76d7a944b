"""A module, a .ko.gz and a package: the same patch, and the same way back."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from functools import cache
from pathlib import Path

import pytest

from kpatch.containers import copies, encoders
from kpatch.containers.gzip import MOST_TEXTS, read_header
from kpatch.storage import writer
from kpatch.storage.bulk import Bulk
from tests.cli import schema
from tests.cli.contained import ALL, ORIGINAL, PACKAGES, applied, left_by_apply, made, module_in
from tests.cli.harness import (
    listing,
    names,
    package_bytes,
    patched_bytes,
    run,
    sample,
)
from tests.package import makers


@ALL
def test_the_patch_is_the_same_through_every_container(suffix: str, tmp_path: Path) -> None:
    assert module_in(applied(suffix, tmp_path)) == patched_bytes()


@ALL
def test_apply_twice_is_apply_once(suffix: str, tmp_path: Path) -> None:
    path = applied(suffix, tmp_path)
    before = listing(tmp_path)
    done = run("apply", "--no-verify", path)
    assert (done.code, done.err) == (0, f"{path}: patched already, nothing to do\n")
    assert listing(tmp_path) == before


@ALL
def test_revert_gives_back_every_byte(suffix: str, tmp_path: Path) -> None:
    path = made(suffix, tmp_path)
    original = path.read_bytes()
    assert applied(suffix, tmp_path) == path
    assert path.read_bytes() != original
    done = run("revert", path)
    assert done.code == 0 and f"{path}: the original is back, SHA-256 " in done.err
    assert path.read_bytes() == original


@ALL
def test_the_same_input_gives_the_same_output_everywhere(suffix: str) -> None:
    one, other = left_by_apply(suffix), left_by_apply(suffix, "--no-copy")
    assert one.path.parent != other.path.parent
    assert one.data == other.data


@ALL
def test_the_copy_beside_it_is_the_original(suffix: str, tmp_path: Path) -> None:
    original = made(suffix, tmp_path).read_bytes()
    left = left_by_apply(suffix)
    (copy,) = set(left.files) - {left.path.name}
    assert copy == f"{left.path.name}.orig{'.gz' if suffix == '.ko' else ''}"
    data = left.files[copy]
    assert (gzip.decompress(data) if suffix == ".ko" else data) == original
    (document,) = left.document["files"]
    schema.check(left.document, "apply", 0)
    assert document["copy"] == str(left.path.with_name(copy))
    assert document["before"]["size"] == len(original)
    assert document["after"]["size"] == len(left.data)


@ALL
def test_no_copy_keeps_none(suffix: str) -> None:
    left = left_by_apply(suffix, "--no-copy")
    assert list(left.files) == [left.path.name]


@ALL
def test_scan_and_diff_look_inside(suffix: str, tmp_path: Path) -> None:
    path = made(suffix, tmp_path)
    assert ": AFFECTED\n" in run("scan", path).out
    assert run("diff", path, sample("kqemu-7.ko")).code == 0
    assert applied(suffix, tmp_path) == path
    assert ": PATCHED\n" in run("scan", path).out
    assert "kpatch_tss_entry" in run("diff", path).out


def test_another_module_than_that_in_a_package_differs_from_it(tmp_path: Path) -> None:
    assert run("diff", made(".txz", tmp_path), sample("kqemu-6.ko")).code == 1


@cache
def _shown_of_a_plain_one() -> list[str]:
    return run("apply", "--dry-run", sample("kqemu-7.ko")).out.splitlines()


@ALL
def test_a_dry_run_of_a_container_shows_the_module_and_writes_nothing(
    suffix: str, tmp_path: Path
) -> None:
    path = made(suffix, tmp_path)
    before = listing(tmp_path)
    shown = run("apply", "--dry-run", path).out.splitlines()
    assert shown[2:] == _shown_of_a_plain_one()[2:], "all but the names in the first two lines"
    assert listing(tmp_path) == before


@pytest.mark.parametrize("suffix", list(PACKAGES))
def test_the_checksum_of_a_package_is_mended_and_the_catalogue_is_named(
    suffix: str, tmp_path: Path
) -> None:
    path = made(suffix, tmp_path)
    done = run("apply", "--no-verify", path)
    assert f"{path}: the checksum of the package file is another one" in done.err
    found = makers.files_of(path.read_bytes())
    assert found["+MANIFEST"].decode() == makers.manifest(patched_bytes()).replace(
        f'"flatsize":{len(patched_bytes()) + 5}', f'"flatsize":{len(ORIGINAL) + 5}'
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
    members = {"+MANIFEST": b"{}", "/boot/modules/kqemu.ko.gz": gzip.compress(ORIGINAL)}
    path.write_bytes(makers.COMPRESSORS["xz"](makers.package(members)))
    for command in ("scan", "apply"):
        done = run(command, path)
        assert done.code == 11 and "the kernel module is compressed by itself" in done.complaint
        assert "kqemu.ko.gz" in done.complaint


def test_a_damaged_container_is_refused(tmp_path: Path) -> None:
    for suffix in (".ko.gz", ".tbz", ".txz", ".pkg"):
        path = made(suffix, tmp_path)
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
    places = [made(suffix, tmp_path) for suffix in (".txz", ".pkg", ".ko.xz", ".tbz")]
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
    path = made(".txz", tmp_path)
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
    path = made(".ko.gz", tmp_path)
    original = path.read_bytes()
    assert run("apply", "--no-verify", path).code == 0
    path.with_name(f"{path.name}.orig").write_bytes(gzip.compress(gzip.decompress(original), 1))
    assert "the original is back" in run("revert", path).err
    assert path.read_bytes() == original


def test_a_copy_that_another_kpatch_has_just_made_is_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(".ko", tmp_path)
    create = writer.create

    def too_late(copy: Path, data: Bulk, *, like: Path) -> tuple[str, ...]:
        create(copy, data, like=like)
        return create(copy, data, like=like)

    monkeypatch.setattr(copies, "create", too_late)
    assert run("apply", "--no-verify", path).code == 0
    assert names(tmp_path) == [path.name, f"{path.name}.orig.gz"]


def test_a_copy_of_another_file_is_never_written_over(tmp_path: Path) -> None:
    path = made(".pkg", tmp_path)
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
    path = made(suffix, tmp_path)
    stream = path.read_bytes()[read_header(path.read_bytes()).size :]
    for length, code in ((MOST_TEXTS, 1), (MOST_TEXTS + 1, 10)):
        path.write_bytes(b"\x1f\x8b\x08\x10" + bytes(6) + b"c" * length + b"\0" + stream)
        assert run("scan", path).code == code
    done = run("apply", "--no-verify", path)
    assert done.code == 10 and "comment in its gzip header have more than 4 MiB" in done.complaint
