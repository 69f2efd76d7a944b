"""Patches that look odd and are right: the verifier must prove them, or it cries wolf."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.descriptors import HIGH, LOW
from tests.verify.mutants.locks import (
    EXCHANGE,
    RELEASE,
    SPIN,
    TAKE,
    UNLOCKED_COMPARE,
    WAIT,
    one_bit_lock,
)
from tests.verify.mutants.machine_state import entry, leave
from tests.verify.mutants.variant import LEAVE, TSO, Variant, at

EVERYWHERE: Final = (
    LEAVE,
    at("leave", model=TSO),
    at("moving", model=TSO),
    at("private-gdt"),
    at("unknown-layout", model=TSO),
)

FENCED: Final = Variant("a lock of loads and stores, with a fence", one_bit_lock("mfence"))
"""It takes the CPU's number from the stash, so it is right only where there is one."""

FENCED_WHERE: Final = (LEAVE, at("leave", model=TSO), at("moving", model=TSO))

HARMLESS: Final = (
    Variant("the lock is taken by lock bts", (Lines(TAKE, "lock bts dword [r8], 0; jae owner"),)),
    Variant(
        "the lock is taken by lock cmpxchg",
        (Lines(EXCHANGE, UNLOCKED_COMPARE.replace("cmpxchg", "lock cmpxchg")),),
    ),
    Variant(
        "the lock is taken by a byte",
        (
            Lines(EXCHANGE, "xchg byte [r8], r9b"),
            Lines("cmp dword [r8], 0", "cmp byte [r8], 0"),
            Lines(RELEASE, "mov byte [r8], 0"),
        ),
    ),
    Variant("the lock is taken without looking first", (Lines(WAIT, "pause"),)),
    Variant("the waiting CPU does not pause", (Lines("busy:; pause", "busy:"),)),
    Variant("the waiting CPU pauses twice", (Lines("busy:; pause", "busy:; pause; pause"),)),
    Variant("the lock is released by an exchange", (Lines(RELEASE, f"xor r9d, r9d; {EXCHANGE}"),)),
    Variant("the lock is released by lock and", (Lines(RELEASE, "lock and dword [r8], 0"),)),
    Variant("the owner may release it without LOCK", (Lines(RELEASE, "dec dword [r8]"),)),
    Variant(
        "fences everywhere",
        (
            before("acquire:", "mfence"),
            after("owner:", "mfence"),
            before(RELEASE, "mfence"),
            after(RELEASE, "mfence"),
        ),
    ),
    Variant(
        "another register for the lock",
        (
            Lines("movabs r8, =kpatch_tss_lock", "movabs r11, =kpatch_tss_lock"),
            Lines(SPIN, SPIN.replace("r8", "r11")),
            Lines(RELEASE, RELEASE.replace("r8", "r11")),
        ),
    ),
    Variant("the halves in the other order", (Lines(f"{LOW}; {HIGH}", f"{HIGH}; {LOW}"),)),
    Variant(
        "the descriptor is written in small pieces",
        (
            Lines(
                LOW,
                "shr r9, 16; mov word [rcx + 2], r9w; shr r9, 16; mov byte [rcx + 4], r9b;"
                "shr r9, 8; mov byte [rcx + 5], r9b; shr r9, 16; mov byte [rcx + 7], r9b",
            ),
        ),
    ),
    Variant("the descriptor is written twice", (after(HIGH, f"{LOW}; {HIGH}"),)),
    Variant("the upper dword is cleared as well", (after(HIGH, "mov dword [rcx + 12], 0"),)),
    Variant("the descriptor is left free", (after("ltr ax", "and dword [rcx + 4], 0xfffffdff"),)),
    # What every TSS of a kernel has in common, the slot has already: they lie in one array, in the
    # top 2 GB.
    Variant("the high dword of the base is not written", (Lines(HIGH, "nop"),)),
    # One access of shared memory each; the other one is of the stack.
    Variant(
        "the slot is read by push", (Lines("mov r9, qword [rcx]", "push qword [rcx]; pop r9"),)
    ),
    Variant(
        "the slot is read by movs",
        (
            Lines(
                "mov r9, qword [rcx]",
                "push 0; mov r9, rsi; mov r10, rdi; mov rsi, rcx; mov rdi, rsp;"
                "movsq qword [rdi], qword [rsi];"
                "mov rsi, r9; mov rdi, r10; pop r9",
            ),
        ),
    ),
    # The routine has saved it before the entry site, and restores it behind the exit site.
    Variant("rbx is used at the entry", (entry("xor ebx, ebx"),)),
    Variant("rbx is used at the exit", (leave("xor ebx, ebx"),)),
    Variant("r12 to r15 are used at the exit", (leave("xor r12d, r12d; xor r15d, r15d"),)),
    # cr0 and ss are restored behind the exit site.
    Variant(
        "write protection is off for a while",
        (leave("mov rax, cr0; and rax, 0xfffffffffffeffff; mov cr0, rax"),),
    ),
    Variant("a null ss", (leave("xor eax, eax; mov ss, eax"),)),
    # C restores them, because the guest has spoiled them.
    Variant("null ds and es", (leave("xor eax, eax; mov ds, eax; mov es, eax"),)),
    # What is left there nobody reads, or only adds to.
    Variant("a word beside the lock is left written", (leave("mov dword [r8 + 64], 1"),)),
    Variant(
        "the lock's section counts the rounds",
        (before(RELEASE, "inc dword [r8 + 64]"),),
    ),
    Variant("the stack is used", (leave("push rax; push rcx; pop rcx; pop rax"),)),
    Variant("208 bytes of the stack", (leave("mov qword [rsp + -208], 0"),)),
    Variant("a call of its own", (leave("call own; jmp rdx; own:; ret"),)),
)
