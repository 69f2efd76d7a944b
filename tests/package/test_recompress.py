"""How the encoder that made a file is found again, and at what cost."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from kpatch.containers import recompress
from kpatch.containers.compression import Compression
from kpatch.containers.encoders import Encoder, Gzip, Xz, Zstd
from kpatch.containers.recompress import FoundEncoder, find_encoder, leads_back
from kpatch.storage.bulk import Bulk, is_made_of

SAMPLES = Path(__file__).parents[2] / "samples"
OLD = Bulk(b"".join(b"%d old\n" % (number * number) for number in range(12000)))
NEW = Bulk(OLD.whole().replace(b"9 old", b"9 new"))
XZ = Compression.XZ


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[Encoder]:
    """How often each encoder of xz was run."""
    counts: Counter[Encoder] = Counter()
    real = Xz.compress

    def counted(self: Xz, raw: Bulk) -> Iterator[bytes]:
        counts[self] += 1
        return real(self, raw)

    monkeypatch.setattr(Xz, "compress", counted)
    return counts


def there_and_back(data: Bulk) -> tuple[FoundEncoder, bool]:
    found = find_encoder(data, OLD, XZ)
    result = Bulk.join(found.encoder.compress(NEW))
    return found, leads_back(data, OLD, found, result, NEW, XZ, stays=False)


def test_what_the_usual_encoder_made_is_compressed_twice_in_all(runs: Counter[Encoder]) -> None:
    usual = Xz(6, lzma.CHECK_CRC64)
    assert there_and_back(Bulk(lzma.compress(OLD.whole()))) == (
        FoundEncoder(usual, is_exact=True),
        True,
    )
    assert runs == {usual: 2}


def test_of_what_is_larger_than_a_trial_the_beginning_is_compressed(
    runs: Counter[Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompress, "TRIAL", 64 << 10)
    odd = Xz(9, lzma.CHECK_CRC64)
    data = Bulk(lzma.compress(OLD.whole(), preset=odd.preset))
    assert there_and_back(data) == (FoundEncoder(odd, is_exact=None), True)


@pytest.mark.parametrize(
    ("kind", "pack"),
    [(XZ, lzma.compress), (Compression.BZIP2, bz2.compress), (Compression.GZIP, gzip.compress)],
)
def test_what_only_begins_like_the_file_does_not_lead_back(
    kind: Compression, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompress, "TRIAL", 64 << 10)
    half = OLD.size // 2
    data = Bulk(pack(OLD.part(0, half)) + pack(OLD.part(half, OLD.size)))
    found = find_encoder(data, OLD, kind)
    assert not found.is_exact
    result = Bulk.join(found.encoder.compress(NEW))
    assert not leads_back(data, OLD, found, result, NEW, kind, stays=False)


@pytest.mark.parametrize(
    ("size", "worker", "is_exact"),
    [
        (200 << 10, False, True),
        (900 << 10, True, True),
        (900 << 10, False, True),
        (1500 << 10, True, None),
    ],
)
def test_zstd_is_told_with_a_worker_from_without(
    size: int, worker: bool, is_exact: bool | None
) -> None:
    """The zstd program has one: version 1.5.4, with its own library, at 0.3 to 12 MiB."""
    raw = Bulk(b"".join(path.read_bytes() for path in sorted(SAMPLES.glob("*.ko")))[:size])
    assert raw.size == size
    pack = zstandard.ZstdCompressor(level=9, write_checksum=True, threads=int(worker)).compress
    data = Bulk(pack(raw.whole()))
    found = find_encoder(data, raw, Compression.ZSTD)
    if size > 512 << 10:  # less is no job for a worker
        assert found.encoder == Zstd(9, has_checksum=True, has_size=True, has_worker=worker)
    assert found.is_exact is is_exact
    assert is_made_of(data, found.encoder.compress(raw))


@pytest.mark.parametrize("level", range(10))
def test_gzip_in_steps_is_gzip_in_one(level: int) -> None:
    header = b"\x1f\x8b\x08" + bytes(7)
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    trailer = struct.pack("<II", zlib.crc32(OLD.whole()), OLD.size)
    expected = header + deflate.compress(OLD.whole()) + deflate.flush() + trailer
    assert b"".join(Gzip(level, header).compress(OLD)) == expected


def test_another_encoder_that_gives_the_same_is_what_comes_back() -> None:
    """What both make of the patched contents only one makes of the original's."""
    data = Bulk(lzma.compress(OLD.whole(), preset=9))
    used = find_encoder(data, OLD, XZ)
    assert used == FoundEncoder(Xz(9, lzma.CHECK_CRC64), is_exact=True)
    by_another = Bulk(lzma.compress(NEW.whole(), preset=6))
    assert not leads_back(data, OLD, used, by_another, NEW, XZ, stays=False)


def test_zstd_that_says_its_size_is_first_taken_for_the_programs_own() -> None:
    pack = zstandard.ZstdCompressor(level=3, write_checksum=True).compress
    found = find_encoder(Bulk(pack(OLD.whole())), OLD, Compression.ZSTD)
    assert found == FoundEncoder(Zstd(3, True, has_size=True, has_worker=True), is_exact=True)
    odd = zstandard.ZstdCompressor(level=12).compress(OLD.whole())
    unknown = find_encoder(Bulk(odd), OLD, Compression.ZSTD)
    assert unknown == FoundEncoder(Zstd(19, False, has_size=True, has_worker=True), is_exact=False)
