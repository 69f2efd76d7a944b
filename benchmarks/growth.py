"""What each parser costs a MiB, at one size and at four times that: hostile files, not usual ones.

A parser whose cost grows faster than its input costs more a MiB at the larger size. The limits of
docs/limits.md keep some inputs from being larger.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import shutil
import struct
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import zstandard

from benchmarks.measure import ROOT, SAMPLE, sized
from kpatch import entry
from kpatch.containers.package import contents, manifest, with_module
from kpatch.containers.package.edit import Replacement
from kpatch.digest import digest
from kpatch.elf import constants as elf
from kpatch.elf.debuginfo import read_debug_info
from kpatch.elf.edits import NewSection
from kpatch.elf.module import read_module
from kpatch.errors import KpatchError
from kpatch.patch.assess import assess
from kpatch.patch.note import read_note
from kpatch.storage.bulk import Bulk
from tests.editing import append
from tests.package import makers

_FACTOR: Final = 4
_UNIT: Final = sized(1 << 20, 1 << 16)
"""Bytes of the smaller input, about."""

_CHANGE: Final = Replacement("boot/modules/kqemu.ko", b"old", b"new")
_SHA256: Final = digest(_CHANGE.old)


def main() -> None:
    """Print seconds of processor time a MiB of unpacked input, for each parser and size."""
    print(f"{'':<36}{'MiB':>7} {'s/MiB':>7} {'MiB':>7} {'s/MiB':>7}  growth")
    for name, (make, read) in _PARSERS.items():
        columns, rates = [], []
        for size in (_UNIT, _FACTOR * _UNIT):
            given, unpacked = make(size)
            rate, refused = _rate(read, given, unpacked)
            rates.append(rate)
            columns.append(f"{unpacked / (1 << 20):7.2f} {rate:6.3f}{'r' if refused else ' '}")
        print(f"{name:<36}{' '.join(columns)}  {rates[1] / max(rates[0], 1e-6):.2f}")
    print("r: refused by a limit")


def _rate(read: Callable[[bytes], object], given: bytes, unpacked: int) -> tuple[float, bool]:
    started, refused = time.process_time(), False
    try:
        read(given)
    except KpatchError:
        refused = True
    return (time.process_time() - started) / (unpacked / (1 << 20)), refused


def _itself(make: Callable[[int], bytes]) -> Callable[[int], tuple[bytes, int]]:
    def made(size: int) -> tuple[bytes, int]:
        data = make(size)
        return data, len(data)

    return made


def _compressed(pack: Callable[[bytes], bytes]) -> Callable[[int], tuple[bytes, int]]:
    def made(size: int) -> tuple[bytes, int]:
        data = _tar(_FACTOR, size, {})
        return pack(data), len(data)

    return made


def _tar(members: int, size: int, headers: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(members):
            member = tarfile.TarInfo(f"share/{number}")
            member.size = size // members if not headers else 0
            member.pax_headers = headers
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        data = SAMPLE.read_bytes()
        manifest_of_it = makers.manifest(data).encode()
        for name, bytes_ in (("+MANIFEST", manifest_of_it), (makers.PKG_NAME, data)):
            member = tarfile.TarInfo(name)
            member.size = len(bytes_)
            archive.addfile(member, io.BytesIO(bytes_))
    return made.getvalue()


def _many_members(size: int) -> bytes:
    return _tar(25 * size // 1024, 0, {})


def _pax_headers(size: int) -> bytes:
    return _tar(size // 5120, 0, {"comment": "x" * 4000})


def _json(size: int) -> str:
    files = ",".join(f'"/usr/share/{number:06}":"1${0:064}"' for number in range(size // 90))
    return f'{{"name":"x","files":{{{files},"/{_CHANGE.path}":"1${_SHA256}"}}}}'


def _ucl(size: int) -> str:
    lines = (f'  /usr/share/{number:06}: "1${0:064}";\n' for number in range(size // 92))
    return "name: x\nfiles {\n" + "".join(lines) + f'/{_CHANGE.path}: "1${_SHA256}"\n}}\n'


def _packing_list(size: int) -> str:
    folder = "d/" * 200
    lines = (f"@cwd /{folder}{n}\nshare/{n}\n@comment MD5:{0:032}\n" for n in range(size // 470))
    return "@name x\n" + "".join(lines) + f"@cwd /\n{_CHANGE.path}\n"


def _with_section(kind: int, flags: int, piece: bytes) -> Callable[[int], bytes]:
    def made(size: int) -> bytes:
        section = NewSection(".more", kind, flags, 16, (piece * (size // len(piece) + 1))[:size])
        return append(read_module(SAMPLE.read_bytes()), sections=[section])

    return made


def _tables(size: int) -> bytes:
    """An object with as many symbols and relocations as fit, by the assembler."""
    count = size // 90
    lines = (f".globl s{number}\n.quad s{number}\n" for number in range(count))
    return _built(".data\n" + "".join(lines), "s", "as")


def _unit(size: int) -> str:
    """One compilation unit of about that size, with struct pcpu in it."""
    structs = (f"struct s{n} {{ int a, b; long c[{n + 1}]; }} v{n};\n" for n in range(size // 130))
    return "static struct pcpu { int x[13]; int pc_cpuid; int pc_cpumask; } p;\n" + "".join(structs)


def _dwarf(size: int) -> bytes:
    """A kernel in one compilation unit."""
    return _kernel(size, size)


def _kernel(size: int, each: int = 1 << 16) -> bytes:
    """A kernel in compilation units of the size that a kernel's have, alike but for the last."""
    tss = "char common_tss[16][104];"
    with tempfile.TemporaryDirectory() as folder:
        unit, last = Path(folder, "unit.o"), Path(folder, "last.o")
        unit.write_bytes(_built(_unit(each), "c", "gcc", "-g", "-c"))
        last.write_bytes(_built(_unit(each) + tss, "c", "gcc", "-g", "-c"))
        files = map(str, [unit] * (size // each - 1) + [last])
        return _built("", "ld", "ld", "-z", "muldefs", "-e", "0", *files)


def _built(text: str, suffix: str, *command: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, f"x.{suffix}"), Path(folder, "x.o")
        source.write_text(text)
        subprocess.run([*command, "-o", result, source], check=True)
        return result.read_bytes()


def _toml(size: int) -> str:
    kernels = (ROOT / "signatures/kernels.toml").read_text(encoding="utf-8")
    return kernels + "\n[[more]]\nname = 'x'\n" * (size // 20)


def _like_ltr(size: int) -> bytes:
    """As many places that look like ltr as are let through, each to be decoded to by itself."""
    marks = 100 + size // (64 << 10)
    piece = b"\xb8\x0f\x00\xd8\x00"
    return _with_section(elf.SHT_PROGBITS, _CODE, piece.ljust(size // marks, b"\x90"))(size)


_CODE: Final = elf.SHF_ALLOC | elf.SHF_EXECINSTR
_NOTE: Final = struct.pack("<III4s4s", 4, 4, 1, b"GNU", b"abcd")
_NOISE: Final = random.Random(1).randbytes(1 << 16)


def _code(piece: bytes) -> tuple[Callable[[int], tuple[bytes, int]], Callable[[bytes], object]]:
    made = _itself(_with_section(elf.SHT_PROGBITS, _CODE, piece))
    return made, lambda data: assess(read_module(data))


def _text(
    make: Callable[[int], str], read: Callable[[str], object]
) -> tuple[Callable[[int], tuple[bytes, int]], Callable[[bytes], object]]:
    return _itself(lambda size: make(size).encode()), lambda data: read(data.decode())


def _package(data: bytes) -> object:
    changed = with_module(Bulk(data), "x.pkg", lambda _, module: module[:-1] + b"\1")
    return changed and changed.result(stays=True)


_PARSERS: Final[dict[str, tuple[Callable[[int], tuple[bytes, int]], Callable[[bytes], object]]]] = {
    "tar, members (100,000 and more)": (_itself(_many_members), _package),
    "tar, pax headers": (_itself(_pax_headers), _package),
    "package, gzip": (_compressed(gzip.compress), _package),
    "package, bzip2": (_compressed(bz2.compress), _package),
    "package, xz": (_compressed(lzma.compress), _package),
    "package, zstd": (_compressed(zstandard.ZstdCompressor().compress), _package),
    "manifest, JSON": _text(_json, lambda text: manifest.mend(text, manifest.NAME, _CHANGE)),
    "manifest, UCL": _text(_ucl, lambda text: manifest.mend(text, manifest.NAME, _CHANGE)),
    "packing list, long @cwd": _text(_packing_list, lambda text: contents.mend(text, _CHANGE)),
    "code, noise": _code(_NOISE),
    "code, one ltr in 64 KiB": _code(b"\x0f\x00\xd8" + b"\x90" * 65533),
    "code, like ltr all over": _code(b"\xb8\x0f\x00\xd8\x00"),
    "code, as like ltr as is let through": (
        _itself(_like_ltr),
        lambda data: assess(read_module(data)),
    ),
    "data, noise": (
        _itself(_with_section(elf.SHT_PROGBITS, elf.SHF_ALLOC, _NOISE)),
        lambda data: assess(read_module(data)),
    ),
    "notes": (
        _itself(_with_section(elf.SHT_NOTE, 0, _NOTE)),
        lambda data: read_note(read_module(data)),
    ),
    "TOML": _text(_toml, lambda text: entry.parse(text, "x.toml")),
}
if shutil.which("as"):
    _PARSERS["symbols, names, relocations"] = (
        _itself(_tables),
        lambda data: read_module(data).require_tables(),
    )
if shutil.which("gcc"):
    _PARSERS["DWARF, one unit"] = (_itself(_dwarf), read_debug_info)
    _PARSERS["DWARF, units of a kernel"] = (_itself(_kernel), read_debug_info)
