"""Relocatable x86-64 files that no compiler would make, and edits to them.

``relocatable_files`` draws the order of the section headers, the order and the gaps of the
contents in the file, alignments, names, whether a section has relocations, whether there is one
string table or two, and where the section headers lie. Real linkers read all of them.
"""

from __future__ import annotations

from hypothesis import strategies as st

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, read_module
from tests.strategies.elf_builder import EXTERNALS, FilePlan, RelocationPlan, SectionPlan, build

_TYPES = (elf.R_X86_64_64, elf.R_X86_64_PC32, elf.R_X86_64_32S)
_NAMES = (
    ".text", ".text.unlikely", ".rodata", ".rodata.cst16", ".data", ".bss", ".comment",
    "set_modmetadata_set", "set_sysinit_set", ".note.tag", ".image", ".x",
)  # fmt: skip


@st.composite
def file_plans(draw: st.DrawFn) -> FilePlan:
    """Plans of files. Each has a ``.text`` of at least 32 bytes and a PROGBITS ``.image``."""
    names = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=7))
    names += [name for name in (".text", ".image") if name not in names]
    symbols = _symbols(draw, names)
    targets = [*EXTERNALS, *names, *(name for name, *_ in symbols)]
    sections = tuple(_section(draw, name, targets) for name in names)
    slots = 2 * len(sections) + 3
    return FilePlan(
        sections=sections,
        symbols=symbols,
        shared_strings=draw(st.booleans()),
        header_order=tuple(draw(st.permutations(range(slots)))),
        file_order=tuple(draw(st.permutations(range(slots)))),
        gap=draw(st.integers(0, 9)),
        headers_first=draw(st.booleans()),
        trailing=draw(st.binary(max_size=5)),
    )


def relocatable_files() -> st.SearchStrategy[bytes]:
    """Files that ``build`` made of ``file_plans``."""
    return file_plans().map(build)


def modules() -> st.SearchStrategy[Module]:
    """The same files, read."""
    return relocatable_files().map(lambda data: read_module(data, "drawn.ko"))


def _section(draw: st.DrawFn, name: str, targets: list[str]) -> SectionPlan:
    is_bss = name == ".bss"
    is_set = name.startswith("set_")
    size = 8 * draw(st.integers(1, 4)) if is_set else draw(st.integers(32, 200))
    types = (elf.R_X86_64_64,) if is_set else _TYPES
    relocations = None
    if is_set or (not is_bss and not name.startswith(".note") and draw(st.booleans())):
        # A pointer of a linker set that nothing fills takes the kernel down.
        every = list(range(size // 8)) if is_set else None
        slots = every or draw(st.lists(st.integers(0, size // 8 - 1), unique=True, max_size=6))
        relocations = tuple(
            RelocationPlan(
                8 * slot,
                draw(st.sampled_from(types)),
                draw(st.sampled_from(targets)),
                draw(st.integers(-16, 16)),
            )
            for slot in slots
        )
    return SectionPlan(
        name=name,
        type=elf.SHT_NOBITS if is_bss else elf.SHT_PROGBITS,
        flags={".comment": 0, ".text": elf.SHF_ALLOC | elf.SHF_EXECINSTR, ".note.tag": 0}.get(
            name, elf.SHF_ALLOC | elf.SHF_WRITE
        ),
        align=8 if is_set else draw(st.sampled_from((1, 2, 4, 8, 16, 32, 64))),
        size=size,
        fill=draw(st.integers(0, 255)),
        relocations=relocations,
    )


def _symbols(draw: st.DrawFn, names: list[str]) -> tuple[tuple[str, str, int, bool], ...]:
    return tuple(
        (symbol, draw(st.sampled_from(names)), draw(st.integers(0, 24)), draw(st.booleans()))
        for symbol in draw(
            st.lists(st.sampled_from(("monitor_code", "f", "g", "kqemu_exec")), unique=True)
        )
    )
