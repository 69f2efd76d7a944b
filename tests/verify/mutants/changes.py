"""What can be changed about a patch: lines of its trampolines, and what the plan makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Protocol

from kpatch.data import signatures_folder
from kpatch.elf.edits import NewRelocation
from kpatch.elf.module import Module, read_module
from kpatch.patch.apply import write
from kpatch.patch.plan import Plan, make_plan
from kpatch.signature.load import parse_signature
from kpatch.signature.model import Match
from kpatch.signature.scan import find

SAMPLES = Path(__file__).parents[3] / "samples"
SIGNATURE = "kqemu-amd64-tr.toml"

_TRAMPOLINE = re.compile(r"^\[site\.trampoline\]$.*?(?=^\[)", re.MULTILINE | re.DOTALL)

CPUID = 0x34
"""Where struct pcpu of the sample's kernel has the CPU's number."""

Relocate = Callable[[NewRelocation], NewRelocation | None]


@cache
def sample() -> Module:
    """The module that is patched."""
    return read_module((SAMPLES / "kqemu-7.ko").read_bytes(), "kqemu-7.ko")


@cache
def signature_text() -> str:
    """The signature as it is shipped."""
    return (Path(signatures_folder()) / SIGNATURE).read_text(encoding="utf-8")


@cache
def _found() -> Match:
    return find(sample(), parse_signature(signature_text(), SIGNATURE))


@dataclass(frozen=True)
class Draft:
    """A patch before it is made.

    ``lost`` are the mnemonics of displaced instructions that the entry trampoline leaves out.
    """

    text: str = field(default_factory=signature_text)
    cpuid: int = CPUID
    stride: int = 104
    lost: frozenset[str] = frozenset()
    relocate: tuple[Relocate, ...] = ()

    def match(self) -> Match:
        """The sites, which the shipped signature finds: changes are about its trampolines only."""
        shipped, changed = map(_TRAMPOLINE.split, (signature_text(), self.text))
        assert [part.rstrip() for part in shipped] == [part.rstrip() for part in changed]
        signature, found = parse_signature(self.text, SIGNATURE), _found()
        rules = {rule.name: rule for rule in signature.sites}
        sites = {name: site._replace(rule=rules[name]) for name, site in found.sites.items()}
        return found._replace(signature=signature, sites=sites)

    def module(self, name: str) -> Module:
        """The patched module."""
        match = self.match()
        entry = match.sites["entry"]
        kept = tuple(each for each in entry.instructions if each.mnemonic not in self.lost)
        sites = {**match.sites, "entry": entry._replace(instructions=kept)}
        plan = make_plan(
            sample(), match._replace(sites=sites), cpuid=self.cpuid, tss_stride=self.stride
        )
        # It is not read back: what loads it asks the kernel linker's rules, and nobody reverts it.
        return read_module(write(self._relocated(plan)), name)

    def _relocated(self, plan: Plan) -> Plan:
        relocations = plan.relocations
        for change in self.relocate:
            changed = [change(each) for each in relocations]
            relocations = tuple(each for each in changed if each is not None)
        return replace(plan, relocations=relocations)


class Change(Protocol):
    """One change of a draft."""

    def __call__(self, draft: Draft) -> Draft:
        """The draft with the change. ValueError if there is nothing to change."""


@dataclass(frozen=True)
class Lines:
    """Other lines in the place of ``old`` in a trampoline. A ``;`` parts two lines.

    ``old`` must stand there exactly once.
    """

    old: str
    new: str

    def __call__(self, draft: Draft) -> Draft:
        """The draft with these lines."""
        lines = draft.text.splitlines()
        bare = [" ".join(line.partition(";")[0].split()) for line in lines]
        wanted = _apart(self.old)
        first = bare.index("[site.trampoline]")
        found = [n for n in range(first, len(bare)) if bare[n : n + len(wanted)] == wanted]
        if len(found) != 1:
            raise ValueError(f"'{self.old}' stands {len(found)} times in the trampolines")
        lines[found[0] : found[0] + len(wanted)] = [f"  {each}" for each in _apart(self.new)]
        return replace(draft, text="\n".join(lines))


def before(old: str, new: str) -> Lines:
    """Lines put in before ``old``."""
    return Lines(old, f"{new}; {old}")


def after(old: str, new: str) -> Lines:
    """Lines put in behind ``old``."""
    return Lines(old, f"{old}; {new}")


@dataclass(frozen=True)
class Parameters:
    """What the plan says about the host kernel."""

    cpuid: int = CPUID
    stride: int = 104

    def __call__(self, draft: Draft) -> Draft:
        """The draft for such a kernel."""
        return replace(draft, cpuid=self.cpuid, stride=self.stride)


@dataclass(frozen=True)
class Lost:
    """The entry trampoline does not run this displaced instruction."""

    mnemonic: str

    def __call__(self, draft: Draft) -> Draft:
        """The draft without it."""
        return replace(draft, lost=draft.lost | {self.mnemonic})


@dataclass(frozen=True)
class Relocated:
    """Relocations against ``symbol`` go to another one, or beside it, or are missing (None)."""

    symbol: str
    to: str | None
    addend: int = 0

    def __call__(self, draft: Draft) -> Draft:
        """The draft with these relocations."""
        return replace(draft, relocate=(*draft.relocate, self._one))

    def _one(self, each: NewRelocation) -> NewRelocation | None:
        if each.symbol != self.symbol:
            return each
        return None if self.to is None else each._replace(symbol=self.to, addend=self.addend)


def _apart(lines: str) -> list[str]:
    return [each.strip() for each in lines.split(";")]
