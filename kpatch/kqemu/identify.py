"""What is this file? Which system and machine it is for, and whether it is kqemu."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from kpatch.elf import constants as elf
from kpatch.elf.metadata import read_metadata
from kpatch.elf.module import Module

ModuleKind = Literal[
    "freebsd-amd64",  # the only kind that can be patched
    "freebsd-i386",
    "linux",
    "other-machine",
    "other-system",  # a relocatable x86 file with the marks of neither system
    "not-a-module",  # a program, a library, a kernel, a core
]

KQEMU: Final = "kqemu"

_MODMETADATA: Final = "set_modmetadata_set"  # sys/module.h, MODULE_METADATA
# sys/linker_set.h names the sections; these are the sets of a driver such as kqemu.
_FREEBSD_SETS: Final = frozenset(
    {_MODMETADATA, "set_sysinit_set", "set_sysuninit_set", "set_sysctl_set"}
)
# Linux, scripts/mod/modpost.c writes both sections; include/linux/module.h declares the symbol.
_LINUX_SECTIONS: Final = (".modinfo", ".gnu.linkonce.this_module")
_LINUX_SYMBOL: Final = "__this_module"


class Identity(NamedTuple):
    """What a file is. ``reasons`` are sentences, each about one thing seen in the file."""

    kind: ModuleKind
    is_kqemu: bool
    reasons: tuple[str, ...]


def identify(module: Module) -> Identity:
    """Say what a file is, by its header, sections, symbols and metadata. Raises nothing."""
    kind, reasons = kind_of(module)
    traces = tuple(_kqemu_traces(module))
    return Identity(kind, bool(traces), (*reasons, *traces))


def kind_of(module: Module) -> tuple[ModuleKind, tuple[str, ...]]:
    """Which system and machine a file is for, and the sentences that say why."""
    machine = _machine(module)
    if machine is None:
        return "other-machine", (_machine_sentence(module),)
    linux = tuple(_linux_marks(module))
    freebsd = tuple(_freebsd_marks(module))
    # FreeBSD/i386 links a module as a shared object (sys/conf/kmod.mk), amd64 does not.
    shared_module = machine == "i386" and module.header.type == elf.ET_DYN and freebsd
    if module.header.type != elf.ET_REL and not shared_module:
        return "not-a-module", (_type_sentence(module),)
    if linux:
        return "linux", linux
    if freebsd:
        kind: ModuleKind = "freebsd-amd64" if machine == "amd64" else "freebsd-i386"
        return kind, (_machine_sentence(module), *freebsd)
    return "other-system", ("it has the marks of neither a FreeBSD nor a Linux module",)


def _machine(module: Module) -> Literal["amd64", "i386"] | None:
    header = module.header
    if header.is_amd64:
        return "amd64"
    if header.elf_class == 32 and header.little_endian and header.machine == elf.EM_386:
        return "i386"
    return None


def _machine_sentence(module: Module) -> str:
    header = module.header
    order = "little" if header.little_endian else "big"
    return f"it is ELF{header.elf_class}, {order}-endian, for {header.machine_name}"


def _type_sentence(module: Module) -> str:
    names = {elf.ET_EXEC: "an executable", elf.ET_DYN: "a shared object"}
    what = names.get(module.header.type, f"of ELF type {module.header.type}")
    return f"it is {what}, not a relocatable file (ET_REL)"


def _linux_marks(module: Module) -> Iterator[str]:
    names = {section.name for section in module.sections}
    for name in _LINUX_SECTIONS:
        if name in names:
            yield f"it has the section {name} of a Linux module"
    # The bytes first: to look symbols up by name costs a table of them all.
    if _LINUX_SYMBOL.encode() in module.data and module.symbol_named(_LINUX_SYMBOL) is not None:
        yield f"it has the symbol {_LINUX_SYMBOL} of a Linux module"


def _freebsd_marks(module: Module) -> Iterator[str]:
    sets = sorted({section.name for section in module.sections} & _FREEBSD_SETS)
    if sets:
        yield f"it has the linker sets of a FreeBSD module: {', '.join(sets)}"
    if module.header.osabi == elf.ELFOSABI_FREEBSD:
        yield "its OSABI is FreeBSD"


def _kqemu_traces(module: Module) -> Iterator[str]:
    names = read_metadata(module).modules
    if KQEMU in names:
        yield "its metadata names the module kqemu"
    symbols = sum(s.name.startswith(f"{KQEMU}_") and not s.is_undefined for s in module.symbols)
    if symbols:
        yield f"it defines symbols whose names begin with kqemu_ ({symbols} of them)"
    if not names and not symbols and _has_string(module, KQEMU):
        yield "its data holds the string kqemu"


def _has_string(module: Module, text: str) -> bool:
    """Whether a loaded section holds ``text`` as a whole C string."""
    wanted = text.encode("ascii") + b"\0"
    loaded = [(section.offset, section.end) for section in module.sections if section.is_loaded]
    return any(
        module.data.startswith(wanted, start, end)
        or module.data.find(b"\0" + wanted, start, end) >= 0
        for start, end in loaded
    )
