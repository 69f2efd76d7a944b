"""Recognises the source fixes that some kqemu modules already carry.

Three are known. All reload TR from C, so each leaves an ``ltr`` in the module's own code,
where an unfixed module has none: its two are in the monitor image, which is data.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Collection
from typing import Final, Literal, NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Symbol
from kpatch.kqemu.codescan import CallSite, CodePlace, find_calls, find_ltr
from kpatch.units import SectionOffset

Variant = Literal["A", "B", "C", "unknown"]

# The functions have these names in the source, too.
_NAME_A: Final = "kqemu_tss_workaround"
_NAME_B_OR_C: Final = "kqemu_tss_fixup"
_WANTED_BY_C: Final = frozenset({"mp_ncpus", "gdt"})

_SLOT_FIX: Final = (
    "it reloads TR behind the world switch, which still loads a wrong TSS first, without a lock"
)
_JUDGEMENTS: Final[dict[Variant, str]] = {
    "A": _SLOT_FIX,
    "B": _SLOT_FIX,
    "C": "it gives each CPU a GDT of its own before the world switch; this is sound",
    "unknown": "its own code loads TR, in a way that none of the known source fixes does",
}


class FixFunction(NamedTuple):
    """The function that is the fix: its symbol, and where its code is, in bytes."""

    symbol: Symbol
    section: int
    offset: SectionOffset
    size: int


class SourceFix(NamedTuple):
    """A source fix that was found.

    ``function`` is None where its symbol was stripped or the compiler inlined it; ``calls``
    are then empty. ``ltr_sites`` are the ``ltr`` instructions in the module's own code.
    """

    variant: Variant
    judgement: str
    evidence: tuple[str, ...]
    function: FixFunction | None
    calls: tuple[CallSite, ...]
    ltr_sites: tuple[CodePlace, ...]

    @property
    def is_sound(self) -> bool:
        """Whether the module needs no repair beside it."""
        return self.variant == "C"

    @property
    def is_replaceable(self) -> bool:
        """Whether it is one of those that do nothing but what the patch does better."""
        return self.variant in ("A", "B")


def recognise(module: Module, *, ignored: Collection[str] = ()) -> SourceFix | None:
    """The source fix in an amd64 module, or None.

    By the name of its function; where that is stripped, by an ``ltr`` in executable sections,
    those named in ``ignored`` excepted. Raises MatchError as ``find_ltr`` does.
    """
    if not module.header.is_amd64:
        return None
    function = _fix_function(module)
    ltr_sites = find_ltr(module, ignored)
    if function is None and not ltr_sites:
        return None
    variant = _variant(module, function)
    return SourceFix(
        variant=variant,
        judgement=_JUDGEMENTS[variant],
        evidence=_evidence(module, function, ltr_sites),
        function=function,
        calls=find_calls(module, function.section, function.offset) if function else (),
        ltr_sites=ltr_sites,
    )


def races(patch: str) -> bool:
    """Whether a patch of the source puts fix A or B in. C has the function's name of B."""
    is_c = all(name in patch for name in _WANTED_BY_C)
    return _NAME_A in patch or (_NAME_B_OR_C in patch and not is_c)


def _fix_function(module: Module) -> FixFunction | None:
    for symbol in module.symbols:
        if _plain_name(symbol) not in (_NAME_A, _NAME_B_OR_C):
            continue
        # An undefined symbol is in section 0, which holds no code.
        if not 0 < symbol.section < len(module.sections):
            continue
        # Without the flag for code a section is executable too: the kernel looks at no flags.
        if symbol.type == elf.STT_FUNC or module.sections[symbol.section].is_code:
            return FixFunction(symbol, symbol.section, SectionOffset(symbol.value), symbol.size)
    return None


def _plain_name(symbol: Symbol) -> str:
    """The name in the source: GCC calls a clone of f ``f.isra.0``, ``f.part.0`` and so on."""
    return symbol.name.partition(".")[0] if symbol.type == elf.STT_FUNC else symbol.name


def _variant(module: Module, function: FixFunction | None) -> Variant:
    if function is not None and _plain_name(function.symbol) == _NAME_A:
        return "A"
    if module.undefined >= _WANTED_BY_C:
        return "C"
    return "unknown" if function is None else "B"


def _evidence(
    module: Module, function: FixFunction | None, ltr_sites: tuple[CodePlace, ...]
) -> tuple[str, ...]:
    found: list[str] = []
    if function is not None:
        where = module.sections[function.section].name
        found.append(f"it defines {function.symbol.name} at {where}+{function.offset:#x}")
    if module.undefined >= _WANTED_BY_C:
        found.append("it wants mp_ncpus and gdt from the kernel")
    for site in ltr_sites:
        found.append(f"its code has ltr at {module.sections[site.section].name}+{site.offset:#x}")
    return tuple(found)
