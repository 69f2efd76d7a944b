"""Build kqemu-shaped modules from a description alone, with GNU as and ld.

Nothing here comes from samples/: it is a second reading of the same facts, so that what kpatch
binds by structure is not bound by the habits of one source.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
MONITOR_BASE = 0xF0000000
FILLER_SIZE = 0x1D000
DECOYS = 38
EI_OSABI, ELFOSABI_FREEBSD = 7, 9
KERNELS: Mapping[str, Mapping[str, str]] = {
    "6": {
        "CDEVSW": "0x17032005",
        "THREAD_LOCK": "_mtx_lock_spin",
        "THREAD_UNLOCK": "sched_lock",
        "DESTROY": "destroy_dev",
    },
    "7": {
        "CDEVSW": "0x17032005",
        "THREAD_LOCK": "_thread_lock_flags",
        "THREAD_UNLOCK": "_mtx_unlock_spin_flags",
        "DESTROY": "destroy_dev_sched",
    },
    "8": {
        "CDEVSW": "0x28042009",
        "THREAD_LOCK": "_thread_lock_flags",
        "THREAD_UNLOCK": "_mtx_unlock_spin_flags",
        "DESTROY": "destroy_dev_sched",
        "OSRELDATE": "800040",
    },
}


def build(
    folder: Path,
    kernel: str = "7",
    image: Mapping[str, str] | None = None,
    front: Sequence[str] = (),
    name: str = "kqemu.ko",
) -> Path:
    """One module. ``image`` are macros of image.S and fields.h, ``front`` options for front.S."""
    (folder / "filler.bin").write_bytes(filler())
    flags = [f"-D{key}={value}" for key, value in (image or {}).items()]
    _run(
        folder,
        "gcc",
        "-c",
        f"-I{HERE}",
        '-DFILLER="filler.bin"',
        *flags,
        HERE / "image.S",
        "-o",
        "image.o",
    )
    _run(
        folder,
        "ld",
        "--oformat",
        "binary",
        "-Ttext",
        hex(MONITOR_BASE),
        "image.o",
        "-o",
        "image.bin",
    )
    symbol = [] if any(flag.startswith("-DIMAGE=") for flag in front) else ["-DIMAGE=monitor_code"]
    host = [f"-D{key}={value}" for key, value in KERNELS[kernel].items()]
    _run(
        folder,
        "gcc",
        "-c",
        '-DIMAGE_FILE="image.bin"',
        *symbol,
        *host,
        *front,
        HERE / "front.S",
        "-o",
        "front.o",
    )
    _run(folder, "ld", "-r", "-T", HERE / "order.ld", "front.o", "-o", name)
    module = bytearray((folder / name).read_bytes())
    module[EI_OSABI] = ELFOSABI_FREEBSD
    (folder / name).write_bytes(module)
    return folder / name


def fields_of(image: Mapping[str, str]) -> Mapping[str, int]:
    """The offsets in fields.h, as the macros in ``image`` move them."""
    move = int(image.get("MOVE", "0"), 0)
    lines = re.findall(r"#define ([MK]_\w+) \(?(0x\w+)( \+ MOVE)?", (HERE / "fields.h").read_text())
    return {name: int(image.get(name, at), 0) + (move if moved else 0) for name, at, moved in lines}


@cache
def filler() -> bytes:
    """Drawn bytes for the rest of a monitor, ``0f 00 /1`` and ``/3`` as often as in a real one."""
    draw = random.Random(20080501)
    noise = bytearray(
        draw.choices(
            range(256), weights=[9 if byte in _COMMON else 1 for byte in range(256)], k=FILLER_SIZE
        )
    )
    for at in range(len(noise) - 1):
        if noise[at] == 0x0F and noise[at + 1] == 0x00:
            noise[at + 1] = 0x84
    step = FILLER_SIZE // DECOYS
    for number in range(DECOYS):
        at = number * step + draw.randrange(step - 8)
        noise[at : at + 3] = bytes((0x0F, 0x00, draw.choice((0x8F, 0xD8, 0x0F, 0x4F, 0xC8, 0x5B))))
    return bytes(noise)


_COMMON = bytes.fromhex("48 8b 89 0f 00 ff e8 85 c0 74 75 83 c7 8d 31 c3 44 41 0f b6 24 08 10")


def _run(folder: Path, *words: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr}")
