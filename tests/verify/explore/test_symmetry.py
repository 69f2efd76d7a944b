"""Symmetry is learned and checked; where it does not hold, the result says so."""

from __future__ import annotations

from math import comb

import pytest

from kpatch.verify.explore import Answer, MemoryModel, Options, explore
from kpatch.verify.explore.program import Cell, Local, OpKind, Outcome, Pending, Value, Violation
from tests.verify.explore.toys import (
    ACQUIRE,
    LOAD_TR,
    RELEASE,
    RIGHT,
    WRITE_OWN,
    Toy,
    expect,
    fault,
    forget,
    go_if,
    label,
    load,
    rest,
    store,
    switches,
    xchg,
)

MODELS = [MemoryModel.SC, MemoryModel.TSO]


def test_states_of_interchangeable_cpus_are_counted_once() -> None:
    """N CPUs with two visible steps each: how many are where, and nothing else."""
    thread = [store("x", "1"), store("x", "1")]
    for cpus in (1, 2, 5, 9):
        toy = Toy([thread] * cpus, {"x": "1"})
        result = explore(toy, Options(spins=False))
        assert result.symmetry == "on"
        assert result.states == comb(cpus + 2, 2)
        assert explore(toy, Options(spins=False, symmetry=False, max_states=300)).states == min(
            3**cpus, 300
        )


def test_the_last_owner_in_memory_is_no_more_than_a_name() -> None:
    """Who wrote last matters, which of sixteen CPUs that was does not."""
    toy = Toy([[store("x", "me{me}")]] * 16, {"x": "nobody"})
    result = explore(toy, Options())
    assert result.symmetry == "on"
    assert result.states == 17
    assert result.final_states == 1


def test_without_the_hint_the_initial_owner_breaks_the_symmetry() -> None:
    thread = [load("a", "x"), store("x", "me{me}")]
    hinted = Toy([thread] * 3, {"x": "me2"}, families={"x": ["me{me}"]})
    assert explore(hinted, Options()).symmetry == "on"
    blind = Toy([thread] * 3, {"x": "me2"})
    result = explore(blind, Options())
    assert result.symmetry.startswith("broken: a value of cell 0")
    assert result.verdict is Answer.PROVEN


ASYMMETRIC = {
    "another thread": Toy([[store("x", "1")], [load("a", "x")]], {"x": "0"}),
    "a violation of one CPU only": Toy(
        [[load("a", "x"), expect("a", "me{me}", "first")]] * 3, {"x": "me0"}
    ),
    "a value that some CPUs share": Toy(
        [[store("x", "1")], [store("x", "1")], [store("x", "2")]], {"x": "0"}
    ),
}


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_cpus_that_differ_are_explored_one_by_one(name: str) -> None:
    toy = ASYMMETRIC[name]
    result = explore(toy, Options())
    plain = explore(toy, Options(symmetry=False))
    assert result.symmetry.startswith("broken: ")
    assert (result.verdict, result.states, result.transitions) == (
        plain.verdict,
        plain.states,
        plain.transitions,
    )


class Favourite(Toy):
    """CPU 2 reports a violation where no other does."""

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        outcome = super().step(cpu, local, values)
        found = (Violation("favourite", "CPU 2 is special"),) if cpu == 2 else ()
        return Outcome(outcome.next, outcome.writes, found)


def test_a_violation_that_only_one_cpu_can_show_is_not_lost() -> None:
    result = explore(Favourite([[store("x", "1")]] * 3, {"x": "0"}), Options())
    assert result.symmetry.startswith("broken: ")
    assert [found.prop for found in result.counterexamples] == ["favourite"]


class Picky(Toy):
    """At the end, it must not be CPU 1 that wrote last."""

    def final_violations(self, memory: tuple[Value, ...]) -> tuple[Violation, ...]:
        return (Violation("picky", "CPU 1 wrote last"),) if memory[0] == b"me1" else ()


def test_a_final_memory_that_is_wrong_for_one_cpu_only_is_not_lost() -> None:
    result = explore(Picky([[store("x", "me{me}")]] * 3, {"x": "nobody"}), Options())
    assert result.symmetry.startswith("broken: ")
    assert [found.prop for found in result.counterexamples] == ["picky"]


class Odd(Toy):
    """What is a plain store for the others is a locked one for CPU 1."""

    def pending(self, cpu: int, local: Local) -> Pending:
        pending = super().pending(cpu, local)
        if cpu == 1 and pending.writes:
            return Pending(OpKind.LOCKED, pending.reads, pending.writes, pending.label)
        return pending


def test_cpus_at_operations_of_different_kinds_are_not_interchangeable() -> None:
    odd = Odd([[store("x", "1")]] * 3, {"x": "0"})
    result = explore(odd, Options(MemoryModel.TSO))
    assert result.symmetry.startswith("broken: CPU 1 is at")


class TwoFaced(Toy):
    """CPU 0 writes its name of one family, the others write theirs of another."""

    def step(self, cpu: int, local: Local, values: tuple[Value, ...]) -> Outcome:
        outcome = super().step(cpu, local, values)
        writes = tuple((cell, b"you%d" % cpu if cpu else b"me0") for cell, _ in outcome.writes)
        return Outcome(outcome.next, writes)


def test_values_of_two_families_are_not_one() -> None:
    families = {"x": ["me{me}", "you{me}"]}
    toy = TwoFaced([[store("x", "me{me}")]] * 3, {"x": "none"}, families=families)
    result = explore(toy, Options(keep_finals=True))
    assert result.symmetry.startswith("broken: a value of cell 0 is of one family for some CPUs")
    assert {final.memory for final in result.finals} == {(b"me0",), (b"you1",), (b"you2",)}


class Wrong(Toy):
    """Its families have a member too few."""

    def value_families(self) -> tuple[tuple[Cell, tuple[Value, ...]], ...]:
        return ((0, (b"me0",)),)


def test_a_family_of_the_wrong_size_only_costs_the_reduction() -> None:
    result = explore(Wrong([[store("x", "me{me}")]] * 3, {"x": "me0"}), Options())
    assert result.symmetry.startswith("broken: a family of cell 0 has 1 members")
    assert result.verdict is Answer.PROVEN


def test_a_step_that_involves_too_many_cpus_only_costs_the_reduction() -> None:
    chain = [load(f"r{n}", f"c{n}") for n in range(4)]
    memory = {f"c{n}": f"me{n + 1}" for n in range(4)}
    toy = Toy([chain] * 12, memory, families={cell: ["me{me}"] for cell in memory})
    result = explore(toy, Options(max_states=500))
    assert result.symmetry.startswith("broken: one step involves")


@pytest.mark.parametrize("model", MODELS)
def test_a_foreign_name_in_a_register_is_followed(model: MemoryModel) -> None:
    """Each CPU passes on the name that it found: links from CPU to CPU."""
    thread = [xchg("old", "x", "me{me}"), store("y", "$old"), load("new", "y")]
    for cpus in (2, 3):
        toy = Toy([thread] * cpus, {"x": "none", "y": "none"}, families={"y": ["me{me}"]})
        on = explore(toy, Options(model))
        off = explore(toy, Options(model, symmetry=False))
        assert on.symmetry == "on"
        assert on.verdict is off.verdict is Answer.PROVEN
        assert on.states < off.states


def test_guests_that_carry_a_name_move_without_breaking_the_symmetry() -> None:
    thread = [store("x", "me{me}"), load("seen", "x"), rest(), store("y", "$seen"), forget("seen")]
    toy = Toy([thread] * 3, {"x": "none", "y": "none"}, moves=True)
    on = explore(toy, Options())
    off = explore(toy, Options(symmetry=False))
    assert on.symmetry == "on"
    assert on.verdict is off.verdict is Answer.PROVEN
    assert on.states * 2 < off.states


def test_every_instance_of_a_step_is_asked_for_once() -> None:
    toy = switches(8, RIGHT)
    result = explore(toy, Options())
    assert result.symmetry == "on"
    own, pairs = 8, 8 * 7
    assert toy.calls <= 20 * own + 6 * pairs


def test_the_verdict_at_sixteen_cpus_is_the_one_at_three() -> None:
    early = (*ACQUIRE, *WRITE_OWN, *RELEASE, *LOAD_TR)
    for thread in (RIGHT, early, (*WRITE_OWN, *LOAD_TR)):
        options = Options(beyond_violation=0, shortest_states=0)
        few = explore(switches(3, thread), options)
        many = explore(switches(16, thread), options)
        assert many.symmetry == "on"
        assert many.verdict is few.verdict
        assert [one.prop for one in many.counterexamples] == [
            one.prop for one in few.counterexamples
        ]


def test_a_fault_that_depends_on_another_cpu_is_found_for_any_of_them() -> None:
    thread = [xchg("old", "x", "me{me}"), go_if("old", "none", "end"), fault("late")]
    toy = Toy([[*thread, label("end")]] * 5, {"x": "none"})
    result = explore(toy, Options())
    assert result.symmetry == "on"
    assert result.counterexamples[0].schedule.split() == ["0*3", "1*3"]
