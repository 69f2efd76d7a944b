"""What is calculated for all pairs at once is what a CPU calculates for each of them."""

from __future__ import annotations

import random
from typing import Final

import pytest
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn import x86_const as x86

from kpatch.isa.agreed import effects_of
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import decode
from kpatch.isa.effects import FLAG_NAMES
from kpatch.verify.hardware.registers import GENERAL
from kpatch.verify.proof.tasks import Bounds
from kpatch.verify.world.deciding import Deciding
from kpatch.verify.world.diagrams import WIDTH, Diagrams, TooManyError
from kpatch.verify.world.origins import CPUID, NONE, Byte, Bytes, Machine, known, pointer
from kpatch.verify.world.places import Places
from kpatch.verify.world.ways import Same, beginning
from tests.verify.mutants.changes import CPUID as OFFSET
from tests.verify.mutants.variant import LEAVE, RIGHT

_CODE: Final = 0x10000
_CONSTANT: Final = 0x1234_5678_9ABC_DEF0
_FLAG_BITS: Final = {"CF": 0, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "OF": 11}

# ecx: the number, edx: the mask, rax: both, rbx: a constant.
CODE: Final = (
    "add ecx, edx", "add cl, 7", "add rax, rbx", "sub ecx, edx", "sub rax, 5", "sub dx, cx",
    "cmp ecx, edx", "cmp ecx, 31", "cmp dl, cl", "cmp rax, -1", "cmp dh, 3", "test eax, edx",
    "test ecx, -32", "and eax, ebx", "and ecx, 31", "or rdx, rbx", "xor eax, edx", "xor ecx, ecx",
    "inc ecx", "dec dl", "neg rax", "neg cl", "not edx", "bt edx, 5; adc ecx, 0",
    "bt ecx, 31; sbb eax, eax", "cmp ecx, edx; sbb rcx, rdx", "stc; bt edx, 1; inc ecx; adc cl, dl",
    "shl edx, cl", "mov ebx, 1; shl rbx, cl", "shr edx, cl", "sar edx, cl", "shl rdx, 7",
    "shr dx, 3", "sar cl, 1", "shl dl, 9", "rol edx, cl", "ror edx, 5", "ror dx, 9", "rol cl, 1",
    "bt edx, ecx", "bts edx, ecx", "btr edx, ecx", "btc edx, ecx", "bts dx, cx", "bt rdx, rcx",
    "xor ebx, ebx; bts ebx, ecx; cmp ebx, edx", "imul ecx, ecx, 104", "imul rax, rcx, -3",
    "mov ebx, 9; imul ecx, ebx", "mov ebx, 5; imul bx, cx", "movsx eax, cl", "movsxd rax, edx",
    "movzx eax, dh", "lea eax, [rcx + rdx]", "lea rax, [rdx + 8*rcx - 3]", "xchg ecx, edx",
    "mov cl, dh", "mov ah, cl", "push rcx; pop rax",
    "push rdx; mov cx, word ptr [rsp + 1]; pop rbx",
    "mov eax, dword ptr gs:[0x34]", "mov rax, gs:[0x34]",
    "xor ebx, ebx; movzx eax, word ptr gs:[rbx + 0x39]",
    *(
        f"cmp ecx, edx; set{suffix} bl; cmov{suffix} ecx, ebx"
        for suffix in ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge",
                       "le", "g")
    ),
)  # fmt: skip
_BASE: Final = 0x0050_00A0_0030_0100
_FREE: Final = (*range(7), 31, *range(32, 36), 62, 63)
"""Bits of the pair that vary; all others are as in ``_BASE``. With few the diagrams are small."""


def _pairs() -> list[int]:
    picked = random.Random(5)
    chosen = [0, -1, *(picked.getrandbits(len(_FREE)) for _ in range(14))]
    return [_BASE | sum((each >> n & 1) << bit for n, bit in enumerate(_FREE)) for each in chosen]


class Real:
    """A CPU that has the pair where :func:`_start` has it."""

    def __init__(self) -> None:
        self._uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self._uc.mem_map(_CODE, 0x3000)

    def run(self, code: bytes, pair: int) -> dict[str, int]:
        """Registers and flags behind the code."""
        uc = self._uc
        uc.mem_write(_CODE, code)
        uc.mem_write(_CODE + 0x1000 + OFFSET, pair.to_bytes(8, "little"))
        uc.msr_write(0xC000_0101, _CODE + 0x1000)
        values = {"rcx": pair % (1 << 32), "rdx": pair >> 32, "rax": pair, "rbx": _CONSTANT}
        for name in GENERAL:
            uc.reg_write(_number(name), values.get(name, 0))
        uc.reg_write(x86.UC_X86_REG_RSP, _CODE + 0x2800)
        uc.reg_write(x86.UC_X86_REG_RFLAGS, 2)
        uc.emu_start(_CODE, _CODE + len(code))
        found = {name: uc.reg_read(_number(name)) for name in ("rax", "rbx", "rcx", "rdx")}
        flags = uc.reg_read(x86.UC_X86_REG_RFLAGS)
        return found | {name: flags >> bit & 1 for name, bit in _FLAG_BITS.items()}


def _number(register: str) -> int:
    found: int = getattr(x86, f"UC_X86_REG_{register.upper()}")
    return found


@pytest.fixture(scope="module")
def real() -> Real:
    """One for all."""
    return Real()


@pytest.fixture(scope="module")
def places() -> Places:
    """Where the stack is."""
    return Places(
        RIGHT.case.setup(RIGHT.case.module, LEAVE, Bounds()).world, RIGHT.case.module, OFFSET
    )


def _start(same: Same, rsp: int) -> Machine:
    bits = [same.pair[at] if at in _FREE else _BASE >> at & 1 for at in range(WIDTH)]
    pair = [Byte(None, frozenset({CPUID}), tuple(bits[at : at + 8])) for at in range(0, WIDTH, 8)]
    registers: dict[str, Bytes] = dict.fromkeys(GENERAL, known(0))
    registers |= {
        "rcx": (*pair[:4], *known(0, 4)),
        "rdx": (*pair[4:], *known(0, 4)),
        "rax": tuple(pair),
        "rbx": known(_CONSTANT),
        "rsp": pointer(rsp),
    }
    return Machine(registers, dict.fromkeys(FLAG_NAMES, NONE))


@pytest.mark.parametrize("text", CODE)
def test_a_result_for_all_pairs_is_the_cpus(text: str, real: Real, places: Places) -> None:
    same = Same(Diagrams(100_000))
    way = beginning(_start(same, places.guest.rsp - 64), 1)
    code = assemble(text)
    for instruction in decode(code):
        effects = effects_of(instruction.raw)
        assert effects is not None
        step = Deciding(places, way, instruction, effects.effects, same, patch=True)
        step.run()
        way = step.way
    told = set()
    for pair in _pairs():
        values = real.run(code, pair)
        for name in ("rax", "rbx", "rcx", "rdx"):
            for at, byte in enumerate(way.registers[name]):
                bits = [same.diagrams.holds(bit, pair) for bit in byte.bits]
                number = sum(bit << n for n, bit in enumerate(bits)) if bits else byte.number
                assert number == values[name] >> 8 * at & 0xFF, (name, at, hex(pair))
        for name, condition in way.conditions.items():
            told.add(name)
            assert same.diagrams.holds(condition(), pair) == values[name], (name, hex(pair))
    compares = text.split()[0] in ("cmp", "test", "add", "sub", "and", "or", "xor", "neg")
    assert not compares or told == {"CF", "ZF", "SF", "OF", "PF"}


def test_too_many_functions_are_refused() -> None:
    diagrams = Diagrams(40)
    with pytest.raises(TooManyError):
        [diagrams.bit(at) for at in range(WIDTH)]
