"""Finds a signature's sites in a module: exactly one match for each, or an error that shows why.

A site is a run of instructions that the patch replaces with a call. The image is the monitor's
code, inside a data section, where all sites must be: a module may hold several that look like one,
and only one may match. What an earlier site has bound to a name, a later one must repeat.
"""

from __future__ import annotations

from collections.abc import Iterable

from kpatch.elf.module import Module
from kpatch.errors import KpatchError, MatchError, UnknownModuleError
from kpatch.signature.image import Candidate, find_images, no_image
from kpatch.signature.match import Bindings
from kpatch.signature.model import (
    Match,
    Signature,
    SiteMatch,
)
from kpatch.signature.safety import require_patchable
from kpatch.signature.site import SeveralMatchesError, only_hit, place_of
from kpatch.units import FileOffset, ImageOffset, SectionOffset


def find(module: Module, signature: Signature) -> Match:
    """Match every site of ``signature`` in ``module`` once, and make sure it may be patched.

    Raises UnknownModuleError where no monitor image is found, MatchError where a site matches
    nowhere or more than once, or where what matched cannot be displaced.
    """
    images = find_images(module, signature.image)
    if not images:
        raise no_image(module, signature.image)
    matches: list[Match] = []
    failures: list[KpatchError] = []
    for candidate in images:
        try:
            matches.append(_match_image(module, signature, candidate))
        except SeveralMatchesError:
            raise
        except MatchError as error:
            failures.append(error)
    if len(matches) > 1:
        places = ", ".join(place_of(match.image) for match in matches)
        raise MatchError(
            f"{len(matches)} monitor images match '{signature.id}': {places}",
            todo="only a module with one can be patched",
        )
    if not matches:
        raise failures[0]
    require_patchable(module, matches[0])
    return matches[0]


def find_any(module: Module, signatures: Iterable[Signature]) -> Match:
    """The match of the first signature that fits.

    Where none does, raises the most telling reason: a MatchError (the last one) before an
    UnknownModuleError (the first one).
    """
    failure: KpatchError | None = None
    for signature in signatures:
        try:
            return find(module, signature)
        except UnknownModuleError as error:
            failure = failure or error
        except MatchError as error:
            failure = error
    raise failure or UnknownModuleError(
        "no signature is installed", where=module.name, todo="install kpatch again"
    )


def _match_image(module: Module, signature: Signature, candidate: Candidate) -> Match:
    image = candidate.image
    if candidate.flaw:
        raise MatchError(
            candidate.flaw, where=place_of(image), todo="the file is damaged: get it again"
        )
    data = module.view(image.section)[image.at : image.at + image.size]
    names: Bindings = {}
    sites: dict[str, SiteMatch] = {}
    for rule in signature.sites:
        hit = only_hit(data, image, signature, rule, names)
        names = hit.bindings
        sites[rule.name] = SiteMatch(
            rule=rule,
            start=ImageOffset(hit.start),
            end=ImageOffset(hit.end),
            section_offset=SectionOffset(image.at + hit.start),
            file_offset=FileOffset(image.start + hit.start),
            raw=bytes(data[hit.start : hit.end]),
            instructions=hit.instructions,
            fillers=hit.fillers,
        )
    return Match(signature, image, sites, names)
