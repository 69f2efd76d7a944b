"""The match of a module's bytes, remembered: a folder holds the same kqemu several times.

What :func:`kpatch.signature.scan.find_any` says depends on the bytes and the signatures alone, not
on the file's name.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from kpatch.elf.module import Module
from kpatch.errors import KpatchError, MatchError, UnknownModuleError
from kpatch.signature.model import Match, Signature
from kpatch.signature.scan import find_any

_MOST: Final = 32
_LARGEST: Final = 256 << 10
"""Modules that are remembered in a process, and bytes of one: 8 MiB in all. A real kqemu has 170
kB."""


class _Known(NamedTuple):
    data: bytes
    signatures: tuple[Signature, ...]
    match: Match | None
    failure: KpatchError | None


_known: Final[deque[_Known]] = deque(maxlen=_MOST)


def match_of(
    module: Module, signatures: Sequence[Signature]
) -> tuple[Match | None, KpatchError | None]:
    """The match of the one signature that fits, or why none does.

    The error is the caller's own, who may say where it belongs. Raises nothing else.
    """
    chosen = tuple(signatures)
    for known in _known:
        if known.data == module.data and known.signatures == chosen:
            return known.match, copy.copy(known.failure)
    try:
        match, failure = find_any(module, chosen), None
    except (UnknownModuleError, MatchError) as error:
        match, failure = None, error
    if len(module.data) <= _LARGEST and chosen:
        _known.append(_Known(module.data, chosen, match, copy.copy(failure)))
    return match, failure
