"""What each instruction is to the emulation: its text, its kind, and whether it may run at all."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from kpatch.isa.decode import decode_one
from kpatch.isa.instruction import MAX_LENGTH, Instruction, Memory, Register
from kpatch.verify.explore.program import OpKind
from kpatch.verify.hardware.memory import Arena, Region
from kpatch.verify.hardware.moves import LOOKED_AT

# SDM vol. 3, 9.3 (8.3 in older editions): serializing instructions; they drain the store buffer.
_SERIALIZING: Final = frozenset({
    "invd", "invlpg", "lgdt", "lidt", "lldt", "ltr", "wbinvd", "wrmsr", "cpuid", "iret", "iretd",
    "iretq", "rsm", "mfence", "serialize",
})  # fmt: skip

# Would leave what is modelled: devices, time, other privilege levels, state that a snapshot of
# general and system registers does not hold, or stores that are not in program order. And what
# tells real CPUs apart but not those of the emulation: cpuid has the number of the APIC in it.
# `clflush` faults where nothing is mapped (SDM vol. 2), but not in Unicorn 2.1.4.
_REFUSED: Final = frozenset({
    "hlt", "in", "out", "insb", "insd", "insw", "outsb", "outsd", "outsw", "rdtsc", "rdtscp",
    "rdrand", "rdseed", "rdpmc", "rdmsr", "wrmsr", "syscall", "sysret", "sysretq", "sysenter",
    "sysexit", "sysexitq", "int", "int1", "int3", "into", "iret", "iretd", "iretq", "swapgs",
    "vmcall", "vmlaunch", "vmxon", "vmrun", "monitor", "mwait", "invd", "wbinvd", "rsm", "movnti",
    "xbegin", "xend", "xabort", "ud0", "ud1", "ud2", "emms", "wrpkru", "wrfsbase", "wrgsbase",
    "lss", "lfs", "lgs", "enter", "vmmcall", "vmload", "vmsave", "clgi", "stgi", "skinit",
    "invlpga", "getsec", "xsetbv", "xgetbv", "cpuid", "rdpid", "clflush",
})  # fmt: skip
# BMI, ADX and counts of zeros: CPUs of the time have none of them, and run `tzcnt` as `bsf`.
# Unicorn 2.1.4 computes some otherwise than the SDM says (measured): CF of blsi, the highest bit of
# bextr and bzhi.
_YOUNGER: Final = frozenset({
    "adcx", "adox", "andn", "bextr", "blsi", "blsmsk", "blsr", "bzhi", "lzcnt", "mulx", "pdep",
    "pext", "rorx", "sarx", "shlx", "shrx", "tzcnt",
})  # fmt: skip
_FLOATING: Final = ("xmm", "ymm", "zmm", "mm", "st(", "k", "bnd")
_FLOATING_MNEMONICS: Final = ("f", "xsave", "xrstor", "ldmxcsr", "stmxcsr", "vldmxcsr", "maskmov")
_INTERRUPTS: Final = frozenset({"sti", "popf", "popfd", "popfq"})
_CONTROLS: Final = frozenset({"lgdt", "lidt", "lldt", "retf", "retfq", "ljmp", "lcall", "lmsw"})
_TABLES: Final = frozenset({"lgdt", "lidt", "sgdt", "sidt"})
_DATA_SEGMENTS: Final = frozenset({"ds", "es", "ss"})


@dataclass(frozen=True)
class CodeInfo:
    """One instruction at one address.

    ``refused`` says why it may not run, empty if it may. ``changes_controls`` is set where what
    may be decoded, or which memory is behind an address, can change with it: the emulation looks
    at the control registers after it. ``moves`` are the register of which some values are refused,
    and the one that it moves there, if it does. ``loads_segment``: it changes such a register, and
    is not ``lgdt``.
    """

    label: str
    kind: OpKind
    refused: str
    changes_controls: bool
    is_ltr: bool
    moves: tuple[str, str] | None
    loads_segment: bool = False

    @cached_property
    def is_fence(self) -> bool:
        """Whether the store buffer is empty after it."""
        return self.kind in (OpKind.LOCKED, OpKind.SERIALIZING)

    @cached_property
    def is_simple(self) -> bool:
        """Whether it may run as it is, and the emulation has nothing to look at after it."""
        special = self.changes_controls or self.is_ltr or self.kind is OpKind.PAUSE
        return not (special or self.refused or self.moves or self.is_fence)


class CodeMap:
    """Knows every place where code may run. The bytes there never change."""

    def __init__(
        self,
        places: Iterable[tuple[Region, Arena]],
        trusted: Iterable[Region],
        known: dict[int, CodeInfo],
        *,
        locks: bool = True,
    ) -> None:
        """``places`` do not overlap. ``trusted`` are those that may use any instruction: code of
        the harness. ``known`` is what was decoded already; worlds with the same code may share it.
        Without ``locks`` what reads and writes memory in one operation does it in two.
        """
        self.known = known
        filled = [(region, arena) for region, arena in places if region.size]
        self._places = sorted(filled, key=lambda place: place[0].virtual)
        self._starts = [region.virtual for region, _ in self._places]
        first: dict[str, Region] = {}
        for region, _ in filled:
            first.setdefault(region.name, region)
        # The same code at other addresses is known by the first ones.
        self._distances = [
            first[region.name].virtual - region.virtual for region, _ in self._places
        ]
        self._trusted = tuple(trusted)
        self._locks = locks

    def look(self, address: int) -> CodeInfo:
        """The instruction at a virtual address."""
        info = self.known.get(address)
        if info is None:
            info = self.known[address] = self._look(address)
        return info

    def _look(self, address: int) -> CodeInfo:
        at = bisect_right(self._starts, address) - 1  # a module may have thousands of places
        if at < 0 or not self._places[at][0].holds(address):
            return _not_code(f"{address:#x}", "there is no code")
        if self._distances[at]:
            return self.look(address + self._distances[at])
        return self._decode(*self._places[at], address)

    def _decode(self, region: Region, arena: Arena, address: int) -> CodeInfo:
        room = min(MAX_LENGTH, region.end - address)
        raw = arena.read(region.physical_of(address), room)
        place = f"{region.name}+{address - region.virtual:#x}"
        trusted = any(each.holds(address) for each in self._trusted)
        return _described(raw, address, place, trusted, self._locks)


@lru_cache(maxsize=16_384)  # of one module on all hosts: the code is nearly the same
def _described(raw: bytes, address: int, place: str, trusted: bool, locks: bool) -> CodeInfo:
    instruction = decode_one(raw, address)
    if instruction is None:
        return _not_code(place, "these bytes are no instruction")
    kind = _kind(instruction)
    if kind is OpKind.LOCKED and not locks:
        kind = OpKind.PLAIN
    return CodeInfo(
        label=f"{place}  {instruction.text}",
        kind=kind,
        refused="" if trusted else _refusal(instruction),
        changes_controls=_changes_controls(instruction),
        is_ltr=instruction.mnemonic == "ltr",
        moves=_moves(instruction),
        loads_segment=_changes_controls(instruction) and instruction.mnemonic != "lgdt",
    )


def _not_code(place: str, why: str) -> CodeInfo:
    return CodeInfo(place, OpKind.PLAIN, why, False, False, None)


def _kind(instruction: Instruction) -> OpKind:
    mnemonic = instruction.mnemonic
    if mnemonic == "pause":
        return OpKind.PAUSE
    if mnemonic.startswith("lock "):
        return OpKind.LOCKED
    if mnemonic == "xchg" and any(isinstance(operand, Memory) for operand in instruction.operands):
        return OpKind.LOCKED  # SDM vol. 3, 8.1.2.1: locked without the prefix
    if mnemonic in _SERIALIZING or (mnemonic == "mov" and _system_target(instruction)):
        return OpKind.SERIALIZING
    return OpKind.PLAIN


def _system_target(instruction: Instruction) -> bool:
    """A move *to* a control or debug register (SDM excepts cr8)."""
    target = instruction.text.split()[1].rstrip(",")
    return target.startswith(("cr", "dr")) and target != "cr8"


def _sets_task_priority(instruction: Instruction) -> bool:
    """A move to cr8, which Unicorn 2.1.4 forgets (measured: it reads as 0 after)."""
    return instruction.text.startswith("mov cr8,")


def _is_pause_or_exchange(instruction: Instruction) -> bool:
    """F3 41 90: a pause for CPUs and for iced-x86, an exchange with r8 for Capstone and Unicorn."""
    return instruction.raw.endswith(b"\x90") and b"\xf3" in instruction.raw[:-2]


def _shifts_double_beside_rip(instruction: Instruction) -> bool:
    """``shld`` or ``shrd`` by a constant beside rip: Unicorn 2.1.4 is a byte off (measured)."""
    relative = any(isinstance(each, Memory) and each.base == "rip" for each in instruction.operands)
    return relative and instruction.operation in ("shld", "shrd")


def _cuts_a_base(instruction: Instruction) -> bool:
    """With a 66 prefix Unicorn 2.1.4 moves 24 bits of a table's base (measured), a CPU all 64."""
    if instruction.operation not in _TABLES:
        return False
    before, _, _ = instruction.raw.partition(b"\x0f")
    return b"\x66" in before


def _moves(instruction: Instruction) -> tuple[str, str] | None:
    match instruction.operands:
        case (Register(name=target), Register(whole=source)) if target in LOOKED_AT:
            return target, source
        case _:
            return None


def _refusal(instruction: Instruction) -> str:
    mnemonic = instruction.operation
    outside = mnemonic in _REFUSED or mnemonic in _YOUNGER or _sets_task_priority(instruction)
    outside = outside or _shifts_double_beside_rip(instruction) or _cuts_a_base(instruction)
    if outside or (mnemonic == "xchg" and _is_pause_or_exchange(instruction)):
        return "outside of what the emulation models"
    if mnemonic.startswith(_FLOATING_MNEMONICS) or any(
        name.startswith(_FLOATING) for name in instruction.reads | instruction.writes
    ):
        return "uses the FPU, whose contents belong to a user's process"
    return ""


def _changes_controls(instruction: Instruction) -> bool:
    mnemonic = instruction.mnemonic
    if mnemonic in _CONTROLS or mnemonic in _INTERRUPTS:
        return True
    if mnemonic not in ("mov", "pop"):
        return False
    target = instruction.operands[0]
    segment = isinstance(target, Register) and target.name in _DATA_SEGMENTS
    return segment or (mnemonic == "mov" and _system_target(instruction))
