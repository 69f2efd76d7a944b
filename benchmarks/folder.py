"""``kpatch scan`` over a folder of modules, objects and packages, beside ``objdump -D``.

The folder is what a host has when its /boot/kernel, its /usr/obj and its folder of packages are
put together: of each 100 files 50 are modules of 8 to 256 KiB, 40 are objects of 1 to 32 KiB, 8 are
packages, and 2 are builds of kqemu. No two files have the same bytes. Each kind comes alone too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import capstone

from benchmarks.measure import ROOT, Cost, build_before, kpatch, once, sized
from kpatch.elf import constants as elf
from kpatch.elf.layouts import AMD64, E_SHNUM, E_SHOFF, TABLE_ALIGNMENT
from kpatch.elf.module import Module, read_module
from tests.package import makers

_FILES = sized(10_000, 50)
_ALONE = sized(100, 10)

_SHARES = {"modules": 50, "objects": 40, "packages": 8, "kqemu builds": 2}
"""How many of a hundred files are of a kind."""

_KIB = 1 << 10


class _File(NamedTuple):
    suffix: str
    data: bytes


def main() -> None:
    """Print what a scan of each folder costs, in all and a file, and its ratio to others."""
    files = _Files(Random(1))
    kinds = {
        "modules": files.modules(),
        "objects": files.objects(),
        "packages": files.packages(),
        "kqemu builds": files.kqemu_builds(),
    }
    mixed = [
        each
        for kind, share in _SHARES.items()
        for each in islice(kinds[kind], max(1, _FILES * share // 100))
    ]
    files.random.shuffle(mixed)
    shares = ", ".join(f"{share} % {kind}" for kind, share in _SHARES.items())
    _compare(f"a host's files: {shares}", mixed)
    for kind, more in kinds.items():
        _compare(kind, list(islice(more, _ALONE)))


def _compare(what: str, files: list[_File]) -> None:
    size = sum(len(file.data) for file in files)
    print(f"{len(files)} files, {size / (1 << 20):.1f} MiB, {what}:")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, file in enumerate(files):
            (folder / f"{number:05}{file.suffix}").write_bytes(file.data)
        commands = {"kpatch scan": kpatch("scan", folder)}
        if before := build_before():
            commands["kpatch scan, before"] = [before, "scan", str(folder)]
        # objdump reads no packages.
        modules = [str(path) for path in sorted(folder.glob("*.ko"))]
        if modules and (objdump := shutil.which("objdump")):
            commands["objdump -D"] = [objdump, "-D", *modules]
        # The files were just written, so nobody waits for the disk.
        costs = {command: once(line) for command, line in commands.items()}
        peak = _peak(folder)
    _print(costs, len(files))
    print(f"peak memory of the largest process: {peak >> 10} MiB")


def _print(costs: dict[str, Cost], count: int) -> None:
    own = costs["kpatch scan"]
    for command, cost in costs.items():
        print(
            f"{command:<20} {cost.wall:8.2f} s  {cost.cpu:8.2f} s of processor time  "
            f"{1000 * cost.cpu / count:6.2f} ms a file; "
            f"kpatch scan is {own.wall / cost.wall:.3f} of it ({own.cpu / cost.cpu:.3f})"
        )


class _Files:
    """Makes files without end, no two alike."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._other = read_module((ROOT / "samples/other.ko").read_bytes())
        libraries = Path(capstone.__file__).parent.rglob("*.so*")
        program = read_module(max(libraries, key=lambda each: each.stat().st_size).read_bytes())
        text = max((each for each in program.sections if each.is_code), key=lambda each: each.size)
        self._code = program.contents(text)

    def modules(self) -> Iterator[_File]:
        """Another driver, with as much of a library's machine code behind it as drivers have."""
        while True:
            yield _File(".ko", _with_section(self._other, self._some_code(8, 256)))

    def objects(self) -> Iterator[_File]:
        """Of no system: without an OSABI, and its linker sets have other names."""
        plain = bytearray(self._other.data)
        plain[7] = 0  # ELFOSABI_NONE
        renamed = bytes(plain).replace(b"set_mod", b"set_xyz").replace(b"set_sys", b"set_xyz")
        module = read_module(renamed)
        while True:
            yield _File(".ko", _with_section(module, self._some_code(1, 32)))

    def packages(self) -> Iterator[_File]:
        """Of programs and their texts, in turn as pkg(8) has compressed them; one in ten of kqemu,
        as other packages have no module.
        """
        compressors = [makers.COMPRESSORS[kind] for kind in ("xz", "zstd", "bzip2")]
        kqemu, number = self.kqemu_builds(), 0
        while True:
            number += 1
            data = next(kqemu).data
            members = {
                "+COMPACT_MANIFEST": makers.manifest(data, compact=True).encode(),
                "+MANIFEST": makers.manifest(data).encode(),
                "/usr/local/bin/program": self._some_code(64, 512),
                "/usr/local/share/doc/program.txt": self._some_code(1, 32).hex().encode(),
            }
            if number % 10 == 1:
                members[makers.PKG_NAME] = data
            yield _File(".pkg", compressors[number % 3](makers.package(members)))

    def kqemu_builds(self) -> Iterator[_File]:
        """The samples in turn, each with other bytes behind its tables."""
        samples = [path.read_bytes() for path in sorted((ROOT / "samples").glob("kqemu*.ko"))]
        while True:
            for sample in samples:
                yield _File(".ko", sample + self.random.randbytes(16))

    def _some_code(self, least: int, most: int) -> bytes:
        """So many KiB; small ones are as frequent as large ones."""
        size = int(_KIB * least * (most / least) ** self.random.random())
        start = self.random.randrange(max(1, len(self._code) - size))
        return self._code[start : start + size]


def _with_section(module: Module, code: bytes) -> bytes:
    """``module`` with one more executable section, its header table behind it."""
    header, data = module.header, bytearray(module.data)
    table = module.data[header.shoff : header.shoff + AMD64.section.size * header.shnum]
    start = len(data)
    data += code
    data += bytes(-len(data) % TABLE_ALIGNMENT)
    data[E_SHOFF] = len(data).to_bytes(8, "little")
    data[E_SHNUM] = (header.shnum + 1).to_bytes(2, "little")
    flags = elf.SHF_ALLOC | elf.SHF_EXECINSTR
    entry = AMD64.section.pack(0, elf.SHT_PROGBITS, flags, 0, start, len(code), 0, 0, 1, 0)
    return bytes(data + table + entry)


def _peak(folder: Path) -> int:
    """KiB of the largest process of one scan, by a process that has no other children."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=-3); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, *kpatch("scan", folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])
