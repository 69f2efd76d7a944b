"""How far a proof is: a bar on a terminal, for what takes longer than half a second."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from kpatch.cli.console import Console, is_terminal
from kpatch.proving import Proving
from kpatch.report.printable import printable
from kpatch.units import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from kpatch.verify.proof.workers import ProofProgress

_PATIENCE: Final = 0.5
"""Seconds before anything is shown."""


@contextlib.contextmanager
def shown(console: Console, jobs: int = 0, name: str = "") -> Iterator[Proving]:
    """A proof in ``jobs`` processes (0: all cores) that shows its progress on a terminal."""
    wanted = is_terminal(sys.stderr) and not console.quiet and not console.json
    bar = _Bar(name, console) if wanted else None
    report: Callable[[ProofProgress], None] = bar.show if bar else lambda standing: None
    try:
        yield Proving(jobs, report)
    finally:
        if bar:
            bar.close()


class _Bar:
    """One line that is drawn over and over, cut to the width, and gone at the end.

    A terminal that cannot (TERM=dumb) gets one line, once.
    """

    def __init__(self, name: str, console: Console) -> None:
        self._name = printable(name)
        self._console = console
        self._began = time.monotonic()
        self._progress: Progress | None = None
        self._has_spoken = False

    def show(self, standing: ProofProgress) -> None:
        """Show where the proof is."""
        if time.monotonic() - self._began < _PATIENCE:
            return
        if os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
            if not self._has_spoken:
                self._has_spoken = True
                self._console.say(
                    f"{self._name}: proving it, in {counted(standing.of, 'exploration')}"
                )
            return
        if self._progress is None:
            self._progress = _opened(self._console)
            self._progress.add_task("", total=standing.of, name=self._name, states="")
        progress = standing.progress
        # Each exploration begins with one: most are over before they say another number.
        states = counted(progress.states, "state") if progress and progress.states > 1 else ""
        self._progress.update(
            self._progress.task_ids[0], completed=standing.done, total=standing.of, states=states
        )

    def close(self) -> None:
        """Take it away."""
        if self._progress is not None:
            self._progress.stop()


def _opened(console: Console) -> Progress:
    # Imported here: most runs draw nothing, and rich takes as long to import as a scan.
    from rich.console import Console as Screen
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    screen = Screen(stderr=True, no_color=not console.error_style.colour, highlight=False)
    narrow = Column(no_wrap=True, overflow="ellipsis", ratio=2)
    progress = Progress(
        TextColumn("proving {task.fields[name]}", markup=False, table_column=narrow),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        MofNCompleteColumn(),
        TextColumn("{task.fields[states]}", markup=False, table_column=Column(no_wrap=True)),
        console=screen,
        transient=True,
        expand=True,
    )
    progress.start()
    return progress
