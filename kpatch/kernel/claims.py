"""What each source says about the kernel that a module is for, before anything is weighed.

:mod:`kpatch.kernel.weigh` lets the stronger claim count, :mod:`kpatch.kernel.detect` answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from kpatch.elf.metadata import read_metadata
from kpatch.elf.module import Module
from kpatch.kernel.kernels import Confidence, EvidenceRule, KernelTable
from kpatch.kernel.versions import INT_SIZE, PLAUSIBLE, Versions, exactly

# Only named in annotations: most calls name no kernel file.
if TYPE_CHECKING:
    from kpatch.kernel.kernelfile import KernelFile

# No claim here has one of the last two: with them detect() says what it concluded.
Source = Literal[
    "--osversion",
    "--kernel",
    "module metadata",
    "undefined symbol",
    "module data",
    "kernel table",
    "conclusion",
]


class Claim(NamedTuple):
    """One source's word: what was seen, what it means, and which versions it leaves.

    ``is_exact`` says that it names one version, as options and metadata do.
    """

    source: Source
    seen: str
    means: str
    versions: Versions
    confidence: Confidence
    is_exact: bool = False

    @property
    def is_option(self) -> bool:
        """Whether the user said it, with an option of the command line."""
        return self.source.startswith("--")


def claims_of(
    module: Module,
    table: KernelTable,
    osversion: int | None,
    kernel: KernelFile | None,
    said_by: str = "--osversion",
) -> tuple[Claim, ...]:
    """Everything that is said, the strongest source first. ``said_by`` names ``osversion``."""
    return (
        *_from_option(osversion, said_by),
        *_from_kernel(kernel),
        *_from_metadata(module, table),
        *_from_undefined(module, table),
        *_from_data(module, table),
    )


def _from_option(osversion: int | None, said_by: str) -> Iterator[Claim]:
    if osversion is not None:
        means = "you say that the module runs on exactly this __FreeBSD_version"
        yield _exact("--osversion", f"{said_by} {osversion}", means, osversion)


def _from_kernel(kernel: KernelFile | None) -> Iterator[Claim]:
    # Versions of an i386 kernel say nothing about amd64 offsets; detect() reports it instead.
    if kernel is None or kernel.osreldate is None:
        return
    if kernel.architecture == "amd64":
        seen = f"osreldate is {kernel.osreldate} in {kernel.name}"
        yield _exact("--kernel", seen, "the module runs on exactly this kernel", kernel.osreldate)


def _from_metadata(module: Module, table: KernelTable) -> Iterator[Claim]:
    dependencies = read_metadata(module).dependencies
    for rule in _rules(table, "dependency"):
        for dependency in dependencies:
            version = dependency.minimum
            if dependency.name == rule.symbol and version in PLAUSIBLE:
                seen = f"the module depends on {rule.symbol} {version}"
                yield _exact("module metadata", seen, rule.means, version, rule.confidence)


def _from_undefined(module: Module, table: KernelTable) -> Iterator[Claim]:
    for rule in _rules(table, "undefined-symbol"):
        if rule.symbol in module.undefined:
            seen = f"the module wants {rule.symbol} from the kernel"
            yield _by_rule("undefined symbol", seen, rule)


def _from_data(module: Module, table: KernelTable) -> Iterator[Claim]:
    for rule in _rules(table, "data-int"):
        if _first_int(module, rule.symbol) == rule.value:
            yield _by_rule("module data", f"{rule.symbol} starts with {rule.value:#x}", rule)


def _exact(
    source: Source, seen: str, means: str, version: int, confidence: Confidence = "proven"
) -> Claim:
    """The claim of a source that names one version."""
    return Claim(source, seen, means, exactly(version), confidence, is_exact=True)


def _by_rule(source: Source, seen: str, rule: EvidenceRule) -> Claim:
    """The claim of what only some versions have."""
    return Claim(source, seen, rule.means, rule.versions, rule.confidence)


def _rules(table: KernelTable, kind: str) -> Iterator[EvidenceRule]:
    return (rule for rule in table.rules if rule.kind == kind)


def _first_int(module: Module, name: str) -> int | None:
    """The initialised int that a symbol names; None if there is none, or it is relocated."""
    symbol = module.defined(name)
    if symbol is None or symbol.section >= len(module.sections):
        return None
    section = module.sections[symbol.section]
    end = symbol.value + INT_SIZE
    contents = module.view(section)
    if end > len(contents) or module.relocations_at(section.index, symbol.value, end):
        return None
    return int.from_bytes(contents[symbol.value : end], "little")
