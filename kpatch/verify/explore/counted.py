"""The common case, for speed: states in which nobody but the memory refers to a CPU, as counts.

In such a state the CPUs that the memory refers to come first, and the others are interchangeable:
what counts is how many of them have each shape, and how many guests of each kind wait (counter
abstraction, Pong and Dubois, IEEE TPDS 1995). So the state is one integer. Its lowest bits are the
number of its *head*, which is the memory and the shapes of the CPUs that it refers to; above them
every shape, and every guest, has a counter of its own.

All states with the same head and the same counters other than zero are of one *kind*: they have
the same moves, and a move adds the same number to each of them. Only where it changes what the
memory holds, the CPUs that wait get other normal forms, each counter as a whole. So the moves are
worked out once a kind. :mod:`~kpatch.verify.explore.space` does the same in general.
"""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from kpatch.verify.explore.canonical import CanonicalForms, State
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.shapes import ShapeKind
from kpatch.verify.explore.spin_loops import NormalForms, SpinLoops
from kpatch.verify.explore.steps import Effect, Steps, pattern_of

StateKey = int | State
"""A state as the search keeps it: counted, or as it is where it is linked."""

Follow = Callable[[int], StateKey]

_HEAD: Final = 32
"""Bits of the number of a head."""
_HEADS: Final = (1 << _HEAD) - 1


class Taken(NamedTuple):
    """A move in a state: the CPU, the CPUs behind the names, its effect, the guest it takes."""

    cpu: int
    names: Sequence[int]
    effect: Effect
    guest: int | None


ENDS, STAYS = 1, 2
"""A move comes to the end of a round; or the CPU is between two, and stays there."""


class Moves(NamedTuple):
    """The moves of a state, in order.

    ``movers`` are the shapes of the CPUs that move. ``changes`` and ``ends`` are as in
    :class:`~kpatch.verify.explore.graph.Graph`. ``notable`` is set where one violates something.
    """

    movers: array[int]
    effects: tuple[Effect, ...]
    changes: bytes
    ends: bytes
    notable: bool
    held_up: bool

    @classmethod
    def of(cls, made: Sequence[tuple[int, Effect]]) -> Moves:
        """From the shapes that move, and what they do."""
        effects = tuple([effect for _, effect in made])
        return cls(
            array("l", [mover for mover, _ in made]),
            effects,
            bytes([each.changes for each in effects]),
            bytes([ENDS if each.ends_round else STAYS * each.outside for each in effects]),
            any(each.violations for each in effects),
            any(each.held_up for each in effects),
        )


class _Kind(NamedTuple):
    """What all states of a kind do: a number to add, or else a function of the state."""

    moves: Moves
    steps: tuple[tuple[int, Follow | None], ...]


class Counted:
    """Unlinked states as numbers, and their moves. Good until the search starts anew."""

    def __init__(
        self,
        forms: CanonicalForms,
        steps: Steps,
        waits: SpinLoops,
        follow: Callable[[State, Taken], State],
    ) -> None:
        """``follow`` makes a move that leads to a linked state."""
        self._forms = forms
        self._steps = steps
        self._waits = waits
        self.follow = follow
        self._cpus = steps.shapes.naming.program.cpus
        self._width = self._cpus.bit_length() + 1  # one bit more than a counter needs
        self.mask = (1 << self._width) - 1  # the bits of the lowest counter
        self._heads: dict[State, int] = {}
        self._head_list: list[State] = []
        self._slots: dict[tuple[bool, int], int] = {}  # a guest or a shape, and its counter
        self._bias = 0  # added to a state, it sets the highest bit of each counter but zero
        self._highest = _HEADS
        self._kinds: dict[int, _Kind] = {}
        self._finals: dict[int, bool] = {}

    def key(self, state: State) -> StateKey:
        """The state as a number, if it is not linked."""
        if self._forms.is_linked(state):
            return state
        end = self._named(state[0]) + 1
        shapes, guests = state[end : self._cpus + 1], state[self._cpus + 1 :]
        return self._head(state[:end]) + self._sum(shapes, guests)

    def state(self, key: StateKey) -> State:
        """The state behind a number."""
        if not isinstance(key, int):
            return key
        items: tuple[list[int], list[int]] = [], []
        for (is_guest, number), shift in self._slots.items():
            if there := key >> shift & self.mask:
                items[is_guest].extend([number] * there)
        return (*self._head_list[key & _HEADS], *sorted(items[False]), *sorted(items[True]))

    def is_final(self, key: int) -> bool:
        """Every CPU has ended, and no guest waits for one."""
        kind = (key + self._bias) & self._highest
        found = self._finals.get(kind)
        if found is None:
            phases, state = self._steps.shapes.phases, self.state(key)
            ended = all(phases[each] is ShapeKind.ENDED for each in state[1 : self._cpus + 1])
            found = self._finals[kind] = ended and len(state) == self._cpus + 1
        return found

    def successors(self, key: int) -> tuple[Moves, list[StateKey]]:
        """Every move, one for CPUs that are interchangeable, and where each leads."""
        kind = (key + self._bias) & self._highest
        found = self._kinds.get(kind)
        if found is None:
            state = self.state(key)
            made = list(self._made(state))
            moves = Moves.of([(state[each.cpu + 1], each.effect) for each in made])
            found = _Kind(moves, tuple(self._step(state, each) for each in made))
            self._kinds[kind] = found
        return found.moves, [
            key + number if follow is None else follow(key) for number, follow in found.steps
        ]

    def _made(self, state: State) -> Iterator[Taken]:
        steps, cpus, memory = self._steps, self._cpus, state[0]
        named = self._named(memory)
        others, previous = tuple(range(named)), -1
        guests = dict.fromkeys(state[cpus + 1 :])
        for cpu in range(cpus):
            shape = state[cpu + 1]
            if cpu >= named:
                if shape == previous:
                    continue
                previous = shape
            names, pattern = self._forms.names(cpu, (), others)
            for effect in steps.effects(shape, memory, pattern):
                yield Taken(cpu, names, effect, None)
            for guest in guests:
                taken = steps.take(shape, guest, ())
                if taken is not None:
                    yield Taken(cpu, names, taken, guest)

    def _step(self, state: State, made: Taken) -> tuple[int, Follow | None]:
        cpu, names, effect, guest = made
        if effect.links or (effect.guest is not None and effect.guest[1]):
            return 0, partial(Counted.linked, weakref.proxy(self), made, state[cpu + 1])
        named = self._named(state[0])
        memory, referred = effect.memory, [names[name] for name in effect.memory_links]
        if effect.kind is MoveKind.TAKE:
            memory, referred = state[0], list(range(named))
        pool = self._sum((), () if effect.guest is None else effect.guest[:1])
        pool -= self._sum((), () if guest is None else (guest,))
        if memory == state[0] and referred == list(range(named)):
            # Nothing has changed for the others: they are in normal form already.
            shape = self._waits.table(memory, pattern_of(named, cpu))[effect.shape]
            return pool + self._replaced(state, cpu, shape), None
        return 0, self._renewed(state, cpu, effect.shape, (memory, referred), pool)

    def _replaced(self, state: State, cpu: int, shape: int) -> int:
        """What changes in a state where only a CPU's own shape does."""
        named = self._named(state[0])
        if cpu >= named:
            return self._sum((shape,), ()) - self._sum((state[cpu + 1],), ())
        head = state[: named + 1]
        return self._head((*head[: cpu + 1], shape, *head[cpu + 2 :])) - self._head(head)

    def _renewed(
        self, state: State, cpu: int, shape: int, memory: tuple[int, list[int]], pool: int
    ) -> Follow:
        """A move after which the memory is ``memory``, which refers to these CPUs."""
        named, (after, referred) = self._named(state[0]), memory
        nobody = self._waits.table(after, pattern_of(len(referred), None))
        shapes = {**dict(enumerate(state[1 : self._cpus + 1])), cpu: shape}
        head = [
            self._waits.table(after, pattern_of(len(referred), own))[shapes[other]]
            for own, other in enumerate(referred)
        ]
        # Of these it is known which ones they are, of the others how many there are.
        known = {*range(named), cpu, *referred}
        gone = self._sum([state[each + 1] for each in known if each >= named], ())
        come = self._sum([nobody[shapes[each]] for each in known.difference(referred)], ())
        change = self._head((after, *head)) - self._head(state[: named + 1]) + come - gone + pool
        others = {state[each + 1] for each in range(self._cpus) if each not in known}
        own = None if cpu < named else state[cpu + 1]
        return _Renewal(self, nobody, (gone, change), others - {own}, own)

    def linked(self, made: Taken, shape: int, key: int) -> StateKey:
        """Where a move leads in any state of its kind: a nameless CPU is known by its shape."""
        state = self.state(key)
        cpu, named = made.cpu, self._named(state[0])
        cpu = cpu if cpu < named else state.index(shape, named + 1) - 1
        names, _ = self._forms.names(cpu, (), tuple(range(named)))
        return self.key(self.follow(state, made._replace(cpu=cpu, names=names)))

    def renewed(self, shape: int, nobody: NormalForms) -> tuple[int, int]:
        """Where a shape is counted, and what to add for each such CPU under another memory."""
        shift = self._shift(False, shape)
        return shift, (1 << self._shift(False, nobody[shape])) - (1 << shift)

    def shift(self, shape: int) -> int:
        """Where a shape is counted."""
        return self._shift(False, shape)

    def _named(self, memory: int) -> int:
        return self._steps.shapes.memory_links[memory]

    def _head(self, head: State) -> int:
        number = self._heads.setdefault(head, len(self._head_list))
        if number == len(self._head_list):
            self._head_list.append(head)
        return number

    def _sum(self, shapes: Sequence[int], guests: Sequence[int]) -> int:
        """One for each of these shapes and guests, in their counters."""
        total = 0
        for shape in shapes:
            total += 1 << self._shift(False, shape)
        for guest in guests:
            total += 1 << self._shift(True, guest)
        return total

    def _shift(self, is_guest: bool, number: int) -> int:
        """The place of a counter."""
        found = self._slots.get((is_guest, number))
        if found is None:
            found = self._slots[is_guest, number] = _HEAD + self._width * len(self._slots)
            highest = 1 << (found + self._width - 1)
            self._bias += highest - (1 << found)
            self._highest |= highest
        return found


class _Renewal:
    """A move that changes what the memory holds: all others get their normal forms under it."""

    def __init__(
        self,
        counted: Counted,
        nobody: NormalForms,
        numbers: tuple[int, int],
        others: set[int],
        own: int | None,
    ) -> None:
        """``numbers``: the counters of the CPUs whose part in it is known, and what it adds.

        ``others`` are the shapes that CPUs without a part have, ``own`` is the one that the moving
        CPU had: whether others have it, too, is another thing in each state.
        """
        self._counted = weakref.proxy(counted)  # else they would keep each other
        self._nobody = nobody
        self._gone, self._change = numbers
        self._mask = counted.mask
        self._others = tuple(
            each for each in (counted.renewed(shape, nobody) for shape in others) if each[1]
        )
        self._own = own
        self._own_shift = 0 if own is None else counted.shift(own)
        self._own_change: int | None = None

    def __call__(self, key: int) -> int:
        """The state after the move."""
        rest, after, mask = key - self._gone, key + self._change, self._mask
        for shift, change in self._others:
            after += (rest >> shift & mask) * change
        if self._own is not None and (alike := rest >> self._own_shift & mask):
            if self._own_change is None:
                self._own_change = self._counted.renewed(self._own, self._nobody)[1]
            after += alike * self._own_change
        return after
