"""What a bare machine runs: the module as the kernel linker leaves it, and how its switch is laid
out; and the ROM from which both machines start.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from kpatch.elf import constants as elf
from kpatch.elf.klink import LoadedModule, load
from kpatch.elf.module import Module, read_module
from kpatch.errors import UnknownModuleError
from kpatch.kqemu.ioctl import requests_of
from kpatch.units import PAGE, Address, SectionOffset, counted

KERNEL_BASE: Final = 0xFFFF_FFFF_8000_0000
MODULE_AT: Final = Address(KERNEL_BASE + 0x140_0000)
MOST_CPUS: Final = 16
_ROM_UNIT: Final = 64 << 10
"""QEMU takes a ROM of whole units only."""
_LARGEST_ROM: Final = 2 << 20
"""Bochs takes no larger one."""
_ROM_END: Final = 1 << 32
_ROM_START: Final = _ROM_END - _LARGEST_ROM
_WORD: Final = 4
"""The job and the module are copied by words of so many bytes."""
LARGEST_MODULE: Final = _LARGEST_ROM - 2 * _ROM_UNIT
"""The machine, and the page of the job, take less than the rest."""
_UNMAPPED_AT: Final = 0xFFFF_FFFF_F000_0000
"""Where everything is said to be that the machine's kernel does not have: using it faults."""

_MAGIC: Final = 0x6B70_6174_6368_3031
SWITCH_FIELDS: Final = (
    "kernel_to_monitor", "monitor_side", "monitor_to_kernel",
    "monitor_address", "kernel_address", "monitor_idt", "monitor_gdt", "monitor_ldt_sel",
    "monitor_ds_sel", "monitor_jump", "monitor_cs_sel", "monitor_tr_sel", "monitor_cr3",
    "monitor_dr7", "monitor_rsp", "nexus_address", "tss_cache", "state_size",
)  # fmt: skip
"""Image offsets of the switch's routines, then state offsets of the fields that it uses."""

JOB: Final = (
    "magic", "mode", "cpus", "rounds", "seed", "delay", "patience", "stop", "observe",
    "private_gdt", "tr", "cpuid", "module_size", "image_at", "image_size", "lock_at", "lock_size",
    "after", "sysinit_at", "sysinit_size", "block", "beat",
    "request_init", "request_exec",
    *SWITCH_FIELDS,
)  # fmt: skip
"""The words of the job's page, in the order of job.h."""

MODES: Final = {"rounds": 0, "panic": 1, "driver": 2}


@dataclass(frozen=True)
class MachineSubject:
    """A module, where its monitor image lies (section, offset there, bytes), and the layout of its
    switch: a number for each of SWITCH_FIELDS.

    ``after`` is the section and offset of a function that kqemu_exec calls behind the switch,
    ``lock`` the name of the section with the data that a patch brings along.
    """

    module: Module
    image: tuple[int, SectionOffset, int]
    switch: Mapping[str, int]
    after: tuple[int, SectionOffset] | None = None
    lock: str = ""


@dataclass(frozen=True)
class MachineSettings:
    """How it is run. ``stop`` ends a run at the first thing that is wrong.

    Before a CPU leaves the guest it waits for the others, ``patience`` ticks of its counter at
    most, and then a random number of loops below ``delay``; with 0 it does not wait at all.
    Of blocks of ``block`` rounds the one that took the fewest ticks is kept; 0 keeps none.
    Every ``beat`` ticks the machine says how far its CPUs are; with 0 only at the end.
    """

    cpus: int = 2
    rounds: int = 1000
    seed: int = 1
    delay: int = 64
    patience: int = 200_000
    observe: bool = True
    stop: bool = False
    private_gdt: bool = False
    tr_selector: int = 0x30
    cpuid_offset: int = 0x34
    mode: str = "rounds"
    block: int = 0
    beat: int = 0


@cache
def machine() -> Module:
    """The bare-metal image as it was linked."""
    data = resources.files("kpatch.witness.machine").joinpath("data/machine.elf").read_bytes()
    return read_module(data, "machine.elf")


@cache
def functions() -> dict[str, Address]:
    """What the machine's kernel has for a module, and where: its own functions and data, and by
    ``answers.toml`` those that only return a number.
    """
    public = (s for s in machine().symbols if not s.is_local and s.value < _ROM_START)
    own = {s.name: Address(KERNEL_BASE + s.value) for s in public}
    data = resources.files("kpatch.witness.machine").joinpath("data/answers.toml").read_bytes()
    answers = tomllib.loads(data.decode())["answers"]
    return own | {name: own[f"answer_{value}"] for name, value in answers.items()}


def loaded(subject: MachineSubject) -> LoadedModule:
    """The module where the machine has it, relocated against the machine's kernel.

    Raises LinkerRefusalError if the kernel would refuse it, UnknownModuleError if it is too large.
    """
    kernel = functions()
    missing = sorted(subject.module.undefined - kernel.keys())
    nowhere = {name: Address(_UNMAPPED_AT + 16 * n) for n, name in enumerate(missing)}
    made = load(subject.module, MODULE_AT, {**kernel, **nowhere})
    if len(made.memory) > LARGEST_MODULE:
        raise UnknownModuleError(
            f"loaded, the module takes {counted(len(made.memory), 'byte')}",
            where=subject.module.name,
            todo=f"the bare machine has room for {LARGEST_MODULE}",
        )
    return made


def rom(subject: MachineSubject, settings: MachineSettings) -> bytes:
    """The ROM: job, module, machine, and the code with which the first CPU starts. Raises what
    ``loaded`` raises.
    """
    module = loaded(subject)
    section, at, size = subject.image
    lock_at, lock_size = _section(subject.module, module, subject.lock)
    init, execute = requests_of(subject.module) or (0, 0)
    sysinit_at, sysinit_size = _section(subject.module, module, "set_sysinit_set")
    after = module.address_of(*subject.after) if subject.after else 0
    words = {
        "magic": _MAGIC,
        "mode": MODES[settings.mode],
        "cpus": settings.cpus,
        "rounds": settings.rounds,
        "seed": settings.seed,
        "delay": settings.delay,
        "patience": settings.patience,
        "stop": int(settings.stop),
        "observe": int(settings.observe),
        "private_gdt": int(settings.private_gdt),
        "tr": settings.tr_selector,
        "cpuid": settings.cpuid_offset,
        "module_size": len(module.memory),
        "image_at": module.address_of(section, at) - module.base,
        "image_size": size,
        "lock_at": lock_at,
        "lock_size": lock_size,
        "after": after,
        "sysinit_at": sysinit_at,
        "sysinit_size": sysinit_size,
        "block": settings.block,
        "beat": settings.beat,
        "request_init": init,
        "request_exec": execute,
        **{name: subject.switch[name] for name in SWITCH_FIELDS},
    }
    page = struct.pack(f"<{len(JOB)}Q", *(words[name] for name in JOB))
    job = page.ljust(PAGE, b"\0") + module.memory
    job += bytes(-len(job) % _WORD)
    image = bytearray(_flat(machine()))
    where = len(image) + _symbol("job_size") - _ROM_END
    image[where : where + _WORD] = len(job).to_bytes(_WORD, "little")
    whole = job + bytes(image)
    return bytes(-len(whole) % _ROM_UNIT) + whole


def _flat(image: Module) -> bytes:
    """The end of the ROM: what runs in memory, and in front of the last byte what copies it."""
    parts = [s for s in image.sections if s.type == elf.SHT_PROGBITS and s.size]
    return b"".join(image.contents(part) for part in parts)


def _symbol(name: str) -> int:
    symbol = machine().symbol_named(name)
    if symbol is None:
        raise UnknownModuleError(
            f"the machine has no symbol {name}", where="machine.elf", todo="install kpatch again"
        )
    return symbol.value


def require_functions(module: Module) -> None:
    """Raise UnknownModuleError, with their names, if the module wants more of the kernel than the
    machine has, so that its C side cannot be run.
    """
    missing = sorted(module.undefined - functions().keys())
    if missing:
        raise UnknownModuleError(
            f"the bare machine's kernel has no {', '.join(missing)}",
            where=module.name,
            todo="test the switch without --driver; 'kpatch explain docs/witnesses.md' says how to "
            "add functions",
        )


def _section(module: Module, made: LoadedModule, name: str) -> tuple[int, int]:
    """Offset in the loaded module and size of a section; 0, 0 if there is none."""
    section = module.section_named(name)
    if section is None or section.index not in made.sections:
        return 0, 0
    return made.sections[section.index] - made.base, section.size
