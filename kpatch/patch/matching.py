"""The match of a module's bytes, remembered: a folder holds the same kqemu several times.

What :func:`kpatch.signature.scan.find_any` says depends on the bytes and the signatures alone, not
on the file's name.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final, NamedTuple

from kpatch.elf.module import Module
from kpatch.errors import KpatchError, MatchError, UnknownModuleError
from kpatch.signature.model import Match, Signature
from kpatch.signature.scan import find_any

_MOST: Final = 4 << 20
"""Bytes of the modules whose matches are remembered in a process, about 30 builds of kqemu."""


class _Known(NamedTuple):
    signatures: tuple[Signature, ...]
    match: Match | None
    failure: KpatchError | None


_known: Final[dict[bytes, _Known]] = {}
"""By the module's bytes, the oldest first."""


def match_of(
    module: Module, signatures: Sequence[Signature]
) -> tuple[Match | None, KpatchError | None]:
    """The match of the one signature that fits, or why none does.

    The error is the caller's own, who may say where it belongs. Raises nothing else.
    """
    chosen = tuple(signatures)
    known = _known.get(module.data)
    if known is not None and known.signatures == chosen:
        return known.match, copy.copy(known.failure)
    try:
        match, failure = find_any(module, chosen), None
    except (UnknownModuleError, MatchError) as error:
        # The traceback refers to the frames, they to the module: it would stay until collected.
        match, failure = None, error.with_traceback(None)
    if chosen:
        _remember(module.data, _Known(chosen, match, copy.copy(failure)))
    return match, failure


def _remember(data: bytes, found: _Known) -> None:
    _known.pop(data, None)
    if len(data) > _MOST:
        return
    room = _MOST - len(data) - sum(map(len, _known))
    while room < 0:
        oldest = next(iter(_known))
        room += len(oldest)
        del _known[oldest]
    _known[data] = found
