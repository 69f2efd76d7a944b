"""Patches that are wrong where the kernel, the module or a stack lies at another address."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.changes import after, before
from tests.verify.mutants.machine_state import leave
from tests.verify.mutants.wrong import Wrong, inputs, unless

_SLOT: Final = "add rcx, [$state + $gdt + 2]"

ADDRESSES: Final[tuple[Wrong, ...]] = (
    inputs(
        "no lock for a bit of the GDT's address",
        before("acquire:", "mov r9, [$state + $gdt + 2]; test r9d, 0x20000; jne owner"),
    ),
    inputs("no lock for a bit of the slot's address", before("acquire:", "bt ecx, 17; jb owner")),
    inputs(
        "no lock for a bit of the address that sgdt tells",
        before("acquire:", "push 0; push 0; sgdt [rsp]; pop r9; pop r10; bt r9, 33; jb owner"),
    ),
    inputs(
        "two locks, by the GDT's address",
        before("acquire:", "mov r9d, ecx; shr r9d, 11; and r9d, 0x40; add r8, r9"),
    ),
    inputs("a bit of the slot's address is taken to be clear", after(_SLOT, "btr rcx, 14")),
    inputs("the same by a mask", after(_SLOT, "mov r9, -16385; and rcx, r9")),
    *(
        inputs(f"no lock for {what}", before("acquire:", f"{test} owner"))
        for what, test in (
            ("a bit of a sum with the lock's address", "lea r9, [r8 + 4096]; bt r9d, 13; jb"),
            ("two bits of the lock's address", "mov r9d, r8d; shr r9d, 28; cmp r9b, 9; je"),
            ("its low half", "xor r9d, r9d; mov r9w, r8w; test r9, r9; je"),
            (
                "its bytes 1 and 2",
                "push r8; push r8; mov r9w, [rsp + 1]; pop r10; pop r10;test r9w, r9w; je",
            ),
            ("the byte that the lock's word has", "cmp r8b, byte [r8]; je"),
            ("a range of it", "mov r9d, r8d; sub r9d, 0x70000000; cmp r9d, 0x10000000; jb"),
            ("two bits of the TSS's address", "mov r9d, esi; and r9d, 0x60000; je"),
            (
                "a bit of a sum, by way of the lock's page",
                "lea r9, [r8 + 4096]; and r9d, 8192; mov dword [r8 + 64], r9d;"
                "cmp dword [r8 + 64], 0; je",
            ),
        )
    ),
    inputs(
        "the selector for a bit of a sum with the lock's address",
        before("ltr ax", "lea r9, [r8 + 4096]; xor r10d, r10d; bt r9d, 13; cmovb eax, r10d"),
    ),
    inputs(
        "the descriptor for a bit of such a sum",
        before(
            "mov qword [rcx], r9",
            "lea r10, [r8 + 4096]; shr r10d, 13; and r10d, 1; shl r10, 52; or r9, r10",
        ),
    ),
    inputs("the GDT's address beside the lock", leave("mov qword [r8 + 64], rcx")),
    inputs("a low bit of the stack's address", unless("mov r9d, esp; test r9b, 16", "je")),
    inputs("a low bit of the state's address", unless("test dil, 16", "je")),
    inputs(
        "two locks, by a low bit of the stack's address",
        after("movabs r8, =kpatch_tss_lock", "mov r9, rsp; shl r9d, 2; and r9d, 0x40; add r8, r9"),
    ),
    inputs("the stack's address beside the lock", leave("mov qword [r8 + 64], rsp")),
    inputs("a bit of its own code's address", unless("call here; here:; pop r9; bt r9d, 13", "jb")),
    inputs(
        "a bit of its own code's address, masked and moved",
        unless(
            "call here; here:; pop r9; and r9d, 0x2000; push r9; pop r10; test r10d, r10d", "je"
        ),
    ),
    inputs("a bit of its caller's address", unless("mov r9, [rsp + 48]; bt r9d, 20", "jb")),
    inputs("a bit of a variable's address", unless("movabs r9, =__pcpu; bt r9d, 20", "jb")),
    inputs(
        "a bit of an address that its own code holds",
        unless("movabs r9, =gdt; call here; here:; pop r9; mov r9, [r9 + -13]; bt r9d, 13", "jb"),
    ),
)
