"""Where the CPUs of a hanging machine are, as QEMU's monitor or Bochs' debugger says."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

_ANSWER: Final = 30.0
"""Seconds that a hanging machine gets to say where its CPUs are."""


def qemu_registers(process: subprocess.Popen[bytes], folder: Path, cpus: int) -> tuple[str, ...]:
    """By 'info registers -a', which shows the hidden base of TR too. Empty without an answer."""
    text = ""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(_ANSWER)
        monitor.connect(str(folder / "monitor"))
        monitor.sendall(b"info registers -a\n")
        until = time.monotonic() + _ANSWER
        while time.monotonic() < until and not _is_whole(text, cpus):
            text += monitor.recv(65536).decode("ascii", "replace")
    return tuple(
        _line(part.split()[0], part, r"TR =\w+ (\w+)") for part in re.split(r"CPU#", text)[1:]
    )


def _is_whole(text: str, cpus: int) -> bool:
    """The last CPU's answer ends with its XMM registers, and the prompt comes behind."""
    last = text.partition(f"CPU#{cpus - 1}")[2]
    return "XMM" in last and "(qemu)" in last


def bochs_registers(process: subprocess.Popen[bytes], folder: Path, cpus: int) -> tuple[str, ...]:
    """By an interrupt, which Bochs answers with its debugger's prompt. Empty without an answer.

    The debugger shows the lower half of TR's base only.
    """
    output = folder / "output"
    before = output.stat().st_size
    questions = "".join(f"set $cpu={n}\nr\nsreg\n" for n in range(cpus)) + "q\n"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        process.send_signal(signal.SIGINT)
        if process.stdin is not None:
            process.stdin.write(questions.encode())
            process.stdin.flush()
        process.wait(_ANSWER)
    text = output.read_bytes()[before:].decode("ascii", "replace")
    parts = re.split(r"^CPU(\d+):", text, flags=re.MULTILINE)[1:]
    return tuple(
        _line(number, part.replace("_", ""), "")
        for number, part in zip(parts[::2], parts[1::2], strict=False)
    )


def _line(number: str, part: str, tr_base: str) -> str:
    patterns = {
        "rip": r"(?i)\bRIP[=:] *(\w+)",
        "rsp": r"(?i)\bRSP[=:] *(\w+)",
        "rdi": r"(?i)\bRDI[=:] *(\w+)",
        "cr3": r"CR3=(\w+)",
        "TR base": tr_base,
    }
    found = {
        name: match[1]
        for name, pattern in patterns.items()
        if pattern and (match := re.search(pattern, part, re.MULTILINE))
    }
    split = re.search(r"^tr:.*dh=0x(\w+), dl=0x(\w+)", part, re.MULTILINE)
    if split:
        high, low = int(split[1], 16), int(split[2], 16)
        base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF00_0000
        found["TR base, lower half"] = f"{base:x}"
    values = ", ".join(f"{name} {int(value, 16):#x}" for name, value in found.items())
    return f"CPU {number}: {values}"
