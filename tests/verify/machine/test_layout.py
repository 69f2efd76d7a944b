"""Reading the state structure out of a switch's own code."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.elf.module import read_module
from kpatch.errors import KpatchError, UnknownModuleError
from kpatch.isa.decode import decode
from kpatch.signature.load import load_signatures
from kpatch.signature.scan import find
from kpatch.verify.explore.result import Answer
from kpatch.verify.machine.scenarios import scenario_named
from kpatch.verify.machine.setup import Subject
from kpatch.verify.world.dataflow import Code, Event, Field, System, follow
from kpatch.verify.world.worldswitch import SwitchLayout, bind
from tests.secondsource.build import build
from tests.verify.machine.workshop import broken, image_bytes, judged, match_of

# What a real build of kqemu 1.4.0pre1 has, and kqemu-7.ko was made after it.
KNOWN = {
    "monitor_address": 0x8,
    "kernel_address": 0x10,
    "monitor_idt": 0x2C,
    "monitor_gdt": 0x36,
    "monitor_ldt_sel": 0x40,
    "monitor_ds_sel": 0x42,
    "monitor_jump": 0x50,
    "monitor_cs_sel": 0x58,
    "monitor_tr_sel": 0x5A,
    "monitor_cr3": 0x60,
    "monitor_dr7": 0x68,
    "loads_dr7": True,
    "nexus_to": 0,
    "kernel_jump": None,
    "frame": (0,) * 6,
    "monitor_rsp": 0x70,
    "host_idt": 0x78,
    "host_gdt": 0x82,
    "host_tr_sel": 0x8C,
    "host_ldt_sel": 0x8E,
    "host_rsp": 0x90,
    "host_ss": 0x98,
    "host_cs": 0xA8,
    "host_cr0": 0xB0,
    "host_cr3": 0xB8,
    "host_cr4": 0xC0,
    "nexus_address": 0xF8,
    "tss_cache": 0x2450,
}
ROUTINES = {
    "kernel_to_monitor",
    "monitor_side",
    "monitor_to_kernel",
    "kernel_side",
    "state_at_exit",
}


def test_every_field_of_the_known_build_is_found() -> None:
    found = {name: at for name, at in vars(bound(image_bytes())).items() if name not in ROUTINES}
    assert found == KNOWN


@pytest.mark.parametrize("name", ["kqemu-7-offsets.ko", "kqemu-6.ko", "kqemu-7-data.ko"])
def test_other_builds_are_bound_by_what_their_code_does(name: str) -> None:
    layout = bound(image_bytes(name))
    names = match_of(name).names
    assert (layout.host_tr_sel, layout.host_gdt) == (names["tr_sel"], names["gdt"])
    assert (layout.host_idt, layout.host_ldt_sel) == (names["idt"], names["ldt_sel"])


def test_fields_of_one_build_do_not_overlap() -> None:
    for name in ("kqemu-7.ko", "kqemu-7-offsets.ko"):
        layout = bound(image_bytes(name))
        offsets = [vars(layout)[key] for key, at in KNOWN.items() if type(at) is int and at]
        assert len(set(offsets)) == len(offsets)
        assert layout.state_size >= max(offsets) + 16


def test_the_exit_routine_is_found_behind_the_padding_of_the_entry() -> None:
    layout = bound(image_bytes())
    first = next(decode(image_bytes()[layout.monitor_to_kernel :]))
    assert first.mnemonic == "push"


def bound(image: bytes) -> SwitchLayout:
    """The layout by the five words of our samples' header."""
    words = struct.unpack_from("<5I", image) if len(image) >= 20 else (0,) * 5
    return bind(image, (words[0], words[2], words[3]))


def changed(at: int, code: str) -> bytes:
    image = bytearray(image_bytes())
    raw = bytes.fromhex(code)
    image[at : at + len(raw)] = raw
    return bytes(image)


@pytest.mark.parametrize(
    ("at", "code", "missing"),
    [
        (0x78, "909090 90", "load cr3"),
        (0x86, "90909090", "lidt"),
        (0x9A, "9090", "retf"),
        (0xCC, "909090", "ltr"),
        (0x11F, "9090", "jump to the kernel address"),
        (0x16E, "90", "no way back"),
        (0x14A, "0f0157 2c 909090", "lgdt"),
        (0x97, "ff77 d0", "uses -0x30"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(at: int, code: str, missing: str) -> None:
    with pytest.raises(UnknownModuleError, match=missing) as caught:
        bound(changed(at, code))
    assert "image offset 0x" in caught.value.where


def test_a_refusal_says_that_the_emulation_knows_one_kind_of_switch() -> None:
    halt = "f4"
    with pytest.raises(UnknownModuleError) as caught:
        bound(changed(struct.unpack_from("<5I", image_bytes())[2], halt))
    assert caught.value.exit_code == 11
    assert "the emulation knows kqemu's world switch only" in caught.value.todo


def test_a_header_that_points_elsewhere_is_refused() -> None:
    image = bytearray(image_bytes())
    struct.pack_into("<I", image, 12, 0x14)
    with pytest.raises(UnknownModuleError):
        bound(bytes(image))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_and_nothing_else(image: bytes) -> None:
    with pytest.raises(UnknownModuleError):
        bound(image)


@given(st.data())
def test_a_damaged_switch_is_bound_or_refused(data: st.DataObject) -> None:
    image = bytearray(image_bytes()[:0x400])
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, 0x1B0))] = data.draw(st.integers(0, 255))
    try:
        layout = bound(bytes(image))
    except KpatchError as error:
        assert isinstance(error, UnknownModuleError)
        return
    assert isinstance(layout, SwitchLayout)
    assert all(
        0 <= vars(layout)[name] < 1 << 20 for name in KNOWN if name not in ("frame", "kernel_jump")
    )


def events(code: str) -> tuple[Event, ...]:
    return follow(decode(bytes.fromhex(code))).events


def test_a_value_is_followed_through_registers() -> None:
    # mov rax, [rdi + 0x60]; mov rbx, rax; mov cr3, rbx
    assert events("488b4760 4889c3 0f22db") == (Event("load cr3", Field(0x60, 8), 7),)


def test_a_value_that_was_overwritten_is_forgotten() -> None:
    # mov rax, [rdi + 0x60]; xor eax, eax; mov cr3, rax
    assert events("488b4760 31c0 0f22d8") == ()


def test_a_stored_system_register_names_its_field() -> None:
    # mov rax, cr0; mov [rdi + 0x10], rax; mov ax, cs; mov [rdi + 0x18], ax
    assert events("0f20c0 48894710 668cc8 66894718") == (
        Event("store cr0", Field(0x10, 8), 3),
        Event("store cs", Field(0x18, 2), 10),
    )


def test_a_constant_added_to_a_field_is_kept() -> None:
    # mov rax, [rdi + 8]; lea rax, [rax + 0x20]; jmp rax
    assert events("488b4708 488d4020 ffe0") == (Event("jump", Field(8, 8, 0x20), 8),)


def test_pushed_code_is_known_by_its_offset() -> None:
    # lea rax, [rip + 3]; push rax; push cs is none in long mode: mov rax, cs; push rax
    assert events("488d0503000000 50 488cc8 50") == (
        Event("push", Code(10), 7),
        Event("push", System("cs"), 11),
    )


BACK = "movzwl K_CS(%rdi), %eax; push %rax; "
SAVED = "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15"
TAKEN = "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp"
SHAPES: Mapping[str, Mapping[str, str]] = {
    "leaves dr7 alone": {"SET_DR7": "", "CLEAR_DR7": ""},
    "clears dr7 at the exit": {"SET_DR7": "", "CLEAR_DR7": "mov $0, %eax; mov %rax, %dr7"},
    "goes on where a field says": {"PUSH_KERNEL": BACK + "pushq 0x108(%rdi)"},
    "goes on where the entry said": {
        "ENTRY_EXTRA": "lea kernel_side(%rip), %rax; mov %rax, 0x108(%rdi)",
        "PUSH_KERNEL": BACK + "mov 0x108(%rdi), %rdx; push %rdx",
    },
    "jumps where a field says": {"TO_NEXUS": "jmp *K_NEXUS(%rdi)"},
    "both": {"TO_NEXUS": "jmp *K_NEXUS(%rdi)", "PUSH_KERNEL": BACK + "pushq 0x108(%rdi)"},
    "pushes the flags too": {"PROLOGUE": f"pushf; {SAVED}", "EPILOGUE": f"{TAKEN}; popf"},
    "pushes seven": {"PROLOGUE": f"{SAVED}; push %rdi", "EPILOGUE": f"pop %rdi; {TAKEN}"},
    "stores what it saves": {
        "PROLOGUE": "sub $48, %rsp; mov %rbp, 40(%rsp); mov %rbx, 32(%rsp); mov %r12, 24(%rsp); "
        "mov %r13, 16(%rsp); mov %r14, 8(%rsp); mov %r15, (%rsp)",
        "EPILOGUE": "mov (%rsp), %r15; mov 8(%rsp), %r14; mov 16(%rsp), %r13; mov 24(%rsp), %r12; "
        "mov 32(%rsp), %rbx; mov 40(%rsp), %rbp; add $48, %rsp",
    },
    "saves at displacement 0": {"K_TR": "0"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_switch_is_understood_by_what_it_does(shape: str, tmp_path: Path) -> None:
    module = read_module(build(tmp_path, "7", SHAPES[shape]).read_bytes(), shape)
    subject = Subject.of(module, find(module, load_signatures()[0]).image)
    assert judged(subject, scenario_named("up")).verdict is Answer.PROVEN
    assert "own-tss" in broken(judged(subject))


@pytest.mark.parametrize(
    ("macros", "why"),
    [
        ({"PUSH_KERNEL": BACK + "lea nexus(%rip), %rax; push %rax"}, "does not go on at"),
        ({"EPILOGUE": "lea 1(%rsp), %rsp"}, "1 byte up"),
        ({"EPILOGUE": "sub $8, %rsp"}, "-8 bytes up"),
    ],
)
def test_a_switch_that_goes_astray_is_refused(
    macros: Mapping[str, str], why: str, tmp_path: Path
) -> None:
    module = read_module(build(tmp_path, "7", macros).read_bytes(), "astray")
    with pytest.raises(UnknownModuleError, match=why):
        Subject.of(module, find(module, load_signatures()[0]).image)
