"""Building the samples anew gives what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.elf.module import Module
from tests.samples.listing import MANIFEST, SAMPLES, WITH_SITES, contents, module

HEADER = 20
LEFT_BY_THE_CUT = 12

# Names that GCC makes up or chooses differ between its versions.
MADE_BY_THE_COMPILER = (".rodata.", ".text.", ".note.", ".rela.rodata.", ".rela.text.")


def lasting_sections(sample: Module) -> list[str]:
    """Names of the sections that any compiler makes of the sources."""
    return sorted(
        section.name
        for section in sample.sections
        if not section.name.startswith(MADE_BY_THE_COMPILER)
    )


def global_symbols(sample: Module) -> set[tuple[str, bool]]:
    """Names of the global symbols, and whether the module defines them."""
    return {(s.name, s.is_undefined) for s in sample.symbols if not s.is_local}


def switch(name: str, folder: Path) -> bytes:
    """The two routines of the world switch; the assembler makes them, not the compiler."""
    start = MANIFEST[name]["image"]
    built = contents(name, folder)
    # The last word of the header is the address of C code, so it is left out of the search.
    at = built.index(contents(name)[start : start + HEADER - 4])
    size = MANIFEST[name]["exit_site"] - start + LEFT_BY_THE_CUT
    return built[at + HEADER : at + size]


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_a_rebuilt_sample_has_the_same_sections_and_global_symbols(
    name: str, rebuilt: Path
) -> None:
    shipped, made = module(name), module(name, rebuilt)
    assert lasting_sections(made) == lasting_sections(shipped)
    assert global_symbols(made) == global_symbols(shipped)
    assert {r.type for r in made.relocations} == {r.type for r in shipped.relocations}


@pytest.mark.parametrize("name", WITH_SITES)
def test_a_rebuilt_sample_has_the_same_world_switch(name: str, rebuilt: Path) -> None:
    assert switch(name, rebuilt) == switch(name, SAMPLES)


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_the_same_compiler_builds_the_same_bytes(name: str, rebuilt: Path) -> None:
    shipped, made = module(name), module(name, rebuilt)
    if _compiler(made) == _compiler(shipped):
        assert (rebuilt / name).read_bytes() == (SAMPLES / name).read_bytes()
    else:
        assert made.data != shipped.data


def _compiler(sample: Module) -> bytes:
    comment = sample.section_named(".comment")
    return sample.contents(comment) if comment else b""
