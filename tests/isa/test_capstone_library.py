"""Our way into Capstone's library says what Capstone's own Python package says."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator

import capstone
import pytest
from capstone import x86

from kpatch.isa import capstone_layout as layout
from kpatch.isa import capstone_library
from kpatch.isa.capstone_library import Decoded, Decoder, outlines
from tests.cli.harness import sample

LAYOUTS = {
    layout.Insn: capstone._cs_insn,
    layout.Detail: capstone._cs_detail,
    layout.X86: x86.CsX86,
    layout.X86Operand: x86.X86Op,
    layout.X86Value: x86.X86OpValue,
    layout.X86Mem: x86.X86OpMem,
    layout.X86Encoding: x86.CsX86Encoding,
}
IMAGE = slice(0xA20, 0xE00)
"""The code of the switch in the file, and what stands behind it."""


@pytest.mark.parametrize("ours", LAYOUTS)
def test_every_field_stands_where_the_package_has_it(ours: type[ctypes.Structure]) -> None:
    theirs = LAYOUTS[ours]
    assert [name for name, *_ in ours._fields_] == [name for name, *_ in theirs._fields_]
    for name, kind, *_ in ours._fields_:
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.offset == other.offset
        assert mine.size == other.size or kind is layout.X86  # theirs is a union of all processors
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs) or ours is layout.Detail


def test_every_number_is_the_one_of_the_package() -> None:
    assert layout.VERSION == (capstone.CS_API_MAJOR, capstone.CS_API_MINOR)
    for name in ("ARCH_X86", "MODE_64", "OPT_DETAIL", "OPT_ON", "ERR_MEM"):
        assert getattr(layout, name) == getattr(capstone, f"CS_{name}")
    for name in ("OP_REG", "OP_IMM", "OP_MEM", "GRP_JUMP", "GRP_CALL", "GRP_RET", "GRP_IRET"):
        assert getattr(layout, name) == getattr(x86, f"X86_{name}")
    flags = {name for numbers in layout.EFLAGS.values() for name in numbers}
    for effect, numbers in layout.EFLAGS.items():
        for flag in flags:
            bit = 1 << numbers[flag] if flag in numbers else None
            assert bit == getattr(x86, f"X86_EFLAGS_{effect}_{flag}", None)


def by_package(engine: capstone.Cs, code: bytes, address: int) -> Iterator[Decoded]:
    for each in engine.disasm(code, address):
        reads, writes = each.regs_access()
        yield Decoded(
            each.address,
            bytes(each.bytes),
            each.mnemonic,
            each.op_str,
            tuple(each.groups),
            tuple((one.type, one.size, value_of(one)) for one in each.operands),
            each.imm_offset,
            each.eflags,
            tuple(reads),
            tuple(writes),
        )


def value_of(operand: x86.X86Op) -> int | tuple[int, ...]:
    mem = operand.mem
    numbers: dict[int, int] = {x86.X86_OP_REG: operand.reg, x86.X86_OP_IMM: operand.imm}
    whole = (mem.segment, mem.base, mem.index, mem.scale, mem.disp)
    return numbers.get(operand.type, whole)


def test_every_instruction_comes_out_as_from_the_package() -> None:
    dice = random.Random(5)
    switch = sample("kqemu-7.ko").read_bytes()[IMAGE]
    pieces = [switch[at : at + 15] for at in range(0, len(switch), 5)]
    pieces += [bytes([0x0F, one]) + dice.randbytes(12) for one in range(256)]
    pieces += [bytes([one]) + dice.randbytes(12) for one in range(256)]
    pieces += [b"", b"\x06", b"\x48"]
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    ours = Decoder()
    seen: set[str] = set()
    for code in pieces:
        expected = list(by_package(engine, code, 0x1000))
        assert list(ours.decode(code, 0x1000, 0)) == expected
        assert list(outlines(code, 0x1000, 2)) == list(engine.disasm_lite(code, 0x1000, 2))
        seen.update(each.mnemonic for each in expected)
    assert len(seen) > 200
    assert all(ours.name(number) == (engine.reg_name(number) or "") for number in range(300))


@pytest.mark.parametrize("what", ["version", "instruction"])
def test_a_library_that_is_not_the_one_described_is_refused(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capstone_library._library.cache_clear()
    if what == "version":
        monkeypatch.setattr(layout, "VERSION", (6, 0))
    else:
        other = capstone_library._KNOWN._replace(immediate_at=10)
        monkeypatch.setattr(capstone_library, "_KNOWN", other)
    with pytest.raises(ImportError, match=r"not as Capstone 5\.0 is") as refusal:
        Decoder()
    assert refusal.value.name == "capstone"
    capstone_library._library.cache_clear()


def test_without_a_bundled_library_the_package_says_where_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundled = capstone_library._path()
    monkeypatch.setattr("kpatch.isa.capstone_library.PathFinder.find_spec", lambda _: None)
    assert capstone_library._path() == capstone._cs._name
    assert bundled.endswith("libcapstone.so") or bundled == capstone._cs._name


def test_a_library_without_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Decoder()
    monkeypatch.setattr(capstone_library._library(), "cs_disasm", lambda *_: 0)
    monkeypatch.setattr(capstone_library._library(), "cs_errno", lambda _: layout.ERR_MEM)
    with pytest.raises(MemoryError):
        list(ours.decode(b"\x90", 0, 0))
