"""The table of mutants: what kills each, where, and in how many preemptions.

``python -m tests.verify.mutants.table`` writes the committed one anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kpatch.verify.proof.tasks import Explored
from tests.verify.mutants import (
    accesses,
    descriptors,
    foreign_memory,
    leftovers,
    locks,
    machine_state,
    right_locks,
    siblings,
    stashes,
    waits,
)
from tests.verify.mutants.variant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *locks.MUTANTS,
    *descriptors.MUTANTS,
    *stashes.MUTANTS,
    *machine_state.MUTANTS,
    *accesses.MUTANTS,
    *leftovers.MUTANTS,
    *foreign_memory.MUTANTS,
    *right_locks.MUTANTS,
    *siblings.MUTANTS,
    *waits.MUTANTS,
)

TABLE: Final = Path(__file__).with_name("table.txt")


def row(mutant: Mutant, explored: Explored) -> str:
    """One line: the mutant, each broken property with its fewest preemptions, and where."""
    found = sorted(explored.result.counterexamples, key=lambda each: each.prop)
    broken = ", ".join(f"{each.prop} ({each.preemptions})" for each in found)
    return f"{mutant.name:<68}  {broken:<42}  {mutant.where.title}"


def schedules(explored: Explored) -> str:
    """The counterexamples in full, indented."""
    return "\n".join(
        f"    {each.prop}: {each.what}\n        {each.schedule}"
        for each in explored.result.counterexamples
    )


def main() -> None:
    """Write the table."""
    rows = [row(mutant, mutant.explored(mutant.where)) for mutant in MUTANTS]
    TABLE.write_text("".join(f"{each.rstrip()}\n" for each in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
