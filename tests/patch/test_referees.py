"""Tools that kpatch did not write accept a patched module without a word, and see the same."""

from __future__ import annotations

import re
import subprocess
from io import BytesIO
from pathlib import Path

import lief
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings

from kpatch.elf import constants as elf
from kpatch.elf import klink
from kpatch.elf.module import Module, read_module
from kpatch.errors import LinkerRefusalError
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import assess
from kpatch.patch.prepare import prepare
from kpatch.units import Address
from tests.strategies.kqemu_modules import DrawnModule, kqemu_modules

SAMPLES = Path(__file__).parents[2] / "samples"
NAMES = ("kqemu-7.ko", "kqemu-6.ko", "kqemu-7-norela.ko", "kqemu-7-data.ko", "kqemu-7-ehframe.ko")
ADDED = {"kpatch_tss_entry", "kpatch_tss_exit", "kpatch_tss_lock", "common_tss"}


def patched(data: bytes) -> bytes:
    return apply_plan(prepare(assess(read_module(data, "kqemu.ko"))))


def sample(name: str) -> bytes:
    return patched((SAMPLES / name).read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_binutils_take_a_patched_sample(name: str, tmp_path: Path) -> None:
    assert_binutils_take(sample(name), tmp_path)


@settings(max_examples=8)
@given(drawn=kqemu_modules())
def test_binutils_take_a_patched_drawn_module(
    tmp_path_factory: pytest.TempPathFactory, drawn: DrawnModule
) -> None:
    assert_binutils_take(patched(drawn.data), tmp_path_factory.mktemp("drawn"))


@settings(max_examples=15)
@given(kqemu_modules())
def test_lief_and_pyelftools_see_what_kpatch_sees(drawn: DrawnModule) -> None:
    module = read_module(patched(drawn.data))
    names = [section.name for section in module.sections]
    parsed = lief.ELF.parse(BytesIO(module.data))
    assert parsed is not None
    assert [section.name for section in parsed.sections] == names
    theirs = ELFFile(BytesIO(module.data))
    assert [section.name for section in theirs.iter_sections()] == names
    symbols = {
        symbol.name: symbol for symbol in theirs.get_section_by_name(".symtab").iter_symbols()
    }
    assert symbols.keys() >= ADDED
    for name in ADDED:
        assert symbols[name]["st_info"]["bind"] == "STB_GLOBAL"
        ours = module.symbol_named(name)
        assert ours is not None and symbols[name]["st_value"] == ours.value


def test_the_new_sections_are_what_the_kernel_linker_wants() -> None:
    module = read_module(sample("kqemu-7.ko"))
    code, lock, note = (
        module.sections_named(name) for name in (".text.kpatch", ".bss.kpatch", ".note.kpatch")
    )
    assert [(s.type, s.flags, s.align) for s in code] == [
        (elf.SHT_PROGBITS, elf.SHF_ALLOC | elf.SHF_EXECINSTR, 16)
    ]
    assert [(s.type, s.flags, s.align, s.size) for s in lock] == [
        (elf.SHT_NOBITS, elf.SHF_ALLOC | elf.SHF_WRITE, 4096, 4096)
    ]
    assert [(s.type, s.flags) for s in note] == [(elf.SHT_NOTE, 0)]


def test_readelf_prints_the_note_as_ours(tmp_path: Path) -> None:
    path = tmp_path / "patched.ko"
    path.write_bytes(sample("kqemu-7.ko"))
    done = subprocess.run(
        ["readelf", "-n", path], capture_output=True, text=True, check=True, timeout=300
    )
    assert re.search(r"^ *kpatch +0x[0-9a-f]+", done.stdout, re.MULTILINE)
    assert done.stderr == ""


@settings(max_examples=15)
@given(kqemu_modules())
def test_once_loaded_each_site_calls_its_trampoline(drawn: DrawnModule) -> None:
    module = read_module(patched(drawn.data))
    loaded = loaded_module(module)
    home = module.section_named(drawn.section)
    assert home is not None
    for span, symbol in (
        (drawn.switch.entry, "kpatch_tss_entry"),
        (drawn.switch.exit, "kpatch_tss_exit"),
    ):
        start = loaded.sections[home.index] + drawn.at + span[0] - loaded.base
        call = loaded.memory[start : start + span[1] - span[0]]
        target = loaded.symbols[symbol].to_bytes(8, "little")
        nops = b"\x90" * (len(call) - 12)
        assert call == b"\x48\xb8" + target + b"\xff\xd0" + nops
    kept = loaded_module(drawn.module)
    old = kept.sections[home.index] + drawn.at - kept.base
    new = loaded.sections[home.index] + drawn.at - loaded.base
    sites = {at for span in (drawn.switch.entry, drawn.switch.exit) for at in range(*span)}
    for at in range(len(drawn.switch.contents)):
        assert at in sites or loaded.memory[new + at] == kept.memory[old + at]


def test_the_lock_starts_free_and_alone() -> None:
    module = read_module(sample("kqemu-7.ko"))
    loaded = loaded_module(module)
    lock = loaded.symbols["kpatch_tss_lock"]
    assert lock % 4096 == 0
    at = lock - loaded.base
    assert loaded.memory[at : at + 4096] == bytes(4096)
    others = [a for name, a in loaded.symbols.items() if name != "kpatch_tss_lock"]
    assert not [a for a in others if lock <= a < lock + 4096]


def test_a_kernel_without_common_tss_refuses_the_module() -> None:
    module = read_module(sample("kqemu-7.ko"))
    with pytest.raises(LinkerRefusalError, match="symbol common_tss undefined"):
        klink.load(
            module,
            Address(0xFFFFFFFF80C00000),
            {name: Address(0xFFFFFFFF80300000) for name in module.undefined - {"common_tss"}},
        )


def loaded_module(module: Module) -> klink.LoadedModule:
    kernel = {name: Address(0xFFFFFFFF80300000) for name in module.undefined}
    return klink.load(module, Address(0xFFFFFFFF80C00000), kernel)


def assert_binutils_take(data: bytes, folder: Path) -> None:
    made, linked = folder / "made.ko", folder / "linked.o"
    made.write_bytes(data)
    commands: tuple[list[str | Path], ...] = (
        ["readelf", "-aW", made],
        ["objdump", "-dr", made],
        ["ld", "-r", "-o", linked, made],
    )
    for command in commands:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=300
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "arning" not in done.stdout
        if command[0] == "objdump":
            assert "<kpatch_tss_exit>:" in done.stdout
            assert "R_X86_64_64\tcommon_tss" in done.stdout
            assert "R_X86_64_64\tkpatch_tss_lock" in done.stdout
