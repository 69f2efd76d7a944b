"""The options of ``kpatch verify`` that run a module on other machines."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import click

from kpatch.cli.console import Console
from kpatch.errors import UsageError

if TYPE_CHECKING:
    from kpatch.elf.module import Module
    from kpatch.machinetest import MachineTest
    from kpatch.verify.proof.tasks import Case


class MachineTests(NamedTuple):
    """Which machines, and how: None leaves the number to the machine."""

    machines: tuple[str, ...]
    cpus: int
    rounds: int | None
    seconds: float | None
    driver: bool

    def require(self) -> None:
        """Raise UsageError if a machine is not installed, before anything long begins."""
        if not self.machines:
            for option, given in (("--rounds", self.rounds is not None), ("--driver", self.driver)):
                if given:
                    raise UsageError("it is for a machine", where=option, todo="add --machine qemu")
            return
        from kpatch.witness.machine.emulators import require

        for machine in self.machines:
            require(machine)

    def require_functions(self, module: Module) -> None:
        """Raise UnknownModuleError if the C side wants more of a kernel than a machine has."""
        if self.driver:
            from kpatch.witness.machine.job import require_functions

            require_functions(module)

    def run(self, case: Case, console: Console) -> list[MachineTest]:
        """The test on each machine."""
        if not self.machines:
            return []
        # Imported here: nobody else needs the machines.
        from kpatch.machinetest import settings_for, test_on

        with ended_with_kpatch():
            return [
                test_on(
                    machine,
                    case,
                    settings_for(machine, case, cpus=self.cpus, rounds=self.rounds),
                    with_driver=self.driver,
                    raise_rounds=self.rounds is None,
                    limit=self.seconds,
                    report=console.say if console.verbose else _nobody,
                )
                for machine in self.machines
            ]


_BY_SIGNAL: Final = 128
"""What a shell adds to the number of the signal that ended a program."""


@contextmanager
def ended_with_kpatch() -> Iterator[None]:
    """SIGTERM and SIGHUP, where nobody has asked for something else, leave by way of Python: so
    the machine that runs is ended too, and its folder removed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGTERM, signal.SIGHUP)
    ours = [each for each in kinds if signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, _leave)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(_BY_SIGNAL + number)


def options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``--machine`` and its numbers, and pass it ``machine_tests``."""

    @click.option(
        "--machine",
        "machines",
        type=click.Choice(["qemu", "bochs"]),
        multiple=True,
        help="Run the switch on this machine too: a test, no proof.",
    )
    @click.option("--rounds", type=click.IntRange(1, 10**9), metavar="N", help="On each CPU there.")
    @click.option(
        "--machine-cpus",
        type=click.IntRange(2, 16),
        default=2,
        metavar="N",
        help="CPUs of that machine.",
        show_default=True,
    )
    @click.option(
        "--machine-seconds",
        type=click.FloatRange(0, min_open=True),
        metavar="N",
        help="The most that one run there may take.",
    )
    @click.option(
        "--driver", is_flag=True, help="Run the module's C side there too, through its ioctl."
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        driver: bool,
        machines: tuple[str, ...],
        machine_cpus: int,
        rounds: int | None,
        machine_seconds: float | None,
        **rest: Any,
    ) -> int:
        chosen = tuple(dict.fromkeys(machines))
        tests = MachineTests(chosen, machine_cpus, rounds, machine_seconds, driver)
        return command(*args, machine_tests=tests, **rest)

    return wrapped


def _nobody(text: str) -> None:
    """Nobody listens."""
