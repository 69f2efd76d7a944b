"""Knows a patched module by content, where its file is no longer the one that kpatch wrote.

The repair is taken out, the result is patched again, and what comes out must load as the file
does. Without the note the sites' bytes are rebuilt first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kpatch.elf.content import differing, digest_before_linking, loaded_digest
from kpatch.elf.edits import Overwrite, begins_with, consists_of
from kpatch.elf.klink import require
from kpatch.elf.module import Module, Section, read_module
from kpatch.elf.remover import Removal, without
from kpatch.errors import DamagedFileError, KpatchError
from kpatch.kqemu.sourcefix import recognise
from kpatch.patch.apply import apply_plan, with_note
from kpatch.patch.assessment import Means, Unpatched
from kpatch.patch.neutralise import RET, neutralise
from kpatch.patch.note import NO_DIGEST, RESTORE, SECTION, Note, seal_holds
from kpatch.patch.plan import Neutralised, Plan, make_plan
from kpatch.patch.rebuild import rebuild
from kpatch.patch.traces import PatchedSite, Traces, places_of
from kpatch.signature.model import Signature
from kpatch.signature.pattern import InstructionPattern, SymbolAddress
from kpatch.signature.scan import find_any
from kpatch.units import FileOffset


def require_genuine(module: Module, found: Unpatched) -> None:
    """Raise DamagedFileError unless patching what ``module`` was gives ``module`` again.

    Byte for byte, whichever kpatch wrote the note, which must say what the plan says. Where the
    seal does not hold, bytes may have been added behind the end.
    """
    note = found.note
    if found.means is not Means.ORIGINAL or note is None:
        return  # known by having been patched again
    plan = _plan_of_original(found)
    said = plan.note._replace(patched_sha256=note.patched_sha256)
    if note.loaded_sha256 == NO_DIGEST:
        said = said.like_the_first()
    if note == said:
        # What comes out is compared, so it need not be read back.
        again = with_note(plan, _written_note(module))
        if consists_of(module.data, again) or (
            begins_with(module.data, again) and not seal_holds(module.data, note)
        ):
            return
    raise DamagedFileError(
        "patching its original again gives another file: its note or its patch is not kpatch's own",
        where=module.name,
        todo=RESTORE,
    )


def require_rest(module: Module, found: Unpatched) -> None:
    """Raise DamagedFileError where ``module``, which is not as it was patched, loads otherwise than
    it did beside its sites, the patch's code and its lock. What these do is explored; the rest is
    not, and a linker set that was added is run by the kernel.
    """
    if found.means is not Means.ORIGINAL:
        return  # known by loading as the patched module does
    plan = _plan_of_original(found)
    image = found.match.image
    sites = [
        range(image.at + site.start, image.at + site.end) for site in found.match.sites.values()
    ]
    changed = differing(read_module(apply_plan(plan)), module, {image.section.name: sites})
    signature = found.match.signature
    explored = {signature.code_section, signature.lock.section}
    if beside := [name for name in changed if name not in explored]:
        raise DamagedFileError(
            f"changed beside its patch since kpatch patched it: {', '.join(beside)}",
            where=module.name,
            todo=RESTORE,
        )


def _written_note(module: Module) -> bytes:
    section = module.section_named(SECTION)
    return module.contents(section) if section is not None else b""


def leads_to(
    original: Module, module: Module, found: Unpatched, signatures: Sequence[Signature]
) -> bool:
    """Whether ``original``, patched as ``found`` says, loads as ``module`` does."""
    try:
        again = found._replace(module=original, match=find_any(original, signatures))
        return not differing(read_module(apply_plan(_plan_of_original(again))), module)
    except KpatchError:
        return False


def taken_out(
    module: Module, traces: Traces, note: Note | None, signatures: Sequence[Signature]
) -> Unpatched:
    """The module with the repair taken out.

    Raises LinkerRefusalError for a module that no kernel loads, and DamagedFileError where taking
    the repair out and putting it in again does not lead back to ``module``.
    """
    require(module)
    places = places_of(module, traces)
    if note is not None:
        changes = _noted(module, places, note)
        found = _tried(
            module, traces, places, changes, note, (note.cpuid, note.tss_stride), signatures
        )
        if found is None:
            for name in sorted(_wanted(traces) - module.undefined):
                raise _not_whole(module, f"its symbol {name} has another name, or is gone")
            raise _not_whole(module, "its trampolines, sites or lock are other ones")
        if note.loaded_sha256 != NO_DIGEST and all(
            digest(found.module) != note.loaded_sha256
            for digest in (loaded_digest, digest_before_linking)
        ):
            raise _not_whole(module, "parts of the module beside the patch were changed")
        return found
    rebuilt = rebuild(places, module.name)
    numbers = [rebuilt.names.get(name) for name in ("cpuid", "tss_stride")]
    cpuid, stride = (number if isinstance(number, int) else 0 for number in numbers)
    *first, last = rebuilt.sites
    for bytes_of_last in last:
        before = (*(group[0] for group in first), bytes_of_last)
        changes = [_change(module, p, b) for p, b in zip(places, before, strict=True)]
        found = _tried(module, traces, places, changes, None, (cpuid, stride), signatures)
        if found is not None:
            return found
    raise _not_whole(module, "its trampolines, sites or lock are not what kpatch makes")


def _tried(
    module: Module,
    traces: Traces,
    places: Sequence[PatchedSite],
    changes: Sequence[Overwrite],
    note: Note | None,
    host: tuple[int, int],
    signatures: Sequence[Signature],
) -> Unpatched | None:
    """The module with ``changes`` made and the rest of the patch gone, if patching undoes that."""
    data = without(module, _removal(module, traces, places), changes)
    before = read_module(data, module.name)
    neutralised = switched_off(before, note, is_original=False)
    means = Means.REBUILT if note is None else Means.TAKEN_OUT
    try:
        found = Unpatched(before, means, find_any(before, signatures), *host, note)
        again = read_module(apply_plan(_plan_again(found, neutralised)), module.name)
    except KpatchError:
        return None
    return None if differing(again, module) else found


def _plan_of_original(found: Unpatched) -> Plan:
    """Raises DamagedFileError as :func:`switched_off`."""
    return _plan_again(found, switched_off(found.module, found.note, is_original=True))


def _plan_again(found: Unpatched, neutralised: Neutralised | None) -> Plan:
    plan = make_plan(
        found.module,
        found.match,
        cpuid=found.cpuid,
        tss_stride=found.tss_stride,
        neutralised=neutralised,
    )
    if found.note is not None:
        plan = replace(plan, note=plan.note._replace(version=found.note.version))
    return plan


def switched_off(before: Module, note: Note | None, *, is_original: bool) -> Neutralised | None:
    """The source fix of ``before`` that the patch switched off, if there is one.

    Where its symbol is stripped, by the note. Raises DamagedFileError for one that still runs
    beside the patch: two locks would guard one slot, and apply never leaves that.
    """
    fix = recognise(before)
    if fix is None:
        return None
    if note is not None and fix.function is not None and fix.variant == note.source_fix:
        return neutralise(before, fix)
    if not is_original:
        noted = [c for c in note.replaced if c.what == "source fix"] if note else []
        if note and fix.function is None and len(noted) == 1 and noted[0].after == RET:
            at = _offset(before, noted[0].section, noted[0].at)
            return Neutralised(note.source_fix, (Overwrite(at, noted[0].before, RET),))
        if fix.function is not None:
            section = before.sections[fix.function.section]
            if bytes(before.view(section)[fix.function.offset :][: len(RET)]) == RET:
                return None  # without its note nothing tells what stood there
    raise DamagedFileError(
        f"patched beside a source fix ({fix.variant}), which may still run: two locks would "
        "guard one slot",
        where=before.name,
        todo=RESTORE,
    )


def _noted(module: Module, places: Sequence[PatchedSite], note: Note) -> list[Overwrite]:
    """The note's replacements undone, by section and not by file offset."""
    changes = []
    for change in note.replaced:
        place = next((p for p in places if f"{p.rule.name} site" == change.what), None)
        if place is not None and len(change.before) > place.room:
            raise _not_whole(module, f"the {change.what} was changed")
        if place is not None:
            changes.append(_change(module, place, change.before))
            continue
        offset = _offset(module, change.section, change.at)
        changes.append(Overwrite(offset, change.after, change.before))
    return changes


def _change(module: Module, place: PatchedSite, before: bytes) -> Overwrite:
    at = module.file_offset(place.section, place.start)
    return Overwrite(at, module.data[at : at + len(before)], before)


def _offset(module: Module, name: str, at: int) -> FileOffset:
    section: Section | None = module.section_named(name)
    if section is None or at >= section.size or not section.has_bytes:
        raise _not_whole(module, f"there is no {name}+{at:#x}")
    return FileOffset(section.offset + at)


def _removal(module: Module, traces: Traces, places: Sequence[PatchedSite]) -> Removal:
    """Everything of the patch: its sections, their tables, its symbols, the calls to it."""
    parts = (traces.code, traces.lock, *traces.notes)
    sections = {section.index for section in parts if section is not None}
    tables = {s.index for s in module.sections if s.is_relocation_table and s.info in sections}
    calls = frozenset((place.call.table, place.call.index) for place in places)
    kept = [
        relocation
        for relocation in module.relocations
        if relocation.table not in tables and (relocation.table, relocation.index) not in calls
    ]
    emptied = {table for table, _ in calls} - {relocation.table for relocation in kept}
    gone = frozenset(sections | tables | emptied)  # mold -r gives tables a symbol too
    used = {relocation.symbol for relocation in kept}
    wanted = _wanted(traces)
    symbols = {
        symbol.index
        for symbol in module.symbols
        if symbol.section in gone
        or (symbol.is_undefined and symbol.name in wanted and symbol.index not in used)
    }
    return Removal(gone, frozenset(symbols), calls)


def _wanted(traces: Traces) -> set[str]:
    """Names that the trampolines want from the kernel."""
    return {
        operand.symbol
        for site in traces.signature.sites
        for line in site.trampoline.source
        if isinstance(line, InstructionPattern)
        for operand in line.operands
        if isinstance(operand, SymbolAddress)
    } - {traces.signature.lock.symbol}


def _not_whole(module: Module, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"patched by kpatch; then changed by another tool: {what}",
        where=module.name,
        todo=RESTORE,
    )
