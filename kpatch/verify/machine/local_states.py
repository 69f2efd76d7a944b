"""Local states of CPUs, and the numbers by which the explorer knows them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from kpatch.errors import VerificationError
from kpatch.verify.explore.program import Local, Value
from kpatch.verify.hardware.cpustate import CHUNK, Snapshot

MOST_LOCALS: Final = 40_000
"""Local states that are kept, about 7 kB each. A module that has more is not explored."""


class Phase(Enum):
    """Where in a round a CPU is."""

    RUNNING = "running"
    REST = "rest"
    DONE = "done"
    IDLE = "idle"
    FAULT = "fault"


@dataclass(frozen=True)
class LocalState:
    """A CPU and its guest. ``rounds`` counts those still to come after this one.

    ``buffered`` is set where a plain store may still be in the store buffer: then a fence is a
    visible operation, because it waits for the buffer. ``seat`` says which guest's addresses it is.
    """

    phase: Phase
    snapshot: Snapshot
    rounds: int
    buffered: bool = False
    seat: int = 0


class Locals:
    """Gives equal states equal numbers."""

    def __init__(self, scenario: str) -> None:
        self._scenario = scenario
        self._states: list[LocalState] = []
        self._numbers: dict[LocalState, Local] = {}

    def __getitem__(self, local: Local) -> LocalState:
        """The state that has this number."""
        return self._states[local]

    def __len__(self) -> int:
        """How many states there are so far."""
        return len(self._states)

    def number(self, state: LocalState) -> Local:
        """The number of a state. Raises VerificationError when there are too many."""
        known = self._numbers.get(state)
        if known is not None:
            return known
        if len(self._states) == MOST_LOCALS:
            raise VerificationError(
                f"not proven: more than {MOST_LOCALS} states of a single CPU",
                where=self._scenario,
                todo="the module has more states than this machine can hold",
            )
        self._states.append(state)
        self._numbers[state] = len(self._states) - 1
        return len(self._states) - 1


_CHUNK: Final = struct.Struct(f"<I{CHUNK}s")
_ROUNDS: Final = struct.Struct("<HH")


def pack_guest(state: LocalState) -> Value:
    """A guest that waits for a CPU: its memory, its addresses, and the rounds still to make."""
    chunks = (_CHUNK.pack(number, data) for number, data in state.snapshot.chunks)
    return _ROUNDS.pack(state.rounds, state.seat) + b"".join(chunks)


def unpack_guest(guest: Value) -> tuple[int, int, tuple[tuple[int, bytes], ...]]:
    """The rounds, the seat and the chunks of a guest that was packed."""
    rounds, seat = _ROUNDS.unpack_from(guest)
    return rounds, seat, tuple(_CHUNK.iter_unpack(guest[_ROUNDS.size :]))
