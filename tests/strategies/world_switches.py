"""Monitor images: the world switch of kqemu in every form that the signature should know.

The instructions are those of the real switch. What varies from build to build is drawn: the
offsets in the state (and so the lengths of displacements), registers, the order of the four
stores, instructions in between, useless prefixes, and where each routine lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from struct import pack
from typing import Final

from hypothesis import strategies as st

from tests.strategies.machine_code import REX, REX_W, At, encode, load, pop, push, store

STATES: Final = ("rdi", "rbx", "rbp", "r11", "r12", "r13", "r14", "r15")
"""Registers that may hold the state: those that neither trampoline changes."""

SAVED: Final = ("rbp", "rbx", "r12", "r13", "r14", "r15")
OTHERS: Final = tuple(
    name for name in ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", *SAVED)
)
PADDING: Final = 768
"""Breakpoints around the switch: real images have code there, and noise must not jump in."""

_FIELDS: Final = {
    "tr_sel": 2, "idt": 10, "gdt": 10, "ldt_sel": 2, "cs": 2, "ss": 2, "rsp": 8, "cr0": 8, "cr3": 8,
}  # fmt: skip
_IN_ORDER: Final = ("tr_sel", "idt", "gdt", "ldt_sel")
_HEADER_SIZE: Final = 20
_FAR_RETURN: Final = bytes.fromhex("48cb")
_BREAKPOINT: Final = b"\xcc"


@dataclass(frozen=True, slots=True)
class Forms:
    """How one image is written. ``order`` is that of the four stores at the entry."""

    state: str = "rdi"
    sel: str = "rax"
    slot: str = "rcx"
    order: tuple[str, ...] = _IN_ORDER
    wide: bool = False
    entry_rex: int = 0
    entry_prefix: str = ""
    widened_load: bool = False
    copies_backwards: bool = False
    mask: str = "81"
    clears_a_byte: bool = False
    ltr_rex: int = 0
    fillers: tuple[tuple[bytes, ...], ...] = ((),) * 5


@dataclass(frozen=True, slots=True)
class Switch:
    """An image, and what a signature must find in it. Offsets and ends count from its start."""

    contents: bytes = field(repr=False)
    header: tuple[int, ...]
    entry: tuple[int, int]
    exit: tuple[int, int]
    names: Mapping[str, str | int]


def entry_site(forms: Forms, fields: Mapping[str, int]) -> bytes:
    """The four stores."""
    codes = {"tr_sel": ("0f00", 1), "idt": ("0f01", 1), "gdt": ("0f01", 0), "ldt_sel": ("0f00", 0)}
    return b"".join(
        encode(
            *codes[name],
            At(forms.state, fields[name], forms.wide),
            prefix=forms.entry_prefix,
            rex=forms.entry_rex,
        )
        for name in forms.order
    )


def exit_steps(forms: Forms, fields: Mapping[str, int]) -> tuple[bytes, ...]:
    """The six instructions that reload TR."""
    state, sel, slot = forms.state, forms.sel, forms.slot
    tr_sel = At(state, fields["tr_sel"], forms.wide)
    return (
        encode("0fb7", sel, tr_sel)
        if forms.widened_load
        else encode("8b", sel, tr_sel, prefix="66"),
        encode("8b", slot, sel) if forms.copies_backwards else encode("89", sel, slot),
        _masked(slot, forms.mask),
        encode("03", slot, At(state, fields["gdt"] + 2, forms.wide), rex=REX_W),
        encode("80", 4, At(slot, 5), immediate=b"\xfd")
        if forms.clears_a_byte
        else encode("81", 4, At(slot, 4), immediate=pack("<I", 0xFFFFFDFF)),
        encode("0f00", 3, sel, rex=forms.ltr_rex),
    )


def exit_site(forms: Forms, fields: Mapping[str, int]) -> bytes:
    """The same, with ``fillers`` between them."""
    steps = exit_steps(forms, fields)
    code = steps[0]
    for between, step in zip(forms.fillers, steps[1:], strict=True):
        code += b"".join(between) + step
    return code


def _masked(slot: str, mask: str) -> bytes:
    if mask == "83":
        return encode("83", 4, slot, immediate=b"\xf8")
    if mask == "25" and slot == "rax":
        return bytes.fromhex("25") + pack("<I", 0xFFF8)
    return encode("81", 4, slot, immediate=pack("<I", 0xFFF8))


def assemble_switch(
    forms: Forms,
    fields: Mapping[str, int],
    *,
    gaps: Sequence[int] = (0, 0, 0),
    behind_entry: bytes = b"",
    behind_exit: bytes = b"",
    before_entry: bytes = b"",
    tail: bytes = b"",
    entry: bytes | None = None,
    exit_: bytes | None = None,
) -> Switch:
    """An image: header, ``gaps`` bytes in front of each routine, ``tail`` behind the switch.

    ``entry`` and ``exit_`` replace the code of a site; ``before_`` and ``behind_`` go next to one.
    """
    state = forms.state
    pushes = b"".join(push(name) for name in SAVED)
    pops = b"".join(pop(name) for name in reversed(SAVED))
    one = entry_site(forms, fields) if entry is None else entry
    other = exit_site(forms, fields) if exit_ is None else exit_
    code = bytearray(_BREAKPOINT * (_HEADER_SIZE + gaps[0]))
    kernel2monitor = len(code)
    code += pushes + before_entry
    entry_start = len(code)
    code += one
    entry_end = len(code)
    code += behind_entry + _saves(state, fields) + _FAR_RETURN + _BREAKPOINT * gaps[1]
    monitor_side = len(code)
    code += _monitor_side(state, fields) + pops + b"\xc3" + _BREAKPOINT * gaps[2]
    code += pushes + store(At(state, fields["rsp"]), "rsp") + _FAR_RETURN
    kernel_side = len(code)
    code += other
    exit_span = (kernel_side, len(code))
    code += behind_exit + _restores(state, fields) + pops + b"\xc3"
    code += _BREAKPOINT * PADDING
    interrupts = len(code)
    code += tail + b"\xc3"
    header = (kernel2monitor, interrupts, monitor_side, kernel_side, interrupts + len(tail))
    code[:_HEADER_SIZE] = pack("<5I", *header)
    names: dict[str, str | int] = {name: fields[name] for name in _IN_ORDER}
    names |= {"state": state, "sel": forms.sel, "slot": forms.slot}
    return Switch(bytes(code), header, (entry_start, entry_end), exit_span, names)


def _saves(state: str, fields: Mapping[str, int]) -> bytes:
    return (
        encode("8c", 1, At(state, fields["cs"]))
        + encode("8c", 2, At(state, fields["ss"]))
        + store(At(state, fields["rsp"]), "rsp")
        + bytes.fromhex("0f20c0")  # mov rax, cr0
        + store(At(state, fields["cr0"]), "rax")
        + bytes.fromhex("0f20d8")  # mov rax, cr3
        + store(At(state, fields["cr3"]), "rax")
        + push("rax")
        + push("rax")
    )


def _monitor_side(state: str, fields: Mapping[str, int]) -> bytes:
    """The other ``ltr``, which loads the monitor's own TSS and must be left alone."""
    return (
        encode("0f00", 2, At(state, fields["ldt_sel"]))  # lldt
        + encode("8b", "rax", At(state, fields["tr_sel"]), prefix="66")
        + encode("89", "rax", "rcx")
        + encode("81", 4, "rcx", immediate=pack("<I", 0xFFF8))
        + load("r12", At("rcx", 0))
        + encode("0f00", 3, "rax")
        + store(At("rcx", 0), "r12")
    )


def _restores(state: str, fields: Mapping[str, int]) -> bytes:
    return (
        load("rax", At(state, fields["cr0"]))
        + bytes.fromhex("0f22c0")  # mov cr0, rax
        + encode("0fb7", "rax", At(state, fields["ss"]))
        + bytes.fromhex("8ed0")  # mov ss, eax
    )


@st.composite
def field_offsets(draw: st.DrawFn) -> dict[str, int]:
    """Where the fields of the state lie: in any order, apart, near the register or far from it."""
    offsets = {}
    at = draw(st.integers(-300, 0x90))
    for name in draw(st.permutations(sorted(_FIELDS))):
        offsets[name] = at
        at += _FIELDS[name] + draw(st.sampled_from((0, 0, 2, 6, 40, 0x2000)))
    return offsets


@st.composite
def forms(draw: st.DrawFn) -> Forms:
    """Ways to write the two sites."""
    state = draw(st.sampled_from(STATES))
    free = [name for name in OTHERS if name != state]
    sel, slot, spare = draw(st.permutations(free))[:3]
    if spare == "rax":  # the call to a trampoline goes through it
        spare = "rdx" if "rdx" not in (sel, slot) else "rsi" if "rsi" not in (sel, slot) else "r8"
    return Forms(
        state=state,
        sel=sel,
        slot=slot,
        order=tuple(draw(st.permutations(_IN_ORDER))),
        wide=draw(st.booleans()),
        entry_rex=draw(st.sampled_from((0, 0, REX, REX_W))),
        entry_prefix=draw(st.sampled_from(("", "", "3e", "2e"))),
        widened_load=draw(st.booleans()),
        copies_backwards=draw(st.booleans()),
        mask=draw(st.sampled_from(("81", "83", "25"))),
        clears_a_byte=draw(st.booleans()),
        ltr_rex=draw(st.sampled_from((0, REX, REX_W))),
        fillers=_fillers(draw, state, spare),
    )


def _fillers(draw: st.DrawFn, state: str, spare: str) -> tuple[tuple[bytes, ...], ...]:
    choices = (
        b"\x90",
        load(spare, At(state, 0x40)),
        store(At(state, 0x1F0), spare),
        encode("8d", spare, At(state, -8), rex=REX_W),
        encode("31", spare, spare),
    )
    between: list[list[bytes]] = [[], [], [], [], []]
    for _ in range(draw(st.integers(0, 4))):
        between[draw(st.integers(0, 4))].append(draw(st.sampled_from(choices)))
    return tuple(tuple(each) for each in between)


def noise(seed: int, size: int, decoys: int) -> bytes:
    """Random bytes with ``0f 00`` in them that looks like ``str`` and ``ltr`` but is neither."""
    random = Random(seed)
    made = bytearray(random.randbytes(size))
    for _ in range(decoys if size >= 16 else 0):
        at = random.randrange(size - 8)
        digit = random.choice((1, 3))
        modrm = random.choice((0, 0x40, 0x80, 0xC0)) | digit << 3 | random.randrange(8)
        made[at : at + 3] = bytes((0x0F, 0x00, modrm))
    return bytes(made)


@st.composite
def switches(draw: st.DrawFn) -> Switch:
    """Images of every form."""
    return assemble_switch(
        draw(forms()),
        draw(field_offsets()),
        gaps=draw(st.tuples(*[st.integers(0, 40)] * 3)),
        tail=noise(
            draw(st.integers(0, 1 << 32)), draw(st.integers(0, 600)), draw(st.integers(0, 4))
        ),
    )
