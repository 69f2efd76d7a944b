"""What ``apply`` and ``revert`` of a package cost a MiB, beside compressing the package once.

The package holds a build of kqemu and a large file beside it: the code of LIEF, the text of
Python's library, or noise. What the bare module takes is taken off.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import random
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

import zstandard

from benchmarks.measure import SAMPLE, Cost, kpatch, once, sized
from tests.package import makers

_BYTES: Final = sized(4, 1) << 20


def _streamed(raw: bytes) -> bytes:
    """As libarchive does for pkg."""
    compressor = zstandard.ZstdCompressor(level=19).compressobj()
    return compressor.compress(raw) + compressor.flush()


_COMPRESSORS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip 6": lambda raw: gzip.compress(raw, 6),
    "bzip2 9": bz2.compress,
    "xz 6": lzma.compress,
    "xz 9": lambda raw: lzma.compress(raw, preset=9),
    "zstd 19": _streamed,
    "zstd 3": zstandard.ZstdCompressor(threads=1).compress,
}


def main() -> None:
    """Print seconds of processor time a MiB."""
    print(f"{_BYTES >> 20} MiB beside the module; seconds of processor time a MiB, unpacked")
    print(f"{'':22}{'apply':>7}{'revert':>8}{'compressed once':>17}{'apply, ratio':>14}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kqemu.ko")
        path.write_bytes(SAMPLE.read_bytes())
        bare = _there_and_back(path)
        archives = [
            (what, _archive(other[:_BYTES])) for what, other in islice(_others(), sized(3, 1))
        ]
        for kind, compress in _COMPRESSORS.items():
            for what, raw in archives:
                started = time.process_time()
                packed = compress(raw)
                alone = time.process_time() - started
                path = Path(folder, "kqemu.pkg")
                path.write_bytes(packed)
                done = _there_and_back(path)
                if path.read_bytes() != packed:
                    raise SystemExit(f"{kind}, {what}: revert gave another file back")
                apply, revert = (
                    max(0.0, mine.cpu - its.cpu) for mine, its in zip(done, bare, strict=True)
                )
                size = len(raw) / (1 << 20)
                print(
                    f"{kind:10}{what:12}{apply / size:7.2f}{revert / size:8.2f}"
                    f"{alone / size:17.2f}{apply / alone:14.2f}"
                )


def _there_and_back(path: Path) -> tuple[Cost, Cost]:
    """What ``apply`` and ``revert`` cost. Raises SystemExit where one fails."""
    costs = once(kpatch("apply", "--no-verify", path)), once(kpatch("revert", path))
    for copy in path.parent.glob(f"{path.name}.*"):
        copy.unlink()
    if not all(cost.is_success for cost in costs):
        raise SystemExit(f"{path.name}: apply or revert failed")
    return costs


def _others() -> Iterator[tuple[str, bytes]]:
    spec = importlib.util.find_spec("lief")
    if spec is None or spec.origin is None:
        raise SystemExit("LIEF is not installed")
    library = Path(spec.origin).parent.glob("_lief*")
    yield "programs", max(library, key=lambda path: path.stat().st_size).read_bytes()
    texts = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    yield "text", b"".join(file.read_bytes() for file in texts)
    yield "noise", random.Random(1).randbytes(_BYTES)


def _archive(other: bytes) -> bytes:
    module = SAMPLE.read_bytes()
    return makers.package(
        {
            "+MANIFEST": makers.manifest(module, other).encode(),
            "/usr/local/share/doc/kqemu.txt": other,
            makers.PKG_NAME: module,
        }
    )
