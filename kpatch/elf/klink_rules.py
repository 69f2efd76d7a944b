"""What the kernel linker demands of a relocatable module, rule by rule.

The rules are those of FreeBSD sys/kern/link_elf_obj.c and sys/amd64/amd64/elf_machdep.c between
2005 and 2010, and of the boot loader's sys/boot/common/load_elf_obj.c.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from kpatch.elf import constants as elf
from kpatch.elf.entries import Relocation, Section, Symbol
from kpatch.elf.klink_lost import EH_FRAME, LOST_RULES
from kpatch.elf.klink_model import Breaches, Consequence, Rule
from kpatch.elf.klink_types import KNOWN_TYPES, SYMBOL_TYPES, is_placed, takes_effect
from kpatch.elf.metadata import METADATA_SET, POINTER_SIZE, SET_PREFIX
from kpatch.elf.module import Module
from kpatch.units import PAGE

_REBUILD = "build the module for FreeBSD/amd64"
_RECOMPILE = "compile the module again, with the compiler of its FreeBSD release"
_OBJCOPY = "run this on the module: objcopy "
_STRIP = "run 'objcopy --strip-debug' on the module: what it relocates is for debuggers only"
_DECOMPRESS = "run 'objcopy --decompress-debug-sections' on the module, or strip its debug sections"

_RULES: list[Rule] = []


def _rule(
    name: str, sentence: str, outcome: Consequence, todo: str
) -> Callable[[Callable[[Module], Breaches]], Callable[[Module], Breaches]]:
    """Enters the function below it as the check of a rule."""

    def enter(breaches: Callable[[Module], Breaches]) -> Callable[[Module], Breaches]:
        _RULES.append(Rule(name, sentence, outcome, todo, breaches))
        return breaches

    return enter


@_rule("layout", "It is ELF64, little-endian.", Consequence.REFUSED, _REBUILD)
def _layout(module: Module) -> Breaches:
    header = module.header
    if header.elf_class != 64 or not header.little_endian:
        order = "little" if header.little_endian else "big"
        yield f"the file is ELF{header.elf_class}, {order}-endian", "ELF header"


@_rule("version", "Its ELF version is current.", Consequence.REFUSED, _REBUILD)
def _version(module: Module) -> Breaches:
    header = module.header
    if header.ident_version != elf.EV_CURRENT or header.version != elf.EV_CURRENT:
        yield f"ELF versions {header.ident_version} and {header.version} are not 1", "ELF header"


@_rule("type", "It is relocatable.", Consequence.REFUSED, _REBUILD)
def _type(module: Module) -> Breaches:
    if module.header.type != elf.ET_REL:
        yield f"the file is of ELF type {module.header.type}, not relocatable", "ELF header"


@_rule("machine", "It is for x86-64.", Consequence.REFUSED, _REBUILD)
def _machine(module: Module) -> Breaches:
    if module.header.machine != elf.EM_X86_64:
        yield f"the file is for {module.header.machine_name}", "ELF header"


@_rule(
    "section-headers",
    "It has section headers, and the ELF header itself says how many.",
    Consequence.REFUSED,
    _REBUILD,
)
def _section_headers(module: Module) -> Breaches:
    if not module.sections:
        yield "the file has no section headers", "ELF header"
    elif module.header.extended:
        yield "the file uses extended section numbers", "ELF header"


@_rule("contents", "It has a PROGBITS or NOBITS section.", Consequence.REFUSED, _REBUILD)
def _contents(module: Module) -> Breaches:
    if not any(section.is_loaded for section in module.sections):
        yield "no section would be loaded", "section headers"


@_rule(
    "one-symbol-table",
    "It has exactly one symbol table.",
    Consequence.REFUSED,
    "use the module as it was built, not stripped",
)
def _one_symbol_table(module: Module) -> Breaches:
    tables = [section for section in module.sections if section.type == elf.SHT_SYMTAB]
    if not tables:
        yield "the module has no symbol table: all symbols were stripped", "section headers"
    elif len(tables) > 1:
        yield f"the module has {len(tables)} symbol tables", "section headers"


@_rule("alignment-not-zero", "No loaded section has alignment 0.", Consequence.PANIC, _RECOMPILE)
def _alignment_not_zero(module: Module) -> Breaches:
    for section in _loaded(module):
        if section.align == 0:
            what = "its alignment is 0, which places it at address 0"
            yield what, _at(section), _OBJCOPY + f"--set-section-alignment {section.name}=1"


@_rule(
    "alignment-fits",
    "The alignment of a loaded section is a power of two, and at most a page.",
    Consequence.PANIC,
    _RECOMPILE,
)
def _alignment_fits(module: Module) -> Breaches:
    for section in _loaded(module):
        if section.align > PAGE or section.align & (section.align - 1):
            yield f"its alignment is {section.align}", _at(section)


@_rule(
    "relocated-sections-loaded",
    "Every relocation table, an empty one too, is for a section that is loaded.",
    Consequence.PANIC,
    _RECOMPILE,
)
def _relocated_sections_loaded(module: Module) -> Breaches:
    for table in module.sections:
        if table.is_relocation_table and not (target := module.sections[table.info]).is_loaded:
            what = f"it relocates {_at(target)}, which is not loaded"
            unused = target if target.name == EH_FRAME else None if table.size else table
            yield what, _at(table), f"{_OBJCOPY}-R {unused.name}" if unused else _RECOMPILE


@_rule(
    "fields-inside",
    "Every relocation writes inside its section.",
    Consequence.PANIC,
    "get the file again",
)
def _fields_inside(module: Module) -> Breaches:
    for relocation in module.relocations:
        target = module.sections[relocation.target]
        if not (target.is_loaded and relocation.width and relocation.end > target.size):
            continue
        if target.is_compressed:
            what = f"{target.name} is compressed, and its relocations are for what it was"
            yield what, _of(module, relocation), _DECOMPRESS
        else:
            yield "it writes behind the end of its section", _of(module, relocation)


@_rule(
    "known-types",
    "Relocations against global symbols have a type that the kernel carries out.",
    Consequence.REFUSED,
    _RECOMPILE,
)
def _known_types(module: Module) -> Breaches:
    unknown: dict[tuple[int, int], list[tuple[Relocation, Symbol]]] = {}
    for relocation, symbol in _with_symbols(module):
        if not symbol.is_local and relocation.type not in KNOWN_TYPES:
            unknown.setdefault((relocation.table, relocation.type), []).append((relocation, symbol))
    for (_, kind), found in unknown.items():
        relocation, symbol = found[0]
        count = f"{len(found)} relocations, the first " if len(found) > 1 else ""
        what = f"{elf.relocation_name(kind)} ({count}against {symbol.name})"
        todo = _STRIP if module.sections[relocation.target].is_debug else _RECOMPILE
        yield f"the kernel does not know {what}", _of(module, relocation), todo


@_rule(
    "no-weak-undefined",
    "No relocation is against a weak symbol that is undefined.",
    Consequence.REFUSED,
    _RECOMPILE,
)
def _no_weak_undefined(module: Module) -> Breaches:
    for relocation, symbol in _with_symbols(module):
        is_wanted = symbol.is_undefined and relocation.type in SYMBOL_TYPES
        if is_wanted and symbol.bind not in (elf.STB_LOCAL, elf.STB_GLOBAL):
            yield f"symbol {symbol.name} is undefined and not global", _of(module, relocation)


@_rule(
    "symbols-have-addresses",
    "No relocation is against a defined global symbol at address 0.",
    Consequence.REFUSED,
    _RECOMPILE,
)
def _symbols_have_addresses(module: Module) -> Breaches:
    for relocation, symbol in _with_symbols(module):
        if (
            not symbol.is_local
            and relocation.type in SYMBOL_TYPES
            and not symbol.is_undefined
            and symbol.value == 0
            and not is_placed(module, symbol)
        ):
            yield f"symbol {symbol.name} would have address 0", _of(module, relocation)


@_rule(
    "local-relocations-take-effect",
    "Relocations against local symbols are carried out; the kernel ignores their errors.",
    Consequence.WRONG,
    _RECOMPILE,
)
def _local_take_effect(module: Module) -> Breaches:
    undone = Counter(
        (relocation.target, relocation.type)
        for relocation, symbol in _beside_debug(module)
        if symbol.is_local and not takes_effect(module, relocation)
    )
    for (target, kind), count in undone.items():
        what = f"{count} of its {elf.relocation_name(kind)} relocations are silently left undone"
        yield what, _at(module.sections[target])


@_rule(
    "symbols-placed",
    "No relocation is against a symbol of a section that is not loaded.",
    Consequence.WRONG,
    _RECOMPILE,
)
def _symbols_placed(module: Module) -> Breaches:
    for relocation, symbol in _beside_debug(module):
        in_section = elf.SHN_UNDEF < symbol.section < elf.SHN_LORESERVE
        if relocation.type in SYMBOL_TYPES and in_section and not is_placed(module, symbol):
            yield f"symbol {symbol.name} is not in a loaded section", _of(module, relocation)


@_rule(
    "no-common",
    "No symbol is common.",
    Consequence.MISPLACED,
    "link it again with 'ld -r -d', or compile it with -fno-common",
)
def _no_common(module: Module) -> Breaches:
    for symbol in module.symbols:
        if symbol.section == elf.SHN_COMMON:
            yield f"symbol {symbol.name} is common, which gets a wrong address", "symbol table"


@_rule("sets-whole", "A linker set is a whole number of pointers.", Consequence.WRONG, _RECOMPILE)
def _sets_whole(module: Module) -> Breaches:
    for section in _loaded(module):
        if section.name.startswith(SET_PREFIX) and section.size % POINTER_SIZE:
            yield "its size is not a number of pointers", _at(section)


@_rule("sets-once", "No two linker sets have one name.", Consequence.WRONG, _RECOMPILE)
def _sets_once(module: Module) -> Breaches:
    seen: set[str] = set()
    for section in _loaded(module):
        if section.name.startswith(SET_PREFIX) and section.name in seen:
            yield "a linker set of that name came before; this one is not seen", _at(section)
        seen.add(section.name)


@_rule(
    "boot-loader",
    "Sections have names, and there is a set_modmetadata_set.",
    Consequence.NOT_PRELOADED,
    "load the module with kldload, not from loader.conf",
)
def _boot_loader(module: Module) -> Breaches:
    if not module.header.shstrndx:
        yield "the sections have no names", "ELF header"
    elif module.section_named(METADATA_SET) is None:
        yield f"there is no section {METADATA_SET}", "section headers"


RULES = (*_RULES, *LOST_RULES)


def _loaded(module: Module) -> Iterator[Section]:
    return (section for section in module.sections if section.is_loaded)


def _with_symbols(module: Module) -> Iterator[tuple[Relocation, Symbol]]:
    """The relocations with their symbols. Without a symbol table there is no kernel to load it."""
    symbols = module.symbols
    return ((r, symbols[r.symbol]) for r in module.relocations if r.symbol < len(symbols))


def _beside_debug(module: Module) -> Iterator[tuple[Relocation, Symbol]]:
    """The same, but for fields in debugging information, which nothing that runs reads."""
    debug = {section.index for section in module.sections if section.is_debug}
    return (pair for pair in _with_symbols(module) if pair[0].target not in debug)


def _at(section: Section) -> str:
    return f"section {section.index} ({section.name})"


def _of(module: Module, relocation: Relocation) -> str:
    table = module.sections[relocation.table]
    return f"{_at(table)}, entry {relocation.index}"
