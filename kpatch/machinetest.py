"""A module's own switch on other machines: which runs there are, and what they show together.

It is a test with a count of rounds, never a proof. As with the proof, it counts only if the same
machine, in the same number of rounds, finds what is wrong with the unpatched module, and with the
same patch without its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from kpatch.elf.module import Module
from kpatch.errors import UnknownModuleError, UsageError
from kpatch.kernel.host import SELECTOR_OF_8
from kpatch.units import counted
from kpatch.verify.proof.controls import without_lock
from kpatch.verify.proof.tasks import Case
from kpatch.verify.world.host import HostModel
from kpatch.verify.world.worldswitch import SwitchLayout, bind
from kpatch.witness.machine.emulators import EMULATORS, require, run, version_of
from kpatch.witness.machine.job import (
    MOST_CPUS,
    SWITCH_FIELDS,
    MachineSettings,
    MachineSubject,
    require_functions,
    rom,
)
from kpatch.witness.machine.result import MachineRun

_UNPATCHED_ROUNDS: Final = 1_000
"""Every round of the unpatched module is wrong on a shared GDT, on all CPUs but the last."""

_DRIVER_ROUNDS: Final = 1_000
"""The C side takes longer, and all of it lies outside of what CPUs share."""

_PRIVATE_SHARE: Final = 10
"""Where nothing is shared there is little to see: a tenth of the rounds."""

_MORE: Final = 2
_SHARE_OF_THE_LIMIT: Final = 0.8
"""A run of so many times the rounds is begun if it is to end in this part of its limit."""

_SURE: Final = 4
"""How many times what one failure of a control took should be enough for another."""

MachineVerdict = Literal["passed", "failed", "withheld"]


@dataclass(frozen=True)
class Trial:
    """One run. A control ``must_fail``; the others must have no finding."""

    name: str
    subject: MachineSubject
    settings: MachineSettings
    must_fail: bool


@dataclass(frozen=True)
class Tried:
    """A trial and its run."""

    trial: Trial
    run: MachineRun

    @property
    def holds(self) -> bool:
        """Whether it went as it must: a control has a wrong TSS or a fault, or ends in a hang or a
        reset; the rest came to its end, and nothing was wrong.
        """
        if self.trial.must_fail:
            ended_badly = self.run.outcome in ("hang", "reset")
            return ended_badly or bool(self.run.wrong_tss or self.run.faults)
        return self.run.outcome == "done" and not self.run.findings

    @property
    def found_nothing(self) -> bool:
        """Whether it is a control that ran all its rounds, too few, and nothing was wrong."""
        return self.trial.must_fail and self.run.outcome == "done" and not self.holds


@dataclass(frozen=True)
class MachineTest:
    """Everything that was run on one machine: ``rounds`` are those of each CPU. Where they were too
    few for a control, ``enough`` is how many should do; 0 where that is not known.
    """

    machine: str
    name: str
    version: str
    cpus: int
    rounds: int
    tried: tuple[Tried, ...]
    enough: int = 0

    @property
    def verdict(self) -> MachineVerdict:
        """Failed where the module did something wrong; withheld where a control did nothing, or the
        clock ended a run in which nothing was wrong so far.
        """
        if any(tried.run.findings for tried in self.tried if not tried.trial.must_fail):
            return "failed"
        return "passed" if self.tried and all(t.holds for t in self.tried) else "withheld"


def numbers_of(layout: SwitchLayout) -> Mapping[str, int]:
    """The switch's layout as the plain numbers that a machine takes.

    Raises UnknownModuleError for a switch for which the machine's kernel prepares too little.
    """
    if layout.nexus_to or layout.kernel_jump is not None or layout.frame != (0,) * 6:
        raise UnknownModuleError(
            "its switch takes an address from the state, or words from the stack, that the "
            "machine's kernel does not prepare",
            todo="run 'kpatch verify', which does",
        )
    return {name: int(getattr(layout, name)) for name in SWITCH_FIELDS}


def subject_of(case: Case, module: Module) -> MachineSubject:
    """The module as a machine takes it. The image lies where it lies in the original.

    Raises UnknownModuleError where the image is no world switch of the known shape.
    """
    image, fix = case.match.image, case.fix.function
    layout = bind(case.original.data[image.start : image.start + image.size], image.marks)
    after = (fix.section, fix.offset) if fix and module is case.module else None
    place = (image.section.index, image.at, image.size)
    return MachineSubject(
        module, place, numbers_of(layout), after, case.match.signature.lock.section
    )


def trials(case: Case, settings: MachineSettings) -> tuple[Trial, ...]:
    """The controls, and the module itself on a shared GDT and on private ones.

    Raises VerificationError if a control cannot be made.
    """
    if not case.fix.judged and case.fix.function is None:
        return ()  # its switch alone is not what the module does
    subject = subject_of(case, case.module)
    private = replace(settings, private_gdt=True, rounds=max(1, settings.rounds // _PRIVATE_SHARE))
    tests = (
        Trial("the module on a shared GDT", subject, settings, must_fail=False),
        Trial("the module on private GDTs", subject, private, must_fail=False),
    )
    if case.fix.private_only:
        return tests[1:]
    if not case.is_patched:
        return tests
    unpatched = replace(settings, rounds=min(settings.rounds, _UNPATCHED_ROUNDS))
    lockless = subject_of(case, without_lock(case.module, case.original))
    return (
        Trial("the unpatched module", subject_of(case, case.original), unpatched, must_fail=True),
        Trial("the patch without its lock", lockless, replace(settings, stop=True), must_fail=True),
        *tests,
        Trial(
            f"the module on private GDTs, as FreeBSD 8.0 has them (TR {SELECTOR_OF_8:#x})",
            subject,
            replace(private, tr_selector=SELECTOR_OF_8),
            must_fail=False,
        ),
    )


def driver_trials(case: Case, settings: MachineSettings) -> tuple[Trial, ...]:
    """The module's C side as well: its ioctl, with a guest on every CPU.

    Raises UnknownModuleError if the module wants more of the kernel than the machine has.
    """
    subject = subject_of(case, case.module)
    require_functions(case.module)
    rounds = min(settings.rounds, _DRIVER_ROUNDS)
    driver = replace(settings, mode="driver", rounds=rounds)
    return (Trial("the whole driver", replace(subject, after=None), driver, must_fail=False),)


def settings_for(
    machine: str, case: Case, *, cpus: int = 2, rounds: int | None = None, seed: int = 1
) -> MachineSettings:
    """The machine's usual settings for a module. Raises UsageError for numbers beyond it."""
    if not 2 <= cpus <= MOST_CPUS:
        raise UsageError(
            f"{counted(cpus, 'CPU')}: a machine has 2 to {MOST_CPUS}",
            where="--machine-cpus",
            todo="as 2",
        )
    emulator = EMULATORS[machine]
    return MachineSettings(
        cpus=cpus,
        rounds=rounds or emulator.rounds,
        seed=seed,
        delay=16,
        patience=emulator.patience,
        beat=emulator.beat,
        cpuid_offset=case.cpuid,
        tr_selector=HostModel(2).tr_selector,
    )


def test_on(
    machine: str,
    case: Case,
    settings: MachineSettings,
    *,
    with_driver: bool = False,
    raise_rounds: bool = False,
    limit: float | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> MachineTest:
    """Run everything on one machine. With ``raise_rounds`` the rounds are a beginning: where a
    control finds nothing in them, it and the module are run for more. Without, the control alone
    is, so that it can be said how many would have been enough.

    Raises UsageError if the machine is not there, and what :func:`driver_trials` raises.
    """
    emulator = require(machine)
    extra = driver_trials(case, settings) if with_driver else ()
    tried: list[Tried] = []  # the controls come first
    most = (limit or emulator.limit) * _SHARE_OF_THE_LIMIT
    enough = 0
    if raise_rounds:
        settings, tried = _until_the_control_fails(machine, case, settings, most, limit, report)
    for trial in (*trials(case, settings)[len(tried) :], *extra):
        report(f"{emulator.name}: {trial.name}")
        tried.append(_tried(machine, trial, limit))
    for each in tried:
        if each.found_nothing and not raise_rounds:
            report(f"{emulator.name}: {each.trial.name}, until it fails")
            enough = _enough_rounds(machine, each.trial, most, limit)
    version = version_of(emulator)
    return MachineTest(
        machine, emulator.name, version, settings.cpus, settings.rounds, tuple(tried), enough
    )


def _tried(machine: str, trial: Trial, limit: float | None) -> Tried:
    made = rom(trial.subject, trial.settings)
    return Tried(trial, run(machine, made, trial.settings.cpus, limit))


def _enough_rounds(machine: str, trial: Trial, most: float, limit: float | None) -> int:
    """Some times as many rounds a CPU as this control takes to fail; 0 if it does not in ``most``
    seconds.
    """
    settings = trial.settings
    rounds = max(EMULATORS[machine].rounds, settings.rounds * _MORE)
    while True:
        tried = _tried(machine, replace(trial, settings=replace(settings, rounds=rounds)), limit)
        if tried.holds:
            return _SURE * -(-tried.run.rounds // settings.cpus)
        if tried.run.seconds * _MORE > most:
            return 0
        rounds *= _MORE


def _until_the_control_fails(
    machine: str,
    case: Case,
    settings: MachineSettings,
    most: float,
    limit: float | None,
    report: Callable[[str], None],
) -> tuple[MachineSettings, list[Tried]]:
    """The controls, with more rounds and other delays until each fails, or until more would take
    longer than ``most`` seconds; and the settings with which the module is to be run then.
    """
    while True:
        tried = []
        for trial in (each for each in trials(case, settings) if each.must_fail):
            rounds = counted(trial.settings.rounds, "round")
            report(f"{EMULATORS[machine].name}: {trial.name}, {rounds}")
            tried.append(_tried(machine, trial, limit))
        seconds = max((each.run.seconds for each in tried), default=0.0)
        if all(each.holds for each in tried) or seconds * _MORE > most:
            return settings, tried
        settings = replace(settings, rounds=settings.rounds * _MORE, seed=settings.seed + 1)
