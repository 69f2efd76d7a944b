"""What a FreeBSD kernel file (``--kernel FILE``) says about the kernel.

``osreldate`` is an initialised int in the kernel's data (sys/conf/newvers.sh writes it into
vers.c), so its value can be read from the file through its symbol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from kpatch.containers.compression import Compression, decompress, recognise
from kpatch.containers.foreign import told
from kpatch.elf import constants as elf
from kpatch.elf.module import Module, Symbol, read_module
from kpatch.errors import DamagedFileError, KernelUnknownError
from kpatch.kernel.versions import INT_SIZE, PLAUSIBLE
from kpatch.storage.bulk import Bulk

# For the type only: the reader of debugging information costs start-up time.
if TYPE_CHECKING:
    from kpatch.elf.debuginfo import DebugInfo
    from kpatch.kernel.kernelcode import KernelCode

INFLATE_LIMIT: Final = 256 << 20
"""Bytes that a compressed kernel may unpack to; kernels of the time have 10 to 20 MB."""


_DEBUG_INFO: Final = ".debug_info"

Architecture = Literal["amd64", "i386"]


class KernelFile(NamedTuple):
    """A kernel that was read. ``has_common_tss``: it defines the symbol that a patch needs.

    ``osreldate`` is None only where ``debug_info`` says the rest, as in kernel.symbols. ``code`` is
    what its own code says, where it says anything.
    """

    name: str
    architecture: Architecture
    osreldate: int | None
    has_common_tss: bool
    debug_info: DebugInfo | None = None
    code: KernelCode | None = None


def read_kernel(data: bytes, name: str) -> KernelFile:
    """Read a FreeBSD kernel (ELF, compressed or not), which messages call ``name``.

    Raises DamagedFileError for a file that is damaged or not ELF, KernelUnknownError for one
    that does not say which FreeBSD kernel it is.
    """
    try:
        contents = unpacked(data)
        kernel = read_module(contents)
        architecture = _architecture(kernel)
        info = _debug_info(kernel) if architecture == "amd64" else None
        return KernelFile(
            name=name,
            architecture=architecture,
            osreldate=_osreldate(kernel) if info is None else _osreldate_if_there(kernel),
            has_common_tss=kernel.defined("common_tss") is not None,
            debug_info=info,
            code=_code(kernel) if architecture == "amd64" else None,
        )
    except DamagedFileError as error:
        if error.where != _DEBUG_INFO:
            error.todo = "give the kernel of the machine, usually /boot/kernel/kernel"
        raise error.within(name) from None
    except KernelUnknownError as error:
        raise error.within(name) from None


def unpacked(data: bytes, limit: int = INFLATE_LIMIT) -> bytes:
    """``data`` unpacked if it is compressed, else as it is. Raises DamagedFileError."""
    kind = recognise(Bulk(data)) or Compression.NONE
    if kind is not Compression.NONE:
        return decompress(data, kind, limit)
    foreign = told(Bulk(data))
    if foreign is not None and foreign.is_container:
        raise DamagedFileError(foreign.sentence)
    return data


def _architecture(kernel: Module) -> Architecture:
    header = kernel.header
    if header.type not in (elf.ET_EXEC, elf.ET_DYN):
        raise KernelUnknownError(
            "this is not a kernel but a relocatable file or a core",
            todo="give the kernel of the machine, usually /boot/kernel/kernel",
        )
    if header.is_amd64:
        return "amd64"
    if header.elf_class == 32 and header.machine == elf.EM_386 and header.little_endian:
        return "i386"
    raise KernelUnknownError(
        f"this is a kernel for {header.machine_name}, not for amd64",
        todo="give the amd64 kernel that loads the module",
    )


def _debug_info(kernel: Module) -> DebugInfo | None:
    if not any(
        section.name.startswith((".debug_info", ".zdebug_info")) for section in kernel.sections
    ):
        return None
    # Imported here: few kernels have it, and the reader costs start-up time.
    from kpatch.elf.debuginfo import read_debug_info

    try:
        return read_debug_info(kernel.data)
    except DamagedFileError as error:
        raise error.within(_DEBUG_INFO) from None


def _code(kernel: Module) -> KernelCode | None:
    # Imported here: decoding costs start-up time, and only a patch or a scan of kqemu asks.
    from kpatch.kernel.kernelcode import read_code

    return read_code(kernel)


def _osreldate_if_there(kernel: Module) -> int | None:
    """The version, where debugging information says the rest: kernel.symbols has none."""
    try:
        return _osreldate(kernel)
    except KernelUnknownError:
        return None


def _osreldate(kernel: Module) -> int:
    symbol = kernel.defined("osreldate")
    if symbol is None:
        raise KernelUnknownError(
            "there is no symbol osreldate in it: stripped, or not a FreeBSD kernel",
            todo="give a FreeBSD kernel with its symbols, or --osversion 700055",
        )
    value = _int_at(kernel, symbol)
    if value not in PLAUSIBLE:
        raise KernelUnknownError(
            f"its osreldate is {value}, which is no __FreeBSD_version",
            todo="give another kernel file, or --osversion 700055",
        )
    return value


def _int_at(kernel: Module, symbol: Symbol) -> int:
    """The initialised int that a symbol of an executable names; its value is an address."""
    sections = kernel.sections
    section = sections[symbol.section] if symbol.section < len(sections) else None
    if section is None or not section.has_bytes:
        raise KernelUnknownError(
            "it has the symbol osreldate but not its data, as kernel.symbols has",
            todo="give the kernel itself, or --osversion 700055",
        )
    start = symbol.value - section.address
    if not 0 <= start <= section.size - INT_SIZE:
        raise DamagedFileError(
            f"osreldate ({symbol.value:#x}) lies outside its section",
            where=section.name,
            todo="get the file again",
        )
    place = kernel.contents(section)[start : start + INT_SIZE]
    return int.from_bytes(place, "little")
