"""Whether an instruction of a site may be run in the trampoline in the site's stead.

Two decoders have to agree on all that it does; where they do not, it is refused by name. One that
the trampoline runs in front of what it stood behind must not depend on that, nor change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kpatch.isa.agreed import effects_of
from kpatch.isa.effects import Effects, names_of
from kpatch.isa.instruction import Instruction, Memory, Register
from kpatch.signature.match import Bindings
from kpatch.signature.model import SiteMatch
from kpatch.signature.pattern import Placeholder

_SYSTEM_REGISTERS: Final = ("cr2", "cr3", "cr4", "cr8", "dr")
_SYSTEM: Final = frozenset({
    "clflush", "clflushopt", "clwb", "invd", "invlpg", "invpcid", "lgdt", "lidt", "lldt", "lmsw",
    "ltr", "rdmsr", "rdtsc", "rdtscp", "swapgs", "wbinvd", "wrfsbase", "wrgsbase", "wrmsr",
    "xsetbv", "cli", "clac", "stac", "mwait", "monitor", "in", "out", "cpuid", "serialize",
})  # fmt: skip
"""Have effects beside registers, flags and their memory operands."""

_LOADS: Final = frozenset({"mov", "movzx", "movsx", "movsxd"})
"""Write their first operand only (SDM vol. 2, MOV): a field that they load stays as it is."""

_WIDEST: Final = 16
"""Bytes that a memory operand is taken to have at least."""


def cannot_be_displaced(each: Instruction) -> str:
    """Why it may not run elsewhere; empty if it may."""
    known = effects_of(each.raw)
    if known is None or known.effects.length != len(each.raw):
        return "is not known to both decoders"
    if known.doubts:
        return f"is not vouched for: two decoders differ about {known.doubts[0]}"
    effects = known.effects
    uses_stack = "rsp" in effects.reads or "rsp" in effects.may_write
    if each.is_position_dependent or each.transfers_control or uses_stack:
        return "means something else elsewhere"
    return ""


def is_moved(site: SiteMatch) -> bool:
    """Whether the trampoline runs the fillers alone, in front of what they stand between."""
    return any(
        isinstance(line, Placeholder) and line.name == "fillers"
        for line in site.rule.trampoline.source
    )


def run_elsewhere(site: SiteMatch) -> tuple[Instruction, ...]:
    """The instructions of the site that its trampoline runs as they are."""
    return site.fillers if is_moved(site) else site.instructions


def cannot_be_moved(each: Instruction, site: SiteMatch, names: Bindings) -> str:
    """Why a filler may not run in front of the site's instructions; empty if it may.

    They read the state's fields and the bound registers, set flags, and write the descriptor.
    """
    known = effects_of(each.raw)
    if known is None:
        return "two decoders do not both know it"
    effects = known.effects
    if effects.flags_read:
        return f"it reads {names_of(effects.flags_read)}, which may come from an instruction of it"
    if _is_system(each):
        return "it has effects on the system"
    state = site.state
    bound = {value for value in names.values() if isinstance(value, str)}
    touched = sorted({*effects.reads, *effects.may_write} & (bound - {state}))
    if touched:
        return f"it uses {touched[0]}, as the site does"
    if state in effects.may_write:
        return f"it writes {state}, which holds the state"
    return _memory(each, effects, state, tuple(_fields(site, state)))


def _memory(
    each: Instruction, effects: Effects, state: str | None, fields: tuple[Memory, ...]
) -> str:
    """Only the state's own memory is sure to be apart from the descriptor."""
    if each.operation in ("lea", "nop"):  # address nothing
        return ""
    for operand in each.operands:
        if not isinstance(operand, Memory):
            continue
        if operand.base != state or operand.index is not None or operand.segment is not None:
            return "it uses memory that may be the descriptor"
        is_load = each.mnemonic in _LOADS and operand is not each.operands[0]
        if not is_load and any(_overlap(operand, field) for field in fields):
            return "it uses a field of the state that the site reads"
    if effects.memory and not any(isinstance(o, Memory) for o in each.operands):
        return "it uses memory that may be the descriptor"
    if _hidden_memory(each):
        return "it uses memory that may be the descriptor"
    return ""


def _hidden_memory(each: Instruction) -> bool:
    return each.operation in ("xlatb", "maskmovq", "maskmovdqu", "clzero")


def _overlap(one: Memory, other: Memory) -> bool:
    """By displacement, from the same base."""
    size = max(one.size, _WIDEST)
    return (
        one.displacement < other.displacement + other.size
        and other.displacement < one.displacement + size
        and not _apart(one, other)
    )


def _apart(one: Memory, other: Memory) -> bool:
    """Both sizes are plain ones, and they do not overlap."""
    return 0 < one.size <= _PLAIN and (
        one.displacement + one.size <= other.displacement
        or other.displacement + other.size <= one.displacement
    )


_PLAIN: Final = 8


def _is_system(each: Instruction) -> bool:
    if each.operation in _SYSTEM:
        return True
    return any(
        isinstance(o, Register) and o.name.startswith(_SYSTEM_REGISTERS) for o in each.operands[:1]
    )


def _fields(site: SiteMatch, state: str | None) -> Iterator[Memory]:
    for instruction in site.own:
        yield from (o for o in instruction.operands if isinstance(o, Memory) and o.base == state)
