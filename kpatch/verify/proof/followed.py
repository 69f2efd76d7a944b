"""Whether all that the explored CPUs ran of a patch is on a way that the dataflow followed.

What a patch depends on is found by following it (:mod:`kpatch.verify.world.inputs`). A CPU that
runs anything beside those ways has calculated something else than the dataflow has, and what was
found is not true of it.
"""

from __future__ import annotations

from kpatch.signature.model import Match
from kpatch.signature.moving import run_elsewhere
from kpatch.verify.machine.setup import Setup
from kpatch.verify.world.inputs import findings
from kpatch.verify.world.places import Places, Site


def sites_of(match: Match) -> tuple[Site, ...]:
    """Where the patch has put code of its own, and what it runs elsewhere instead."""
    return tuple(
        Site(range(site.start, site.end), tuple(one.raw for one in run_elsewhere(site)))
        for site in match.sites.values()
    )


def followed(setup: Setup, match: Match, cpuid: int) -> frozenset[int]:
    """The addresses of all instructions on the ways that were followed on this host. They depend
    on where the module lies, and on nothing else of it.
    """
    return findings(setup.world, setup.subject.module, cpuid, sites_of(match)).followed


def ran_beside(setup: Setup, match: Match, cpuid: int, ways: frozenset[int]) -> int | None:
    """The first address of the patch's code that a CPU has run, as far as ``setup`` was explored,
    and that is not on these ways; None if there is none.
    """
    places = Places(setup.world, setup.subject.module, cpuid, sites_of(match))
    return min(filter(places.is_patch, setup.flow().keys() - ways), default=None)
