"""Schedules: who moves next, as a string that a person can read and a program can replay.

A schedule is a list of moves between spaces::

    0 0 1 1d 0 2t1

``1`` CPU 1 performs its pending operation (where guests move, at REST and DONE: it parks its
guest) ·
``1d`` the oldest store in CPU 1's store buffer reaches memory ·
``2t1`` CPU 2, idle, takes guest number 1 of the pool, counted from 0 in the order in which they
were parked. The same move several times in a row may be written with a count: ``0*12``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from kpatch.errors import UsageError

MAX_MOVES = 1_000_000  # a count such as 0*99999999999 must not fill the memory


class MoveKind(Enum):
    """The three kinds of moves."""

    RUN = "run"
    DRAIN = "drain"
    TAKE = "take"


@dataclass(frozen=True)
class Move:
    """One entry of a schedule. ``guest`` is the position in the pool, for TAKE only."""

    cpu: int
    kind: MoveKind = MoveKind.RUN
    guest: int = 0

    def __str__(self) -> str:
        """The move as it stands in a schedule."""
        if self.kind is MoveKind.DRAIN:
            return f"{self.cpu}d"
        if self.kind is MoveKind.TAKE:
            return f"{self.cpu}t{self.guest}"
        return str(self.cpu)


Schedule = tuple[Move, ...]


def impossible(move: Move, position: int, problem: str) -> UsageError:
    """The error for the move at ``position`` (from 1) of a schedule, which cannot be made."""
    return UsageError(
        f"the move {move} cannot be made: {problem}",
        where=f"schedule, move {position}",
        todo="replay with the module, the scenario and the memory model it was found with",
    )


def to_text(schedule: Schedule) -> str:
    """The schedule as a string; :func:`from_text` reads it back."""
    words = []
    for move, run in groupby(schedule):
        count = sum(1 for _ in run)
        words.append(f"{move}*{count}" if count > 1 else str(move))
    return " ".join(words)


def from_text(text: str) -> Schedule:
    """Reads a schedule. Raises UsageError that shows the first word that is none."""
    moves: list[Move] = []
    for position, word in enumerate(text.split(), 1):
        match = _WORD.fullmatch(word)
        if match is None:
            raise UsageError(
                f"{word[:40]!r} is not a move of a schedule",
                where=f"schedule, word {position}",
                todo="write moves such as 0, 1d, 2t1 or 0*12",
            )
        count = int(match["count"] or 1)
        if len(moves) + count > MAX_MOVES:
            raise UsageError(
                f"the schedule has more than {MAX_MOVES} moves", where=f"schedule, word {position}"
            )
        moves.extend([_move(match)] * count)
    return tuple(moves)


def _move(match: re.Match[str]) -> Move:
    cpu = int(match["cpu"])
    if match["drain"]:
        return Move(cpu, MoveKind.DRAIN)
    if match["guest"] is not None:
        return Move(cpu, MoveKind.TAKE, int(match["guest"]))
    return Move(cpu)


_WORD = re.compile(
    r"(?P<cpu>[0-9]{1,4})((?P<drain>d)|t(?P<guest>[0-9]{1,4}))?(\*(?P<count>[0-9]{1,9}))?"
)
