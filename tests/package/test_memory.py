"""A package far larger than what is in it for us is never in memory as a whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

from kpatch.containers.package.archive import open_package
from kpatch.storage.bulk import Bulk
from tests.children import peak_of
from tests.cli.harness import command_line, environment, sample
from tests.package.makers import package

_MOST: Final = 256 << 10
"""KiB of a whole process: zstd's level 19 alone takes half of it. The archive, and the one that is
written, would not fit in beside.
"""
_MEMBERS: Final = 5
_SIZE: Final = 28 << 20

_MEASURED: Final = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=-3); "
    "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def _large(path: Path) -> None:
    """140 MiB of other files beside the module: bytes that a compressor can do little with."""
    module = sample("kqemu-7.ko").read_bytes()
    files = {"/boot/modules/kqemu.ko": "1$" + hashlib.sha256(module).hexdigest()}
    block = os.urandom(1 << 20)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in (
            ("+MANIFEST", json.dumps({"name": "kqemu-kmod", "files": files}).encode()),
            *((f"/usr/local/{number}", block * (_SIZE >> 20)) for number in range(_MEMBERS)),
            ("/boot/modules/kqemu.ko", module),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _peak(*arguments: str | Path) -> tuple[int, int]:
    """Exit code and KiB of a command, by a process that has no other children."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *map(str, command_line(*arguments))],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    code, peak = done.stdout.split()
    return int(code), int(peak)


def test_of_many_members_each_takes_less_than_768_bytes() -> None:
    count = 2000
    names = (f"usr/local/{'d' * 100}/{number:080}" for number in range(count))
    raw = Bulk(
        package({"+MANIFEST": b"{}", **dict.fromkeys(names, b"")}, format_=tarfile.USTAR_FORMAT)
    )
    assert peak_of(lambda: open_package(raw)) < count * 768


def test_a_package_of_140_mib_takes_at_most_256(tmp_path: Path) -> None:
    path, packed, patched = (tmp_path / name for name in ("x.tar", "x.pkg", "patched.pkg"))
    _large(path)
    # A long window: 1 MB, of which every other MiB is a copy.
    subprocess.run(["zstd", "-q", "-1", "--long=24", path, "-o", packed], check=True, timeout=300)
    for arguments, expected in (
        (("scan", path), 1),
        (("apply", "--no-verify", "-q", "-o", patched, packed), 0),
        (("revert", "-q", patched), 0),
    ):
        code, peak = _peak(*arguments)
        assert (code, peak <= _MOST) == (expected, True), (arguments[0], code, peak)
