"""A signature while it is written: what the lints look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from kpatch.elf.module import Module, read_module
from kpatch.entry import parse
from kpatch.isa.instruction import REGISTERS
from kpatch.signature.model import Example, Match, Signature, SiteRule
from kpatch.signature.pattern import (
    Choice,
    FixedRegister,
    ImmediateHole,
    InstructionPattern,
    MemoryPattern,
    OperandPattern,
    RegisterHole,
    Unordered,
)
from kpatch.signature.scan import find


@dataclass(frozen=True)
class Draft:
    """A signature under the lints: the parsed file, its text, and where its examples come from.

    ``example`` gives the bytes of an example by its name, and raises FileAccessError.
    """

    signature: Signature
    text: str
    example: Callable[[str], bytes]

    def module(self, file: str) -> Module:
        """The example called ``file``. Raises FileAccessError and DamagedFileError."""
        return read_module(self.example(file), file)

    def match(self, example: Example) -> Match:
        """Where the signature matches in an example. Raises as ``find`` does."""
        return find(self.module(example.file), self.signature)

    @property
    def declared(self) -> Mapping[str, list[str]]:
        """The names under ``[names]``, by kind."""
        names = parse(self.text, self.signature.file)["names"]
        return names if isinstance(names, dict) else {}


class Lint(ABC):
    """One thing that a good signature has."""

    recommendation: ClassVar[str]

    @abstractmethod
    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""


class LintFinding(NamedTuple):
    """What a lint found, and what to do about it."""

    lint: str
    what: str
    todo: str


def instructions(site: SiteRule) -> list[InstructionPattern]:
    """Every instruction that a site's pattern may match."""
    found: list[InstructionPattern] = []
    for element in site.pattern:
        choices = element.members if isinstance(element, Unordered) else (element,)
        found += [a for c in choices if isinstance(c, Choice) for a in c.alternatives]
    return found


def names_of(site: SiteRule) -> set[str]:
    """The names that a site's pattern binds or reads."""
    return {
        name
        for instruction in instructions(site)
        for o in instruction.operands
        for name in _operand_names(o)
    }


def trampoline_names(site: SiteRule) -> set[str]:
    """The names that a site's trampoline reads."""
    return {
        name
        for line in site.trampoline.source
        if isinstance(line, InstructionPattern)
        for operand in line.operands
        for name in _operand_names(operand)
    }


def _operand_names(operand: OperandPattern) -> Iterator[str]:
    if isinstance(operand, RegisterHole | ImmediateHole):
        yield operand.name
    elif isinstance(operand, MemoryPattern):
        if operand.offset.name is not None:
            yield operand.offset.name
        if isinstance(operand.base, RegisterHole):
            yield operand.base.name


def registers(line: InstructionPattern) -> Iterator[str]:
    """The 64-bit registers that a line of a trampoline names itself."""
    for operand in line.operands:
        base = operand.base if isinstance(operand, MemoryPattern) else operand
        if isinstance(base, FixedRegister):
            yield REGISTERS[base.name][0]
