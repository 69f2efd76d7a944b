"""The machine as the rest of kpatch sees it: set up a module, explore it, replay it.

subject = Subject.of(module, image, original)
setup = Setup(subject, scenario, cpus=2)
result = setup.with_program(lambda program: explore(program, options))
steps = setup.replay_live(schedule)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeVar

from kpatch.elf import constants as elf
from kpatch.elf.module import Module
from kpatch.errors import UnknownModuleError, UsageError, VerificationError
from kpatch.kernel.host import SELECTOR_TO_7
from kpatch.signature.model import Image
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.program import Value
from kpatch.verify.explore.replay import replay
from kpatch.verify.explore.schedule import Schedule
from kpatch.verify.machine.cells import CellRange, SharedMemory, SharedMemoryGrewError, StartBytes
from kpatch.verify.machine.live import LiveMachine, LiveStep
from kpatch.verify.machine.program import Mode, UnicornProgram
from kpatch.verify.machine.runs import Runner
from kpatch.verify.machine.scenarios import Scenario
from kpatch.verify.machine.window import window
from kpatch.verify.world.caller import LockedPart
from kpatch.verify.world.host import HostModel
from kpatch.verify.world.linking import Linked
from kpatch.verify.world.world import ImagePlace, World
from kpatch.verify.world.worldswitch import SwitchLayout, bind

T = TypeVar("T")

_MOST_RESTARTS: Final = 200
"""Each restart has learned of an access it did not know. A patch needs one or two."""

MOST_SEATS: Final = 2
"""On larger hosts guests that move have all the same addresses: those that wait are then alike."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A module to run: where its monitor image lies, and what its state structure looks like.

    It is no value but the one place where the engine of the last host, and the module as it was
    linked, are kept: two of the same module share neither.
    """

    module: Module
    image: ImagePlace
    layout: SwitchLayout
    tail: LockedPart | None = None
    _runners: dict[tuple[HostModel, bool, int], Runner] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    _linked: Linked = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        module: Module,
        image: Image,
        original: Module | None = None,
        tail: LockedPart | None = None,
    ) -> Subject:
        """``original`` is the module before it was patched, if it was: the layout is read from
        its code. ``tail`` is a source fix that runs after the switch.

        Raises UnknownModuleError if the code is no world switch that can be run.
        """
        source = original or module
        if image.section.index >= len(source.sections):
            raise UnknownModuleError(
                f"no section {image.section.index}, in which the monitor image should be",
                where=source.name,
            )
        section = source.sections[image.section.index]
        code = source.contents(section)[image.at : image.at + image.size]
        place = ImagePlace(
            image.section.index, image.at, image.size, _writable(module) - _writable(source)
        )
        return cls(module, place, bind(code, tuple(image.marks)), tail)

    def runner(self, host: HostModel, *, locks: bool, guests: int) -> Runner:
        """The module on a host: the last one is kept, for explorations in a row."""
        key = host, locks, guests
        found = self._runners.get(key)
        if found is None:
            world = World(
                host,
                self.module,
                self.image,
                self.layout,
                self.tail,
                guests=guests,
                locks=locks,
                linked=self._linked,
            )
            self._runners.clear()
            found = self._runners[key] = Runner(world)
        return found


def _writable(module: Module) -> frozenset[str]:
    """The names of the sections that hold data which the module may write."""
    return frozenset(
        section.name
        for section in module.sections
        if section.flags & elf.SHF_WRITE and not section.flags & elf.SHF_EXECINSTR
    )


@dataclass(frozen=True, eq=False)
class Setup:
    """A module in a scenario, on a host with ``cpus`` CPUs (one, where the scenario says so).

    ``cpuid_offset`` is where the host's struct pcpu keeps the CPU's number; ``model`` is the
    memory model; mode "instruction" makes every instruction a step of its own. Without ``locks``
    nothing orders the CPUs (:class:`~kpatch.verify.world.world.World`). ``start`` is what earlier
    rounds have left in shared memory.

    It is no value: it learns, exploration by exploration, which memory the CPUs share. One that is
    made of it by ``replace`` knows and learns the same, which is right for every scenario, model
    and start on the same host.
    """

    subject: Subject
    scenario: Scenario
    cpus: int
    cpuid_offset: int = 0x34
    tr_selector: int = SELECTOR_TO_7
    model: MemoryModel = MemoryModel.SC
    mode: Mode = "visible"
    locks: bool = True
    start: StartBytes = ()
    _shared: SharedMemory = field(default_factory=SharedMemory, compare=False, repr=False)

    def with_program(self, run: Callable[[UnicornProgram], T]) -> T:
        """``run(program)``, again from the start until all shared memory is known.

        Raises VerificationError if that does not come to an end, or the module has more
        states than the machine can hold.
        """
        for _ in range(_MOST_RESTARTS):
            program, known = self.program(), len(self._shared.visible)
            try:
                return run(program)
            except SharedMemoryGrewError:
                continue
            except VerificationError:
                # A schedule counts steps, and those are shorter where another CPU has shown by
                # then that an instruction is visible. From the start on they are alike.
                if len(self._shared.visible) == known:
                    raise
        raise VerificationError(
            f"not proven: after {_MOST_RESTARTS} explorations the module still touches new "
            "shared memory",
            where=self.scenario.name,
            todo="the module is not one that can be proven",
        )

    def program(self) -> UnicornProgram:
        """The program to explore. It may raise SharedMemoryGrewError; see :meth:`with_program`."""
        return UnicornProgram(
            self.runner,
            self.scenario,
            self._shared,
            self.mode,
            store_buffers=self._store_buffers,
            start=self.start,
        )

    @property
    def shares_memory(self) -> bool:
        """Whether, as far as was explored, a CPU writes what another one touches."""
        return bool(self._shared.cells)

    @property
    def ranges(self) -> tuple[CellRange, ...]:
        """The cells, as far as they are known."""
        return self._shared.cells

    def instructions_on(self, places: Sequence[tuple[int, int]]) -> frozenset[int]:
        """Addresses of the instructions that were seen to touch these bytes."""
        return frozenset(
            address
            for address, start, end in self._shared.accessed
            if any(low < end and start < high for low, high in places)
        )

    def flow(self) -> dict[int, frozenset[int]]:
        """Where each instruction was seen to go on."""
        following: dict[int, set[int]] = {}
        for address, after in self._shared.flow:
            following.setdefault(address, set()).add(after)
        return {address: frozenset(seen) for address, seen in following.items()}

    def loaded_at(self, physical: int, size: int) -> bytes:
        """What the kernel linker put into the patch's memory."""
        for region in self.world.lock_regions:
            if region.holds_physical(physical, size):
                at = region.virtual - self.world.loaded.base + physical - region.physical
                return bytes(self.world.loaded.memory[at : at + size])
        return b""

    def left(self, memory: Sequence[Value]) -> StartBytes:
        """A final memory, as the start of later rounds."""
        cells = self._shared.cells
        return tuple(
            (cell.start, end[: cell.end - cell.start])
            for cell, end in zip(cells, memory, strict=True)
        )

    def replay_live(self, schedule: Schedule) -> tuple[LiveStep, ...]:
        """Run a schedule on as many engines as there are CPUs, over one shared memory.

        It is run step by step as the exploration does it, too, and both have to agree. Raises
        UsageError if a move cannot be made, VerificationError if they do not agree.
        """
        expected = self.with_program(lambda program: replay(program, schedule, self.model)).steps
        machine = LiveMachine(
            self.world,
            self.scenario,
            self._shared,
            store_buffers=self._store_buffers,
            every_instruction=self.mode == "instruction",
            start=self.start,
        )
        try:
            steps = machine.make_moves(schedule)
        except UsageError as error:
            raise self._unlike(str(error)) from error
        finally:
            machine.close()
        for position, (live, memoised) in enumerate(zip(steps, expected, strict=True), 1):
            if live.violations != memoised.violations:
                raise self._unlike(f"move {position}, {live.move}, has another outcome")
        return steps

    def confirm(self, schedule: Schedule) -> tuple[LiveStep, ...]:
        """Replay what the exploration found. Raises VerificationError if that cannot be."""
        try:
            return self.replay_live(schedule)
        except UsageError as error:
            raise self._unlike(str(error)) from error

    def _unlike(self, what: str) -> VerificationError:
        return VerificationError(
            f"the schedule does not replay on engines that share one memory: {what}",
            where=self.scenario.name,
            todo="report this as a bug of kpatch; it says nothing about the module",
        )

    def window(self) -> int | None:
        """Instructions under the host's page tables with a foreign TSS; None if no return."""
        return window(self.world)

    @property
    def place(self) -> tuple[HostModel, int]:
        """The host, and how many guests on it have addresses of their own."""
        host = self.scenario.host(
            self.cpus, cpuid_offset=self.cpuid_offset, tr_selector=self.tr_selector
        )
        return host, 1 if self.scenario.moves and host.cpus > MOST_SEATS else host.cpus

    @cached_property
    def runner(self) -> Runner:
        """The engine that all of this runs on."""
        host, guests = self.place
        return self.subject.runner(host, locks=self.locks, guests=guests)

    @property
    def world(self) -> World:
        """The memory that all of this runs in."""
        return self.runner.world

    @property
    def _store_buffers(self) -> bool:
        return self.model is MemoryModel.TSO
