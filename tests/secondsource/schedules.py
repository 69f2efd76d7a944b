"""Orders in which CPUs run: lists of (CPU, instructions). A turn ends where a round ends."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

Schedule = Sequence[tuple[int, int]]
ALL: Final = 400
"""More instructions than a round has."""


def one_preemption(places: range) -> Iterator[Schedule]:
    """CPU 0 up to a place, a whole round of CPU 1, then CPU 0 to the end."""
    return ([(0, at), (1, ALL), (0, ALL)] for at in places)


def two_preemptions(first: range, second: range) -> Iterator[Schedule]:
    """CPU 0 up to a place, CPU 1 up to a place, then both to the end."""
    return ([(0, at), (1, then), (0, ALL), (1, ALL)] for at in first for then in second)


def drawn(seed: int, cpus: int, length: int, count: int) -> Iterator[Schedule]:
    """Each CPU somewhere into the second half, then from one to another after 1 to 6 steps."""
    draw = random.Random(seed)
    for _ in range(count):
        order = draw.sample(range(cpus), cpus)
        lead = [(cpu, draw.randrange(length // 2, length)) for cpu in order]
        yield lead + [(draw.randrange(cpus), draw.randint(1, 6)) for _ in range(60)]
