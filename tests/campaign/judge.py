"""Two explorations of one patch: as ``verify`` does it, and of every instruction, unreduced."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kpatch.elf.module import Module, read_module
from kpatch.errors import KpatchError
from kpatch.patch.apply import apply_plan
from kpatch.patch.plan import make_plan
from kpatch.signature.load import parse_signature
from kpatch.signature.scan import find
from kpatch.verify.explore import Answer, MemoryModel, Options, Result, explore
from kpatch.verify.explore.schedule import from_text
from kpatch.verify.machine.scenarios import scenario_named
from kpatch.verify.proof.obligations import Obligation
from kpatch.verify.proof.tasks import Bounds, Case
from tests.secondsource.build import build

MOST_STATES: Final = 70_000
CPUID: Final = 0x34
STRIDE: Final = 104

Outcome = Literal["same", "bounded", "other"]
Macros = Mapping[str, str]


@dataclass(frozen=True)
class Trial:
    """Trampolines in a module (macros of tests/secondsource), and where they are judged."""

    signature: str
    macros: Macros
    where: Obligation

    def case(self, module: Module) -> Case:
        """The patched module. Raises KpatchError where the patch cannot be made."""
        match = find(module, parse_signature(self.signature, "campaign.toml"))
        plan = make_plan(module, match, cpuid=CPUID, tss_stride=STRIDE)
        return Case(read_module(apply_plan(plan), module.name), module, match, CPUID)

    def text(self) -> str:
        """A case file: the signature, with the rest in its first lines."""
        where = [self.where.scenario.name, self.where.model.value]
        return f"# {json.dumps(dict(self.macros))}\n# {json.dumps(where)}\n{self.signature}"

    @classmethod
    def of(cls, text: str) -> Trial:
        """What ``text`` wrote."""
        macros, where, signature = text.split("\n", 2)
        scenario, model = json.loads(where[2:])
        return cls(
            signature,
            json.loads(macros[2:]),
            Obligation(scenario_named(scenario), 2, MemoryModel(model)),
        )


@dataclass(frozen=True)
class Judgement:
    """What both explorations said, in words."""

    outcome: Outcome
    reduced: str
    plain: str


def module_of(macros: Macros) -> Module:
    """A module of the second source. Needs gcc and ld."""
    with tempfile.TemporaryDirectory() as folder:
        return read_module(build(Path(folder), "7", macros).read_bytes(), "campaign.ko")


def macros(draw: random.Random) -> Macros:
    """Where the fields of the state lie, how long displacements are, how routines are aligned."""
    move = draw.choice((0, -0x2C, 0x100, 0x340, 2 * draw.randrange(0x200)))
    own = {"MOVE": hex(move)}
    if move <= 0:
        own |= {"M_STATE": "0xe8", "K_STATE": "0xf0"}
    if draw.random() < 0.3:
        own["K_TR"] = draw.choice(("0", "4", "0x2000"))
    if draw.random() < 0.3:
        own["WIDE"] = "{disp32}"
    if draw.random() < 0.5:
        own["ENTRY_ALIGN"] = draw.choice((".p2align 4", ".p2align 5, 0x90", ".p2align 4, 0xcc"))
    return own


def judge(trial: Trial, module: Module) -> Judgement:
    """Both explorations. Raises KpatchError where the patch cannot be made."""
    case = trial.case(module)
    model = trial.where.model
    options = Options(model=model, absent=True, beyond_faults=True, max_states=MOST_STATES)
    reduced = _explored(case, trial.where, Bounds(), options)
    plain = _explored(
        case,
        trial.where,
        Bounds(every_instruction=True),
        Options(
            model=model,
            por=False,
            spins=False,
            symmetry=False,
            absent=True,
            max_states=MOST_STATES,
            beyond_violation=0,
            shortest_states=0,
        ),
    )
    return Judgement(_compared(reduced, plain), _words(reduced), _words(plain))


def _explored(case: Case, where: Obligation, bounds: Bounds, options: Options) -> Result | str:
    """The exploration, or why there is none. What it found is replayed on engines."""
    try:
        setup = case.setup(case.module, where, bounds)
        result = setup.with_program(lambda program: explore(program, options))
        for found in result.counterexamples[:1]:
            setup.confirm(from_text(found.schedule))
    except KpatchError as error:
        return f"{type(error).__name__}: {error}"
    return result


def _compared(reduced: Result | str, plain: Result | str) -> Outcome:
    if isinstance(reduced, str) or isinstance(plain, str):
        # Unreduced, one CPU's states are not counted: there the bound on all states ends it.
        ended = isinstance(plain, Result) and plain.verdict is Answer.NOT_PROVEN
        if isinstance(reduced, str) and ended and "states of a single CPU" in reduced:
            return "bounded"
        return "same" if reduced == plain else "other"
    if {reduced.verdict, plain.verdict} == {Answer.PROVEN, Answer.VIOLATED}:
        return "other"
    if reduced.verdict is Answer.NOT_PROVEN or plain.verdict is Answer.NOT_PROVEN:
        return "bounded"
    return "same" if _broken(plain) <= _broken(reduced) else "other"


def _broken(result: Result) -> frozenset[str]:
    return frozenset(each.prop for each in result.counterexamples)


def _words(result: Result | str) -> str:
    if isinstance(result, str):
        return result
    found = ", ".join(sorted(_broken(result)))
    return " ".join(each for each in (result.verdict.value, found, str(result.bound or "")) if each)
