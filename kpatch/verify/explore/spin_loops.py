"""Spin loops: CPUs that only look until something changes are kept at one place of the loop.

A step is *silent* when the CPU makes it without changing the memory or the pool and without
violating anything: a read that finds the lock held, an exchange that puts 1 over 1. A CPU *waits*
where its silent steps lead into a cycle as long as the memory stays as it is. The places of a
spin loop multiply the states, yet nobody can tell them apart. So silent steps of such shapes
(the *members*) are made at once, after every move, by every CPU: a state is kept in its *normal
form* only. In a cycle the normal form is the shape with the smallest number.

Which silent steps are made at once is told by the step itself, as the pair of the shapes before and
after it: the steps of members, less those that are *refused*. That is sound if such a step
never gives anything away: whatever memory the other CPUs make next, the shape before the step and
the one after it have the same normal form there. This is checked for every pair that a member has
under some memory that the search meets, against every memory that the search meets. Then, by
induction over the steps of the full graph, for each full state there is a reduced one whose CPUs
have the same normal forms under all those memories: a silent step that is not refused keeps that by
the check; any other step is made by a CPU in normal form, so the reduced state can make the
same step, and normalising keeps it again by the check. The reduced
state is reached by steps of the program alone. So violations, final states, and whether a final
state can still be reached are the same in both graphs (confluence of silent steps: Groote and
van de Pol, MFCS 2000). A pair that fails the check is refused; first of all steps out of a loop:
who waits for a number goes on once it is called, and is not where he was if it were called back.
The search starts anew if a normal form that it has used is another one then. For a lock that keeps
its waiters in order, each pattern of who has looked would else be a state of its own.

Where two normal forms differ, they may still be twins (:mod:`~kpatch.verify.explore.twins`). The
memories looked at are those that differ in what members touch
(:mod:`~kpatch.verify.explore.contexts`).

Only shapes with an empty store buffer that refer to no other CPU can be members.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NoReturn

from kpatch.verify.explore.contexts import Cells, Context, Contexts
from kpatch.verify.explore.naming import Names
from kpatch.verify.explore.schedule import MoveKind
from kpatch.verify.explore.shapes import ShapeKind
from kpatch.verify.explore.steps import Effect, Steps
from kpatch.verify.explore.twins import Twins, touched

MAX_RESTARTS = 100  # more searches than this in vain, and the reduction is given up

MAX_CHANGES = 1_000  # the same for what is found out about shapes

MAX_LOOP = 64  # silent moves in a spin loop; a longer one is not looked for

Pair = tuple[int, int]  # a shape before and after a silent step

FormKey = tuple[int, int, Names]  # a shape, and a context


class MembersChangedError(Exception):
    """Normal forms are others now: the search has to start anew. Stays in this package."""


class SpinLoops:
    """Knows the members, and the normal form of every shape under every memory met."""

    def __init__(self, steps: Steps, enabled: bool) -> None:
        self._steps = steps
        self._enabled = enabled
        self._frozen = False
        self._restarts = 0
        self._changes = 0
        self._contexts = Contexts(steps.shapes)
        self._members: set[int] = set()
        self._cells: Cells = ()  # all that members load and store
        self._refused: set[Pair] = set()  # silent steps that give something away
        self._twins = Twins(steps, self._contexts)
        # How many contexts were looked at, of those that differ in what counts.
        self._members_seen: dict[int, int] = {}
        self._pairs: dict[Pair, int] = {}
        self._normal: dict[FormKey, tuple[int, int]] = {}
        self._tables: dict[tuple[int, Names], NormalForms] = {}
        # The pairs that were checked, and the normal forms that were found, by way of a shape.
        self._pairs_by_way: dict[int, set[Pair]] = {}
        self._forms_by_way: dict[int, set[FormKey]] = {}
        self._stale: set[FormKey] = set()

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
                is_new = self._contexts.meet(memory)
                if self._look_for_members(shape, (memory, pattern)) or is_new:
                    self._settle()
            found = self._normal[key] = self._form(key)
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

    def _settle(self) -> None:
        """Checks what was not yet checked under the memories met, until everything passes.

        Raises MembersChangedError if a normal form that was given out is another one now.
        """
        while not self._is_settled():
            if self._changes > MAX_CHANGES:
                self._restart()
        stale, self._stale = self._stale, set()
        if any(self._form(key) != self._normal[key] for key in stale):
            self._restart()

    def _is_settled(self) -> bool:
        """One pass. False if something was changed, so that another one is needed."""
        before = self._changes
        for shape in self._twins.part():
            self._changed(shape)
        contexts = self._contexts.differing_in(self._cells)
        for member in self._members:
            self._learn_pairs(member, contexts)
        failed = [pair for pair in tuple(self._pairs) if not self._passes(pair, contexts)]
        if self._changes == before:  # else perhaps they pass now
            # A step that leads out of a loop may be all that the others fail for.
            for pair in [pair for pair in failed if not self._waits(pair, contexts)] or failed:
                self._refused.add(pair)
                del self._pairs[pair]
                self._changed(pair[0])
        return self._changes == before

    def _learn_pairs(self, member: int, contexts: Sequence[Context]) -> None:
        for context in contexts[self._members_seen.get(member, 0) :]:
            effect = self._silent(member, context)
            if effect is not None and (member, effect.shape) not in self._refused:
                self._pairs.setdefault((member, effect.shape), 0)
        self._members_seen[member] = len(contexts)

    def _passes(self, pair: Pair, contexts: Sequence[Context]) -> bool:
        """Whether both shapes of a pair have the same normal forms. True also where what was
        found out on the way has changed something.
        """
        for context in contexts[self._pairs[pair] :]:
            forms = []
            for shape in pair:
                form, _, way = self._follow(shape, context)
                forms.append(form)
                for each in way:
                    self._pairs_by_way.setdefault(each, set()).add(pair)
            if forms[0] != forms[1]:
                # Perhaps it only was not seen to wait yet.
                return self._look_for_members(pair[1], context) or self._look_for_twins(*forms)
        self._pairs[pair] = len(contexts)
        return True

    def _waits(self, pair: Pair, contexts: Sequence[Context]) -> bool:
        """Whether the step is, somewhere, one on the way into a cycle."""
        for context in contexts:
            effect = self._silent(pair[0], context)
            if effect is not None and effect.shape == pair[1] and self._cycle(pair[0], context):
                return True
        return False

    def _changed(self, shape: int) -> None:
        """Whether this is a member, has a twin, or which of its steps are refused."""
        self._changes += 1
        for pair in self._pairs_by_way.pop(shape, ()):
            if pair in self._pairs:
                self._pairs[pair] = 0
        self._stale |= self._forms_by_way.pop(shape, set())

    def _look_for_twins(self, one: int, other: int) -> bool:
        found = self._twins.look_for(one, other)
        if found:
            self._changed(max(one, other))
        return found

    def _look_for_members(self, shape: int, context: Context) -> bool:
        """Whether the silent steps from here lead into a cycle; then all of them are members.

        True if some were not before.
        """
        return self._add_members(self._cycle(shape, context))

    def _cycle(self, shape: int, context: Context) -> Sequence[int]:
        """The silent steps from here into a cycle, and around it; nothing if there is none."""
        path = [shape]
        while len(path) <= MAX_LOOP:
            effect = self._silent(path[-1], context)
            if effect is None or (path[-1], effect.shape) in self._refused:
                return ()
            if effect.shape in path:
                return path
            path.append(effect.shape)
        return ()

    def _add_members(self, shapes: Sequence[int]) -> bool:
        """True if some were none before."""
        new = set(shapes) - self._members
        self._members |= new
        cells = tuple(
            sorted({*self._cells, *(cell for each in new for cell in touched(self._steps, each))})
        )
        if cells != self._cells:  # other contexts are to be looked at, all of them
            self._cells = cells
            self._members_seen.clear()
            self._pairs = dict.fromkeys(self._pairs, 0)
        for shape in new:
            self._changed(shape)
        if new:  # such as one that has looked, and one that has not
            for one, other in pairwise(shapes):
                self._look_for_twins(one, other)
        return bool(new)

    def _form(self, key: FormKey) -> tuple[int, int]:
        form, count, way = self._follow(key[0], key[1:])
        for each in way:
            self._forms_by_way.setdefault(each, set()).add(key)
        return form, count

    def _follow(self, shape: int, context: Context) -> tuple[int, int, list[int]]:
        """The normal form, the number of the program's steps to it, and the shapes looked at."""
        way: list[int] = []
        path, counts = [self._twins.stand_in(shape, way)], [0]
        while path[-1] in self._members:
            effect = self._silent(path[-1], context)
            if effect is None or (path[-1], effect.shape) in self._refused:
                break
            following = self._twins.stand_in(effect.shape, way)
            if following in path:
                cycle = path[path.index(following) :]
                place = path.index(min(cycle))
                return path[place], counts[place], way
            path.append(following)
            counts.append(counts[-1] + effect.step_count)
        return path[-1], counts[-1], way

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
        """Let the search start anew. What was found out stays."""
        self._restarts += 1
        self._enabled = self._restarts <= MAX_RESTARTS and self._changes <= MAX_CHANGES
        self._stale.clear()
        self._normal.clear()
        self._tables.clear()
        self._forms_by_way.clear()
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
