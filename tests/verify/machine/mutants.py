"""Broken trampolines: each is the real signature with a few lines of its source changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from kpatch.data import signatures_folder
from kpatch.elf.module import read_module
from kpatch.patch.apply import apply_plan
from kpatch.patch.plan import Plan, make_plan
from kpatch.signature.load import parse_signature
from kpatch.signature.scan import find
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.machine import Subject
from tests.verify.machine.workshop import patched, sample

Edit = tuple[str, str]
"""A line of a trampoline, without its comment, and the lines (apart by ;) that replace it."""


def as_planned(plan: Plan) -> Plan:
    """No change."""
    return plan


@dataclass(frozen=True)
class Mutant:
    """A broken patch, where it is broken, and which properties may say so.

    ``passes`` are scenario and memory model in which it must *not* be caught: it is that subtle.
    """

    name: str
    edits: tuple[Edit, ...] = ()
    killers: frozenset[str] = frozenset()
    scenario: str = "leave"
    model: MemoryModel = MemoryModel.SC
    passes: tuple[tuple[str, MemoryModel], ...] = ()
    cpuid: int = 0x34
    stride: int = 104
    tr_selector: int = 0x30
    replan: Callable[[Plan], Plan] = as_planned

    def build(self) -> Subject:
        """The broken module."""
        text = _signature_text()
        for old, new in self.edits:
            text = _edited(text, old, new)
        match = find(sample(), parse_signature(text, "mutant.toml"))
        plan = make_plan(sample(), match, cpuid=self.cpuid, tss_stride=self.stride)
        data = apply_plan(self.replan(plan))
        return patched().instead(read_module(data, self.name))


@cache
def _signature_text() -> str:
    return (Path(signatures_folder()) / "kqemu-amd64-tr.toml").read_text()


def _edited(text: str, old: str, new: str) -> str:
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if "trampoline" in line)
    found = [
        n
        for n, line in enumerate(lines)
        if n > start and " ".join(line.partition(";")[0].split()) == old
    ]
    if len(found) != 1:
        raise ValueError(f"'{old}' stands {len(found)} times in the trampolines")
    lines[found[0] : found[0] + 1] = [f"  {each.strip()}" for each in new.split(";")]
    return "\n".join(lines)


def _without_lock_relocation(plan: Plan) -> Plan:
    kept = tuple(each for each in plan.relocations if each.symbol != "kpatch_tss_lock")
    return replace(plan, relocations=kept)


def _called_too_far(symbol: str) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        moved = tuple(
            replace(each, addend=each.addend + 2) if each.symbol == symbol else each
            for each in plan.relocations
        )
        return replace(plan, relocations=moved)

    return change


def _exchanged(plan: Plan) -> Plan:
    names = {"kpatch_tss_entry": "kpatch_tss_exit", "kpatch_tss_exit": "kpatch_tss_entry"}
    swapped = tuple(
        replace(each, symbol=names.get(each.symbol, each.symbol)) for each in plan.relocations
    )
    return replace(plan, relocations=swapped)


RACE = frozenset({"own-tss", "no-fault"})
WRONG = frozenset({"own-tss", "descriptor"})
FAULT = frozenset({"no-fault"})
STUCK = frozenset({"progress"})
STACK = frozenset({"no-fault", "restored", "own-tss", "descriptor"})
SC, TSO = MemoryModel.SC, MemoryModel.TSO

LOCK = "xchg dword [r8], r9d"
UNLOCK = "mov dword [r8], 0"
STORE_LOW, STORE_HIGH = "mov qword [rcx], r9", "mov dword [rcx + 8], esi"
CLEAR_BUSY = "and dword [rcx + 4], 0xfffffdff"
SELECTOR = "movzx eax, word [$state + $tr_sel]"

PETERSON = (
    ("mov r9d, 1", "mov r11d, esi; shr r11d, 3; and r11d, 1; shl r11, 2; add r11, r8;"
     "mov r10, r8; add r10, r8; add r10, 4; sub r10, r11;"
     "mov dword [r11 + 16], 1; mov dword [r8 + 32], r11d"),
    (LOCK, "nop"),
    ("test r9d, r9d", "cmp dword [r10 + 16], 0"),
    ("cmp dword [r8], 0", "cmp dword [r8 + 32], r11d"),
    ("jne busy", "jne owner; cmp dword [r10 + 16], 0; jne busy"),
    ("jmp acquire", "jmp owner"),
    (UNLOCK, "mov dword [r11 + 16], 0; mov dword [r8 + 32], 0"),
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (
    Mutant("no lock", ((LOCK, "xor r9d, r9d"),), RACE),
    Mutant(
        "the lock is a load and a store",
        ((LOCK, "mov r9d, dword [r8]; mov dword [r8], 1"),),
        RACE | STUCK,
    ),
    Mutant("released before ltr", (("ltr ax", "mov dword [r8], 0; ltr ax"),), RACE),
    Mutant(
        "taken after the write",
        (
            (LOCK, "xor r9d, r9d"),
            (
                "ltr ax",
                "mov r9d, 1; again:; xchg dword [r8], r9d; test r9d, r9d; jne again; ltr ax",
            ),
        ),
        RACE,
    ),
    Mutant(
        "two different locks",
        (("mov r9d, 1", "mov r9d, esi; and r9d, 8; add r8, r9; mov r9d, 1"),),
        RACE,
    ),
    Mutant("never released", ((UNLOCK, "nop"),), STUCK),
    Mutant("another word is released", ((UNLOCK, "mov dword [r8 + 4], 0"),), STUCK),
    Mutant(
        "released on the old path only",
        (
            (UNLOCK, "nop"),
            (
                "and dword [rcx + 4], 0xfffffdff",
                "and dword [rcx + 4], 0xfffffdff; mov dword [r8], 0",
            ),
        ),
        STUCK,
    ),
    Mutant("enters while the lock is held", (("je owner", "jne owner"),), STUCK | RACE),
    Mutant("waits while the lock is free", (("jne busy", "je busy"),), STUCK),
    Mutant(
        "waits without looking again",
        (("cmp dword [r8], 0", "nop"), ("jne busy", "jmp busy")),
        STUCK,
    ),
    Mutant(
        "a lock that needs sequential consistency",
        PETERSON,
        RACE,
        model=TSO,
        passes=(("leave", SC), ("up", TSO)),
    ),
    Mutant(
        "writes a busy descriptor",
        (("movabs r10, 0x0000890000000000", "movabs r10, 0x00008b0000000000"),),
        FAULT,
    ),
    Mutant(
        "leaves the busy bit as found",
        (
            ("movabs r10, 0x00ff00000000ffff", "movabs r10, 0x00ffff000000ffff"),
            ("movabs r10, 0x0000890000000000", "xor r10d, r10d"),
        ),
        FAULT,
    ),
    Mutant(
        "writes a descriptor that is not present",
        (("movabs r10, 0x0000890000000000", "movabs r10, 0x0000090000000000"),),
        FAULT,
    ),
    Mutant(
        "loses the limit",
        (("movabs r10, 0x00ff00000000ffff", "movabs r10, 0x00ff000000000000"),),
        frozenset({"descriptor"}),
    ),
    Mutant(
        "writes no high half of the base",
        ((STORE_HIGH, "xor esi, esi; mov dword [rcx + 8], esi"),),
        frozenset({"descriptor"}),
    ),
    Mutant("puts a byte of the base elsewhere", (("shr r10d, 24", "shr r10d, 16"),), WRONG),
    Mutant("loses the low half of the base", (("shl r10, 16", "shl r10, 17"),), WRONG),
    Mutant("loads TR before it writes", ((STORE_LOW, "ltr ax; mov qword [rcx], r9"),), FAULT),
    Mutant("loads TR twice", (("ltr ax", "ltr ax; ltr ax"),), FAULT),
    Mutant("counts a TSS as 96 bytes", (), WRONG, stride=96),
    Mutant("takes the next CPU's TSS", (("add rax, rcx", "add rax, rcx; add rax, 104"),), WRONG),
    Mutant("takes the first CPU's TSS", (("add rax, rcx", "nop"),), WRONG),
    Mutant("takes the mask for the number", (), frozenset({"own-tss"}), cpuid=0x38),
    Mutant(
        "believes any struct pcpu",
        (("ja unknown_layout", "nop"), ("jne unknown_layout", "nop")),
        WRONG,
        scenario="unknown-layout",
        passes=(("leave", SC),),
    ),
    Mutant(
        "takes no lock on the old path",
        (("mov r9d, 1", "test rsi, rsi; je as_before; mov r9d, 1"),),
        FAULT,
        scenario="unknown-layout",
        passes=(("leave", SC), ("unknown-layout-up", SC)),
    ),
    Mutant(
        "forgets the busy bit on the old path",
        ((CLEAR_BUSY, "nop"),),
        FAULT,
        scenario="unknown-layout",
        passes=(("leave", SC),),
    ),
    Mutant(
        "reads %gs at the exit",
        ((SELECTOR, f"xor r9d, r9d; mov r9d, gs:[r9 + $cpuid]; {SELECTOR}"),),
        FAULT,
    ),
    Mutant("drops no stash", (("pop rsi", "mov rsi, qword [rsp]"),), STACK),
    Mutant("drops the stash twice", (("pop rsi", "pop rsi; pop r9"),), STACK),
    Mutant("stashes twice", (("push rax", "push rax; push rax"),), STACK),
    Mutant(
        "stashes where a call overwrites it",
        (
            ("push rax", "sub rsp, 8; mov qword [rsp], rax; add rsp, 8"),
            ("pop rsi", "sub rsp, 8; mov rsi, qword [rsp]; add rsp, 8"),
        ),
        STACK,
    ),
    Mutant(
        "stashes in the state, once a guest",
        (
            (
                "pop rcx",
                "mov rcx, qword [$state + 0x200]; test rcx, rcx; jne known;"
                "mov qword [$state + 0x200], rax; known:; pop rcx",
            ),
            ("push rax", "nop"),
            ("pop rsi", "mov rsi, qword [$state + 0x200]"),
        ),
        frozenset({"own-tss"}),
        scenario="moving",
        passes=(("leave", SC), ("two-rounds", TSO)),
    ),
    Mutant(
        "stashes in one global",
        (
            ("pop rcx", "movabs rdx, =kpatch_tss_lock; mov qword [rdx + 8], rax; pop rcx"),
            ("push rax", "nop"),
            ("pop rsi", "movabs rsi, =kpatch_tss_lock; mov rsi, qword [rsi + 8]"),
        ),
        frozenset({"own-tss", "progress"}),
    ),
    Mutant("clobbers rdi at the entry", (("xor edx, edx", "xor edx, edx; xor edi, edi"),), FAULT),
    Mutant("clobbers rdi at the exit", ((UNLOCK, f"{UNLOCK}; xor edi, edi"),), FAULT),
    Mutant(
        "overwrites the saved rbx",
        ((UNLOCK, f"{UNLOCK}; mov qword [rsp + 0x20], rax"),),
        frozenset({"restored"}),
    ),
    Mutant("leaves the direction flag set", ((UNLOCK, f"{UNLOCK}; std"),), frozenset({"restored"})),
    Mutant("allows interrupts", ((UNLOCK, f"{UNLOCK}; sti"),), FAULT),
    Mutant(
        "writes CPU 0's slot",
        (("add rcx, [$state + $gdt + 2]", "movabs r10, =gdt; add rcx, r10"),),
        frozenset({"footprint"}),
        scenario="private-gdt",
        passes=(("leave", SC),),
    ),
    Mutant(
        "takes selector 0x30 on a kernel with 0x48",
        ((SELECTOR, "mov eax, 0x30"),),
        frozenset({"footprint"}),
        tr_selector=0x48,
    ),
    Mutant(
        "writes behind the descriptor",
        ((STORE_HIGH, "mov qword [rcx + 12], rsi"),),
        frozenset({"footprint"}),
    ),
    Mutant(
        "writes its own code",
        ((STORE_HIGH, f"{STORE_HIGH}; mov byte [rdx], 0x90"),),
        frozenset({"footprint"}),
    ),
    Mutant("the lock's relocation is missing", (), FAULT, replan=_without_lock_relocation),
    Mutant("the entry is called too far", (), STACK, replan=_called_too_far("kpatch_tss_entry")),
    Mutant("the exit is called too far", (), STACK, replan=_called_too_far("kpatch_tss_exit")),
    Mutant("entry and exit are exchanged", (), STACK, replan=_exchanged),
)
