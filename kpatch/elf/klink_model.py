"""What a rule of the kernel linker is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from kpatch.elf.module import Module
from kpatch.errors import LinkerRefusalError


class Outcome(Enum):
    """What comes of a broken rule."""

    REFUSED = "the kernel refuses the module"
    PANIC = "the kernel may panic"
    WRONG = "the kernel loads the module, and it is wrong"
    NOT_PRELOADED = "the boot loader refuses the module"


class Finding(NamedTuple):
    """A rule that a module breaks, and where."""

    rule: str
    what: str
    where: str
    todo: str
    outcome: Outcome

    @property
    def panics(self) -> bool:
        """Whether loading the module may take the kernel down."""
        return self.outcome is Outcome.PANIC

    @property
    def is_fatal(self) -> bool:
        """Whether kldload fails, or worse."""
        return self.outcome in (Outcome.REFUSED, Outcome.PANIC)

    def error(self) -> LinkerRefusalError:
        """The finding as an error."""
        return LinkerRefusalError(
            f"{self.what}: {self.outcome.value}", where=self.where, todo=self.todo
        )


Breaches = Iterator[tuple[str, str]]  # what is wrong, where


class Rule(NamedTuple):
    """One demand: ``sentence`` is true of every module that ``breaches`` yields nothing for."""

    name: str
    sentence: str
    outcome: Outcome
    todo: str
    breaches: Callable[[Module], Breaches]

    def check(self, module: Module) -> Iterator[Finding]:
        """Every place where the module breaks the rule."""
        for what, where in self.breaches(module):
            place = ", ".join(part for part in (module.name, where) if part)
            yield Finding(self.name, what, place, self.todo, self.outcome)
