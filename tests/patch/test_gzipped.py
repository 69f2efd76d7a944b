"""Gzip files: what was in them stays in them, and the original comes back."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.containers import gzip as gzipped
from kpatch.containers.compression import Compression
from kpatch.containers.gzip import (
    comes_back,
    original_gzip,
    patched_gzip,
)
from kpatch.containers.packed import unpack
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk


def read_gzip(data: bytes, name: str = "") -> gzipped.GzipFile:
    payload = unpack(Bulk(data), Compression.GZIP, name).payload
    try:
        return gzipped.GzipFile(gzipped.read_header(data), payload, data)
    except DamagedFileError as error:
        raise error.within(name) from None


def compress(payload: bytes) -> bytes:
    return b"".join(gzipped.compress(Bulk(payload)))


FHCRC, FEXTRA, FNAME, FCOMMENT = 2, 4, 8, 16  # RFC 1952, 2.3.1
PAYLOADS = st.binary(max_size=200) | st.binary(min_size=1, max_size=9).map(lambda b: b * 500)
TEXTS = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b""))


@st.composite
def gzip_files(draw: st.DrawFn, payloads: st.SearchStrategy[bytes] = PAYLOADS) -> bytes:
    """Files of one member with any header, from zlib at any level and memory level."""
    payload = draw(payloads)
    flags = draw(st.sampled_from((0, 1)))
    tail = b""
    extra, name, comment = (draw(st.none() | TEXTS) for _ in range(3))
    if extra is not None:
        flags |= FEXTRA
        tail += struct.pack("<H", len(extra)) + extra
    if name is not None:
        flags |= FNAME
        tail += name + b"\0"
    if comment is not None:
        flags |= FCOMMENT
        tail += comment + b"\0"
    checked = draw(st.booleans())
    flags |= FHCRC if checked else 0
    head = b"\x1f\x8b\x08" + bytes([flags]) + draw(st.binary(min_size=6, max_size=6)) + tail
    if checked:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    deflater = zlib.compressobj(
        draw(st.integers(0, 9)), zlib.DEFLATED, -15, draw(st.sampled_from((8, 9)))
    )
    body = deflater.compress(payload) + deflater.flush()
    return head + body + struct.pack("<II", zlib.crc32(payload), len(payload))


@given(gzip_files(), PAYLOADS)
def test_the_original_file_comes_back_byte_for_byte(data: bytes, other: bytes) -> None:
    original = read_gzip(data)
    assert comes_back(original)
    patched = read_gzip(patched_gzip(original, other))
    assert patched.payload == other
    assert original_gzip(patched, original.payload) == (data, True)


@given(gzip_files(), PAYLOADS)
def test_name_time_comment_and_extra_field_stay(data: bytes, other: bytes) -> None:
    before = read_gzip(data)
    after = read_gzip(patched_gzip(before, other))
    for name in ("name", "comment", "time", "extra_flags", "system"):
        assert getattr(after.header, name) == getattr(before.header, name)
    assert after.header.extra.startswith(before.header.extra)


@given(gzip_files(), PAYLOADS)
def test_pythons_reader_agrees(data: bytes, other: bytes) -> None:
    assert read_gzip(data).payload == gzip.decompress(data)
    assert gzip.decompress(patched_gzip(read_gzip(data), other)) == other


@given(gzip_files(), st.data())
def test_a_changed_or_cut_off_file_reads_or_is_refused(data: bytes, draw: st.DataObject) -> None:
    end = draw.draw(st.integers(0, len(data)))
    cut = bytearray(data[:end])
    if end < len(data):
        with pytest.raises(DamagedFileError):
            read_gzip(bytes(cut))
    changed = bytearray(data)
    changed[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    try:
        assert len(read_gzip(bytes(changed)).payload) == len(read_gzip(data).payload)
    except DamagedFileError as error:
        assert "gzip" in error.what


@given(st.binary(max_size=100))
def test_bytes_that_only_start_like_gzip_are_refused_in_words(tail: bytes) -> None:
    data = gzipped.GZIP_MAGIC + tail
    assert data.startswith(b"\x1f\x8b")
    try:
        read_gzip(data, "x.ko.gz")
    except DamagedFileError as error:
        assert error.where.startswith("x.ko.gz")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (gzipped.GZIP_MAGIC, "cut short"),
        (compress(b"a") + b"\1", "1 byte behind the gzip stream"),
        (compress(b"a") + compress(b"b")[:-1], "cut short"),
        (compress(b"ab")[:-4] + b"\3\0\0\0", "incorrect length check"),
        (compress(b"ab")[:-8] + bytes(4) + b"\2\0\0\0", "incorrect data check"),
        (compress(b"ab")[:-9], "cut short"),
        (gzipped.GZIP_MAGIC + b"\xe0" + compress(b"ab")[4:], "unknown header flags"),
        (gzipped.GZIP_MAGIC + b"\x08" + compress(b"ab")[4:10] + b"no end", "cut short"),
    ],
)
def test_each_kind_of_damage_is_named(data: bytes, why: str) -> None:
    with pytest.raises(DamagedFileError, match=why):
        read_gzip(data)


def test_a_bomb_is_not_inflated_beyond_the_bound() -> None:
    bound = gzipped.MOST_BYTES
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = bytes(1 << 20)
    body = b"".join(deflater.compress(megabyte) for _ in range((bound >> 20) + 1))
    bomb = compress(b"")[:10] + body + deflater.flush() + bytes(8)
    with pytest.raises(DamagedFileError, match="more than 32 MiB"):
        read_gzip(bomb)


@given(st.binary(max_size=9), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2))
def test_a_field_of_our_name_in_an_original_is_its_own(
    front: bytes, level: int, memory: int, had_extra: int
) -> None:
    extra = front + b"KP" + struct.pack("<HBBB", 3, level, memory, had_extra)
    plain = compress(b"abc")
    data = plain[:3] + bytes([FEXTRA]) + plain[4:10] + struct.pack("<H", len(extra)) + extra
    original = read_gzip(data + plain[10:])
    patched = read_gzip(patched_gzip(original, b"other"))
    assert original_gzip(patched, b"abc") == (original.data, True)


def test_a_field_of_our_name_in_what_another_program_compressed_names_nothing() -> None:
    """The settings in it are those of no original, so nobody says that the original is back."""
    extra = b"KP" + struct.pack("<HBBB", 3, 9, 8, 1)
    payload = b"patched by us, packed by others " * 99
    plain = gzip.compress(payload, 1)
    data = plain[:3] + bytes([FEXTRA]) + plain[4:10] + struct.pack("<H", len(extra)) + extra
    assert not original_gzip(read_gzip(data + plain[10:]), b"original")[1]


@pytest.mark.parametrize("extra", [b"", b"x" * (0xFFFF - 7)])
def test_a_field_of_our_name_in_what_zlib_did_not_make_names_no_original(extra: bytes) -> None:
    """No field of ours is added then, and its own stays the last one."""
    extra += b"KP" + struct.pack("<HBBB", 3, 9, 8, 1)
    plain = compress(b"abc" * 99)
    head = plain[:3] + bytes([FEXTRA]) + plain[4:10] + struct.pack("<H", len(extra)) + extra
    original = read_gzip(head + plain[10:] + (b"" if len(extra) > 7 else compress(b"")))
    assert not comes_back(original)
    back, is_exact = original_gzip(read_gzip(patched_gzip(original, b"other")), original.payload)
    assert (read_gzip(back).payload, is_exact) == (original.payload, False)


def test_what_the_first_release_patched_gives_the_original_and_does_not_say_so() -> None:
    patched = read_gzip(patched_gzip(read_gzip(compress(b"abc")), b"other"))
    extra = b"KP" + struct.pack("<HBBB", 3, *patched.header.extra[4:7])
    first = gzipped.GzipFile(replace(patched.header, extra=extra), patched.payload, b"")
    assert original_gzip(first, b"abc") == (compress(b"abc"), False)


@given(st.lists(gzip_files(), min_size=2, max_size=4), st.integers(0, 600))
def test_several_members_and_padding_are_read_as_gunzip_does(
    members: list[bytes], zeros: int
) -> None:
    data = b"".join(members) + bytes(zeros)
    found = read_gzip(data)
    assert found.payload == gzip.decompress(data)
    assert not comes_back(found)
    patched = read_gzip(patched_gzip(found, b"other"))
    assert patched.payload == b"other"
    back, is_exact = original_gzip(patched, found.payload)
    assert (read_gzip(back).payload, is_exact) == (found.payload, False)


def test_an_extra_field_that_is_full_stays_and_gets_no_settings() -> None:
    extra = b"X" * 0xFFFF
    plain = compress(b"abc")
    data = plain[:3] + bytes([FEXTRA]) + plain[4:10] + struct.pack("<H", len(extra)) + extra
    original = read_gzip(data + plain[10:])
    assert not comes_back(original)
    patched = read_gzip(patched_gzip(original, b"other"))
    assert (patched.payload, patched.header.extra) == (b"other", extra)


def test_data_that_zlib_did_not_make_is_said_not_to_come_back() -> None:
    stored = b"\1\3\0\xfc\xffabc"
    fixed = b"\0\0\0\xff\xff" + stored  # an empty block in front: no encoder writes that
    data = compress(b"")[:10] + fixed + struct.pack("<II", zlib.crc32(b"abc"), 3)
    original = read_gzip(data)
    assert original.payload == b"abc"
    assert not comes_back(original)
    assert read_gzip(original_gzip(original, b"abc")[0]).payload == b"abc"


@settings(max_examples=10)
@given(PAYLOADS)
def test_the_same_payload_gives_the_same_file(payload: bytes) -> None:
    assert compress(payload) == compress(bytes(payload))
    assert gzip.decompress(compress(payload)) == payload


def test_the_system_s_gzip_reads_what_is_written(tmp_path: Path) -> None:
    with io.BytesIO() as buffer:
        with gzip.GzipFile("kqemu.ko", "wb", 6, buffer, mtime=1234) as writer:
            writer.write(b"payload" * 99)
        original = read_gzip(buffer.getvalue(), "kqemu.ko.gz")
    path = tmp_path / "kqemu.ko.gz"
    path.write_bytes(patched_gzip(original, b"patched" * 99))
    done = subprocess.run(["gzip", "-cd", path], capture_output=True, check=True, timeout=300)
    assert (done.stdout, done.stderr) == (b"patched" * 99, b"")
