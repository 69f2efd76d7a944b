"""Turns a trampoline's source into bytes, and makes sure that the bytes say what the source says.

Keystone has known wrong encodings, so nothing it makes is taken on trust: every byte is decoded
back with Capstone, and each instruction is compared with the line that it came from by the same
matcher that finds the sites. A symbol's address is a recognisable number while this goes on, and
becomes a zeroed field with a relocation after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kpatch.errors import SignatureError
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import decode
from kpatch.isa.instruction import Instruction, register_view
from kpatch.signature.match import Bindings, match_instruction
from kpatch.signature.model import TrampolineRule
from kpatch.signature.pattern import (
    FixedImmediate,
    FixedRegister,
    ImmediateHole,
    InstructionPattern,
    Label,
    LabelTarget,
    MemoryPattern,
    OperandPattern,
    Placeholder,
    RegisterHole,
    SourceLine,
    SymbolAddress,
)
from kpatch.units import counted

_MAGIC: Final = 0x7A5C_0000_C3A5_0000
"""Stands for symbol number n as ``_MAGIC + n``: needs all 64 bits, so movabs keeps them."""

_SIZE_WORDS: Final = {1: "byte ptr ", 2: "word ptr ", 4: "dword ptr ", 8: "qword ptr "}


class Fixup(NamedTuple):
    """An 8-byte field at ``offset`` of the trampoline that becomes the address of ``symbol``."""

    offset: int
    symbol: str


class Trampoline(NamedTuple):
    """An assembled trampoline. Instruction addresses are offsets from its first byte."""

    symbol: str
    code: bytes
    fixups: tuple[Fixup, ...]
    instructions: tuple[Instruction, ...]


def build_trampoline(
    rule: TrampolineRule,
    names: Bindings,
    inserts: Mapping[str, Sequence[Instruction]],
    file: str,
) -> Trampoline:
    """Assemble ``rule`` with ``names`` bound and each ``{placeholder}`` filled from ``inserts``.

    Raises SignatureError where the source cannot be assembled, or what was assembled decodes to
    something else.
    """
    source = [_bound(line, names, inserts, file) for line in rule.source]
    symbols = sorted(
        {o.symbol for s in rule.source if isinstance(s, InstructionPattern)
         for o in s.operands if isinstance(o, SymbolAddress)}
    )  # fmt: skip
    text = "\n".join(_text(line, names, inserts, symbols) for line in source)
    try:
        code = assemble(text)
    except SignatureError as error:
        raise error.within(f"{file}: trampoline '{rule.symbol}'") from None
    instructions = tuple(decode(code))
    _compare(source, instructions, code, names, inserts, symbols, f"{file}: {rule.symbol}")
    fixups = tuple(_fixups(instructions, symbols))
    clean = bytearray(code)
    for fixup in fixups:
        clean[fixup.offset : fixup.offset + 8] = bytes(8)
    return Trampoline(rule.symbol, bytes(clean), fixups, tuple(decode(bytes(clean))))


def assembler_text(line: InstructionPattern, names: Bindings) -> str:
    """One line with its names bound, as the assembler reads it. It names no symbol or label."""
    return _text(line, names, {}, ())


def _bound(
    line: SourceLine, names: Bindings, inserts: Mapping[str, Sequence[Instruction]], file: str
) -> SourceLine:
    if isinstance(line, Placeholder) and line.name not in inserts:
        raise SignatureError(
            f"nothing fills '{{{line.name}}}'", where=f"{file}:{line.line}", todo="mend it"
        )
    if isinstance(line, InstructionPattern):
        for operand in line.operands:
            _require_bound(operand, names, f"{file}:{line.line}")
    return line


def _require_bound(operand: OperandPattern, names: Bindings, where: str) -> None:
    wanted: list[str | None] = []
    if isinstance(operand, RegisterHole | ImmediateHole):
        wanted = [operand.name]
    elif isinstance(operand, MemoryPattern):
        wanted = [operand.offset.name]
        if isinstance(operand.base, RegisterHole):
            wanted.append(operand.base.name)
    for name in wanted:
        if name is not None and name not in names:
            raise SignatureError(f"'${name}' is not bound", where=where, todo="mend it")


def _text(
    line: SourceLine,
    names: Bindings,
    inserts: Mapping[str, Sequence[Instruction]],
    symbols: Sequence[str],
) -> str:
    if isinstance(line, Label):
        return f"{line.name}:"
    if isinstance(line, Placeholder):
        return "\n".join(
            ".byte " + ", ".join(f"{byte:#04x}" for byte in insert.raw)
            for insert in inserts[line.name]
        )
    operands = ", ".join(_operand_text(operand, names, symbols) for operand in line.operands)
    return f"{line.mnemonic} {operands}".rstrip()


def _operand_text(operand: OperandPattern, names: Bindings, symbols: Sequence[str]) -> str:
    match operand:
        case RegisterHole(name, size):
            return register_view(str(names[name]), size)
        case FixedRegister(name):
            return name
        case FixedImmediate(value):
            return hex(value)
        case ImmediateHole(name):
            return hex(int(names[name]))
        case SymbolAddress(symbol):
            return hex(_MAGIC + symbols.index(symbol))
        case LabelTarget(label):
            return label
        case MemoryPattern(size, segment, base, offset):
            shift = offset.constant + (int(names[offset.name]) if offset.name else 0)
            terms = [] if base is None else [_operand_text(base, names, symbols)]
            if shift or not terms:
                terms.append(hex(shift))
            inside = " + ".join(terms).replace("+ -", "- ")
            return f"{_SIZE_WORDS.get(size, '')}{segment + ':' if segment else ''}[{inside}]"


def _compare(
    source: Sequence[SourceLine],
    instructions: Sequence[Instruction],
    code: bytes,
    names: Bindings,
    inserts: Mapping[str, Sequence[Instruction]],
    symbols: Sequence[str],
    where: str,
) -> None:
    """Every line against what it became. Raises SignatureError at the first that differs."""
    expected: list[InstructionPattern | Instruction] = []
    labels: dict[str, int] = {}
    for line in source:
        if isinstance(line, Label):
            labels[line.name] = len(expected)
        elif isinstance(line, Placeholder):
            expected.extend(inserts[line.name])
        else:
            expected.append(line)
    if sum(len(instruction.raw) for instruction in instructions) != len(code) or len(
        instructions
    ) != len(expected):
        raise _differs(where, f"other bytes came back of {counted(len(expected), 'instruction')}")
    addresses = [instruction.address for instruction in instructions] + [len(code)]
    targets = {name: addresses[index] for name, index in labels.items()}
    for wanted, found in zip(expected, instructions, strict=True):
        if isinstance(wanted, Instruction):
            same = wanted.raw == found.raw
        else:
            concrete = _concrete(wanted, targets, symbols)
            same = match_instruction(concrete, found, names) == dict(names)
        if not same:
            raise _differs(where, f"'{wanted.text}' came back as '{found.text}'")


def _concrete(
    line: InstructionPattern, targets: Mapping[str, int], symbols: Sequence[str]
) -> InstructionPattern:
    def number(operand: OperandPattern) -> OperandPattern:
        if isinstance(operand, LabelTarget):
            return FixedImmediate(targets[operand.label])
        if isinstance(operand, SymbolAddress):
            return FixedImmediate(_MAGIC + symbols.index(operand.symbol))
        return operand

    return line._replace(operands=tuple(number(operand) for operand in line.operands))


def _fixups(instructions: Sequence[Instruction], symbols: Sequence[str]) -> list[Fixup]:
    fixups = []
    for instruction in instructions:
        if instruction.mnemonic == "movabs":
            value = int.from_bytes(instruction.raw[instruction.immediate_at :], "little")
            if 0 <= value - _MAGIC < len(symbols):
                fixups.append(
                    Fixup(instruction.address + instruction.immediate_at, symbols[value - _MAGIC])
                )
    return fixups


def _differs(where: str, what: str) -> SignatureError:
    return SignatureError(
        f"the assembler made something else: {what}",
        where=where,
        todo="write the line another way",
    )
