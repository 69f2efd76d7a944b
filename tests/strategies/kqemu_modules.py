"""Whole modules of the shape of kqemu.ko, each with one world switch that must be found in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, read_module
from tests.strategies.elf_builder import EXTERNALS, FilePlan, RelocationPlan, SectionPlan, build
from tests.strategies.elf_files import file_plans
from tests.strategies.world_switches import Switch, noise, switches

SYMBOL = "monitor_code"
_CPUID = {"_thread_lock_flags": 0x34, "sched_lock": 0x3C}
_TYPES = (elf.R_X86_64_64, elf.R_X86_64_PC32, elf.R_X86_64_32S)
_FIELD = 8


@dataclass(frozen=True)
class HostSection(SectionPlan):
    """A section with contents of its own: the one that holds the image."""

    given: bytes = b""

    @property
    def contents(self) -> bytes:
        """The bytes that were given."""
        return self.given


@dataclass(frozen=True)
class DrawnModule:
    """A module, and what is in it. ``at`` is the image's offset in its section."""

    data: bytes = field(repr=False)
    switch: Switch
    section: str
    at: int
    cpuid: int

    @property
    def module(self) -> Module:
        """The file, read."""
        return read_module(self.data, "drawn.ko")

    def file_span(self, site: tuple[int, int]) -> tuple[int, int]:
        """File offsets of a site's first byte and of the byte behind it."""
        section = self.module.section_named(self.section)
        if section is None:
            raise LookupError(self.section)
        start = section.offset + self.at
        return start + site[0], start + site[1]


@st.composite
def kqemu_modules(draw: st.DrawFn) -> DrawnModule:
    """Modules that kpatch must be able to patch."""
    plan, switch = draw(file_plans()), draw(switches())
    homes = [each for each in plan.sections if _can_host(each)]
    home = draw(st.sampled_from(homes))
    before = 4 * draw(st.integers(0, 64))
    behind = draw(st.integers(0, 300))
    contents = (
        noise(draw(st.integers(0, 1 << 32)), before, draw(st.integers(0, 3)))
        + switch.contents
        + noise(draw(st.integers(0, 1 << 32)), behind, draw(st.integers(0, 3)))
    )
    free = [(0, before), (before + len(switch.contents), len(contents))]
    host = HostSection(
        name=home.name,
        type=elf.SHT_PROGBITS,
        flags=home.flags,
        align=max(home.align, 4),
        size=len(contents),
        fill=0,
        relocations=_relocations(draw, plan, free),
        given=contents,
    )
    plan = replace(plan, sections=tuple(host if each is home else each for each in plan.sections))
    plan = _with_symbol(draw, plan, host, before, len(switch.contents))
    evidence = draw(st.sampled_from(sorted(_CPUID)))
    wanted = {r.symbol for each in plan.sections for r in each.relocations or ()}
    kept = [name for name in EXTERNALS if name in wanted or draw(st.booleans())]
    plan = replace(plan, externals=(*kept, evidence))
    return DrawnModule(build(plan), switch, host.name, before, _CPUID[evidence])


def _can_host(section: SectionPlan) -> bool:
    """Any loaded data will do, but for linker sets, whose bytes are pointers."""
    is_code = section.flags & elf.SHF_EXECINSTR
    return section.type == elf.SHT_PROGBITS and not is_code and not section.name.startswith("set_")


def _relocations(
    draw: st.DrawFn, plan: FilePlan, free: list[tuple[int, int]]
) -> tuple[RelocationPlan, ...] | None:
    """None for no table; else any number of them around the image, never on it."""
    if draw(st.booleans()):
        return None
    slots = [at for start, end in free for at in range(start, end - _FIELD + 1, _FIELD)]
    targets = [*EXTERNALS, *(each.name for each in plan.sections), *(s[0] for s in plan.symbols)]
    random = Random(draw(st.integers(0, 1 << 32)))
    chosen = random.sample(slots, draw(st.integers(0, len(slots))))
    return tuple(
        RelocationPlan(at, random.choice(_TYPES), random.choice(targets), random.randrange(-9, 9))
        for at in chosen
    )


def _with_symbol(
    draw: st.DrawFn, plan: FilePlan, host: SectionPlan, at: int, size: int
) -> FilePlan:
    """The image's symbol: there and right, there but of something else, or not there."""
    if draw(st.booleans()):
        return plan
    others = tuple(symbol for symbol in plan.symbols if symbol[0] != SYMBOL)
    named = (SYMBOL, host.name, at, draw(st.booleans()))
    sizes = ((SYMBOL, draw(st.sampled_from((0, size)))),)
    return replace(plan, symbols=(*others, named), symbol_sizes=sizes)
