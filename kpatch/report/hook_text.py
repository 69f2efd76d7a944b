"""The results of ``kpatch hook`` as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kpatch.ports.guide import Guide
from kpatch.ports.place import Action
from kpatch.ports.tree import Port, Survey


def guides_text(guides: Sequence[Guide]) -> Iterator[str]:
    """What goes where, per way into a build."""
    for guide in guides:
        yield guide.title
        yield from _steps(guide)
        yield ""
    yield "check a tree with: kpatch hook --ports-dir /usr/ports"
    yield "install the hook with: kpatch hook --ports-dir /usr/ports --install"


def survey_text(survey: Survey, guides: Sequence[Guide]) -> Iterator[str]:
    """What was seen in a tree, and what remains to be done: nothing, where it is ready."""
    yield f"{survey.ports_dir}: {survey.era}"
    yield from (f"  port: {port.origin}{_way(port)}" for port in survey.ports)
    yield from verdict_text(survey)
    for guide in guides if survey.blocked else ():
        yield from _steps(guide)


def verdict_text(survey: Survey) -> Iterator[str]:
    """The traps, and the line that says whether the next build repairs."""
    yield from traps_text(survey)
    yield "not ready: a build would not be repaired" if survey.blocked else "ready"


def traps_text(survey: Survey) -> Iterator[str]:
    """Each trap: its rule, which 'kpatch explain' knows, what it is, where, what to do."""
    for trap in survey.traps:
        yield f"  {'blocks' if trap.blocks else 'note'}: {trap.rule}: {trap.what}"
        yield f"      where: {trap.where}"
        yield f"      do: {trap.todo}"


def actions_text(actions: Sequence[Action]) -> Iterator[str]:
    """Each file and what happened to it."""
    for action in actions:
        yield f"{action.change.value}: {action.file.destination}"


def _way(port: Port) -> str:
    return f" (hooked by {port.way.value})" if port.way else ""


def _steps(guide: Guide) -> Iterator[str]:
    for step in guide.steps:
        yield f"  {step.what}: {step.where}"
        yield from (f"      {line}" for line in step.lines)
