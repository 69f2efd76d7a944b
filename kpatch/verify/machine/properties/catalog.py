"""All properties, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kpatch.verify.machine.properties.base import Property
from kpatch.verify.machine.properties.engine import Footprint, MakesProgress, NoFault
from kpatch.verify.machine.properties.restored import Restored
from kpatch.verify.machine.properties.task import Descriptor, OwnTss

CATALOG: Final[tuple[Property, ...]] = (
    Descriptor(),
    NoFault(),
    Footprint(),
    MakesProgress(),
    OwnTss(),
    Restored(),
)
"""In the order in which they are looked at: what went wrong first comes first. (A run ends where it
fails: what it loaded into TR, it had loaded before.)"""


def named(names: Iterable[str]) -> tuple[Property, ...]:
    """The properties of these names, in the order of the catalogue."""
    wanted = frozenset(names)
    return tuple(prop for prop in CATALOG if prop.name in wanted)
