"""What an assessment says where the evidence is weak."""

from __future__ import annotations

from pathlib import Path

from kpatch.elf.constants import SHF_EXECINSTR, SHT_SYMTAB, STT_FUNC
from kpatch.elf.layouts import AMD64
from kpatch.elf.module import Module, read_module
from kpatch.kernel.host import Host
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.prepare import prepare
from tests.elf.objects import with_bytes, with_section_field

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CDEVSW_OF_2009 = 0x28042009


def module_of_7_3() -> Module:
    """kqemu-7.ko with the first int of kqemu_cdevsw as 7.3 and 8.0 have it."""
    data = bytearray((SAMPLES / "kqemu-7.ko").read_bytes())
    module = read_module(bytes(data))
    symbol = module.defined("kqemu_cdevsw")
    assert symbol is not None
    at = module.sections[symbol.section].offset + symbol.value
    data[at : at + 4] = CDEVSW_OF_2009.to_bytes(4, "little")
    return read_module(bytes(data), "kqemu.ko")


def test_a_private_gdt_that_is_only_inferred_is_said_and_patched_all_the_same() -> None:
    found = assess(module_of_7_3())
    assert found.verdict is Verdict.AFFECTED
    assert "--osversion or --kernel settle it" in found.reason
    assert prepare(found).cpuid == 0x34


def test_a_private_gdt_that_the_user_names_is_not_affected() -> None:
    assert assess(module_of_7_3(), host=Host(703000)).verdict is Verdict.NOT_AFFECTED


def test_a_module_that_does_not_say_where_its_code_is_is_no_known_build() -> None:
    """Nobody can tell whether it carries a source fix, which would race with the patch."""
    data = (SAMPLES / "kqemu-7.ko").read_bytes()
    module = read_module(data)
    for section in module.sections:
        if section.is_code:
            flags = section.flags & ~SHF_EXECINSTR
            data = with_section_field(data, section.index, "flags", flags)
    table = next(section for section in module.sections if section.type == SHT_SYMTAB)
    for symbol in module.symbols:
        if symbol.type == STT_FUNC:
            info = table.offset + symbol.index * AMD64.symbol.size + 4
            data = with_bytes(data, info, bytes([data[info] & ~0xF]))
    found = assess(read_module(data, "kqemu.ko"))
    assert found.verdict is Verdict.UNKNOWN_BUILD
    assert "marked as code" in found.reason
