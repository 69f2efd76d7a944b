"""What following the switch has found out about it: see :mod:`kpatch.verify.world.inputs`."""

from __future__ import annotations

from typing import NamedTuple


class Findings(NamedTuple):
    """``junk`` and ``undefined``: what the switch depends on and may not; ``stores``: what the
    patch stores to the state; ``unknown``: what could not be told. ``followed``: the addresses of
    all instructions on the ways that were followed.
    """

    junk: tuple[str, ...]
    undefined: tuple[str, ...]
    stores: tuple[str, ...]
    unknown: tuple[str, ...]
    followed: frozenset[int]

    def joined(self, other: Findings) -> Findings:
        """Both, each text once."""
        return Findings(
            _once(self.junk, other.junk),
            _once(self.undefined, other.undefined),
            _once(self.stores, other.stores),
            _once(self.unknown, other.unknown),
            self.followed | other.followed,
        )


def _once(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *others)))
