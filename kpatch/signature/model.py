"""A signature as frozen values: where to look, what to match, what to put there."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Mapping
from typing import Final, NamedTuple

from kpatch.elf.module import Section
from kpatch.isa.instruction import Instruction, Memory
from kpatch.signature.match import Bindings
from kpatch.signature.pattern import Element, SourceLine
from kpatch.units import FileOffset, ImageOffset, SectionOffset

MOST_INSTRUCTIONS = 400
"""How far a routine of the switch is decoded. The real ones have under a hundred instructions."""

OWN_SIGNATURE: Final = (
    "a signature of its own, which describes the code to patch: report it with the file, or write "
    "one ('kpatch explain docs/new-signature.md')"
)
NEEDS_ONE: Final = f"this build needs {OWN_SIGNATURE}"
"""What to do about a build that no signature fits."""


class Example(NamedTuple):
    """A shipped sample and the image offsets at which the sites must match in it."""

    file: str
    image: SectionOffset
    sites: Mapping[str, ImageOffset]


class ImageRule(NamedTuple):
    """How the monitor image is recognised.

    ``header`` names its leading little-endian u32 offsets; ``ascending`` are those that rise and
    lie in the first ``first_page`` bytes; ``anchor`` is an instruction that the code between the
    first two of them holds; ``symbol`` is a hint.
    """

    symbol: str
    header: tuple[str, ...]
    ascending: tuple[str, ...]
    first_page: int
    anchor: str


class TrampolineRule(NamedTuple):
    """The source of a trampoline, its symbol, and the registers that it leaves changed."""

    symbol: str
    clobbers: frozenset[str]
    source: tuple[SourceLine, ...]


class SiteRule(NamedTuple):
    """A site: between which header offsets it lies, its pattern, its key instruction."""

    name: str
    start: str
    stop: str | None
    key: str
    max_gap: int
    pattern: tuple[Element, ...]
    trampoline: TrampolineRule


class LockRule(NamedTuple):
    """The lock word: its symbol, bytes, section, and the page it has for itself."""

    symbol: str
    size: int
    section: str
    page: int


class Signature(NamedTuple):
    """One signature file."""

    id: str
    title: str
    file: str
    image: ImageRule
    sites: tuple[SiteRule, ...]
    lock: LockRule
    code_section: str
    code_align: int
    window_bound: int
    examples: tuple[Example, ...]

    def site(self, name: str) -> SiteRule:
        """The site called ``name``. Raises KeyError where there is none."""
        return next(site for site in self.sites if site.name == name)


class Image(NamedTuple):
    """A monitor image found in a module.

    ``start`` is the file offset of its first byte, ``at`` the offset in ``section``; ``size`` runs
    to the end of the symbol, or of the section where no symbol tells. ``marks`` are the values of
    the header's ascending entries: where the entry, the monitor's side and the exit's end begin.
    """

    section: Section
    at: SectionOffset
    start: FileOffset
    size: int
    header: Mapping[str, int]
    marks: tuple[int, ...]
    evidence: str


class SiteMatch(NamedTuple):
    """Where a site matched. Instruction addresses are image offsets."""

    rule: SiteRule
    start: ImageOffset
    end: ImageOffset
    section_offset: SectionOffset
    file_offset: FileOffset
    raw: bytes
    instructions: tuple[Instruction, ...]
    fillers: tuple[Instruction, ...]

    @property
    def own(self) -> tuple[Instruction, ...]:
        """The instructions that the pattern names: all but those that fill a gap."""
        return tuple(
            instruction for instruction in self.instructions if instruction not in self.fillers
        )

    @property
    def state(self) -> str | None:
        """The register that the first memory operand of its own is addressed by."""
        operands = (operand for instruction in self.own for operand in instruction.operands)
        return next((operand.base for operand in operands if isinstance(operand, Memory)), None)


class Match(NamedTuple):
    """A signature matched once and only once, with every name bound."""

    signature: Signature
    image: Image
    sites: Mapping[str, SiteMatch]
    names: Bindings
