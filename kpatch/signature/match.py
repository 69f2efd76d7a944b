"""Matches patterns against decoded instructions, binding names as it goes.

Pure logic: it knows no file and no image. A name binds once; every later use must agree.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kpatch.isa.instruction import REGISTERS, Immediate, Instruction, Memory, Operand, Register
from kpatch.signature.pattern import (
    Choice,
    Element,
    FixedImmediate,
    FixedRegister,
    Gap,
    ImmediateHole,
    InstructionPattern,
    MemoryPattern,
    OperandPattern,
    RegisterHole,
    Unordered,
)
from kpatch.units import counted

_ADDRESS_SIZE = 8
"""Bytes of a register that can hold a kernel address."""

Bindings = Mapping[str, str | int]
"""Register name -> 64-bit register; displacement name -> signed displacement in bytes."""


class Hit(NamedTuple):
    """A match: the instructions from its first to its last, and those that only fill gaps."""

    instructions: tuple[Instruction, ...]
    fillers: tuple[Instruction, ...]
    bindings: Bindings

    @property
    def start(self) -> int:
        """Address of the first instruction."""
        return self.instructions[0].address

    @property
    def end(self) -> int:
        """Address behind the last instruction."""
        return self.instructions[-1].end


class Miss(NamedTuple):
    """How far a pattern got: the elements matched, and why the next one did not fit."""

    matched: int
    address: int
    reason: str
    line: int


class _Tried:
    """What a search without a match came to: the miss that got furthest, and whether it would have
    gone on with one filler more.
    """

    def __init__(self, nothing: Miss) -> None:
        self.furthest = nothing
        self.wants_more = False

    def note(self, miss: Miss) -> None:
        """Keep ``miss`` if it got further than any before."""
        if miss.matched > self.furthest.matched or self.furthest.line == 0:
            self.furthest = miss


class _State(NamedTuple):
    position: int
    gap: int
    fillers: tuple[Instruction, ...]
    bindings: Bindings
    matched: int


def match_at(
    elements: Sequence[Element],
    code: Sequence[Instruction],
    bindings: Bindings,
    max_gap: int,
) -> Hit | Miss:
    """Match ``elements`` at the first instruction of ``code``.

    ``max_gap`` is the number of other instructions that may fill the gaps of one match. Returns
    the Hit with the fewest fillers, or the Miss that got furthest.
    """
    tried = _Tried(Miss(0, code[0].address if code else 0, "no instruction", 0))
    for budget in range(max_gap + 1):
        tried.wants_more = False
        for state in _search(elements, code, _State(0, budget, (), bindings, 0), tried):
            return Hit(tuple(code[: state.position]), state.fillers, state.bindings)
        if not tried.wants_more:
            break
    return tried.furthest


def _search(
    elements: Sequence[Element], code: Sequence[Instruction], state: _State, tried: _Tried
) -> Iterator[_State]:
    if not elements:
        yield state
        return
    head, rest = elements[0], elements[1:]
    if isinstance(head, Choice):
        after = _try_choice(head, code, state, tried)
        if after is not None:
            yield from _search(rest, code, after, tried)
    elif isinstance(head, Gap):
        yield from _search(rest, code, state, tried)
        filler = _fill(code, state, tried)
        if filler is not None:
            yield from _search(elements, code, filler, tried)
    else:
        yield from _unordered(head, len(head.members), rest, code, state, tried)


def _unordered(
    group: Unordered,
    size: int,
    rest: Sequence[Element],
    code: Sequence[Instruction],
    state: _State,
    tried: _Tried,
) -> Iterator[_State]:
    """Match what is left of ``group``, which had ``size`` members at first."""
    members = group.members
    if not members:
        yield from _search(rest, code, state, tried)
        return
    for index, member in enumerate(members):
        after = _try_choice(member, code, state, tried)
        if after is not None:
            others = group._replace(members=members[:index] + members[index + 1 :])
            yield from _unordered(others, size, rest, code, after, tried)
    filler = _fill(code, state, tried) if group.gaps and len(members) < size else None
    if filler is not None:
        yield from _unordered(group, size, rest, code, filler, tried)


def _try_choice(
    choice: Choice, code: Sequence[Instruction], state: _State, tried: _Tried
) -> _State | None:
    if state.position >= len(code):
        end = code[-1].end if code else 0
        tried.note(Miss(state.matched, end, "the code ends here", choice.line))
        return None
    instruction = code[state.position]
    reasons: list[str] = []
    for alternative in choice.alternatives:
        bound = match_instruction(alternative, instruction, state.bindings)
        if not isinstance(bound, str):
            return _State(state.position + 1, state.gap, state.fillers, bound, state.matched + 1)
        reasons += [bound] if bound else []
    why = f": {reasons[0]}" if len(reasons) == 1 else ""
    reason = f"wanted '{choice.text}', found '{instruction.text}'{why}"
    tried.note(Miss(state.matched, instruction.address, reason, choice.line))
    return None


def _fill(code: Sequence[Instruction], state: _State, tried: _Tried) -> _State | None:
    """Let the next instruction fill a gap, if running it elsewhere means the same.

    It may read the first register bound (the base of the structure), touch no other bound
    register, not the stack pointer, and must mean the same at any address.
    """
    if state.position >= len(code):
        return None
    instruction = code[state.position]
    if instruction.transfers_control or instruction.is_position_dependent:
        return None
    registers = [value for value in state.bindings.values() if isinstance(value, str)]
    touched = instruction.reads | instruction.writes
    if "rflags" in instruction.reads:  # the trampoline runs it before what sets them
        return None
    if "rsp" in touched or any(register in touched for register in registers[1:]):
        return None
    if registers and registers[0] in instruction.writes:
        return None
    if state.gap == 0:
        tried.wants_more = True
        return None
    return _State(
        state.position + 1,
        state.gap - 1,
        (*state.fillers, instruction),
        state.bindings,
        state.matched,
    )


def match_instruction(
    pattern: InstructionPattern, instruction: Instruction, bindings: Bindings
) -> Bindings | str:
    """The bindings after ``pattern`` matched ``instruction``.

    Otherwise what is wrong with an operand; empty where it is another instruction altogether.
    """
    if pattern.mnemonic != instruction.mnemonic:
        return ""
    if len(pattern.operands) != len(instruction.operands):
        return ""
    bound = dict(bindings)
    for hole, operand in zip(pattern.operands, instruction.operands, strict=True):
        reason = _match_operand(hole, operand, bound)
        if reason is not None:
            return reason
    return bound


def _match_operand(
    pattern: OperandPattern, operand: Operand, bound: dict[str, str | int]
) -> str | None:
    """Bind what ``pattern`` names. None where it fits, else the reason (possibly empty)."""
    if isinstance(pattern, RegisterHole) and isinstance(operand, Register):
        if operand.size != pattern.size:
            return f"the operand is {8 * operand.size} bits wide"
        return _bind(bound, pattern.name, operand.whole)
    if isinstance(pattern, FixedRegister) and isinstance(operand, Register):
        return None if pattern.name == operand.name else ""
    if isinstance(pattern, FixedImmediate) and isinstance(operand, Immediate):
        mask = (1 << (8 * operand.size)) - 1
        return None if (pattern.value ^ operand.value) & mask == 0 else ""
    if isinstance(pattern, ImmediateHole) and isinstance(operand, Immediate):
        return _bind(bound, pattern.name, operand.value)
    if isinstance(pattern, MemoryPattern) and isinstance(operand, Memory):
        return _match_memory(pattern, operand, bound)
    return ""


def _match_memory(
    pattern: MemoryPattern, operand: Memory, bound: dict[str, str | int]
) -> str | None:
    if pattern.size and pattern.size != operand.size:
        return f"the operand is {counted(operand.size, 'byte')} wide"
    if pattern.segment != operand.segment or operand.index is not None:
        return ""
    if isinstance(pattern.base, RegisterHole):
        if operand.base is None or REGISTERS.get(operand.base, ("", 0))[1] != _ADDRESS_SIZE:
            return ""
        reason = _bind(bound, pattern.base.name, operand.base)
        if reason is not None:
            return reason
    elif (pattern.base.name if pattern.base else None) != operand.base:
        return ""
    displacement = operand.displacement - pattern.offset.constant
    if pattern.offset.name is not None:
        return _bind(bound, pattern.offset.name, displacement)
    return None if displacement == 0 else ""


def _bind(bound: dict[str, str | int], name: str, value: str | int) -> str | None:
    if bound.setdefault(name, value) == value:
        return None
    return f"${name} is {_show(bound[name])} already, here it is {_show(value)}"


def _show(value: str | int) -> str:
    return value if isinstance(value, str) else hex(value)
