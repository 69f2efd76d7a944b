"""A struct pcpu that nobody knows may hold anything where the number and its mask are expected.

Who takes it for a known one loads the TSS of another CPU, or of none. That all pairs are treated
alike that are no number and its mask is told by following the patch with all of them
(:mod:`kpatch.verify.world.guard`). Some that go each of its ways are run here: what is wrong with
one of them is wrong with the patch, and each has to go the way that was foreseen.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kpatch.verify.machine.numbers import BITS, described, practised, tried
from kpatch.verify.world.guard import Treated
from kpatch.verify.world.places import Places
from kpatch.verify.world.world import World

_ALIKE: Final = "whether all pairs are treated alike that are no number of a CPU and its mask"


class Mistaken(NamedTuple):
    """Which pair is taken for what it is not, and what comes of it: empty if none is. Else
    ``unknown`` is what could not be told.
    """

    wrong: str = ""
    unknown: tuple[str, ...] = ()


def mistaken(world: World, places: Places, treated: Treated) -> Mistaken:
    """Run the samples.

    ``world`` is one with an unknown struct pcpu, and a GDT for each CPU: there the TSS that the
    slot names has to be loaded, as the unpatched switch does it. Each round tries another pair.
    """
    unknown = [f"{_ALIKE}: {reason}" for reason in treated.unknown]
    with practised(world) as alone:
        for pair, path in treated.samples:
            number, mask = pair % (1 << BITS), pair >> BITS
            complaint = tried(alone, number, mask)
            if complaint:
                return Mistaken(f"{described(number, mask)}: {complaint}")
            ran = tuple(alone.on_kernel_side(places))
            at = ran.index(path[0]) if path[0] in ran else 0
            if ran[at : at + len(path)] != path:
                unknown.append(f"what the patch does {described(number, mask)}")
    return Mistaken(unknown=tuple(unknown))
