"""Runs the lints on a signature file, for those who write one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from kpatch.patch import lints
from kpatch.patch.draft import Draft, Lint, LintFinding
from kpatch.signature.load import parse_signature

LINTS: Final[tuple[Lint, ...]] = (
    lints.IdIsTheFileName(),
    lints.TitleIsASentence(),
    lints.HasExamples(),
    lints.ExamplesMatchWhereTheySay(),
    lints.TrampolinesCanBeMade(),
    lints.NamesAreUsed(),
    lints.TrampolinesUseWhatIsBound(),
    lints.KeysHaveAPrefilterAndAPlace(),
    lints.TheAnchorIsInTheFirstSite(),
    lints.SitesKeepTheStateRegister(),
    lints.PlacesAreKnown(),
    lints.ClobbersAreRegisters(),
    lints.FixedRegistersAreClobbered(),
    lints.SymbolsAreOurOwn(),
    lints.TheLockHasAPageForItself(),
    lints.TheWindowIsBoundedByTheExit(),
    lints.LinesAreShort(),
)
"""In the order in which they are said."""


def lint(text: str, file: str, example: Callable[[str], bytes]) -> tuple[LintFinding, ...]:
    """Run every lint on one signature file. Raises SignatureError where it does not parse."""
    draft = Draft(parse_signature(text, file), text, cache(example))
    return tuple(
        LintFinding(type(one).__name__, what, one.recommendation)
        for one in LINTS
        for what in one.findings(draft)
    )
