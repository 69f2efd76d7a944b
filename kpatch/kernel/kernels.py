"""Host kernels as data: the table in ``signatures/kernels.toml`` and its schema.

A kernel is a range of ``__FreeBSD_version`` with two facts that a patch needs: whether the
CPUs share one GDT, and where ``struct pcpu`` keeps ``cpuid``. An evidence rule says what a
trace in a built module means for the version. The file itself documents every key.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from kpatch.data import signatures_folder
from kpatch.entry import Entry, parse, read_text
from kpatch.kernel.versions import VersionRange, Versions, join
from kpatch.units import PAGE

KERNELS_FILE: Final = "kernels.toml"
SCHEMA: Final = 1

Gdt = Literal["shared", "private", "ambiguous"]
OneGdt = Literal["shared", "private"]
"""What a kernel has, where it is known."""

Confidence = Literal["proven", "inferred-strong", "inferred-weak"]
RuleKind = Literal["undefined-symbol", "data-int", "dependency"]

GDTS: Final[tuple[Gdt, ...]] = get_args(Gdt)
CONFIDENCES: Final[tuple[Confidence, ...]] = get_args(Confidence)
RULE_KINDS: Final[tuple[RuleKind, ...]] = get_args(RuleKind)

_LARGEST_OFFSET: Final = PAGE  # struct pcpu is far smaller; a larger offset is a slip of the pen
_SELECTOR_LIMIT: Final = 1 << 16  # a selector has 16 bits


class Kernel(NamedTuple):
    """One range of kernels. Offsets and stride are in bytes; ``cpuid`` None means unknown."""

    name: str
    versions: VersionRange
    gdt: Gdt
    gdt_confidence: Confidence
    cpuid: int | None
    cpumask: int | None
    pcpu_confidence: Confidence | None
    tss_stride: int
    tr_selector: int
    snapshot: bool
    development: bool
    source: str


class EvidenceRule(NamedTuple):
    """What one trace in a module means. ``versions`` is empty for a dependency."""

    kind: RuleKind
    symbol: str
    value: int | None
    versions: Versions
    confidence: Confidence
    means: str
    source: str


class KernelTable(NamedTuple):
    """All kernels, by rising version, and all rules, in the order of the file."""

    kernels: tuple[Kernel, ...]
    rules: tuple[EvidenceRule, ...]

    @property
    def coverage(self) -> Versions:
        """The versions that the table knows."""
        return join(k.versions for k in self.kernels)


@cache
def builtin_table() -> KernelTable:
    """The table that comes with kpatch."""
    return load_table(signatures_folder() / KERNELS_FILE)


def load_table(path: Path) -> KernelTable:
    """Read and check a table. Raises SignatureError with the file and the entry."""
    return read_table(parse(read_text(path), path.name), path.name)


def read_table(document: object, where: str) -> KernelTable:
    """Check a parsed table. Raises SignatureError with ``where`` (the file) and the entry."""
    head = Entry(document, where)
    if head.number("schema") != SCHEMA:
        raise head.error(f"schema must be {SCHEMA}")
    kernels = tuple(_kernel(entry) for entry in head.tables("kernel"))
    rules = tuple(_rule(entry) for entry in head.tables("evidence"))
    head.finish()
    ordered = tuple(sorted(kernels, key=lambda k: k.versions))
    for lower, upper in pairwise(ordered):
        if upper.versions.first <= lower.versions.last:
            raise head.error(f"the kernels {lower.name} and {upper.name} overlap")
    return KernelTable(ordered, rules)


def _kernel(entry: Entry) -> Kernel:
    kernel = Kernel(
        name=entry.text("name"),
        versions=_range(entry.number("first"), entry.number("last"), entry),
        gdt=entry.word("gdt", GDTS),
        gdt_confidence=entry.word("gdt_confidence", CONFIDENCES),
        cpuid=entry.optional_number("cpuid", _LARGEST_OFFSET),
        cpumask=entry.optional_number("cpumask", _LARGEST_OFFSET),
        pcpu_confidence=entry.optional_word("pcpu_confidence", CONFIDENCES),
        tss_stride=entry.number("tss_stride", _LARGEST_OFFSET),
        tr_selector=entry.number("tr_selector", _SELECTOR_LIMIT),
        snapshot=entry.flag("snapshot"),
        development=entry.flag("development"),
        source=entry.text("source"),
    )
    entry.finish()
    pcpu = (kernel.cpuid, kernel.cpumask, kernel.pcpu_confidence)
    if None in pcpu and any(offset is not None for offset in pcpu):
        raise entry.error("cpuid, cpumask and pcpu_confidence come together or not at all")
    # The entry trampoline's guard reads the u32 behind cpuid as cpumask.
    if kernel.cpuid is not None and kernel.cpumask != kernel.cpuid + 4:
        raise entry.error("cpumask must be the four bytes behind cpuid")
    return kernel


def _rule(entry: Entry) -> EvidenceRule:
    kind = entry.word("kind", RULE_KINDS)
    rule = EvidenceRule(
        kind=kind,
        symbol=entry.text("symbol"),
        value=entry.number("value") if kind == "data-int" else None,
        versions=(
            ()
            if kind == "dependency"
            else join(_range(first, last, entry) for first, last in entry.pairs("versions"))
        ),
        confidence=entry.word("confidence", CONFIDENCES),
        means=entry.text("means"),
        source=entry.text("source"),
    )
    entry.finish()
    return rule


def _range(first: int, last: int, entry: Entry) -> VersionRange:
    if first > last:
        raise entry.error(f"first {first} is above last {last}")
    return VersionRange(first, last)
