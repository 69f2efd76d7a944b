"""What instructions are to the other CPUs, and to the emulation."""

from __future__ import annotations

import pytest

from kpatch.isa.assemble import assemble
from kpatch.units import Address
from kpatch.verify.explore.program import OpKind
from kpatch.verify.hardware.codemap import CodeInfo, CodeMap
from kpatch.verify.hardware.memory import Arena, Region

BASE = 0xFFFF_FFFF_8000_0000


def look(source: str, *, trusted: bool = False) -> CodeInfo:
    """What the first instruction of a text is."""
    arena = Arena(0, 0x1000)
    code = assemble(source)
    arena.write(0, code)
    region = Region("code", Address(BASE), 0, len(code), False)
    return CodeMap([(region, arena)], [region] if trusted else [], {}).look(BASE)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("mov [rax], ecx", OpKind.PLAIN),
        ("and dword ptr [rax], ecx", OpKind.PLAIN),
        ("xchg ecx, eax", OpKind.PLAIN),
        ("mov rax, cr3", OpKind.PLAIN),
        ("sfence", OpKind.PLAIN),
        ("xchg [rax], ecx", OpKind.LOCKED),
        ("lock and dword ptr [rax], ecx", OpKind.LOCKED),
        ("lock cmpxchg [rax], rcx", OpKind.LOCKED),
        ("mfence", OpKind.SERIALIZING),
        ("cpuid", OpKind.SERIALIZING),
        ("ltr ax", OpKind.SERIALIZING),
        ("lgdt [rax]", OpKind.SERIALIZING),
        ("mov cr0, rax", OpKind.SERIALIZING),
        ("mov dr7, rax", OpKind.SERIALIZING),
        ("pause", OpKind.PAUSE),
    ],
)
def test_every_kind_of_operation_is_known(source: str, kind: OpKind) -> None:
    assert look(source).kind is kind
    assert look(source).is_fence is (kind in (OpKind.LOCKED, OpKind.SERIALIZING))


def test_only_the_harness_may_leave_the_model() -> None:
    assert look("wrmsr").refused
    assert not look("wrmsr", trusted=True).refused


@pytest.mark.parametrize(
    "source",
    [
        "blsi rax, rcx",
        "bextr eax, ecx, ebx",
        "bzhi rax, rcx, rbx",
        "tzcnt eax, ecx",
        ".byte 0xf3, 0x41, 0x90",
        "lock mov [rax], rcx",
        "shld [rip + 0x7ff8], rcx, 4",
        "shrd [rip + 0x7ff8], ecx, 4",
    ],
)
def test_what_cpus_and_their_emulation_do_differently_is_refused(source: str) -> None:
    assert look(source).refused


def test_an_exchange_and_a_pause_without_each_others_prefix_may_run() -> None:
    assert not look("xchg r8d, eax").refused
    assert not look("pause").refused


@pytest.mark.parametrize("source", ["lgdt [rax]", "mov cr3, rax", "retfq", "sti", "popfq"])
def test_the_controls_are_looked_at_after_what_can_change_them(source: str) -> None:
    assert look(source).changes_controls
    assert not look("mov rax, rcx").changes_controls


def test_a_label_says_where_and_what() -> None:
    assert look("ltr ax").label == "code+0x0  ltr ax"


def test_outside_of_the_code_there_is_none() -> None:
    arena = Arena(0, 0x1000)
    code = CodeMap([(Region("code", Address(BASE), 0, 4, False), arena)], [], {})
    assert code.look(BASE + 4).refused == "there is no code"
    arena.write(0, b"\x06\x06\x06\x06")
    assert code.look(BASE).refused == "these bytes are no instruction"
