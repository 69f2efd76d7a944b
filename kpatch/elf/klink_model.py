"""What a rule of the kernel linker is, and what it finds."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from kpatch.elf.module import Module
from kpatch.errors import LinkerRefusalError


class Consequence(Enum):
    """What comes of a broken rule."""

    REFUSED = "the kernel refuses the module"
    PANIC = "the kernel may panic"
    MISPLACED = "the kernel loads the module, and it works on memory that is not its own"
    WRONG = "the kernel loads the module, and it is wrong"
    INCOMPLETE = "the kernel loads the module, and part of it seems to be missing"
    NOT_PRELOADED = "the boot loader refuses the module"


class BrokenRule(NamedTuple):
    """A rule that a module breaks, and where."""

    rule: str
    what: str
    where: str
    todo: str
    outcome: Consequence

    @property
    def is_fatal(self) -> bool:
        """Whether kldload fails, or what it loads must not run."""
        return self.outcome in (Consequence.REFUSED, Consequence.PANIC, Consequence.MISPLACED)

    def error(self) -> LinkerRefusalError:
        """The finding as an error."""
        return LinkerRefusalError(
            f"{self.what}: {self.outcome.value}", where=self.where, todo=self.todo
        )


# What is wrong, where; and what to do, where it is not what the rule says.
Breaches = Iterator[tuple[str, str] | tuple[str, str, str]]


class Rule(NamedTuple):
    """One demand: ``sentence`` is true of every module that ``breaches`` yields nothing for."""

    name: str
    sentence: str
    outcome: Consequence
    todo: str
    breaches: Callable[[Module], Breaches]

    def check(self, module: Module) -> Iterator[BrokenRule]:
        """Every place where the module breaks the rule."""
        for what, where, *other in self.breaches(module):
            place = ", ".join(part for part in (module.name, where) if part)
            todo = other[0] if other else self.todo
            yield BrokenRule(self.name, what, place, todo, self.outcome)
