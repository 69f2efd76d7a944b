"""What is fuzzed: each target takes any bytes and may refuse them in our own words only.

Bytes are mutated as bytes (coverage-guided, by atheris) from the seeds; a target of the kind
``structured`` draws a whole file from them with hypothesis, so that it is a valid one at first.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch import repair
from kpatch.containers.package import contents, manifest, modules_in, with_module
from kpatch.containers.package.edit import Replacement
from kpatch.containers.packed import unpack, with_patched
from kpatch.containers.sniff import Kind, sniff
from kpatch.elf.module import read_module
from kpatch.errors import KpatchError
from kpatch.kernel.kernelfile import read_kernel
from kpatch.patch.diff import diff_modules
from kpatch.patch.fast_path import is_nothing_for_us
from kpatch.proving import case_of
from kpatch.report import documents
from kpatch.report.diff_documents import difference
from kpatch.report.scan_text import scan_text
from kpatch.report.style import Style
from kpatch.signature.load import parse_signature
from kpatch.storage.bulk import Bulk
from tests.cli.harness import REPOSITORY, package_bytes, patched_bytes, sample
from tests.strategies.elf_files import relocatable_files

HANG: Final = 5
"""Seconds of processor time of one execution from which on it is a finding."""

CORPUS: Final = Path(__file__).parent / "corpus"
_MODULE: Final = "kqemu-7.ko"


@dataclass(frozen=True)
class Target:
    """A room under fuzz: ``run`` raises nothing but KpatchError, for any bytes."""

    name: str
    about: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterator[bytes]]

    def corpus(self) -> Iterator[bytes]:
        """The seeds, and every finding that is kept."""
        yield from self.seeds()
        folder = CORPUS / self.name
        if folder.is_dir():
            yield from (path.read_bytes() for path in sorted(folder.iterdir()))

    def __call__(self, data: bytes) -> None:
        """Run it; a refusal in our own words is no finding."""
        before = zlib.crc32(data)
        try:
            self.run(data)
        except KpatchError as error:
            if error.exit_code == 70 or not str(error):
                raise
        assert zlib.crc32(data) == before, "the input changed"

    def timed(self, data: bytes) -> None:
        """The same for a campaign, to which one that takes long is a finding too."""
        started = time.process_time()
        self(data)
        spent = time.process_time() - started
        assert spent < HANG, f"{spent:.1f} s of processor time"


def _scan(data: bytes) -> None:
    module = read_module(data, "fuzz.ko")
    brief = is_nothing_for_us(module)
    found = repair.scan(data, "fuzz.ko")
    assert brief is None or str(found.refusal) == str(brief)
    document = documents.assessment(found)
    json.dumps(document)
    scan_text(document, Style(), verbose=True)


def _apply(data: bytes) -> None:
    done = repair.apply(data, "fuzz.ko", proving=None)
    if done.is_new:
        assert repair.revert(done.module.data) == data


def _verify(data: bytes) -> None:
    """All of a proof but its explorations: what is to be proven, and the machine to be."""
    case_of(repair.scan(data, "fuzz.ko"))


def _diff(data: bytes) -> None:
    other = read_module(sample(_MODULE).read_bytes())
    difference(diff_modules(other, read_module(data, "fuzz.ko")))


def _package(data: bytes) -> None:
    modules_in(Bulk(data))
    changed = with_module(Bulk(data), "fuzz.pkg", lambda _, module: module + b"\0")
    if changed:
        changed.result(stays=False)


def _container(data: bytes) -> None:
    kind, compression = sniff(Bulk(data), "fuzz")
    if kind is Kind.PACKED:
        packed = unpack(Bulk(data), compression, "fuzz")
        with_patched(packed, packed.payload + b"\0", stays=False)


def _metadata(data: bytes) -> None:
    change = Replacement("boot/modules/kqemu.ko", b"old", b"new", ("boot/modules/x.ko",))
    text = data.decode("latin-1")
    for mend in (contents.mend, lambda t, c: manifest.mend(t, manifest.NAME, c)):
        try:
            mend(text, change)
        except KpatchError:
            continue


def _signature(data: bytes) -> None:
    parse_signature(data.decode("utf-8", "replace"), "fuzz.toml")


@settings(database=None, deadline=None)
@given(relocatable_files(), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6))
def _drawn(data: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    TARGETS["scan"](bytes(changed))


def _structured(data: bytes) -> None:
    _drawn.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


def _samples(*names: str) -> Callable[[], Iterator[bytes]]:
    return lambda: (sample(name).read_bytes() for name in names)


def _packages() -> Iterator[bytes]:
    yield from (package_bytes(kind) for kind in ("none", "bzip2", "gzip", "xz", "zstd"))


def _signatures() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted(REPOSITORY.glob("signatures/kqemu*.toml")))


_KINDS: Final = (_MODULE, "kqemu-7-fix-b.ko", "kqemu-i386.ko", "other.ko")

TARGETS: Final = {
    each.name: each
    for each in (
        Target("scan", "a module, assessed and shown", _scan, _samples(*_KINDS)),
        Target("structured", "a drawn ELF file, then damaged", _structured, lambda: iter([b"x"])),
        Target("apply", "a module, patched and reverted", _apply, _samples(_MODULE)),
        Target("revert", "a patched module", repair.revert, lambda: iter([patched_bytes()])),
        Target("verify", "a module up to its explorations", _verify, _samples(_MODULE)),
        Target("diff", "a module beside a sample", _diff, _samples(_MODULE, "kqemu-6.ko")),
        Target("packages", "an archive, its module changed", _package, _packages),
        Target("containers", "a compressed module", _container, _samples("kqemu-7.ko.gz")),
        Target("metadata", "a packing list or manifest", _metadata, lambda: iter([b"{files:{}}"])),
        Target("signatures", "a signature file", _signature, _signatures),
        Target("kernels", "a kernel file", lambda data: read_kernel(data, "k"), _samples(_MODULE)),
    )
}
