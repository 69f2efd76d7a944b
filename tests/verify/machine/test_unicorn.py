"""What the machine relies on in Unicorn, each measured on its own.

If a release changes one of these, the emulation is wrong in a way that its own tests may not show.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_CODE,
    UC_HOOK_INTR,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MODE_64,
    Uc,
)
from unicorn import x86_const as x86

from kpatch.units import PAGE, Address
from kpatch.verify.hardware.descriptors import BUSY, CODE64, DATA, FREE, parse, tss_descriptor
from kpatch.verify.hardware.memory import Arena, Bump, Region
from kpatch.verify.hardware.paging import AddressSpace
from kpatch.verify.world.hostile_guest import hostile_stub
from kpatch.verify.world.kernel_text import TAIL_AT, _ssdtosyssd, tail
from tests.referees import require

KERNEL = 0xFFFF_FFFF_8000_0000
CODE, GDT, TSS, OTHER = 0x1000, 0x2000, 0x3000, 0x5000


class Bench:
    """One bare engine in long mode, all its memory mapped from KERNEL on, and a log."""

    def __init__(self, code: str) -> None:
        self.arena = Arena(0, 0x10_0000)
        pages = Bump(self.arena)
        pages.pages(0x6000)
        everything = Region("all", Address(KERNEL), 0, 0x6000, False)
        self.spaces = []
        for moved in (False, True):
            space = AddressSpace(self.arena, pages)
            space.map(everything)
            if moved:  # the second set of tables has another page at OTHER
                space.map(Region("moved", Address(KERNEL + OTHER), 0x4000, PAGE, False))
            self.spaces.append(space)
        self.arena.write(CODE, bytes.fromhex(code))
        self.arena.write(GDT + 0x20, CODE64 + DATA)
        self.arena.write(GDT + 0x30, tss_descriptor(KERNEL + TSS))
        self.log: list[tuple[str, int, int]] = []
        self.stop = 0
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.mem_map_ptr(0, self.arena.size, 7, self.arena.pointer)
        uc.reg_write(x86.UC_X86_REG_CR4, 0xA0)
        uc.reg_write(x86.UC_X86_REG_CR3, self.spaces[0].root)
        uc.msr_write(0xC000_0080, 0xD01)
        uc.reg_write(x86.UC_X86_REG_CR0, 0x8005_003B)
        uc.reg_write(x86.UC_X86_REG_GDTR, (0, KERNEL + GDT, 0x67, 0))
        uc.reg_write(x86.UC_X86_REG_CS, 0x20)
        uc.reg_write(x86.UC_X86_REG_SS, 0x28)
        uc.hook_add(UC_HOOK_CODE, self._on_code)
        uc.hook_add(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, self._on_memory)
        uc.hook_add(UC_HOOK_INTR, self._on_exception)

    def run(self, start: int, stop: int) -> list[tuple[str, int, int]]:
        """From one offset in the code to just before another."""
        self.log.clear()
        self.stop = KERNEL + CODE + stop
        self.uc.emu_start(KERNEL + CODE + start, 0)
        return self.log

    def _on_code(self, uc: Uc, address: int, size: int, data: object) -> None:
        if address == self.stop:
            uc.emu_stop()

    def _on_memory(
        self, uc: Uc, access: int, address: int, size: int, value: int, data: object
    ) -> None:
        self.log.append(("write" if access == 17 else "read", address, size))

    def _on_exception(self, uc: Uc, number: int, data: object) -> None:
        self.log.append(("exception", number, 0))
        uc.emu_stop()


SPOILED = ["rcx", "rdx", "rbx", "rbp", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"]

LOAD_TR = "66b83000 0f00d8 90 90"  # mov ax, 0x30; ltr ax; nop; nop


def test_ltr_reads_the_whole_descriptor_and_writes_its_busy_bit() -> None:
    bench = Bench(LOAD_TR)
    log = bench.run(0, 7)
    slot = GDT + 0x30
    assert log == [*(("read", slot + at, 4) for at in (0, 4, 8, 12)), ("write", slot + 4, 4)]
    assert parse(bench.arena.read(slot, 16)).type == BUSY
    assert bench.uc.reg_read(x86.UC_X86_REG_TR)[:3] == (0x30, KERNEL + TSS, 0x67)


def test_ltr_of_a_busy_tss_faults_and_writes_nothing() -> None:
    bench = Bench(LOAD_TR)
    bench.arena.write(GDT + 0x30, tss_descriptor(KERNEL + TSS, BUSY))
    log = bench.run(0, 7)
    assert log[-1] == ("exception", 13, 0)
    assert not any(kind == "write" for kind, _, _ in log)
    assert bench.uc.reg_read(x86.UC_X86_REG_RIP) == KERNEL + CODE + 4


def test_a_context_keeps_tr_with_its_hidden_base() -> None:
    bench = Bench(LOAD_TR)
    before = bench.uc.context_save()
    bench.run(0, 7)
    after = bench.uc.context_save()
    bench.uc.context_restore(before)
    assert bench.uc.reg_read(x86.UC_X86_REG_TR)[1] == 0
    bench.uc.context_restore(after)
    assert bench.uc.reg_read(x86.UC_X86_REG_TR)[1] == KERNEL + TSS


def test_stopping_in_a_code_hook_leaves_the_instruction_undone() -> None:
    bench = Bench("b801000000 b802000000 90")  # mov eax, 1; mov eax, 2; nop
    bench.run(0, 5)
    assert bench.uc.reg_read(x86.UC_X86_REG_RAX) == 1
    assert bench.uc.reg_read(x86.UC_X86_REG_RIP) == KERNEL + CODE + 5


READ_OTHER = "48b800500080ffffffff 488b18 90"  # mov rax, KERNEL + OTHER; mov rbx, [rax]; nop


def test_memory_hooks_get_physical_addresses() -> None:
    bench = Bench(READ_OTHER)
    bench.uc.reg_write(x86.UC_X86_REG_CR3, bench.spaces[1].root)
    assert bench.run(0, 13) == [("read", 0x4000, 8)]


def test_writing_cr3_drops_the_translations_that_restoring_a_context_leaves() -> None:
    bench = Bench(READ_OTHER)
    bench.run(0, 13)
    first = bench.uc.context_save()
    bench.uc.reg_write(x86.UC_X86_REG_CR3, bench.spaces[1].root)
    assert bench.run(0, 13) == [("read", 0x4000, 8)]
    bench.uc.context_restore(first)
    bench.uc.reg_write(x86.UC_X86_REG_CR3, bench.spaces[0].root)
    assert bench.run(0, 13) == [("read", OTHER, 8)]


def test_a_hook_comes_before_the_write_that_it_reports() -> None:
    bench = Bench("48b800500080ffffffff c60055 90")  # mov rax, KERNEL + OTHER; mov byte [rax], 0x55
    seen: list[bytes] = []

    def before(uc: Uc, access: int, address: int, size: int, value: int, data: object) -> None:
        seen.append(bench.arena.read(address, size))

    bench.uc.hook_add(UC_HOOK_MEM_WRITE, before)
    bench.run(0, 13)
    assert (seen, bench.arena.read(OTHER, 1)) == ([b"\0"], b"\x55")


def test_no_access_sets_a_bit_in_the_page_tables() -> None:
    bench = Bench(READ_OTHER)
    tables = bench.arena.read(0x6000, 0xA000)
    bench.run(0, 13)
    assert bench.arena.read(0x6000, 0xA000) == tables


def _leaving(flags: str, values: Sequence[int]) -> str:
    """One call of the exit by the stub. ``as`` would push a small number in one byte."""
    return (
        "movabs rax, 0xb; mov ds, eax; mov es, eax; mov fs, eax; mov gs, eax;"
        "movabs rcx, 0xc0000100; movabs rax, 0x0bad0000; movabs rdx, 0x5eed; wrmsr;"
        "movabs rcx, 0xc0000101; movabs rax, 0x0bad0000; movabs rdx, 0x5eed; wrmsr;"
        "movabs rax, 0x700; mov dr7, rax; mov rax, cr0; xor rax, 8; mov cr0, rax;"
        f".byte 0x68; .long {flags}; popfq;"
        + "".join(f"movabs {name}, {value};" for name, value in zip(SPOILED, values, strict=True))
        + "movabs rdi, 0xf0013000; movabs rax, 0xf00000f3; call rax;"
    )


@pytest.mark.parametrize(
    ("code", "source"),
    [
        (
            _ssdtosyssd(0x67),
            "mov rax, [rdi]; mov ecx, eax; and ecx, 0xffffff; shl rcx, 16; mov edx, eax;"
            "shr edx, 24; shl rdx, 56; or rcx, rdx; movabs rdx, 0x890000000067; or rcx, rdx;"
            "mov [rsi], rcx; shr rax, 32; mov [rsi+8], eax; ret",
        ),
        (
            tail(
                {"rbx": KERNEL, "r12": 1}, {("rsp", 8): 5, ("rbp", -16): 6}, Address(TAIL_AT + 999)
            ),
            "start: sub rsp, 0x100; movabs rax, 5; {disp32} mov [rsp + 8], rax; movabs rax, 6;"
            "mov [rsp + 0xf0], rax; lea rbp, [rsp + 0x100];"
            f"movabs rbx, {KERNEL}; movabs r12, 1; .byte 0xe9; .long start + 999 - . - 4",
        ),
        (
            hostile_stub(0xF001_3000, 0xF000_00F3, 0x700),
            "start:;"
            + _leaving("0x2438d7", [0xBAD0_0000_0000_0BAD | n << 32 for n in range(len(SPOILED))])
            + _leaving("0x2", [0] * len(SPOILED))
            + ".byte 0xe9; .long start - . - 4",
        ),
    ],
    ids=["ssdtosyssd", "tail", "stub"],
)
def test_our_machine_code_is_what_the_assembler_makes_of_its_comments(
    tmp_path: Path, code: bytes, source: str
) -> None:
    require("as")
    (tmp_path / "in.s").write_text(
        ".intel_syntax noprefix\n.text\n" + source.replace(";", "\n") + "\n"
    )
    subprocess.run(["as", "-o", tmp_path / "o", tmp_path / "in.s"], check=True)
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "bin"], check=True
    )
    assert (tmp_path / "bin").read_bytes().rstrip(b"\0") == code.rstrip(b"\0")


def test_a_descriptor_survives_being_taken_apart() -> None:
    for base in (0, KERNEL + TSS, 0x0123_4567_89AB_CDEF, 0xFFFF_FFFF_FFFF_FFFF):
        for kind in (FREE, BUSY):
            whole = parse(tss_descriptor(base, kind, 0xF_1234))
            assert (whole.base, whole.type, whole.limit, whole.present) == (
                base,
                kind,
                0xF1234,
                True,
            )
    huge = bytearray(tss_descriptor(0))
    huge[6] |= 0x80
    assert parse(bytes(huge)).limit == 0x67FFF
