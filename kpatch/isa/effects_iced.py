"""The effects of an instruction as iced-x86 tells them. The only module that knows iced-x86."""

from __future__ import annotations

from functools import cache
from typing import Final

from iced_x86 import (
    CpuidFeature,
    Decoder,
    Instruction,
    InstructionInfoFactory,
    Mnemonic,
    OpAccess,
    OpKind,
    Register,
    RflagsBits,
)

from kpatch.isa.effects import CLEARS_THE_REST, FLAG_NAMES, HIGH_BYTES, WHOLE, Effects, ordered
from kpatch.isa.instruction import REGISTERS, Memory

_BITS: Final = tuple(getattr(RflagsBits, name) for name in FLAG_NAMES)
_READS: Final = frozenset({
    OpAccess.READ, OpAccess.COND_READ, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE,
    OpAccess.COND_WRITE,  # what is not written is passed on
})  # fmt: skip
_WRITES: Final = frozenset({OpAccess.WRITE, OpAccess.READ_WRITE})
_MAY_WRITE: Final = _WRITES | {OpAccess.COND_WRITE, OpAccess.READ_COND_WRITE}
_NEAR: Final = frozenset({OpKind.NEAR_BRANCH16, OpKind.NEAR_BRANCH32, OpKind.NEAR_BRANCH64})
_STRINGS: Final = {
    OpKind.MEMORY_SEG_RSI: "rsi", OpKind.MEMORY_SEG_ESI: "esi", OpKind.MEMORY_SEG_SI: "si",
    OpKind.MEMORY_SEG_RDI: "rdi", OpKind.MEMORY_SEG_EDI: "edi", OpKind.MEMORY_SEG_DI: "di",
    OpKind.MEMORY_ESRDI: "rdi", OpKind.MEMORY_ESEDI: "edi", OpKind.MEMORY_ESDI: "di",
}  # fmt: skip
_ALWAYS_ES: Final = frozenset({OpKind.MEMORY_ESRDI, OpKind.MEMORY_ESEDI, OpKind.MEMORY_ESDI})


def by_iced(code: bytes) -> Effects | None:
    """The first instruction of ``code``, at address 0."""
    each = Decoder(64, code).decode()
    if each.is_invalid:
        return None
    info = _factory().info(each)
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    may_write: dict[str, int] = {}
    for used in info.used_registers():
        name = _names().get(used.register, "")
        if name not in REGISTERS:
            continue
        holder, size = REGISTERS[name]
        mask = 0x2 if name in HIGH_BYTES else (1 << size) - 1
        stored = WHOLE if size >= CLEARS_THE_REST else mask
        for accesses, found, bytes_ in (
            (_READS, reads, mask), (_WRITES, writes, stored), (_MAY_WRITE, may_write, stored),
        ):  # fmt: skip
            if used.access in accesses:
                found[holder] = found.get(holder, 0) | bytes_
    undefined = _mask(each.rflags_undefined)
    defined = _mask(each.rflags_written | each.rflags_cleared | each.rflags_set)
    return Effects(
        length=each.len,
        memory=_memory(each),
        target=_target(each),
        reads=reads,
        writes=writes,
        may_write=may_write,
        flags_read=_mask(each.rflags_read),
        flags_written=defined & ~undefined,
        flags_changed=defined | undefined,
        flags_undefined=undefined,
    )


def missing_feature(code: bytes) -> str:
    """The first feature that the instruction needs and the first x86-64 CPUs lack, by name."""
    decoded = Decoder(64, code).decode()
    if decoded.mnemonic in _LAHF_SAHF:  # SDM vol. 2, LAHF: invalid where CPUID says no
        return "LAHF_SAHF"
    wanted = [_features()[feature] for feature in decoded.cpuid_features()]
    return next((feature for feature in wanted if feature not in _BASELINE), "")


_BASELINE: Final = frozenset({
    "INTEL8086", "INTEL186", "INTEL286", "INTEL386", "INTEL486", "X64", "CMOV", "CX8", "CPUID",
    "MSR", "TSC", "SYSCALL", "SSE", "SSE2", "FPU", "MMX", "FXSR", "CLFSH", "PAUSE", "MULTIBYTENOP",
})  # fmt: skip
_LAHF_SAHF: Final = frozenset({Mnemonic.LAHF, Mnemonic.SAHF})


@cache
def _features() -> dict[int, str]:
    return {value: name for name, value in vars(CpuidFeature).items() if name.isupper()}


@cache
def _factory() -> InstructionInfoFactory:
    return InstructionInfoFactory()


@cache
def _names() -> dict[int, str]:
    """Register -> its name as this project writes it (``r8d``, ``spl``)."""
    values = {value: name.lower() for name, value in vars(Register).items() if name.isupper()}
    return {value: name.replace("l", "b") if name[:2] in _NEW and name[-1] == "l" else name
            for value, name in values.items()}  # fmt: skip


_NEW: Final = frozenset({"r8", "r9", "r1"})
"""iced writes r8l where others write r8b."""


@cache  # the same few values again and again
def _mask(flags: int) -> int:
    return sum(1 << at for at, bit in enumerate(_BITS) if flags & bit)


def _target(each: Instruction) -> int | None:
    if each.op_count and each.op0_kind in _NEAR:
        return int(each.near_branch_target)
    return None


def _memory(each: Instruction) -> tuple[Memory, ...]:
    names = _names()
    found = []
    for at in range(each.op_count):
        kind = each.op_kind(at)
        if kind == OpKind.MEMORY:
            displacement = int(each.memory_displacement)
            base, index = names[each.memory_base], names[each.memory_index]
            if base in ("rip", "eip"):
                displacement -= each.next_ip
            found.append(
                Memory(
                    segment=_segment(names.get(each.segment_prefix, "")),
                    base=None if base == "none" else base,
                    index=None if index == "none" else index,
                    scale=1 if index == "none" else each.memory_index_scale,
                    displacement=_signed(displacement),
                    size=0,
                )
            )
        elif kind in _STRINGS:
            segment = None if kind in _ALWAYS_ES else _segment(names.get(each.segment_prefix, ""))
            found.append(Memory(segment, _STRINGS[kind], None, 1, 0, 0))
    return ordered(found)


def _segment(name: str) -> str | None:
    return name if name in ("fs", "gs") else None


def _signed(number: int) -> int:
    """Iced has displacements without a sign."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number
