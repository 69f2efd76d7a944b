"""Packages of every form: only the module and what is recorded of it change, there and back."""

from __future__ import annotations

import hashlib
import io
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from kpatch.containers.compression import Compression, decompress
from kpatch.errors import DamagedFileError
from tests.cases import packages
from tests.cli.harness import patched_bytes, run, sample

ORIGINAL = sample("kqemu-7.ko").read_bytes()


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = tmp_path / "staged"
    folder.mkdir()
    packages.stage(folder, ORIGINAL)
    return folder


def files_of(data: bytes) -> dict[str, bytes]:
    """Names and contents as Python's tarfile has them, of whatever streams."""
    at = data.find(b"\x28\xb5\x2f\xfd")
    if at >= 0 and at < 64:
        reader = zstandard.ZstdDecompressor().stream_reader(data[at:], read_across_frames=True)
        data = reader.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            info.name: held.read()
            for info in archive
            if (held := archive.extractfile(info)) is not None
        }


def swapped(data: bytes) -> bytes:
    """``data``, with what it says of the original said of the patched module."""
    after = patched_bytes()
    if data == ORIGINAL:
        return after
    for digest in (hashlib.md5, hashlib.sha256):
        data = data.replace(
            digest(ORIGINAL).hexdigest().encode(), digest(after).hexdigest().encode()
        )
    sizes = (len(each) + len(packages.HEADER) for each in (ORIGINAL, after))
    old, new = (str(size).encode() for size in sizes)
    return data.replace(b'"flatsize":' + old, b'"flatsize":' + new).replace(
        b"flatsize: " + old, b"flatsize: " + new
    )


@pytest.mark.parametrize("form", packages.FORMS)
def test_the_module_and_its_sums_change_and_nothing_else(
    form: str, staged: Path, tmp_path: Path
) -> None:
    suffix, make = packages.FORMS[form]
    path = tmp_path / f"kqemu-kmod-1.4.0.p1_2{suffix}"
    path.write_bytes(original := make(staged))
    before = files_of(original)
    assert ": AFFECTED\n" in run("scan", path).out
    done = run("apply", "--no-verify", "--no-copy", path)
    assert done.code == 0, done.err
    assert ("the signature no longer holds" in done.err) == ("signed" in form)
    after = files_of(path.read_bytes())
    assert after == {
        name: data if name.startswith("/usr/lib/debug/") else swapped(data)
        for name, data in before.items()
    }
    assert list(after) == list(before)
    back = run("revert", path)
    assert back.code == 0 and files_of(path.read_bytes()) == before
    if "the original is back" in back.err:
        assert path.read_bytes() == original
    else:
        assert "the contents are the original's" in back.err


@pytest.mark.parametrize("form", packages.REFUSED)
def test_it_is_refused_and_stays_as_it_is(form: str, staged: Path, tmp_path: Path) -> None:
    suffix, make, code, words = packages.REFUSED[form]
    path = tmp_path / f"kqemu-kmod-1.4.0.p1_2{suffix}"
    path.write_bytes(original := make(staged))
    done = run("apply", "--no-verify", path)
    assert done.code == code and words in done.complaint
    assert path.read_bytes() == original and not list(tmp_path.glob("*.orig*"))


@pytest.mark.parametrize("padding", [0, 4, 64, 6])
def test_padding_between_xz_streams_is_read_as_xz_reads_it(padding: int, tmp_path: Path) -> None:
    """Xz file format, 2.2: zeros, in fours."""
    path = tmp_path / "kqemu.ko.xz"
    path.write_bytes(bytes(padding).join(map(lzma.compress, (ORIGINAL[:999], ORIGINAL[999:]))))
    by_xz = subprocess.run(["xz", "-dc", path], capture_output=True, check=False)
    assert (by_xz.returncode == 0) == (padding != 6)
    if padding == 6:
        with pytest.raises(DamagedFileError, match="bytes behind the xz stream"):
            decompress(path.read_bytes(), Compression.XZ)
    else:
        assert decompress(path.read_bytes(), Compression.XZ) == by_xz.stdout == ORIGINAL
