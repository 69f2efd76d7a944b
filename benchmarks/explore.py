"""The search alone, on a toy: what 16 CPUs cost, and what each reduction saves."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.measure import sized
from kpatch.verify.explore import MemoryModel, Options, Result, explore
from tests.verify.explore.toys import RIGHT, switches

_LARGE = (
    ("one round", 1, False),
    ("two rounds", 2, False),
    ("two rounds, guests move", 2, True),
)
_BOUND = Options(max_states=2_000_000, max_seconds=sized(60, 1))
_MODES = (
    ("all reductions", _BOUND),
    ("without waiting loops", replace(_BOUND, spins=False)),
    ("without local steps", replace(_BOUND, por=False)),
    ("without symmetry", replace(_BOUND, symmetry=False)),
    ("no reduction", replace(_BOUND, spins=False, por=False, symmetry=False)),
)


def main() -> None:
    """Print states, transitions, seconds and factors."""
    for model in MemoryModel:
        for name, rounds, moves in _LARGE:
            result = explore(switches(16, RIGHT, rounds, moves), replace(_BOUND, model=model))
            print(f"16 CPUs, {model.value}, {name:<24} {_figures(result)}")
    for cpus in (2, 3, 4):
        least = 0
        for name, options in _MODES:
            result = explore(switches(cpus, RIGHT), options)
            least = least or result.states
            factor = result.states / least
            print(f"{cpus} CPUs, sc, {name:<24} {_figures(result)}, {factor:.1f} times the states")


def _figures(result: Result) -> str:
    rate = result.transitions / max(result.seconds, 0.001)
    return (
        f"{result.verdict.value:<10} {result.states:>8} states, {result.transitions:>8} "
        f"transitions, {result.seconds:6.2f} s, {rate:>8.0f} transitions a second"
    )
