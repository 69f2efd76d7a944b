"""The referee: every state, every move, no reduction, and no code shared with the explorer."""

from __future__ import annotations

from dataclasses import dataclass

from kpatch.verify.explore.program import Cell, Local, OpKind, Program, Value

Buffer = tuple[tuple[tuple[Cell, Value], ...], ...]
State = tuple[
    tuple[Value, ...], tuple[Local, ...], tuple[Buffer, ...], tuple[Value, ...], frozenset[int]
]


@dataclass(frozen=True)
class Truth:
    """What a program can do. ``overflow``: a store buffer was full, so some things are missing.

    ``dependence``: in some state the CPUs inside of a round cannot all finish it by themselves.
    """

    finals: frozenset[tuple[tuple[Value, ...], tuple[Local, ...]]]
    props: frozenset[str]
    deadlock: bool
    livelock: bool
    dependence: bool
    faults: bool
    overflow: bool
    states: int


def truth(
    program: Program, tso: bool, entries: int, limit: int = 2000, *, absent: bool = False
) -> Truth | None:
    """Everything about a small program; None if it has more states than the limit.

    ``absent`` tells states apart by the CPUs that have begun a round and not ended it.
    """
    none: Buffer = ()
    cpus = range(program.cpus)
    start: State = (
        program.initial_memory(),
        tuple(program.initial(cpu) for cpu in cpus),
        (none,) * program.cpus,
        (),
        frozenset(),
    )
    after: dict[State, list[State]] = {}
    by_insiders: dict[State, list[State]] = {}
    props: set[str] = set()
    overflow = False
    finals, faults, todo = set(), set(), [start]
    while todo:
        state = todo.pop()
        if state in after:
            continue
        after[state], by_insiders[state] = [], []
        if len(after) > limit:
            return None
        memory, locals_, buffers, pool, _ = state
        kinds = [program.pending(cpu, locals_[cpu]).kind for cpu in cpus]
        end = OpKind.IDLE if program.moves else OpKind.DONE
        if OpKind.FAULT in kinds:
            faults.add(state)
            continue
        if all(kind is end for kind in kinds) and not any(buffers) and not pool:
            finals.add(state)
            props.update(violation.prop for violation in program.final_violations(memory))
        for cpu in cpus:
            buffer, local = buffers[cpu], locals_[cpu]
            pending = program.pending(cpu, local)

            def put(
                memory: tuple[Value, ...] = memory,
                local: Local = local,
                buffer: Buffer = buffer,
                pool: tuple[Value, ...] = pool,
                cpu: int = cpu,
                state: State = state,
            ) -> None:
                locals_, buffers, inside = list(state[1]), list(state[2]), state[4]
                ran = local != locals_[cpu] or len(buffer) >= len(buffers[cpu])
                locals_[cpu], buffers[cpu] = local, buffer
                if absent and ran:
                    inside |= {cpu}
                if program.pending(cpu, local).kind in (OpKind.REST, OpKind.DONE, OpKind.IDLE):
                    inside -= {cpu}
                new = memory, tuple(locals_), tuple(buffers), tuple(sorted(pool)), inside
                after[state].append(new)
                todo.append(new)
                if not ran or cpu in state[4]:
                    by_insiders[state].append(new)

            if buffer:
                drained = {**dict(enumerate(memory)), **dict(buffer[0])}
                put(memory=tuple(drained.values()), buffer=buffer[1:])
            if pending.kind is OpKind.IDLE:
                for index, guest in enumerate(pool):
                    left = pool[:index] + pool[index + 1 :]
                    put(local=program.resume(cpu, local, guest), pool=left)
                continue
            locked = pending.kind in (OpKind.LOCKED, OpKind.SERIALIZING)
            parks = program.moves and pending.kind in (OpKind.REST, OpKind.DONE)
            visible = bool(pending.reads or pending.writes)
            waits = locked or parks or (visible and not tso)
            if (waits and buffer) or (pending.kind is OpKind.DONE and not parks):
                continue
            if parks:
                idle, guest = program.park(cpu, local)
                kept = pool + ((guest,) if pending.kind is OpKind.REST else ())
                put(local=idle, pool=kept)
                continue
            if tso and not locked and pending.writes and len(buffer) == entries:
                overflow = True
                continue
            seen = {**dict(enumerate(memory)), **{c: v for group in buffer for c, v in group}}
            outcome = program.step(cpu, local, tuple(seen[cell] for cell in pending.reads))
            props.update(violation.prop for violation in outcome.violations)
            if not locked and (tso or pending.reads):
                added = (outcome.writes,) if outcome.writes else ()
                put(local=outcome.next, buffer=buffer + added)
            else:
                stored = {**dict(enumerate(memory)), **dict(outcome.writes)}
                put(memory=tuple(stored.values()), local=outcome.next)
    lost = set(after) - _leading_to(after, finals | faults)
    changing = {
        state for state in lost for new in after[state] if (new[0], new[3]) != (state[0], state[3])
    }
    waiting = lost - _leading_to(after, changing)
    endless = lost - _leading_to(after, waiting)
    quiet = {state for state in after if not state[4]}
    dependent = set(after) - _leading_to(by_insiders, quiet | faults)
    ends = frozenset((memory, locals_) for memory, locals_, *_ in finals)
    return Truth(
        ends,
        frozenset(props),
        bool(waiting),
        bool(endless),
        absent and bool(dependent),
        bool(faults),
        overflow,
        len(after),
    )


def _leading_to(after: dict[State, list[State]], goals: set[State]) -> set[State]:
    before: dict[State, list[State]] = {state: [] for state in after}
    for state, following in after.items():
        for new in following:
            before[new].append(state)
    leading, todo = set(goals), list(goals)
    while todo:
        for state in before[todo.pop()]:
            if state not in leading:
                leading.add(state)
                todo.append(state)
    return leading
