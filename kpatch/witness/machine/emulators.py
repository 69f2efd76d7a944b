"""QEMU and Bochs: how each is started on a ROM, asked for its CPUs, and stopped.

A real file system folder of our own holds everything; nothing needs root or a network. Both are
judged by what the machine wrote on its serial port: their exit status says little (Bochs always
ends with 1). QEMU runs with a thread for every CPU: in one thread a missing lock does not show.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kpatch.errors import UsageError
from kpatch.witness.machine.registers import bochs_registers, qemu_registers
from kpatch.witness.machine.result import Beat, MachineRun, last_beat, read_result

_POLL: Final = 0.05

_WATCHED: Final = 0.25
"""The part of the limit, at its end, in which every CPU must move, or the machine hangs."""


class Emulator(NamedTuple):
    """A program, the Debian packages that bring it, and how it is called."""

    name: str
    program: str
    packages: str
    rounds: int
    patience: int
    beat: int
    limit: float
    command: Callable[[Path, int], list[str]]
    registers: Callable[[subprocess.Popen[bytes], Path, int], tuple[str, ...]]


def _qemu(folder: Path, cpus: int) -> list[str]:
    # Names in its folder, where it runs: the path of a socket has 107 bytes at most (unix(7)), and
    # QEMU takes a comma in a path for the end of it.
    return [
        "qemu-system-x86_64",
        *("-accel", "tcg,thread=multi", "-smp", str(cpus), "-m", "64"),
        *("-cpu", "max"),  # a module may be compiled for any
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "file:serial"),
        *("-monitor", "unix:monitor,server,nowait"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-bios", "rom"),
    ]


_BOCHSRC: Final = """\
megs: 64
cpu: count={cpus}, ips=1000000, reset_on_triple_fault=0
pci: enabled=0
romimage: file=rom
display_library: term
com1: enabled=1, mode=file, dev=serial
log: log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""
"""With PCI, Bochs has too few timers for 16 CPUs."""


def _bochs(folder: Path, cpus: int) -> list[str]:
    (folder / "bochsrc").write_text(_BOCHSRC.format(cpus=cpus))
    (folder / "commands").write_text("c\n")
    return ["bochs", "-q", "-f", "bochsrc", "-rc", "commands"]


EMULATORS: Final = {
    "qemu": Emulator(
        name="QEMU",
        program="qemu-system-x86_64",
        packages="qemu-system-x86",
        rounds=100_000,
        patience=200_000,
        beat=1 << 29,
        limit=300.0,
        command=_qemu,
        registers=qemu_registers,
    ),
    "bochs": Emulator(
        name="Bochs",
        program="bochs",
        packages="bochs bochs-term",
        rounds=1_000,
        patience=2_000,
        beat=1 << 22,
        limit=180.0,
        command=_bochs,
        registers=bochs_registers,
    ),
}
"""By the word that ``--machine`` takes. Patience and beat are in ticks: nanoseconds or so in QEMU,
instructions in Bochs. The limits are for a slow and busy machine.
"""


def require(name: str) -> Emulator:
    """The emulator, if it is there. Raises UsageError with the packages' names if it is not."""
    emulator = EMULATORS[name]
    if shutil.which(emulator.program) is None:
        raise UsageError(
            f"{emulator.name} is not installed: there is no {emulator.program}",
            where=f"--machine {name}",
            todo=f"install it: on Debian, apt install {emulator.packages}",
        )
    return emulator


def version_of(emulator: Emulator) -> str:
    """The version that the program says it has; empty if it says none."""
    option = "--version" if emulator.program != "bochs" else "--help"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [emulator.program, option],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
        )
        found = re.search(r"(?:version|Emulator) (\d[\w.]*)", done.stdout + done.stderr)
        return found[1] if found else ""
    return ""


def run(name: str, rom: bytes, cpus: int, limit: float | None = None) -> MachineRun:
    """Start from the ROM and wait for the end, ``limit`` seconds at most. What still moves then is
    unfinished, on a slow or busy machine; what does not move hangs.

    Raises UsageError where the program is missing or cannot be started.
    """
    emulator = require(name)
    with tempfile.TemporaryDirectory(prefix="kpatch-machine-") as text:
        folder = Path(text)
        (folder / "rom").write_bytes(rom)
        command = emulator.command(folder, cpus)
        command[0] = shutil.which(emulator.program) or emulator.program
        began, longest = time.monotonic(), limit or emulator.limit
        with _started(command, folder, emulator) as process:
            ended = _wait(process, began + longest * (1 - _WATCHED))
            before = last_beat(_said(folder), cpus)
            ended = ended or _wait(process, began + longest)
            registers = () if ended else emulator.registers(process, folder, cpus)
        seconds = time.monotonic() - began
        found = read_result(_said(folder), seconds)
        if found is not None:
            return found
        if not ended:
            return _overdue(before, last_beat(_said(folder), cpus), seconds, registers)
        return _stopped(folder, seconds)


def _said(folder: Path) -> str:
    serial = folder / "serial"
    return serial.read_text("ascii", "replace") if serial.exists() else ""


def _overdue(
    before: Beat | None, last: Beat | None, seconds: float, registers: tuple[str, ...]
) -> MachineRun:
    """What is to be said of a machine that the clock ended."""
    if last is None:  # the machine speaks before its first round
        said = "it did not come to its first round"
        return MachineRun("unfinished", seconds=seconds, said=said, registers=registers)
    if last.moved_since(before):
        return MachineRun("unfinished", last.cpus, seconds=seconds)
    return MachineRun("hang", last.cpus, seconds=seconds, registers=registers)


@contextlib.contextmanager
def _started(
    command: list[str], folder: Path, emulator: Emulator
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,  # nothing comes, but for Bochs' debugger after a hang
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "TERM": "xterm", "HOME": str(folder)},
            )
    except OSError as error:
        raise UsageError(
            f"{emulator.program} cannot be started: {error.strerror}",
            todo="see whether it runs by itself",
        ) from error
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def _wait(process: subprocess.Popen[bytes], until: float) -> bool:
    """Whether it ended by itself."""
    while process.poll() is None:
        if time.monotonic() > until:
            return False
        time.sleep(_POLL)
    return True


def _stopped(folder: Path, seconds: float) -> MachineRun:
    """An end without a result: three faults in a row, or the program itself failed."""
    logs = "".join(
        (folder / name).read_text("utf-8", "replace")
        for name in ("log", "output")
        if (folder / name).exists()
    )
    panics = [line for line in logs.splitlines() if "PANIC" in line]
    if panics and "3rd" not in panics[0]:
        return MachineRun("broken", seconds=seconds, said=panics[0].strip())
    if not panics and (folder / "output").read_bytes().strip() and not (folder / "log").exists():
        return MachineRun("broken", seconds=seconds, said=logs.strip().splitlines()[-1])
    return MachineRun("reset", seconds=seconds)
