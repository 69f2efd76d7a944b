"""A module that is compressed by itself: ``kqemu.ko.gz``, which FreeBSD's loader reads, and others.

gzip files remember how their original was written (``gzip``); for the others the encoder is found
again by trying (``recompress``).
"""

from __future__ import annotations

from typing import NamedTuple

from kpatch.containers.compression import Compression, unpacked
from kpatch.containers.gzip import (
    MOST_BYTES,
    GzipFile,
    comes_back,
    original_gzip,
    patched_gzip,
    read_header,
)
from kpatch.errors import DamagedFileError
from kpatch.storage.bulk import Bulk


class Packed(NamedTuple):
    """A compressed module: its bytes, how it is compressed, and the file."""

    payload: bytes
    kind: Compression
    data: bytes


class Repacked(NamedTuple):
    """A compressed file with another payload, and whether the way back is known to be exact.

    Of a patched file that says whether its original will come back byte for byte, as far as that
    was tried; of an original whether it is known to be that file byte for byte.
    """

    data: bytes
    is_exact: bool


def unpack(data: Bulk, kind: Compression, name: str) -> Packed:
    """Read a compressed module. Raises DamagedFileError, said of ``name``."""
    try:
        if data.size > MOST_BYTES:
            raise DamagedFileError(
                f"a compressed module has more than {MOST_BYTES >> 20} MiB",
                todo="unpack it by hand if you trust it",
            )
        return Packed(unpacked(data, kind, MOST_BYTES).whole(), kind, data.whole())
    except DamagedFileError as error:
        raise error.within(name) from None


def with_patched(packed: Packed, payload: bytes, *, stays: bool) -> Repacked:
    """The file with the patched ``payload``. Where the original ``stays``, the way back is not
    compressed to the end.
    """
    if packed.kind is Compression.GZIP:
        original = GzipFile(read_header(packed.data), packed.payload, packed.data)
        return Repacked(patched_gzip(original, payload), comes_back(original))
    # Imported here: a scan compresses nothing.
    from kpatch.containers.recompress import find_encoder, leads_back

    data, raw, changed = Bulk(packed.data), Bulk(packed.payload), Bulk(payload)
    found = find_encoder(data, raw, packed.kind)
    new = Bulk.join(found.encoder.compress(changed))
    is_exact = leads_back(data, raw, found, new, changed, packed.kind, stays=stays)
    return Repacked(new.whole(), is_exact)


def with_original(packed: Packed, payload: bytes) -> Repacked:
    """The file with its original's ``payload``."""
    if packed.kind is Compression.GZIP:
        patched = GzipFile(read_header(packed.data), packed.payload, packed.data)
        return Repacked(*original_gzip(patched, payload))
    from kpatch.containers.recompress import find_encoder  # as above

    found = find_encoder(Bulk(packed.data), Bulk(packed.payload), packed.kind)
    return Repacked(Bulk.join(found.encoder.compress(Bulk(payload))).whole(), is_exact=False)
