"""Patches that are wrong for one value only, or in what they leave."""

from __future__ import annotations

from typing import Final

from tests.verify.mutants.addresses import ADDRESSES
from tests.verify.mutants.changes import Lines, after, before
from tests.verify.mutants.machine_state import entry, leave
from tests.verify.mutants.wrong import (
    SPOIL,
    STRIDE,
    Wrong,
    effect,
    inputs,
    reads,
    stores,
    undefined,
    unless,
)

_HIDDEN: Final = (
    "call here; here:; pop r10; mov r9d, 1; {make}; shl r9d, 5; add r10, r9; add r10, {past};"
    "jmp r10; jmp fine"
    + 30 * "; nop"
    + "; cmp rbx, 5; jne fine; mov byte [$state + 0x330], 1; fine:"
)
"""Code 32 bytes behind where it goes on, where ``make`` leaves 1 in r9."""

WRONG: Final[tuple[Wrong, ...]] = (
    inputs("one value of rbx at the exit", unless("movabs r9, 0x1122334455667788; cmp rbx, r9")),
    inputs("one value of rbx at the entry", entry("cmp rbx, 77; jne fine; xor eax, eax; fine:")),
    inputs("one value of a part of rbx", unless("cmp bh, 77")),
    inputs("junk of r11 in the stash", before("push rax", "and r11, 1; shl r11, 63; xor rax, r11")),
    inputs("one value of rbx by way of the stack", unless("push rbx; pop r9; cmp r9, 5")),
    inputs(
        "one value of rbx by way of the stash",
        before("push rax", "cmp rbx, 5; jne fine; xor eax, eax; fine:"),
    ),
    inputs(
        "one value of rbx by way of arithmetic",
        unless("lea r9, [rbx + 4]; imul r9, r9, 3; cmp r9, 27"),
    ),
    inputs(
        "one value of rbx by a conditional move",
        unless("xor r9d, r9d; cmp rbx, 5; cmove r9d, eax; cmp r9d, eax"),
    ),
    inputs(
        "one value of rbx by the count of a shift",
        unless("mov ecx, ebx; mov r9d, 1; shl r9, cl; cmp r9, 32"),
    ),
    inputs(
        "one value of rbx in the selector",
        before("ltr ax", "xor r10d, r10d; cmp rbx, 5; cmove eax, r10d"),
    ),
    inputs("the carry that the guest left", before("pop rsi", "pop rsi; push rsi; jb fine; fine:")),
    inputs("flags that the guest left, pushed", unless("pushfq; pop r9; test r9d, 0x200000", "je")),
    inputs("memory below the stack", unless("mov r9, qword [rsp + -64]; cmp r9, 5")),
    inputs(
        "what the stack pointer has passed over",
        after("pop rsi", "sub rsp, 8; mov rsi, [rsp]; pop r9"),
    ),
    inputs("a frame given up for a while", leave("add rsp, 64; nop; sub rsp, 64")),
    inputs("a frame given up at the entry", entry("add rsp, 16; nop; sub rsp, 16")),
    inputs("a stack in the lock's page", leave("mov r9, rsp; lea rsp, [r8 + 512]; mov rsp, r9")),
    inputs("a stack that is none", leave("push rsp; sub rsp, 65536; add rsp, 65536; pop r9")),
    inputs("its caller's frame", unless("mov r9, qword [rsp + 72]; cmp r9, 5")),
    inputs("a field that is not the switch's", unless("cmp dword [$state + 0x330], 7")),
    inputs("a field that the monitor has", unless("cmp dword [$state + 0x60], 0x7777")),
    inputs("the saved cr3", unless("mov r9, [$state + 0xb8]; cmp r9, 5")),
    inputs("the saved LDT selector", unless("movzx r9d, word [$state + $ldt_sel]; cmp r9d, 5")),
    inputs(
        "another field of struct pcpu",
        entry(f"xor edx, edx; mov rcx, gs:[rdx]; cmp rcx, 5; jne fine; {SPOIL}; fine:"),
    ),
    inputs(
        "struct pcpu at a place that depends",
        entry(f"mov rcx, gs:[rbx + $cpuid]; cmp rcx, 5; jne fine; {SPOIL}; fine:"),
    ),
    inputs("cr2", unless("mov r9, cr2; cmp r9, 5")),
    inputs("a debug register", unless("mov r9, dr0; cmp r9, 5")),
    inputs("one bit of cr0", unless("mov r9, cr0; test r9d, 0x20000", "je")),
    inputs("a segment register", unless("mov r9d, ds; cmp r9d, 5")),
    inputs("ss, loaded anew with what the monitor had", leave("mov r9d, ss; mov ss, r9d")),
    inputs("fs, popped from what the monitor had in ss", leave("mov r9d, ss; push r9; pop fs")),
    inputs(
        "what is in a TSS",
        entry(f"movabs rcx, =common_tss; cmp qword [rcx + 4], 5; jne fine; {SPOIL}; fine:"),
    ),
    inputs(
        "a jump through a conditional move", leave("cmp rbx, 5; mov r9, rdx; cmove r9, r12; jmp r9")
    ),
    inputs(
        "junk is divided by",
        leave("push rdx; push rax; xor edx, edx; mov eax, 1; or ebx, 1; div ebx; pop rax; pop rdx"),
    ),
    inputs("junk beside the lock", leave("xchg qword [r8 + 8], rbx")),
    inputs("junk in the state", leave("mov qword [$state + 0x330], r12")),
    inputs(
        "one bit of rbx in the state",
        leave("mov r9, rbx; and r9d, 1; mov byte [$state + 0x331], r9b"),
    ),
    inputs(
        "a register that was saved in the state",
        entry("mov qword [$state + 0x338], rax"),
        unless("cmp qword [$state + 0x338], 5"),
    ),
    undefined("ZF after imul", after(STRIDE, "jne fine; fine:")),
    undefined("SF after imul", after(STRIDE, "js fine; fine:")),
    undefined("PF after mul", leave("push rdx; mov r9d, 3; mul r9d; jp fine; fine:; pop rdx")),
    undefined("AF after and", unless("and r9d, 1; pushfq; pop r10; test r10d, 16", "je")),
    undefined("OF after a shift by cl", unless("mov cl, 3; mov r9d, 5; shl r9d, cl", "jno")),
    undefined("OF after a shift by three", unless("mov r9d, 5; shl r9d, 3", "jno")),
    undefined(
        "OF after a rotation by three", unless("mov r9d, 5; ror r9d, 3; setb cl; rol r9d, 3", "jno")
    ),
    undefined("CF after a shift by more than the width", unless("mov r9d, 5; shr r9b, 9", "jae")),
    undefined("CF after bsf", unless("mov r9d, 5; bsf r9d, r9d", "jae")),
    undefined(
        "what bsf makes of zero",
        unless("xor r10d, r10d; mov r9d, 5; bsf r9d, r10d; cmp r9d, 5", "je"),
    ),
    undefined("SF after bt", unless("bt eax, 3", "jns")),
    undefined("OF after shld", unless("mov r9d, 5; shld r9d, eax, 3", "jno")),
    undefined(
        "16 bits shifted by 20, as QEMU has it",
        unless("mov r9d, 5; mov r10d, 6; shrd r9w, r10w, 20; cmp r9w, 96", "je"),
    ),
    undefined(
        "16 bits shifted by what cl says",
        unless("movzx ecx, al; and ecx, 0x14; mov r9d, 5; shld r9w, r9w, cl; cmp r9w, 5", "je"),
    ),
    undefined("the carry of 16 bits shifted by 20", unless("mov r9d, 5; shld r9w, r9w, 20", "jae")),
    undefined("CF after a move from cr0", unless("mov r9, cr0", "jae")),
    undefined(
        "the carry of bsf, added",
        unless("mov r9d, 5; bsf r9d, r9d; mov r9d, 0; adc r9d, 0; cmp r9d, 0", "je"),
    ),
    undefined(
        "CF after bsf, by way of the stack",
        unless("mov r9d, 5; bsf r9d, r9d; pushfq; pop r10; test r10d, 1", "je"),
    ),
    undefined(
        "lzcnt, which is bsr elsewhere", unless("mov r9d, 5; lzcnt r9d, r9d; cmp r9d, 29", "je")
    ),
    undefined(
        "tzcnt, which is bsf elsewhere", unless("mov r9d, 5; tzcnt r9d, r9d; cmp r9d, 0", "je")
    ),
    undefined("lahf, which the first x86-64 CPUs lack", leave("lahf")),
    undefined(
        "cmpxchg16b, which they lack too",
        leave(
            "push rdx; push rbx; push 0; push 0; xor ecx, ecx; cmpxchg16b [rsp]; add rsp, 16;"
            "pop rbx; pop rdx"
        ),
    ),
    inputs(
        "the TSS that the stash names",
        before(
            "test rsi, rsi",
            "test rsi, rsi; je no; cmp qword [rsi + 4], 5; jne no; xor esi, esi; no:",
        ),
    ),
    inputs("the TR that the monitor has", unless("str r9d; cmp r9d, 5")),
    inputs("a bit that rbx counts to", unless("push rdx; bts qword [rsp], rbx; pop r9; cmp r9, 5")),
    inputs(
        "junk that one way overwrites",
        before(
            "push rax",
            "push rbx; cmp ecx, 1; jne a; mov qword [rsp], 1; a:; pop r11; cmp r11, 1; jne b; b:",
        ),
    ),
    reads(
        "the kernel's code descriptor", leave("mov r9, [$state + $gdt + 2]; mov r9, qword [r9 + 8]")
    ),
    reads("the descriptor behind the slot", leave("mov r9, qword [rcx + 16]")),
    reads("a TSS", entry("movabs rcx, =common_tss; mov rcx, qword [rcx + 4]")),
    reads("curthread", entry("xor edx, edx; mov rcx, gs:[rdx]")),
    reads("what stands behind the mask", entry("xor edx, edx; mov ecx, gs:[rdx + $cpuid + 8]")),
    inputs("junk popped into the state", leave("push rbx; pop qword [$state + 0x330]")),
    stores("the field of the saved rsp counts", leave("inc dword [$state + 0x90]")),
    stores("the field of the saved IDT counts", leave("inc word [$state + $idt]")),
    inputs("cr8", unless("mov r9, cr8; cmp r9, 5")),
    inputs("a bit of dr6", unless("mov r9, dr6; test r9d, 1", "je")),
    inputs(
        "a counter in a field that the entry does not save",
        entry("inc dword [rdi + 0x1f0]; cmp dword [rdi + 0x1f0], 3; jne fine; xor eax, eax; fine:"),
    ),
    undefined(
        "SF after imul, by a conditional move",
        unless(
            "mov r10d, 1; xor r9d, r9d; imul r11d, r10d, 3; cmovs r9d, r10d; test r9d, r9d", "je"
        ),
    ),
    undefined("SF after bt, by set", unless("bt eax, 1; sets r10b; test r10b, r10b", "je")),
    undefined("OF after bt", unless("bt eax, 3", "jno")),
    stores("the state, on the eighth CPU", entry(f"cmp ecx, 7; jne fine; {SPOIL}; fine:")),
    stores("the state, where no CPU is known", leave("bts dword [$state + 0x330], 3")),
    stores("the state, by an exchange", leave("xor r9d, r9d; xchg dword [$state + 0x330], r9d")),
    stores("a field of the entry's, at the exit", leave("str [$state + $tr_sel]")),
    stores("the state, by way of another register", leave("lea r9, [rdi + 8]; mov byte [r9], 0")),
    stores(
        "the state, by a displaced instruction with another address, while the lock is held",
        entry(
            "movabs rdx, =kpatch_tss_lock; cmp dword [rdx], 0; je fine; add rdi, 256;"
            "sidt [$state + $idt]; sub rdi, 256; fine:"
        ),
    ),
    effect("a byte of the state is set", leave(SPOIL)),
    effect("a byte of the state is set behind a pause", leave(f"pause; {SPOIL}")),
    effect("another CPU is waited for", leave("again:; pause; cmp dword [r8 + 64], 0; je again")),
    effect("a byte of the state is set at the entry", entry(SPOIL)),
    effect("the saved selector is cleared", leave("mov word [$state + $tr_sel], 0")),
    effect("AC stays set", leave("pushfq; or qword [rsp], 0x40000; popfq")),
    effect("a debug register keeps the lock's address", leave("mov dr3, r8")),
    effect("the saved cr4 is another", leave("mov qword [$state + 0xc0], 0")),
    effect("the monitor finds DF set", entry("std")),
    effect("the monitor finds NT set", entry("pushfq; or qword [rsp], 0x4000; popfq")),
    effect("the monitor finds another DR7", entry("mov edx, 0xf0000400; mov dr7, rdx")),
    effect("the monitor finds another FS", entry("xor edx, edx; mov fs, edx")),
    effect("TS is set, as it mostly is", entry("mov rdx, cr0; or edx, 8; mov cr0, rdx")),
    effect("TSD is cleared, as it mostly is", leave("mov r9, cr4; and r9d, -5; mov cr4, r9")),
    effect("a debug address is cleared", leave("xor eax, eax; mov dr1, rax")),
    inputs(
        "what it has left below the stack pointer",
        leave("mov qword [rsp + -8], rax; cmp qword [rsp + -8], rax; jne fine; fine:"),
    ),
    inputs(
        "a way by a shift that a CPU takes modulo 32",
        leave(_HIDDEN.format(make="shl r9d, 32", past=26)),
    ),
    inputs(
        "a way by a pop beside rsp",
        leave(_HIDDEN.format(make="push 0; push r9; pop qword [rsp]; pop r9", past=31)),
    ),
    *(
        inputs(
            f"{look} of an LDT that this process has not",
            unless(f"mov r9d, 15; mov r10d, 1; {look} {operands}", "jne"),
        )
        for look, operands in (("verr", "r9w"), ("lsl", "r10d, r9d"))
    ),
    inputs(
        "a stash that lies below the stack pointer for one instruction",
        Lines("push rax", "mov qword [rsp + -8], rax; sub rsp, 8"),
    ),
    inputs("a variable of the monitor", unless("cmp dword [rdx + 0x9000], 7")),
    effect("the caches are off", before("acquire:", "mov r9, cr0; bts r9, 30; mov cr0, r9")),
    effect("a bit of cr0 that a CPU refuses", leave("mov r9, cr0; bts r9, 40; mov cr0, r9")),
    inputs("the way back, read after it is popped", leave("mov r9, qword [rsp + -16]; jmp r9")),
    *ADDRESSES,
)
