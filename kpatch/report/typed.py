"""The keys of the documents that ``--json`` prints, for the type checker.

``schema.json`` says the same, and what each value may be, to those who read them; a test holds the
two together. The entry of one file in an answer has its ``verdict`` on top.
"""

# Annotations are evaluated here: a key that may be missing is told by its type.
from typing import Any, NotRequired, TypedDict


class Beside(TypedDict, total=False):
    """What an answer may have beside its files: wrong use, and the hook's own."""

    error: dict[str, object]
    guides: list[dict[str, object]]
    survey: dict[str, object]
    actions: list[dict[str, object]]


class Envelope(Beside):
    """The whole answer of one command."""

    schema: int
    kpatch: str
    command: str
    exit_code: int
    files: list[dict[str, Any]]


class Refused(TypedDict):
    """A file that was refused, or passed over in a folder, and why."""

    file: str
    status: str
    error: dict[str, object]


class Facts(TypedDict):
    """Bytes and SHA-256 of a file."""

    size: int
    sha256: str


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


class KernelFacts(TypedDict):
    """Which kernels a module is for, and every word of evidence. ``cpuid`` is a byte offset."""

    low: int | None
    high: int | None
    kernels: list[str]
    gdt: str
    cpuid: int | None
    evidence: list[dict[str, Any]]
    conflicts: list[dict[str, Any]]
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
    identity: dict[str, Any]
    linker: list[dict[str, Any]]
    refusal: dict[str, object] | None
    patch: NotRequired[PatchFacts]
    source_fix: NotRequired[SourceFixFacts]
    kernel: NotRequired[KernelFacts]
    match: NotRequired[MatchFacts]


class Applied(TypedDict):
    """What ``apply`` made of one file."""

    file: str
    output: str
    in_place: bool
    status: str
    before: Facts
    after: Facts
    module: Assessed
    proof: dict[str, Any] | None
    readers: list[dict[str, Any]]
    notices: list[str]
    copy: NotRequired[str]
    diff: NotRequired[dict[str, Any]]


class Reverted(TypedDict):
    """What ``revert`` made of one file."""

    file: str
    status: str
    output: str
    before: Facts
    after: Facts
    notices: list[str]


class Linted(TypedDict):
    """What the lints found in one signature file."""

    file: str
    findings: list[dict[str, str]]


class Explained(TypedDict):
    """What ``explain`` says, a paragraph a line."""

    about: str
    verdict: str
    lines: list[str]
