"""How the encoder that made a file is found again, and at what cost."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterator

import pytest
import zstandard

from kpatch.containers import recompress
from kpatch.containers.compression import Compression
from kpatch.containers.recompress import Encoder, FoundEncoder, Xz, Zstd, find_encoder, leads_back
from kpatch.storage.bulk import Bulk

OLD = Bulk(b"".join(b"%d old\n" % (number * number) for number in range(4000)))
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
    return found, leads_back(data, OLD, found, result, NEW, XZ)


def test_what_the_usual_encoder_made_is_compressed_twice_in_all(runs: Counter[Encoder]) -> None:
    usual = Xz(6, lzma.CHECK_CRC64)
    assert there_and_back(Bulk(lzma.compress(OLD.whole()))) == (
        FoundEncoder(usual, is_exact=True),
        True,
    )
    assert runs == {usual: 2}


def test_what_is_larger_than_all_trials_gets_one(
    runs: Counter[Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recompress.TRIAL_BYTES, XZ, OLD.size - 1)
    usual = Xz(6, lzma.CHECK_CRC64)
    data = Bulk(lzma.compress(OLD.whole(), preset=1))
    assert there_and_back(data) == (FoundEncoder(usual, is_exact=False), False)
    assert runs == {usual: 2}


def test_another_encoder_that_gives_the_same_is_what_comes_back() -> None:
    """What both make of the patched contents only one makes of the original's."""
    data = Bulk(lzma.compress(OLD.whole(), preset=9))
    used = find_encoder(data, OLD, XZ)
    assert used == FoundEncoder(Xz(9, lzma.CHECK_CRC64), is_exact=True)
    by_another = Bulk(lzma.compress(NEW.whole(), preset=6))
    assert not leads_back(data, OLD, used, by_another, NEW, XZ)


def test_zstd_that_says_its_size_is_first_taken_for_the_programs_own() -> None:
    pack = zstandard.ZstdCompressor(level=3, write_checksum=True).compress
    found = find_encoder(Bulk(pack(OLD.whole())), OLD, Compression.ZSTD)
    assert found == FoundEncoder(Zstd(3, has_checksum=True, has_size=True), is_exact=True)
    odd = zstandard.ZstdCompressor(level=12).compress(OLD.whole())
    unknown = find_encoder(Bulk(odd), OLD, Compression.ZSTD)
    assert unknown == FoundEncoder(Zstd(19, has_checksum=False, has_size=True), is_exact=False)
