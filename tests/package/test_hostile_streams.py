"""Compressed streams that no packaging tool makes: cut short, continued, or far too large."""

from __future__ import annotations

import bz2
import lzma

import pytest

from kpatch.containers import compression
from kpatch.errors import DamagedFileError, UnknownModuleError
from tests.children import peak_of
from tests.package.makers import (
    COMPRESSORS,
    MODULE,
)
from tests.package.refused import GOOD, refusal
from tests.package.whole import modules_in

REAL_COMPRESSORS = [name for name in COMPRESSORS if name != "none"]


@pytest.mark.parametrize("name", REAL_COMPRESSORS)
def test_a_stream_cut_short_anywhere_is_refused(name: str) -> None:
    data = COMPRESSORS[name](GOOD)
    for size in (*range(1, 40), *range(40, len(data), 997), *range(len(data) - 9, len(data))):
        error = refusal(data[:size])
        assert isinstance(error, DamagedFileError | UnknownModuleError)


@pytest.mark.parametrize("name", REAL_COMPRESSORS)
@pytest.mark.parametrize("tail", [b"x", b"\0", b"BZh", b"\x7fELF" * 1000, bytes(20_000)])
def test_anything_behind_the_stream_is_refused(name: str, tail: bytes) -> None:
    data = COMPRESSORS[name](GOOD) + tail
    if not any(tail) and (name == "gzip" or (name == "xz" and len(tail) % 4 == 0)):
        assert modules_in(data)[0].data == MODULE  # padding, as gunzip and xz read it
    else:
        assert isinstance(refusal(data), DamagedFileError)


@pytest.mark.parametrize("name", REAL_COMPRESSORS)
def test_streams_in_a_row_are_one_package(name: str) -> None:
    compress = COMPRESSORS[name]
    data = b"".join(compress(part) for part in (GOOD[:5000], GOOD[5000:]))
    assert modules_in(data)[0].data == MODULE


@pytest.mark.parametrize("frames", [4097, 10_000])
def test_skippable_frames_are_counted(frames: int) -> None:
    """Each is eight bytes, and 8 MiB of them cost a minute."""
    empty, package = b"\x50\x2a\x4d\x18\0\0\0\0", COMPRESSORS["zstd"](GOOD)
    for data in (empty * frames + package, package + empty * frames, empty * frames):
        assert "more than 4096 skippable zstd frames" in str(refusal(data))
    assert modules_in(empty * 4096 + package)[0].data == MODULE


@pytest.mark.parametrize("name", REAL_COMPRESSORS)
def test_a_bomb_is_refused_before_it_fills_the_memory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = COMPRESSORS[name](bytes(24 << 20))
    monkeypatch.setattr(compression, "FREE_UNPACKED", 1 << 20)
    monkeypatch.setattr(compression, "MAX_RATIO", 2)
    peak = peak_of_refusal(data)
    assert peak < 20 << 20


def test_a_zstd_bomb_of_run_length_blocks_is_refused() -> None:
    """Four bytes make 128 kB (RFC 8878, 3.1.1.2): 1.6 GB in 50 kB."""
    block = (1 << 1 | (1 << 17) << 3).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x58" + block * 12_800
    assert peak_of_refusal(frame) < 256 << 20


def peak_of_refusal(data: bytes) -> int:
    def refuse() -> None:
        assert "far more" in str(refusal(data))

    return peak_of(refuse)


def test_thousands_of_empty_streams_are_refused() -> None:
    assert "streams in a row" in str(refusal(bz2.compress(b"") * 5000))


def test_an_xz_stream_that_needs_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    data = lzma.compress(GOOD, lzma.FORMAT_XZ, filters=filters)
    assert "takes more than 128 MiB of memory" in str(refusal(data))
