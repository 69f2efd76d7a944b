"""Switches off a source fix that a module carries, so that one lock alone guards the slot."""

from __future__ import annotations

from kpatch.elf import constants as elf
from kpatch.elf.edits import Overwrite
from kpatch.elf.module import Module, Relocation, Symbol
from kpatch.errors import AlreadyFixedError
from kpatch.kqemu.codescan import CodePlace, find_calls
from kpatch.kqemu.sourcefix import FixFunction, SourceFix
from kpatch.patch.plan import Neutralised
from kpatch.units import SectionOffset

RET = b"\xc3"


def neutralise(module: Module, fix: SourceFix) -> Neutralised:
    """A ``ret`` as the first byte of the fix's function, which then does nothing.

    Sound only if that function is all there is of the fix: no ``ltr`` of the module's own code
    may be reached but through it, and no relocation may write to the byte.
    """
    function = fix.function
    if function is None:
        raise _cannot(module, fix, "its function has no symbol any more")
    for place in fix.ltr_sites:
        if not (_is_in(place, function) or _is_only_called_by(module, place, function)):
            raise _cannot(module, fix, "the compiler put a copy of it elsewhere")
    if module.relocations_at(function.section, function.offset, function.offset + 1):
        raise _cannot(module, fix, "a relocation writes to its first byte")
    offset = module.file_offset(module.sections[function.section], function.offset)
    old = module.data[offset : offset + 1]
    return Neutralised(fix.variant, (Overwrite(offset, old, RET),))


def _is_in(place: CodePlace, function: FixFunction) -> bool:
    end = function.offset + max(function.size, 1)
    return place.section == function.section and function.offset <= place.offset < end


def _is_only_called_by(module: Module, place: CodePlace, function: FixFunction) -> bool:
    """Whether ``place`` is in a local function that nothing but ``function`` knows of.

    The kernel's header has ltr() as an inline function (sys/amd64/include/cpufunc.h), and
    compilers that do not optimise make a function of it.
    """
    helper = next((symbol for symbol in module.symbols if _holds(symbol, place)), None)
    if helper is None:
        return False
    calls = find_calls(module, helper.section, SectionOffset(helper.value))
    known = {call.relocation for call in calls}
    return all(_is_in(call.place, function) for call in calls) and not any(
        relocation not in known and _points_into(module, relocation, helper)
        for section in module.sections
        if section.is_loaded and section.flags & elf.SHF_ALLOC
        for relocation in module.relocations_of(section.index)
    )


def _holds(symbol: Symbol, place: CodePlace) -> bool:
    return (
        (symbol.type, symbol.section) == (elf.STT_FUNC, place.section)
        and symbol.is_local
        and symbol.value <= place.offset < symbol.value + symbol.size
    )


def _points_into(module: Module, relocation: Relocation, helper: Symbol) -> bool:
    """Whether it resolves to an address in the helper, counted as lea and call count it."""
    symbol = module.symbols[relocation.symbol]
    at = symbol.value + relocation.addend
    if relocation.type in (elf.R_X86_64_PC32, elf.R_X86_64_PLT32):
        at += elf.field_width(relocation.type)
    return symbol.section == helper.section and (helper.value <= at < helper.value + helper.size)


def _cannot(module: Module, fix: SourceFix, why: str) -> AlreadyFixedError:
    return AlreadyFixedError(
        f"source fix {fix.variant} cannot be switched off: {why}",
        where=module.name,
        todo="build the module without it, then patch",
    )
