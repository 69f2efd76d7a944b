"""What a file is known by: in the patch's note, in documents, in the names of kept copies.

One place, so that every part of kpatch means the same by "the digest", and so that whoever
counts how often a file is hashed has one function to watch: what is only a part of one, as a
section, goes through ``digest_of``.
"""

from __future__ import annotations

from collections.abc import Iterable


def digest(data: bytes) -> str:
    """SHA-256 in lower-case hex (FIPS 180-4), as sha256(1) prints it."""
    return digest_of((data,))


def digest_of(pieces: Iterable[bytes | bytearray | memoryview]) -> str:
    """The same of all ``pieces`` in a row."""
    # Imported here: it loads OpenSSL, and most files in a folder need no digest.
    import hashlib

    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()
