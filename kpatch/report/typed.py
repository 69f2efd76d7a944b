"""The keys of the documents about files that ``--json`` prints, for the type checker.

Those of proofs and machines are in ``typed_proof``, of differences and the page in
``typed_diff``, of the hook in ``typed_hook``.

``schema.json`` says the same, and what each value may be, to those who read them; a test holds the
two together.
"""

# Annotations are evaluated here: a key that may be missing is told by its type.
from typing import NotRequired, TypedDict

from kpatch.report.typed_diff import Compared, SectionFacts, SizeFacts, TrampolineFacts
from kpatch.report.typed_hook import ActionFacts, GuideFacts, SurveyFacts
from kpatch.report.typed_proof import ProofFacts, ReadingFacts


class ErrorFacts(TypedDict):
    """An error: its kind, its exit code, the three parts of its message, an option that helps."""

    error: str
    exit_code: int
    what: str
    where: str
    todo: str
    option: NotRequired[str]


class FileEntry(TypedDict):
    """What every entry of a file has, whatever else: what the command found of it, in one word."""

    verdict: str


class Beside(TypedDict, total=False):
    """What an answer may have beside its files: wrong use, and the hook's own."""

    error: ErrorFacts
    guides: list[GuideFacts]
    survey: SurveyFacts
    actions: list[ActionFacts]


class Envelope(Beside):
    """The whole answer of one command."""

    schema: int
    kpatch: str
    command: str
    exit_code: int
    files: list[FileEntry]


class Refused(TypedDict):
    """A file that was refused, or passed over in a folder, and why."""

    file: str
    verdict: str
    status: str
    error: ErrorFacts


class CountedOnly(TypedDict):
    """A file that its bytes tell to be nothing for kpatch; it is only counted."""

    file: str
    verdict: str


class Facts(TypedDict):
    """Bytes and SHA-256 of a file."""

    size: int
    sha256: str


class IdentityFacts(TypedDict):
    """What a file is, and what says so."""

    kind: str
    is_kqemu: bool
    reasons: list[str]


class RuleFacts(TypedDict):
    """A rule of the kernel linker that a module breaks."""

    rule: str
    what: str
    where: str
    todo: str
    outcome: str
    fatal: bool


class PatchFacts(TypedDict):
    """What the note of a patched module says."""

    version: str
    signature: str
    cpuid: int
    original_sha256: str
    original_size: int
    source_fix: str


class SourceFixFacts(TypedDict):
    """The source fix that a module carries."""

    variant: str
    judgement: str
    evidence: list[str]


class RangeFacts(TypedDict):
    """``__FreeBSD_version`` from ``first`` to ``last``, both inside."""

    first: int
    last: int


class EvidenceFacts(TypedDict):
    """One word of one source about the kernel, and what became of it."""

    source: str
    seen: str
    means: str
    versions: list[RangeFacts]
    confidence: str | None
    is_decisive: bool
    is_overridden: bool


class ConflictFacts(TypedDict):
    """Two sources that cannot both be right."""

    what: str
    matters: bool
    in_module: bool


class KernelFacts(TypedDict):
    """Which kernels a module is for, and every word of evidence. ``cpuid`` is a byte offset."""

    low: int | None
    high: int | None
    kernels: list[str]
    gdt: str
    cpuid: int | None
    evidence: list[EvidenceFacts]
    conflicts: list[ConflictFacts]
    not_affected: str | None
    uncovered: str | None


class ImageFacts(TypedDict):
    """Where the monitor image lies; offsets and size in bytes."""

    section: str
    section_offset: int
    file_offset: int
    size: int
    header: dict[str, int]
    evidence: str


class SiteFacts(TypedDict):
    """Where one site is; offsets and size in bytes."""

    site: str
    image_offset: int
    section_offset: int
    file_offset: int
    size: int
    instructions: list[str]


class MatchFacts(TypedDict):
    """The signature that matched, and where."""

    signature: str
    title: str
    image: ImageFacts
    names: dict[str, int | str]
    sites: list[SiteFacts]


class Assessed(TypedDict):
    """What ``scan`` says of one module."""

    file: str
    size: int
    sha256: str
    verdict: str
    reason: str
    identity: IdentityFacts
    linker: list[RuleFacts]
    refusal: ErrorFacts | None
    patch: NotRequired[PatchFacts]
    source_fix: NotRequired[SourceFixFacts]
    kernel: NotRequired[KernelFacts]
    match: NotRequired[MatchFacts]


class Applied(TypedDict):
    """What ``apply`` made of one file."""

    file: str
    output: str
    in_place: bool
    verdict: str
    status: str
    before: Facts
    after: Facts
    module: Assessed
    proof: ProofFacts | None
    readers: list[ReadingFacts]
    notices: list[str]
    copy: NotRequired[str]
    diff: NotRequired[Compared]


class Reverted(TypedDict):
    """What ``revert`` made of one file."""

    file: str
    verdict: str
    status: str
    output: str
    before: Facts
    after: Facts
    notices: list[str]


class LintFacts(TypedDict):
    """What one lint found."""

    lint: str
    what: str
    todo: str


class Linted(TypedDict):
    """What the lints found in one signature file."""

    file: str
    verdict: str
    findings: list[LintFacts]


class Explained(TypedDict):
    """What ``explain`` says, a paragraph a line."""

    about: str
    verdict: str
    lines: list[str]


class Reported(TypedDict):
    """What the page of ``kpatch report`` shows."""

    file: str
    verdict: str
    module: Assessed
    size: SizeFacts
    sections: list[SectionFacts]
    trampolines: list[TrampolineFacts]
    difference: Compared
    proof: ProofFacts | None
