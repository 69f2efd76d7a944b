"""A counterexample as lanes: one column a CPU, with the descriptor and every TR beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kpatch.errors import VerificationError
from kpatch.verify.explore import Counterexample
from kpatch.verify.explore.result import PROGRESS
from kpatch.verify.hardware.descriptors import BUSY
from kpatch.verify.machine.live import LiveStep
from kpatch.verify.world.world import World


@dataclass(frozen=True)
class LaneStep:
    """One move: who made it, the instructions that ran, and the machine after it."""

    cpu: int
    move: str
    instructions: tuple[str, ...]
    descriptor: tuple[str, ...]
    tasks: tuple[str, ...]
    buffered: tuple[int, ...]
    violations: tuple[str, ...]


@dataclass(frozen=True)
class Lanes:
    """A whole counterexample, replayed."""

    cpus: int
    steps: tuple[LaneStep, ...]


def lanes_of(steps: Sequence[LiveStep], world: World) -> Lanes:
    """What a replay showed, in names: ``TSS 1`` for the TSS of CPU 1, ``monitor`` for a guest's."""
    host = world.model
    names: dict[int, str] = {host.tss_of(cpu): f"TSS {cpu}" for cpu in range(host.cpus)}
    names[world.guest.tss.virtual] = "monitor"
    return Lanes(host.cpus, tuple(_step(step, names) for step in steps))


def confirmed(steps: Sequence[LiveStep], world: World, found: Counterexample) -> Lanes:
    """The lanes of the replay of ``found``.

    Raises VerificationError where the replay did not show what ``found`` says: then the
    exploration and the machine disagree, and neither is to be believed.
    """
    shown = lanes_of(steps, world)
    props = {violation.prop for step in steps for violation in step.violations}
    if any(last.slots for last in steps[-1:]):
        props.add("descriptor")
    # That nothing can finish is judged on the graph: no one step shows it.
    if found.prop not in props and found.prop != PROGRESS:
        raise VerificationError(
            f"the counterexample to {found.prop} does not replay: '{found.schedule}'",
            todo="report this as a bug of kpatch, with the module",
        )
    return shown


def _step(step: LiveStep, names: Mapping[int, str]) -> LaneStep:
    return LaneStep(
        cpu=step.move.cpu,
        move=step.move.kind.value,
        instructions=step.trace,
        descriptor=tuple(
            f"{names.get(seen.base, hex(seen.base))} {'busy' if seen.type == BUSY else 'free'}"
            for seen in step.descriptors
        ),
        tasks=tuple(names.get(base, hex(base)) for base in step.tasks),
        buffered=step.buffered,
        violations=tuple(f"{violation.prop}: {violation.what}" for violation in step.violations),
    )
