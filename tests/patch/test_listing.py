"""Every line of a diff against objdump: where it starts, its bytes, its text, its relocations."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.patch.diff import diff_modules
from kpatch.patch.listing import Line
from kpatch.patch.stretches import switch_of
from tests.cli.harness import SAMPLES, patched_bytes
from tests.referees import require

_INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t((?:[0-9a-f]{2} )+) *\t?(.*)$")
_RELOCATION = re.compile(r"([0-9a-f]+): (R_X86_64_\w+)\t(\S+)")
_SECTION = re.compile(r"^Disassembly of section (.*):$")

_PREFIXES = ("rep", "repz", "lock", "data16", "cs")
_SYNONYMS = {
    "movabs": "mov",
    "xchg ax,ax": "nop",
    "retfq": "retf",
    "pushfq": "pushf",
    "popfq": "popf",
}
"""Other names for the same instruction, on either side."""


class Seen(NamedTuple):
    """An instruction as objdump shows it."""

    raw: str
    text: str
    relocations: tuple[str, ...]


def objdump(module: Module, folder: Path, *options: str) -> dict[tuple[str, int], Seen]:
    """What objdump says is at each section and offset."""
    path = folder / "module.ko"
    path.write_bytes(module.data)
    command = ("objdump", "-z", "-r", "-w", "--insn-width=16", "-M", "intel", *options, str(path))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[tuple[str, int], Seen] = {}
    section = ""
    for line in done.stdout.splitlines():
        heading = _SECTION.match(line)
        if heading:
            section = heading[1]
        there = _INSTRUCTION.match(line)
        if there:
            text, *_ = _RELOCATION.split(there[3])
            names = tuple(f"{kind} {name}" for _, kind, name in _RELOCATION.findall(there[3]))
            found[section, int(there[1], 16)] = Seen(there[2].replace(" ", ""), text.strip(), names)
    return found


def everything_changed(module: Module) -> Module:
    """The module with the first byte of each function turned: every function has a diff."""
    data = bytearray(module.data)
    for section in module.sections:
        if section.is_code and section.size:
            data[section.offset] ^= 0xFF
            for symbol in module.symbols:
                if symbol.section == section.index and 0 < symbol.value < section.size:
                    data[section.offset + symbol.value] ^= 0xFF
    return read_module(bytes(data), module.name)


def shown(module: Module) -> Iterator[tuple[str, Line]]:
    """Every line of every function, by way of a diff without end."""
    for hunk in diff_modules(module, everything_changed(module), 1 << 30).hunks:
        for row in hunk.rows:
            if row.before is not None and row.before.text:
                yield hunk.section, row.before


def numbers(text: str) -> list[int]:
    """The numbers above 9 of an instruction, modulo 2 to the power of 64, in order.

    Capstone writes smaller ones in decimal, and objdump jump targets without 0x.
    """
    plain = re.sub(r"<.*?>|#.*$", " ", text)
    target = re.fullmatch(r"(?:j\w+|call|loop\w*) +([0-9a-f]+) *", plain)
    found = [target[1]] if target else re.findall(r"-? ?0x[0-9a-f]+", plain)
    values = (int(each.replace(" ", ""), 16) for each in found)
    # To objdump -1 is 0xffffffff or 0xffffffffffffffff.
    shown = (value for value in values if not {2**32 - value, 2**64 - value} & set(range(1, 10)))
    return [value % 2**64 for value in shown if abs(value) > 9]


def verb(text: str) -> str:
    """The instruction's name without prefixes, in one spelling."""
    if " ".join(text.split()) in _SYNONYMS:
        return _SYNONYMS[" ".join(text.split())]
    name = next(word for word in text.split() if word not in _PREFIXES)
    return _SYNONYMS.get(name, name)


@pytest.mark.parametrize("patched", [False, True], ids=["as it is", "patched"])
def test_a_diff_agrees_with_objdump_on_every_line(tmp_path: Path, patched: bool) -> None:
    require("objdump")
    looked_at = 0
    for path in sorted(SAMPLES.glob("*.ko")):
        module = read_module(path.read_bytes(), path.name)
        if not module.header.is_amd64:
            continue
        if patched:
            if path.name not in ("kqemu-7.ko", "kqemu-7-offsets.ko", "kqemu-7-norela.ko"):
                continue
            module = read_module(patched_bytes(path.name), path.name)
        there = objdump(module, tmp_path, "-d")
        lines = {(section, line.offset): line for section, line in shown(module)}
        lines = {key: each for key, each in lines.items() if key[0] in {name for name, _ in there}}
        assert set(lines) == set(there), path.name
        for key, line in lines.items():
            seen = there[key]
            assert (line.raw, line.relocations) == (seen.raw, seen.relocations), (path.name, key)
            if "(bad)" not in seen.text:
                assert verb(line.text) == verb(seen.text), (path.name, key, line, seen)
                if not seen.relocations and "rip" not in line.text:
                    assert numbers(line.text) == numbers(seen.text), (path.name, key, line, seen)
        looked_at += len(lines)
    assert looked_at > 1000


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-offsets.ko", "kqemu-7-data.ko"])
def test_the_switch_in_the_data_agrees_with_objdump_too(tmp_path: Path, name: str) -> None:
    require("objdump")
    before = read_module((SAMPLES / name).read_bytes(), name)
    after = read_module(patched_bytes(name), name)
    for module, side in ((before, "before"), (after, "after")):
        found = switch_of(module)
        assert found is not None and len(found.parts) == 3
        section = module.sections[found.section]
        hunks = [
            each
            for each in diff_modules(before, after, 1 << 30).hunks
            if each.section == section.name
        ]
        assert [each.place for each in hunks] == ["kernel2monitor", "behind exit_end"]
        for hunk in hunks:
            lines = [line for row in hunk.rows if (line := getattr(row, side)) is not None]
            span = lines[0].offset, lines[-1].offset + len(lines[-1].raw) // 2
            options = (f"--start-address={span[0]}", f"--stop-address={span[1]}")
            there = objdump(module, tmp_path, "-D", "-j", section.name, *options)
            assert [(section.name, each.offset) for each in lines] == list(there)
            for line in lines:
                seen = there[section.name, line.offset]
                assert (line.raw, line.relocations) == (seen.raw, seen.relocations)
                assert (verb(line.text), numbers(line.text)) == (
                    verb(seen.text),
                    numbers(seen.text),
                ) or seen.relocations
