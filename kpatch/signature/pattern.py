"""What a pattern and a trampoline are made of: instructions with holes, gaps, labels."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from typing import NamedTuple


class RegisterHole(NamedTuple):
    """A named register; ``size`` is the width in bytes that the instruction uses of it."""

    name: str
    size: int


class FixedRegister(NamedTuple):
    """A register written out, general or system."""

    name: str


class FixedImmediate(NamedTuple):
    """A number, compared modulo the operand's width."""

    value: int


class ImmediateHole(NamedTuple):
    """A named number as an immediate."""

    name: str


class SymbolAddress(NamedTuple):
    """The absolute 64-bit address of a symbol (trampolines only)."""

    symbol: str


class LabelTarget(NamedTuple):
    """A label of the same trampoline as a branch target."""

    label: str


class OffsetTerm(NamedTuple):
    """A displacement: the sum of at most one name and a constant."""

    name: str | None
    constant: int


class MemoryPattern(NamedTuple):
    """``segment:[base + offset]``. ``base`` is a hole, a register or absent; size 0 fits any."""

    size: int
    segment: str | None
    base: RegisterHole | FixedRegister | None
    offset: OffsetTerm


OperandPattern = (
    RegisterHole
    | FixedRegister
    | FixedImmediate
    | ImmediateHole
    | SymbolAddress
    | LabelTarget
    | MemoryPattern
)


class InstructionPattern(NamedTuple):
    """One instruction of a pattern and the line of its file that it stands on."""

    mnemonic: str
    operands: tuple[OperandPattern, ...]
    text: str
    line: int
    comment: str = ""


class Choice(NamedTuple):
    """Alternatives for one instruction; usually just one."""

    alternatives: tuple[InstructionPattern, ...]

    @property
    def line(self) -> int:
        """The line of the file."""
        return self.alternatives[0].line

    @property
    def text(self) -> str:
        """The alternatives as written."""
        return " || ".join(alternative.text for alternative in self.alternatives)


class Gap(NamedTuple):
    """Other instructions may stand here."""

    line: int


class Unordered(NamedTuple):
    """Choices that come in any order; with ``gaps`` other instructions may stand between them."""

    members: tuple[Choice, ...]
    line: int
    gaps: bool = False


Element = Choice | Gap | Unordered


def lets_others_stand(element: Element) -> bool:
    """Whether other instructions may stand at ``element`` or within it."""
    return isinstance(element, Gap) or (isinstance(element, Unordered) and element.gaps)


class Label(NamedTuple):
    """A label in a trampoline."""

    name: str
    line: int


class Placeholder(NamedTuple):
    """A place in a trampoline where the plan puts instructions."""

    name: str
    line: int


SourceLine = InstructionPattern | Label | Placeholder
