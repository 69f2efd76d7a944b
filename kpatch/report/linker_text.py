"""What the kernel linker makes of a module that it takes although it breaks a rule, in a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpatch.report.typed import RuleFacts


def linker_warning(broken: Sequence[RuleFacts]) -> Iterator[str]:
    """A line for each consequence of rules that do not keep a module from being patched."""
    for outcome in dict.fromkeys(rule["outcome"] for rule in broken if not rule["fatal"]):
        first, *others = (rule for rule in broken if rule["outcome"] == outcome)
        more = f" (and {len(others)} more)" if others else ""
        yield f"warning: {first['what']}{more}: {outcome}; {first['todo']}"
