"""Patches that are wrong for one value only, or in what they leave."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.verify.mutants.changes import Change, Lines, after, before
from tests.verify.mutants.machine_state import entry, leave
from tests.verify.mutants.variant import Variant

INPUTS, READS, STORES = "inputs", "reads", "stores"
DEFINED, SAME = "defined-flags", "same-effect"

STRIDE: Final = "imul rcx, rcx, $tss_stride"
_SPOIL: Final = "mov byte [$state + 0x330], 1"


class Wrong(NamedTuple):
    """A wrong patch, and the check that must find it."""

    name: str
    broken: str
    changes: tuple[Change, ...]

    @property
    def variant(self) -> Variant:
        """The patch."""
        return Variant(self.name, self.changes)


def _if(test: str, jump: str = "jne") -> Change:
    """At the exit: spoil the guest's state, unless ``jump`` is taken."""
    return leave(f"{test}; {jump} fine; {_SPOIL}; fine:")


def _inputs(name: str, *changes: Change) -> Wrong:
    return Wrong(name, INPUTS, changes)


def _undefined(name: str, *changes: Change) -> Wrong:
    return Wrong(name, DEFINED, changes)


def _reads(name: str, *changes: Change) -> Wrong:
    return Wrong(name, READS, changes)


def _stores(name: str, *changes: Change) -> Wrong:
    return Wrong(name, STORES, changes)


def _effect(name: str, *changes: Change) -> Wrong:
    return Wrong(name, SAME, changes)


_SLOT: Final = "add rcx, [$state + $gdt + 2]"
_HIDDEN: Final = (
    "call here; here:; pop r10; mov r9d, 1; {make}; shl r9d, 5; add r10, r9; add r10, {past};"
    "jmp r10; jmp fine"
    + 30 * "; nop"
    + "; cmp rbx, 5; jne fine; mov byte [$state + 0x330], 1; fine:"
)
"""Code 32 bytes behind where it goes on, where ``make`` leaves 1 in r9."""

WRONG: Final[tuple[Wrong, ...]] = (
    _inputs("one value of rbx at the exit", _if("movabs r9, 0x1122334455667788; cmp rbx, r9")),
    _inputs("one value of rbx at the entry", entry("cmp rbx, 77; jne fine; xor eax, eax; fine:")),
    _inputs("one value of a part of rbx", _if("cmp bh, 77")),
    _inputs(
        "junk of r11 in the stash", before("push rax", "and r11, 1; shl r11, 63; xor rax, r11")
    ),
    _inputs("one value of rbx by way of the stack", _if("push rbx; pop r9; cmp r9, 5")),
    _inputs(
        "one value of rbx by way of the stash",
        before("push rax", "cmp rbx, 5; jne fine; xor eax, eax; fine:"),
    ),
    _inputs(
        "one value of rbx by way of arithmetic",
        _if("lea r9, [rbx + 4]; imul r9, r9, 3; cmp r9, 27"),
    ),
    _inputs(
        "one value of rbx by a conditional move",
        _if("xor r9d, r9d; cmp rbx, 5; cmove r9d, eax; cmp r9d, eax"),
    ),
    _inputs(
        "one value of rbx by the count of a shift",
        _if("mov ecx, ebx; mov r9d, 1; shl r9, cl; cmp r9, 32"),
    ),
    _inputs(
        "one value of rbx in the selector",
        before("ltr ax", "xor r10d, r10d; cmp rbx, 5; cmove eax, r10d"),
    ),
    _inputs(
        "the carry that the guest left", before("pop rsi", "pop rsi; push rsi; jb fine; fine:")
    ),
    _inputs("flags that the guest left, pushed", _if("pushfq; pop r9; test r9d, 0x200000", "je")),
    _inputs("memory below the stack", _if("mov r9, qword [rsp + -64]; cmp r9, 5")),
    _inputs(
        "what the stack pointer has passed over",
        after("pop rsi", "sub rsp, 8; mov rsi, [rsp]; pop r9"),
    ),
    _inputs("a frame given up for a while", leave("add rsp, 64; nop; sub rsp, 64")),
    _inputs("a frame given up at the entry", entry("add rsp, 16; nop; sub rsp, 16")),
    _inputs("a stack in the lock's page", leave("mov r9, rsp; lea rsp, [r8 + 512]; mov rsp, r9")),
    _inputs("a stack that is none", leave("push rsp; sub rsp, 65536; add rsp, 65536; pop r9")),
    _inputs(
        "no lock for a bit of the GDT's address",
        before("acquire:", "mov r9, [$state + $gdt + 2]; test r9d, 0x20000; jne owner"),
    ),
    _inputs("no lock for a bit of the slot's address", before("acquire:", "bt ecx, 17; jb owner")),
    _inputs(
        "no lock for a bit of the address that sgdt tells",
        before("acquire:", "push 0; push 0; sgdt [rsp]; pop r9; pop r10; bt r9, 33; jb owner"),
    ),
    _inputs(
        "two locks, by the GDT's address",
        before("acquire:", "mov r9d, ecx; shr r9d, 11; and r9d, 0x40; add r8, r9"),
    ),
    _inputs("a bit of the slot's address is taken to be clear", after(_SLOT, "btr rcx, 14")),
    _inputs("the same by a mask", after(_SLOT, "mov r9, -16385; and rcx, r9")),
    *(
        _inputs(f"no lock for {what}", before("acquire:", f"{test} owner"))
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
    _inputs(
        "the selector for a bit of a sum with the lock's address",
        before("ltr ax", "lea r9, [r8 + 4096]; xor r10d, r10d; bt r9d, 13; cmovb eax, r10d"),
    ),
    _inputs(
        "the descriptor for a bit of such a sum",
        before(
            "mov qword [rcx], r9",
            "lea r10, [r8 + 4096]; shr r10d, 13; and r10d, 1; shl r10, 52; or r9, r10",
        ),
    ),
    _inputs("the GDT's address beside the lock", leave("mov qword [r8 + 64], rcx")),
    _inputs("its caller's frame", _if("mov r9, qword [rsp + 72]; cmp r9, 5")),
    _inputs("a field that is not the switch's", _if("cmp dword [$state + 0x330], 7")),
    _inputs("a field that the monitor has", _if("cmp dword [$state + 0x60], 0x7777")),
    _inputs("the saved cr3", _if("mov r9, [$state + 0xb8]; cmp r9, 5")),
    _inputs("the saved LDT selector", _if("movzx r9d, word [$state + $ldt_sel]; cmp r9d, 5")),
    _inputs(
        "another field of struct pcpu",
        entry(f"xor edx, edx; mov rcx, gs:[rdx]; cmp rcx, 5; jne fine; {_SPOIL}; fine:"),
    ),
    _inputs(
        "struct pcpu at a place that depends",
        entry(f"mov rcx, gs:[rbx + $cpuid]; cmp rcx, 5; jne fine; {_SPOIL}; fine:"),
    ),
    _inputs("a low bit of the stack's address", _if("mov r9d, esp; test r9b, 16", "je")),
    _inputs("a low bit of the state's address", _if("test dil, 16", "je")),
    _inputs(
        "two locks, by a low bit of the stack's address",
        after("movabs r8, =kpatch_tss_lock", "mov r9, rsp; shl r9d, 2; and r9d, 0x40; add r8, r9"),
    ),
    _inputs("the stack's address beside the lock", leave("mov qword [r8 + 64], rsp")),
    _inputs("a bit of its own code's address", _if("call here; here:; pop r9; bt r9d, 13", "jb")),
    _inputs(
        "a bit of its own code's address, masked and moved",
        _if("call here; here:; pop r9; and r9d, 0x2000; push r9; pop r10; test r10d, r10d", "je"),
    ),
    _inputs("a bit of its caller's address", _if("mov r9, [rsp + 48]; bt r9d, 20", "jb")),
    _inputs("a bit of a variable's address", _if("movabs r9, =__pcpu; bt r9d, 20", "jb")),
    _inputs(
        "a bit of an address that its own code holds",
        _if("movabs r9, =gdt; call here; here:; pop r9; mov r9, [r9 + -13]; bt r9d, 13", "jb"),
    ),
    _inputs("cr2", _if("mov r9, cr2; cmp r9, 5")),
    _inputs("a debug register", _if("mov r9, dr0; cmp r9, 5")),
    _inputs("one bit of cr0", _if("mov r9, cr0; test r9d, 0x20000", "je")),
    _inputs("a segment register", _if("mov r9d, ds; cmp r9d, 5")),
    _inputs(
        "what is in a TSS",
        entry(f"movabs rcx, =common_tss; cmp qword [rcx + 4], 5; jne fine; {_SPOIL}; fine:"),
    ),
    _inputs(
        "a jump through a conditional move", leave("cmp rbx, 5; mov r9, rdx; cmove r9, r12; jmp r9")
    ),
    _inputs(
        "junk is divided by",
        leave("push rdx; push rax; xor edx, edx; mov eax, 1; or ebx, 1; div ebx; pop rax; pop rdx"),
    ),
    _inputs("junk beside the lock", leave("xchg qword [r8 + 8], rbx")),
    _inputs("junk in the state", leave("mov qword [$state + 0x330], r12")),
    _inputs(
        "one bit of rbx in the state",
        leave("mov r9, rbx; and r9d, 1; mov byte [$state + 0x331], r9b"),
    ),
    _inputs(
        "a register that was saved in the state",
        entry("mov qword [$state + 0x338], rax"),
        _if("cmp qword [$state + 0x338], 5"),
    ),
    _undefined("ZF after imul", after(STRIDE, "jne fine; fine:")),
    _undefined("SF after imul", after(STRIDE, "js fine; fine:")),
    _undefined("PF after mul", leave("push rdx; mov r9d, 3; mul r9d; jp fine; fine:; pop rdx")),
    _undefined("AF after and", _if("and r9d, 1; pushfq; pop r10; test r10d, 16", "je")),
    _undefined("OF after a shift by cl", _if("mov cl, 3; mov r9d, 5; shl r9d, cl", "jno")),
    _undefined("OF after a shift by three", _if("mov r9d, 5; shl r9d, 3", "jno")),
    _undefined(
        "OF after a rotation by three", _if("mov r9d, 5; ror r9d, 3; setb cl; rol r9d, 3", "jno")
    ),
    _undefined("CF after a shift by more than the width", _if("mov r9d, 5; shr r9b, 9", "jae")),
    _undefined("CF after bsf", _if("mov r9d, 5; bsf r9d, r9d", "jae")),
    _undefined(
        "what bsf makes of zero", _if("xor r10d, r10d; mov r9d, 5; bsf r9d, r10d; cmp r9d, 5", "je")
    ),
    _undefined("SF after bt", _if("bt eax, 3", "jns")),
    _undefined("OF after shld", _if("mov r9d, 5; shld r9d, eax, 3", "jno")),
    _undefined(
        "16 bits shifted by 20, as QEMU has it",
        _if("mov r9d, 5; mov r10d, 6; shrd r9w, r10w, 20; cmp r9w, 96", "je"),
    ),
    _undefined(
        "16 bits shifted by what cl says",
        _if("movzx ecx, al; and ecx, 0x14; mov r9d, 5; shld r9w, r9w, cl; cmp r9w, 5", "je"),
    ),
    _undefined("the carry of 16 bits shifted by 20", _if("mov r9d, 5; shld r9w, r9w, 20", "jae")),
    _undefined("CF after a move from cr0", _if("mov r9, cr0", "jae")),
    _undefined(
        "the carry of bsf, added",
        _if("mov r9d, 5; bsf r9d, r9d; mov r9d, 0; adc r9d, 0; cmp r9d, 0", "je"),
    ),
    _undefined(
        "CF after bsf, by way of the stack",
        _if("mov r9d, 5; bsf r9d, r9d; pushfq; pop r10; test r10d, 1", "je"),
    ),
    _undefined(
        "lzcnt, which is bsr elsewhere", _if("mov r9d, 5; lzcnt r9d, r9d; cmp r9d, 29", "je")
    ),
    _undefined(
        "tzcnt, which is bsf elsewhere", _if("mov r9d, 5; tzcnt r9d, r9d; cmp r9d, 0", "je")
    ),
    _undefined("lahf, which the first x86-64 CPUs lack", leave("lahf")),
    _undefined(
        "cmpxchg16b, which they lack too",
        leave(
            "push rdx; push rbx; push 0; push 0; xor ecx, ecx; cmpxchg16b [rsp]; add rsp, 16;"
            "pop rbx; pop rdx"
        ),
    ),
    _inputs(
        "the TSS that the stash names",
        before(
            "test rsi, rsi",
            "test rsi, rsi; je no; cmp qword [rsi + 4], 5; jne no; xor esi, esi; no:",
        ),
    ),
    _inputs("the TR that the monitor has", _if("str r9d; cmp r9d, 5")),
    _inputs("a bit that rbx counts to", _if("push rdx; bts qword [rsp], rbx; pop r9; cmp r9, 5")),
    _inputs(
        "junk that one way overwrites",
        before(
            "push rax",
            "push rbx; cmp ecx, 1; jne a; mov qword [rsp], 1; a:; pop r11; cmp r11, 1; jne b; b:",
        ),
    ),
    _reads(
        "the kernel's code descriptor", leave("mov r9, [$state + $gdt + 2]; mov r9, qword [r9 + 8]")
    ),
    _reads("the descriptor behind the slot", leave("mov r9, qword [rcx + 16]")),
    _reads("a TSS", entry("movabs rcx, =common_tss; mov rcx, qword [rcx + 4]")),
    _reads("curthread", entry("xor edx, edx; mov rcx, gs:[rdx]")),
    _reads("what stands behind the mask", entry("xor edx, edx; mov ecx, gs:[rdx + $cpuid + 8]")),
    _inputs("junk popped into the state", leave("push rbx; pop qword [$state + 0x330]")),
    _stores("the field of the saved rsp counts", leave("inc dword [$state + 0x90]")),
    _stores("the field of the saved IDT counts", leave("inc word [$state + $idt]")),
    _inputs("cr8", _if("mov r9, cr8; cmp r9, 5")),
    _inputs("a bit of dr6", _if("mov r9, dr6; test r9d, 1", "je")),
    _inputs(
        "a counter in a field that the entry does not save",
        entry("inc dword [rdi + 0x1f0]; cmp dword [rdi + 0x1f0], 3; jne fine; xor eax, eax; fine:"),
    ),
    _undefined(
        "SF after imul, by a conditional move",
        _if("mov r10d, 1; xor r9d, r9d; imul r11d, r10d, 3; cmovs r9d, r10d; test r9d, r9d", "je"),
    ),
    _undefined("SF after bt, by set", _if("bt eax, 1; sets r10b; test r10b, r10b", "je")),
    _undefined("OF after bt", _if("bt eax, 3", "jno")),
    _stores("the state, on the eighth CPU", entry(f"cmp ecx, 7; jne fine; {_SPOIL}; fine:")),
    _stores("the state, where no CPU is known", leave("bts dword [$state + 0x330], 3")),
    _stores("the state, by an exchange", leave("xor r9d, r9d; xchg dword [$state + 0x330], r9d")),
    _stores("a field of the entry's, at the exit", leave("str [$state + $tr_sel]")),
    _stores("the state, by way of another register", leave("lea r9, [rdi + 8]; mov byte [r9], 0")),
    _stores(
        "the state, by a displaced instruction with another address, while the lock is held",
        entry(
            "movabs rdx, =kpatch_tss_lock; cmp dword [rdx], 0; je fine; add rdi, 256;"
            "sidt [$state + $idt]; sub rdi, 256; fine:"
        ),
    ),
    _effect("a byte of the state is set", leave(_SPOIL)),
    _effect("a byte of the state is set behind a pause", leave(f"pause; {_SPOIL}")),
    _effect("another CPU is waited for", leave("again:; pause; cmp dword [r8 + 64], 0; je again")),
    _effect("a byte of the state is set at the entry", entry(_SPOIL)),
    _effect("the saved selector is cleared", leave("mov word [$state + $tr_sel], 0")),
    _effect("AC stays set", leave("pushfq; or qword [rsp], 0x40000; popfq")),
    _effect("a debug register keeps the lock's address", leave("mov dr3, r8")),
    _effect("the saved cr4 is another", leave("mov qword [$state + 0xc0], 0")),
    _effect("the monitor finds DF set", entry("std")),
    _effect("the monitor finds NT set", entry("pushfq; or qword [rsp], 0x4000; popfq")),
    _effect("the monitor finds another DR7", entry("mov edx, 0xf0000400; mov dr7, rdx")),
    _effect("the monitor finds another FS", entry("xor edx, edx; mov fs, edx")),
    _effect("TS is set, as it mostly is", entry("mov rdx, cr0; or edx, 8; mov cr0, rdx")),
    _effect("TSD is cleared, as it mostly is", leave("mov r9, cr4; and r9d, -5; mov cr4, r9")),
    _effect("a debug address is cleared", leave("xor eax, eax; mov dr1, rax")),
    _inputs(
        "what it has left below the stack pointer",
        leave("mov qword [rsp + -8], rax; cmp qword [rsp + -8], rax; jne fine; fine:"),
    ),
    _inputs(
        "a way by a shift that a CPU takes modulo 32",
        leave(_HIDDEN.format(make="shl r9d, 32", past=26)),
    ),
    _inputs(
        "a way by a pop beside rsp",
        leave(_HIDDEN.format(make="push 0; push r9; pop qword [rsp]; pop r9", past=31)),
    ),
    *(
        _inputs(
            f"{look} of an LDT that this process has not",
            _if(f"mov r9d, 15; mov r10d, 1; {look} {operands}", "jne"),
        )
        for look, operands in (("verr", "r9w"), ("lsl", "r10d, r9d"))
    ),
    _inputs(
        "a stash that lies below the stack pointer for one instruction",
        Lines("push rax", "mov qword [rsp + -8], rax; sub rsp, 8"),
    ),
    _inputs("a variable of the monitor", _if("cmp dword [rdx + 0x9000], 7")),
    _effect("the caches are off", before("acquire:", "mov r9, cr0; bts r9, 30; mov cr0, r9")),
    _effect("a bit of cr0 that a CPU refuses", leave("mov r9, cr0; bts r9, 40; mov cr0, r9")),
    _inputs("the way back, read after it is popped", leave("mov r9, qword [rsp + -16]; jmp r9")),
)
