"""``kpatch scan`` over a folder of modules, objects and packages, beside ``objdump -D``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import capstone

from benchmarks.measure import BEFORE, ROOT, kpatch, least, sized
from kpatch.elf import constants as elf
from kpatch.elf.layouts import AMD64, E_SHNUM, E_SHOFF, TABLE_ALIGNMENT
from kpatch.elf.module import Module, read_module
from tests.cli.harness import package_bytes

_FILES = sized(10_000, 500)
_WITH_CODE = sized(200, 20)
_ROUNDS = 1


def main() -> None:
    """Print what a scan of the folder costs, in all and a file, and its ratio to others.

    The sample of another module has 5 kB, so there Python's own cost for each file counts. Modules
    of the sizes that kernels have come second.
    """
    _compare("small modules", _fill, _FILES)
    _compare("modules of 8 to 256 KiB", _fill_with_code, _WITH_CODE)


def _compare(what: str, fill: Callable[[Path], None], count: int) -> None:
    print(f"{count} files, {what}:")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder)
        commands = {"kpatch scan": kpatch("scan", folder)}
        if before := os.environ.get(BEFORE):
            commands["kpatch scan, before"] = [before, "scan", str(folder)]
        if objdump := shutil.which("objdump"):
            commands["objdump -D"] = [objdump, "-D", *map(str, sorted(folder.glob("*.ko")))]
        costs = least(commands, _ROUNDS)
        peak = _peak(folder)
    own = costs["kpatch scan"]
    for command, cost in costs.items():
        print(
            f"{command:<20} {cost.wall:8.2f} s  {cost.cpu:8.2f} s of processor time  "
            f"{1000 * cost.cpu / count:6.2f} ms a file; "
            f"kpatch scan is {own.wall / cost.wall:.2f} of it ({own.cpu / cost.cpu:.2f})"
        )
    print(f"peak memory of the largest process: {peak >> 10} MiB")


def _fill(folder: Path) -> None:
    """Most are other modules, as in /boot/modules; one in twenty is a kqemu of some kind, one in
    fifty a package with one inside, one in fifty an object that is no module.
    """
    samples = sorted((ROOT / "samples").glob("kqemu*.ko"))
    other = ROOT / "samples/other.ko"
    packages = [package_bytes(kind) for kind in ("bzip2", "xz", "zstd")]
    plain = bytearray(other.read_bytes())
    plain[7] = 0  # no OSABI: with its linker sets renamed it is an object of no system
    plain_object = bytes(plain).replace(b"set_mod", b"set_xyz").replace(b"set_sys", b"set_xyz")
    for number in range(_FILES):
        path = folder / f"{number:05}.ko"
        if number % 50 == 7:
            path.with_suffix(".pkg").write_bytes(packages[number // 50 % len(packages)])
        elif number % 50 == 9:
            path.write_bytes(plain_object)
        else:
            shutil.copy(samples[number // 20 % len(samples)] if number % 20 == 0 else other, path)


def _fill_with_code(folder: Path) -> None:
    """Another module, with so much real machine code behind it, Capstone's own."""
    other = read_module((ROOT / "samples/other.ko").read_bytes())
    libraries = Path(capstone.__file__).parent.rglob("*.so*")
    program = read_module(max(libraries, key=lambda each: each.stat().st_size).read_bytes())
    text = max((each for each in program.sections if each.is_code), key=lambda each: each.size)
    code = program.contents(text)
    random = Random(1)
    for number in range(_WITH_CODE):
        size = int(8192 * 2 ** random.uniform(0, 5))
        start = random.randrange(max(1, len(code) - size))
        (folder / f"{number:05}.ko").write_bytes(_with_section(other, code[start : start + size]))


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
