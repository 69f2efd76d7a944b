"""The pattern language: one instruction a line, with named holes.

    str  [$state + $tr_sel]            a register hole and a displacement hole
    mov  $sel:16, [$state + $tr_sel]   the low 16 bits of a register hole
    add  $slot, [$state + $gdt + 2]    a displacement with a constant on top
    and  dword [$slot + 4], 0xfffffdff an operand size where it matters
    mov  eax, 1 || xor eax, eax        alternatives
    ...                                other instructions may stand here
    unordered                          the lines up to `end` come in any order; with a
    end                                `...` among them, others may stand between them

Comments start with `;`. The same syntax, without gaps, is the source of a trampoline; there a
line may also be a label (`again:`), name a label as its operand, name a symbol's absolute address
(`movabs r8, =lock`), or be a `{placeholder}` for instructions that the plan puts in.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from kpatch.errors import SignatureError
from kpatch.isa.instruction import REGISTERS
from kpatch.signature.pattern import (
    Choice,
    Element,
    FixedImmediate,
    FixedRegister,
    Gap,
    ImmediateHole,
    InstructionPattern,
    Label,
    LabelTarget,
    MemoryPattern,
    OffsetTerm,
    OperandPattern,
    Placeholder,
    RegisterHole,
    SourceLine,
    SymbolAddress,
    Unordered,
)

_SIZES: Final = {"byte": 1, "word": 2, "dword": 4, "qword": 8}
_WIDTHS: Final = {"8": 1, "16": 2, "32": 4, "64": 8}
_NAME: Final = re.compile(r"\$([a-z_][a-z0-9_]*)(?::(8|16|32|64))?$")
_NUMBER: Final = re.compile(r"-?(0x[0-9a-f]+|0|[1-9][0-9]*)$")
_SYMBOL: Final = re.compile(r"=[A-Za-z_.$][A-Za-z0-9_.$]*$")
_LABEL: Final = re.compile(r"[a-z_][a-z0-9_]*$")
_MEMORY: Final = re.compile(r"(?:(byte|word|dword|qword)\s+)?(?:(gs|fs):)?\[([^\]]*)\]$")
_MNEMONIC: Final = re.compile(r"[a-z][a-z0-9]*( [a-z][a-z0-9]*)?")
_PREFIXES: Final = ("lock", "rep", "repne")
_WORDS: Final = ("unordered", "end", *_PREFIXES)


class KnownNames(NamedTuple):
    """The names that patterns may use, by kind."""

    registers: frozenset[str]
    offsets: frozenset[str]
    where: str = ""


def parse_pattern(text: str, names: KnownNames, first_line: int) -> tuple[Element, ...]:
    """Parse the pattern ``text`` whose first line is line ``first_line`` of its file.

    Raises SignatureError naming the file and the line.
    """
    elements: list[Element] = []
    group: list[Choice] | None = None
    group_line = 0
    gaps = False
    for line, words, _ in _lines(text, first_line):
        if words == "unordered" and group is None:
            group, group_line, gaps = [], line, False
        elif words == "end" and group:
            elements.append(Unordered(tuple(group), group_line, gaps))
            group = None
        elif words == "..." and group is None:
            elements.append(Gap(line))
        elif words == "..." and not gaps:
            gaps = True
        else:
            choice = Choice(
                tuple(
                    _instruction(choice.strip(), names, line, in_trampoline=False)
                    for choice in words.split("||")
                )
            )
            (elements if group is None else group).append(choice)
    if group is not None:
        raise _wrong(names, group_line, "'unordered' has no 'end'")
    if not elements or isinstance(elements[0], Gap):
        raise _wrong(names, first_line, "a pattern starts with an instruction")
    if isinstance(elements[-1], Gap):
        raise _wrong(names, elements[-1].line, "a pattern ends with an instruction")
    return tuple(elements)


def parse_trampoline(text: str, names: KnownNames, first_line: int) -> tuple[SourceLine, ...]:
    """Parse the trampoline ``text``. Raises SignatureError naming the file and the line."""
    source: list[SourceLine] = []
    for line, words, comment in _lines(text, first_line):
        if words.endswith(":") and _LABEL.match(words[:-1]):
            source.append(Label(words[:-1], line))
        elif words.startswith("{") and words.endswith("}"):
            source.append(Placeholder(words[1:-1].strip(), line))
        else:
            found = _instruction(words, names, line, in_trampoline=True)
            source.append(found._replace(comment=comment))
    defined = [line.name for line in source if isinstance(line, Label)]
    for each in source:
        if isinstance(each, InstructionPattern):
            for operand in each.operands:
                if isinstance(operand, LabelTarget) and defined.count(operand.label) != 1:
                    raise _wrong(names, each.line, f"label '{operand.label}' is not defined once")
    return tuple(source)


def _lines(text: str, first_line: int) -> Iterator[tuple[int, str, str]]:
    """Line number, words and comment of each line that is more than a comment."""
    for number, raw in enumerate(text.split("\n"), start=first_line):
        code, _, comment = raw.partition(";")
        words = " ".join(code.split())
        if words:
            yield number, words, comment.strip()


def _wrong(names: KnownNames, line: int, what: str) -> SignatureError:
    return SignatureError(what, where=f"{names.where}:{line}", todo="mend the signature")


def _instruction(
    words: str, names: KnownNames, line: int, *, in_trampoline: bool
) -> InstructionPattern:
    mnemonic, _, rest = words.partition(" ")
    if mnemonic in _PREFIXES:
        second, _, rest = rest.partition(" ")
        mnemonic = f"{mnemonic} {second}"
    if not _MNEMONIC.fullmatch(mnemonic) or mnemonic in _WORDS:
        raise _wrong(names, line, f"'{words}' is not an instruction")
    texts = [operand.strip() for operand in rest.split(",")] if rest.strip() else []
    operands = tuple(_operand(text, names, line, in_trampoline) for text in texts)
    return InstructionPattern(mnemonic, operands, words, line)


def _operand(text: str, names: KnownNames, line: int, in_trampoline: bool) -> OperandPattern:
    memory = _MEMORY.match(text)
    if memory:
        return _memory(memory, names, line)
    if text in REGISTERS or re.fullmatch(r"cr[0-8]|dr[0-7]|[c-gs]s", text):
        return FixedRegister(text)
    if _NUMBER.match(text):
        return FixedImmediate(int(text, 0))
    hole = _NAME.match(text)
    if hole:
        if hole[1] in names.offsets and hole[2] is None:
            return ImmediateHole(hole[1])
        if hole[1] not in names.registers:
            raise _wrong(names, line, f"'${hole[1]}' is not a declared name")
        return RegisterHole(hole[1], _WIDTHS[hole[2] or "64"])
    if in_trampoline and _SYMBOL.match(text):
        return SymbolAddress(text[1:])
    if in_trampoline and _LABEL.match(text):
        return LabelTarget(text)
    raise _wrong(names, line, f"'{text}' is not an operand")


def _memory(found: re.Match[str], names: KnownNames, line: int) -> MemoryPattern:
    base: RegisterHole | FixedRegister | None = None
    offset: str | None = None
    constant = 0
    for term in (part.strip() for part in found[3].split("+")):
        hole = _NAME.match(term)
        if term in REGISTERS and base is None:
            base = FixedRegister(term)
        elif _NUMBER.match(term):
            constant += int(term, 0)
        elif hole and hole[1] in names.registers and base is None and hole[2] is None:
            base = RegisterHole(hole[1], 8)
        elif hole and hole[1] in names.offsets and offset is None and hole[2] is None:
            offset = hole[1]
        else:
            reason = "an address is a register, the name of an offset and numbers, no more"
            raise _wrong(names, line, f"'{term}' does not fit in '{found[0]}': {reason}")
    return MemoryPattern(_SIZES.get(found[1], 0), found[2], base, OffsetTerm(offset, constant))
