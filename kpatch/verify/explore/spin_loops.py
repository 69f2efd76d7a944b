"""Spin loops: CPUs that only look until something changes are kept at one place of the loop.

A step is *silent* when the CPU makes it without changing the memory or the pool and without
violating anything: a read that finds the lock held, an exchange that puts 1 over 1. A CPU *waits*
where its silent steps lead into a cycle as long as the memory stays as it is. The places of a
spin loop multiply the states, yet nobody can tell them apart. So silent steps of such shapes
(the *members*) are made at once, after every move, by every CPU: a state is kept in its *normal
form* only. In a cycle the normal form is the shape with the smallest number.

That is sound if a silent step never gives anything away: whatever memory the other CPUs make
next, the shape before the step and the one after it have the same normal form there. This is
checked for every member, under every memory that the search meets, against every memory that
the search meets. Then, by induction over the steps of the full graph, for each full state there is
a reduced one whose CPUs have the same normal forms under all those memories: a silent step keeps
that by the check; any other step is not silent, so its CPU already is in normal form, the reduced
state can make the same step, and normalising keeps it again by the check. The reduced
state is reached by steps of the program alone. So violations, final states, and whether a final
state can still be reached are the same in both graphs (confluence of silent steps: Groote and
van de Pol, MFCS 2000). A member that fails the check is refused and the search starts anew.

Where two normal forms differ, they may still be *twins*: shapes whose next move is the same, down
to the shape it leads to, under every memory that the search meets, such as a CPU before its
first attempt at the lock, and one that comes back to it with something else in a dead register.
Twins are one shape to the search (they are strongly bisimilar); this is checked in the same way.

Only shapes with an empty store buffer that refer to no other CPU can be members or twins.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import NoReturn

from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.shapes import ShapeKind
from kpatch.verify.explore.steps import Effect, Steps, pattern_of

MAX_RESTARTS = 100  # more changes of mind than this, and the reduction is given up

MAX_LOOP = 64  # silent moves in a spin loop; a longer one is not looked for

Context = tuple[int, Names]  # a memory, and the names of the CPUs that it refers to


class MembersChangedError(Exception):
    """The set of members is another one: the search has to start anew. Stays in this package."""


class SpinLoops:
    """Knows the members, and the normal form of every shape under every memory met."""

    def __init__(self, steps: Steps, enabled: bool) -> None:
        self._steps = steps
        self._enabled = enabled
        self._frozen = False
        self._restarts = 0
        self._members: set[int] = set()
        self._refused: set[int] = set()
        self._contexts: dict[int, list[Context]] = {}
        self._met: dict[int, None] = {}  # every memory that any search has met, in order
        self._twins: dict[int, int] = {}  # a shape, and the smaller one that stands for it
        self._no_twins: set[tuple[int, int]] = set()
        self._pairs: set[tuple[int, int]] = set()  # a member before and after a silent step
        self._normal: dict[tuple[int, int, Names], tuple[int, int]] = {}
        self._tables: dict[tuple[int, Names], NormalForms] = {}

    def freeze(self) -> None:
        """After the search: the members stay as they are, whatever else is asked for."""
        self._frozen = True

    def normal(self, shape: int, memory: int, pattern: Names) -> tuple[int, int]:
        """The normal form of a shape under a memory, and how many steps lead there.

        Raises MembersChangedError when the search must start anew.
        """
        if not self._enabled:
            return shape, 0
        key = shape, memory, pattern
        found = self._normal.get(key)
        if found is None:
            if not self._frozen:
                self._meet(memory)
                self._look_for_members(shape, (memory, pattern))
            found = self._normal[key] = self._follow(shape, (memory, pattern))
        return found

    def table(self, memory: int, pattern: Names) -> NormalForms:
        """The normal forms of all shapes under a memory; good until the search starts anew."""
        key = memory, pattern
        found = self._tables.get(key)
        if found is None:
            found = self._tables[key] = NormalForms(self, memory, pattern)
        return found

    def closure(self, shapes: Iterable[int]) -> frozenset[int]:
        """These shapes, and all normal forms that they, or those again, have anywhere."""
        forms: dict[int, set[int]] = {}
        for (shape, _, _), (form, _) in self._normal.items():
            forms.setdefault(shape, set()).add(form)
        found, pending = set(), list(shapes)
        while pending:
            shape = pending.pop()
            if shape not in found:
                found.add(shape)
                pending.extend(forms.get(shape, ()))
        return frozenset(found)

    def _meet(self, memory: int) -> None:
        """A memory that was not met before: every member must pass the check under it."""
        if memory in self._contexts:
            return
        self._met[memory] = None
        contexts = self._contexts[memory] = list(self._contexts_of(memory))
        for context in contexts:
            for twin, other in self._twins.items():
                if not self._same_moves(twin, other, context):
                    self._no_twins.add((twin, other))
                    self._restart()
            for before, after in self._pairs:
                self._check(before, after, context)
        for context in contexts:
            for member in tuple(self._members):
                self._learn_pair(member, context)

    def _contexts_of(self, memory: int) -> Iterator[Context]:
        """The memory, referring to the CPU itself in each possible place, or not at all."""
        references = self._steps.shapes.memory_links[memory]
        for own in range(references):
            yield memory, pattern_of(references, own)
        if references < self._steps.shapes.naming.program.cpus:
            yield memory, pattern_of(references, None)

    def _learn_pair(self, member: int, context: Context) -> None:
        effect = self._silent(member, context)
        if effect is None or (member, effect.shape) in self._pairs:
            return
        self._pairs.add((member, effect.shape))
        for contexts in tuple(self._contexts.values()):
            for other in contexts:
                self._check(member, effect.shape, other)

    def _check(self, before: int, after: int, context: Context) -> None:
        one, other = self._follow(before, context)[0], self._follow(after, context)[0]
        if one == other:
            return
        self._look_for_members(after, context)  # perhaps it only was not seen to wait yet
        self._look_for_twins(max(one, other), min(one, other))
        self._refused.add(before)
        self._restart()

    def _look_for_twins(self, shape: int, other: int) -> None:
        """Whether two normal forms make the same moves; then the first is replaced."""
        if (shape, other) in self._no_twins:
            return
        contexts = (context for listed in self._contexts.values() for context in listed)
        if all(self._same_moves(shape, other, context) for context in contexts):
            self._twins[shape] = other
            self._restart()

    def _same_moves(self, shape: int, other: int, context: Context) -> bool:
        shapes = self._steps.shapes
        if shapes.phases[shape] is not shapes.phases[other]:
            return False
        if shapes.links[shape] or shapes.links[other]:
            return False
        moves = self._steps.effects(shape, *context)
        return bool(moves) and moves == self._steps.effects(other, *context)

    def _look_for_members(self, shape: int, context: Context) -> None:
        """Whether the silent steps from here lead into a cycle; then all of them are members."""
        path = [shape]
        while path[-1] not in self._refused and len(path) <= MAX_LOOP:
            effect = self._silent(path[-1], context)
            if effect is None:
                return
            if effect.shape in path:
                if not self._members.issuperset(path):
                    self._members.update(path)
                    self._restart()
                return
            path.append(effect.shape)

    def _follow(self, shape: int, context: Context) -> tuple[int, int]:
        """The normal form, and the number of the program's steps to it."""
        path, counts = [self._stand_in(shape)], [0]
        while path[-1] in self._members:
            effect = self._silent(path[-1], context)
            if effect is None:
                break
            following = self._stand_in(effect.shape)
            if following in path:
                cycle = path[path.index(following) :]
                place = path.index(min(cycle))
                return path[place], counts[place]
            path.append(following)
            counts.append(counts[-1] + effect.step_count)
        return path[-1], counts[-1]

    def _stand_in(self, shape: int) -> int:
        while shape in self._twins:
            shape = self._twins[shape]
        return shape

    def _silent(self, shape: int, context: Context) -> Effect | None:
        """The next step of a shape, if it is silent."""
        shapes = self._steps.shapes
        if shapes.links[shape] or shapes.cpus[shape].buffer:
            return None
        effects = self._steps.effects(shape, *context)
        if len(effects) != 1 or effects[0].kind is not MoveKind.RUN:
            return None
        effect = effects[0]
        tells = effect.changes or effect.violations or effect.phase is ShapeKind.FAULT
        if tells or effect.links or shapes.cpus[effect.shape].buffer:
            return None
        return effect

    def _restart(self) -> NoReturn:
        """Let the search start anew. What follows for the memories that were met is found out
        before: else it would start anew for that, too.
        """
        self._members -= self._refused
        self._restarts += 1
        self._enabled = self._restarts <= MAX_RESTARTS
        self._contexts.clear()
        self._pairs.clear()
        self._normal.clear()
        self._tables.clear()
        for memory in tuple(self._met) if self._enabled else ():
            self._meet(memory)
        raise MembersChangedError


class NormalForms(dict[int, int]):
    """From shapes to their normal forms under one memory, found when they are asked for."""

    def __init__(self, waits: SpinLoops, memory: int, pattern: Names) -> None:
        super().__init__()
        self._waits = weakref.proxy(waits)  # else they would keep each other
        self._context = memory, pattern

    def __missing__(self, shape: int) -> int:
        form: int = self._waits.normal(shape, *self._context)[0]
        self[shape] = form
        return form
