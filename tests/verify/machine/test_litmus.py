"""The catalogue of litmus programs as x86 code in a module, on the emulated CPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kpatch.verify.explore import MemoryModel, Options, Result, explore
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.machine.setup import Setup, Subject
from tests.verify.explore.catalogue import Litmus, catalogue, parts
from tests.verify.mutants.changes import before, sample
from tests.verify.mutants.variant import Variant, shipped

REGISTERS = {"eax": "eax", "ebx": "r9d", "ecx": "ecx", "edx": "r10d", "esi": "r11d", "edi": "esi"}
"""Those of the catalogue, and those that the exit trampoline may use. rdx is the way back."""

SEEN = 64
"""From the start of the patch's memory to what the first CPU has seen."""

PROGRAMS = list(catalogue())
SMALL = [each for each in PROGRAMS if each.name != "iriw+own"]
"""All but the one with the most states: what its instructions do, others show. Its final states
are tested with toys."""

OF_TWO = [each for each in PROGRAMS if len(each.cpus) == 2][::12]
ANYTHING = replace(LEAVE, promised=frozenset())
"""The code does what it likes: only where it ends is looked at."""


def instruction(operation: str, cells: tuple[str, ...]) -> str:
    """One operation in assembler."""
    if operation == "mfence":
        return operation
    lock, left, sign, right = parts(operation)
    place = {cell: f"dword [r8 + {8 * number}]" for number, cell in enumerate(cells)}
    if sign == ":=":
        return f"mov {REGISTERS[left]}, {right}"
    if sign == "<>":
        return f"xchg {place[left]}, {REGISTERS[right]}"
    if sign == "+=":
        return f"{lock}add {place[left]}, {right}"
    if right in place:
        return f"mov {REGISTERS[left]}, {place[right]}"
    return f"mov {place[left]}, {right}"


def seen_at(litmus: Litmus) -> dict[str, int]:
    """Where everything that is looked at stands at the end."""
    at = {cell: 8 * number for number, cell in enumerate(litmus.cells)}
    registers = [each for each in litmus.sees if ":" in each]
    return at | {each: SEEN + 4 * number for number, each in enumerate(registers)}


def subject(litmus: Litmus) -> Subject:
    """The patched sample, with the program in its exit trampoline."""
    at = seen_at(litmus)
    lines = ["mov r9, rsi", "movabs r10, =common_tss", "sub r9, r10"]
    for cpu in range(len(litmus.cpus)):
        lines += [f"cmp r9d, {104 * cpu}", f"je cpu{cpu}"]
    for cpu, code in enumerate(litmus.cpus):
        lines += [f"cpu{cpu}:", *(instruction(each, litmus.cells) for each in code)]
        for name in litmus.sees:
            if name.startswith(f"{cpu}:"):
                lines.append(f"mov dword [r8 + {at[name]}], {REGISTERS[name[2:]]}")
        lines.append("jmp rdx")
    variant = Variant(litmus.name, (before("acquire:", "; ".join(lines)),))
    return Subject.of(variant.case.module, shipped().image, sample())


def finals(litmus: Litmus, model: MemoryModel, *, reduced: bool) -> frozenset[str]:
    """What the explorer finds, as the catalogue writes it."""
    options = Options(model, por=reduced, spins=reduced, symmetry=False)
    setup = Setup(subject(litmus), ANYTHING, len(litmus.cpus), model=model)
    result: Result = setup.with_program(lambda program: explore(program, options))
    assert not result.bound
    (lock,) = setup.world.lock_regions
    found = set()
    for memory in result.final_memories:
        words = {at - lock.physical: data for at, data in setup.left(memory)}
        values = {name: words.get(at, bytes(4)) for name, at in seen_at(litmus).items()}
        found.add("".join(str(int.from_bytes(values[name], "little")) for name in litmus.sees))
    return frozenset(found)


@pytest.mark.parametrize("litmus", SMALL, ids=lambda each: str(each.name))
def test_machine_code_ends_as_tso_allows(litmus: Litmus) -> None:
    assert finals(litmus, MemoryModel.TSO, reduced=True) == litmus.finals["tso"]


@pytest.mark.parametrize("litmus", PROGRAMS[::4], ids=lambda each: str(each.name))
def test_machine_code_ends_as_sc_allows(litmus: Litmus) -> None:
    assert finals(litmus, MemoryModel.SC, reduced=True) == litmus.finals["sc"]


@pytest.mark.parametrize("model", list(MemoryModel))
@pytest.mark.parametrize("litmus", OF_TWO, ids=lambda each: str(each.name))
def test_so_it_does_without_reductions(litmus: Litmus, model: MemoryModel) -> None:
    assert finals(litmus, model, reduced=False) == litmus.finals[model.value]
