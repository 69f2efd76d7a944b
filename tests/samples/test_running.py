"""The samples run: kqemu_init, the world switch both ways, the monitor and its guest."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from kpatch.elf.module import read_module
from tests.samples.guest_code import (
    FLAGS,
    GUEST_SIZE,
    PROGRAMS,
    assemble,
    run_on_cpu,
)
from tests.samples.guest_forms import DIVISIONS, FAULTS, FORMS, INVALID
from tests.samples.host import KERNEL, TSS, Host, free_tss

SAMPLES = Path(__file__).parents[2] / "samples"

REQUEST_RUN, REQUEST_RESET, REQUEST_CHECKSUM = 1, 2, 3
ANSWER_BUDGET, ANSWER_HALT, ANSWER_INVALID, ANSWER_FAULT, ANSWER_PORT, ANSWER_DIVIDE = range(6)
ANSWER_DONE, ANSWER_PRIVILEGED = 7, 8

MONITOR_TR = 0xF1A0
GDT_IN_SESSION = 24  # struct kqemu_session in core.h: image, state, top, and then the areas

# struct guest in the state: behind the last field of the switch come request, answer, budget.
GUEST_AT = {"kqemu-7.ko": 0x2470, "kqemu-7-offsets.ko": 0x140}
RUNNABLE = (
    "kqemu-7.ko",
    "kqemu-6.ko",
    "kqemu-8.ko",
    "kqemu-7-global.ko",
    "kqemu-7-data.ko",
    "kqemu-7-norela.ko",
    "kqemu-7-offsets.ko",
    "kqemu-7-ehframe.ko",
    "kqemu-7-near.ko",
    "kqemu-7-jump.ko",
    "kqemu-7-nodr7.ko",
    "kqemu-7-pushes.ko",
    "kqemu-7-fix-a.ko",
    "kqemu-7-fix-b.ko",
    "kqemu-6-fix-a.ko",
    "kqemu-7-fix-a-clang.ko",
    "kqemu-6-fix-b-clang.ko",
    "kqemu-7-fix-c.ko",
    "kqemu-unknown.ko",
)


@dataclass(frozen=True)
class Guest:
    """A session of a sample that runs on a host of its own."""

    host: Host
    session: int
    guest_at: int

    @property
    def memory(self) -> int:
        """The kernel's address of the guest's memory."""
        return self.host.call("kqemu_guest_memory", self.session)

    def request(self, number: int, budget: int = 0) -> int:
        """One visit to the monitor; its answer."""
        return self.host.call("kqemu_run", self.session, number, budget)

    def state(self) -> tuple[tuple[int, ...], int, int]:
        """Registers, flags and rip of the guest."""
        state = self.host.read_u64(self.session + 8)
        *registers, flags, rip = struct.unpack(
            "<18Q", self.host.read(state + self.guest_at, 18 * 8)
        )
        return tuple(registers), flags & FLAGS, rip

    def run(self, code: bytes, budget: int = 1_000_000) -> int:
        """Reset the guest, give it ``code`` and run it."""
        self.request(REQUEST_RESET)
        self.host.write(self.memory, bytes(GUEST_SIZE))
        self.host.write(self.memory, code)
        return self.request(REQUEST_RUN, budget)


def start(name: str) -> Guest:
    """A sample on a new host, after kqemu_init."""
    host = Host(read_module((SAMPLES / name).read_bytes(), name))
    session = host.call("kqemu_init")
    assert session != 0
    return Guest(host, session, GUEST_AT.get(name, GUEST_AT["kqemu-7.ko"]))


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_switch_goes_to_the_monitor_and_back(name: str) -> None:
    guest = start(name)
    assert guest.request(REQUEST_RESET) == ANSWER_DONE


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-offsets.ko"])
def test_the_switch_brings_back_all_that_belongs_to_the_kernel(name: str) -> None:
    guest = start(name)
    before = guest.host.standing()
    for _ in range(3):
        assert guest.request(REQUEST_RESET) == ANSWER_DONE
        assert guest.host.standing() == before


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-offsets.ko"])
def test_the_monitor_sees_the_guests_memory(name: str) -> None:
    guest = start(name)
    contents = bytes(range(256)) * (GUEST_SIZE // 256)
    guest.host.write(guest.memory, contents)
    assert guest.request(REQUEST_CHECKSUM) == ANSWER_DONE
    assert guest.state()[0][0] == zlib.crc32(contents)


def test_the_entry_puts_the_guests_own_descriptor_back() -> None:
    guest = start("kqemu-7.ko")
    slot = guest.host.read_u64(guest.session + GDT_IN_SESSION) + MONITOR_TR
    guest.host.write(slot, b"the guest's own.")
    assert guest.request(REQUEST_RESET) == ANSWER_DONE
    assert guest.host.read(slot, 16) == b"the guest's own."


def test_the_exit_loads_whatever_tss_the_slot_names() -> None:
    """The defect itself: another CPU's TSS in the slot is loaded without a word."""
    guest = start("kqemu-7.ko")
    other = KERNEL + TSS + 104
    gdt = guest.host.standing()["gdtr"]
    assert isinstance(gdt, tuple)
    guest.host.write(gdt[1] + 0x30, free_tss(other))
    assert guest.request(REQUEST_RESET) == ANSWER_DONE
    task_register = guest.host.standing()["tr"]
    assert isinstance(task_register, tuple)
    assert task_register[:2] == (0x30, other)


@pytest.mark.parametrize("program", sorted(PROGRAMS | FORMS))
def test_the_interpreter_agrees_with_a_cpu(program: str, tmp_path: Path) -> None:
    code = assemble((PROGRAMS | FORMS)[program], tmp_path)
    guest = start("kqemu-7.ko")
    assert guest.run(code) == ANSWER_HALT
    registers, flags, _ = guest.state()
    memory = guest.host.read(guest.memory, GUEST_SIZE)
    assert (registers, flags, memory) == run_on_cpu(code)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("1: jmp 1b", ANSWER_BUDGET),
        ("ud2", ANSWER_INVALID),
        ("str %ax", ANSWER_PRIVILEGED),
        ("xor %esp, %esp; push %rax", ANSWER_FAULT),
        ("xor %eax, %eax; mov %eax, (%rax)", ANSWER_FAULT),
        ("xor %ecx, %ecx; div %ecx", ANSWER_DIVIDE),
        ("in %dx, %al", ANSWER_PORT),
    ],
)
def test_the_monitor_says_why_the_guest_stopped(code: str, answer: int, tmp_path: Path) -> None:
    assert start("kqemu-7.ko").run(assemble(code, tmp_path), budget=1000) == answer


@pytest.mark.parametrize(
    ("codes", "answer"),
    [(FAULTS, ANSWER_FAULT), (DIVISIONS, ANSWER_DIVIDE), (INVALID, ANSWER_INVALID)],
)
def test_what_stops_the_guest_stops_it_in_every_form(
    codes: tuple[str, ...], answer: int, tmp_path: Path
) -> None:
    guest = start("kqemu-7.ko")
    for code in codes:
        assert (code, guest.run(assemble(code, tmp_path), budget=1000)) == (code, answer)
