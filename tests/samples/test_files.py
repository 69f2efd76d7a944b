"""The shipped samples have the shape that real modules have, and their manifest tells the truth."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from pathlib import Path

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from kpatch.elf.module import Section
from tests.samples.listing import BASE, MANIFEST, SAMPLES, WITH_SITES, contents, module

ELFOSABI_FREEBSD = 9
LINUX = "kqemu-linux.ko"
I386 = "kqemu-i386.ko"

# What a kernel linker of 2005 to 2010 applies: R_X86_64_64, PC32, 32S.
KNOWN_RELOCATIONS = {1, 2, 11}

# How each instruction of a site begins, in the order of the code.
ENTRY = ["str", "sidt", "sgdt", "sldt"]
EXIT = ["mov ax", "mov ecx, eax", "and ecx, 0xfff8", "add rcx", "and dword ptr [rcx + 4]", "ltr ax"]

STUB = 16
WITH_ERROR_CODE = {8, 10, 11, 12, 13, 14, 17, 30}  # SDM vol. 3, table 6-1


def image_of(name: str) -> bytes:
    """A sample's image; what lies behind it in the section comes along."""
    entry = MANIFEST[name]
    section = section_at(name, entry["image"])
    return contents(name)[entry["image"] : section.offset + section.size]


def section_at(name: str, offset: int) -> Section:
    """The section that holds a file offset."""
    return next(
        each
        for each in module(name).sections
        if each.is_loaded and each.offset <= offset < each.offset + each.size
    )


def texts(code: bytes) -> list[str]:
    """Disassembly, one line per instruction."""
    lines = Cs(CS_ARCH_X86, CS_MODE_64).disasm(code, 0)
    return [f"{line.mnemonic} {line.op_str}".strip() for line in lines]


def begin_with(lines: list[str], wanted: list[str]) -> bool:
    """Whether each line begins with what is wanted at its place."""
    return len(lines) == len(wanted) and all(
        line.startswith(want) for line, want in zip(lines, wanted, strict=True)
    )


def site(name: str, which: str) -> bytes:
    """The bytes of a site, found by the manifest."""
    start = MANIFEST[name][f"{which}_site"]
    return contents(name)[start : start + MANIFEST[name][f"{which}_site_size"]]


def test_the_manifest_lists_the_files_that_are_there() -> None:
    files = {path.name for path in SAMPLES.iterdir() if ".ko" in path.name}
    assert files == set(MANIFEST)


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_the_checksum_in_the_manifest_is_right(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == MANIFEST[name]["sha256"]


def test_the_compressed_sample_holds_the_plain_one() -> None:
    assert contents("kqemu-7.ko.gz") == contents("kqemu-7.ko")


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_each_sample_stays_small(name: str) -> None:
    assert len((SAMPLES / name).read_bytes()) < 300_000


@pytest.mark.parametrize("name", [each for each in sorted(MANIFEST) if each.endswith(".ko")])
def test_readelf_reads_each_sample_without_a_warning(name: str) -> None:
    done = subprocess.run(
        ["readelf", "-aW", SAMPLES / name], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "arning" not in done.stdout


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_each_sample_names_its_system(name: str) -> None:
    expected = 0 if name == LINUX else ELFOSABI_FREEBSD
    assert module(name).header.osabi == expected


@pytest.mark.parametrize("name", [each for each in sorted(MANIFEST) if each != I386])
def test_no_relocation_is_of_a_type_that_old_kernels_lack(name: str) -> None:
    assert {each.type for each in module(name).relocations} <= KNOWN_RELOCATIONS


@pytest.mark.parametrize("name", BASE)
def test_every_entry_of_a_linker_set_is_a_relocation(name: str) -> None:
    sample = module(name)
    for kind in ("modmetadata", "sysinit", "sysctl", "sysuninit"):
        section = sample.section_named(f"set_{kind}_set")
        assert section is not None
        places = [each.offset for each in sample.relocations if each.target == section.index]
        assert sorted(places) == list(range(0, section.size, 8))


@pytest.mark.parametrize("name", WITH_SITES)
def test_the_image_starts_with_five_ascending_offsets(name: str) -> None:
    entry, table, entry_end, exit_end, execute = struct.unpack_from("<5I", image_of(name))
    assert entry == 0x14
    assert entry < entry_end < exit_end < table < execute
    assert MANIFEST[name]["entry_site"] - MANIFEST[name]["image"] < entry_end
    assert MANIFEST[name]["exit_site"] - MANIFEST[name]["image"] == exit_end


@pytest.mark.parametrize("name", WITH_SITES)
def test_the_entry_site_holds_the_four_instructions(name: str) -> None:
    assert begin_with(texts(site(name, "entry")), ENTRY)


@pytest.mark.parametrize("name", sorted(set(WITH_SITES) - {"kqemu-unknown.ko", "kqemu-7-cut.ko"}))
def test_the_exit_site_holds_the_six_instructions(name: str) -> None:
    assert begin_with(texts(site(name, "exit")), EXIT)


def test_the_unknown_sample_has_another_exit() -> None:
    lines = texts(site("kqemu-unknown.ko", "exit"))
    assert not begin_with(lines, EXIT)
    assert sum(line.startswith("ltr") for line in lines) == 1


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-offsets.ko"])
def test_the_switch_has_one_str_and_two_ltr_and_the_bytes_suggest_more(name: str) -> None:
    image = image_of(name)
    (table,) = struct.unpack_from("<I", image, 4)
    lines = texts(image[0x14:table])
    assert sum(line.startswith("str ") for line in lines) == 1
    assert sum(line.startswith("ltr ") for line in lines) == 2
    suspects = [at for at in range(len(image)) if image[at : at + 2] == b"\x0f\x00"]
    assert sum((image[at + 2] >> 3 & 7) in (1, 3) for at in suspects) > 8


@pytest.mark.parametrize("name", ["kqemu-7.ko", "kqemu-7-offsets.ko"])
def test_each_interrupt_stub_pushes_its_own_vector(name: str) -> None:
    image = image_of(name)
    (table,) = struct.unpack_from("<I", image, 4)
    for vector in range(256):
        stub = texts(image[table + STUB * vector : table + STUB * (vector + 1)])
        until_jump = stub[: next(n for n, line in enumerate(stub) if line.startswith("jmp"))]
        pushed = [int(line.removeprefix("push "), 0) for line in until_jump]
        assert pushed == ([vector] if vector in WITH_ERROR_CODE else [0, vector])


def test_the_common_sample_has_its_image_and_then_jump_tables_in_rodata() -> None:
    sample = module("kqemu-7.ko")
    rodata = sample.section_named(".rodata")
    symbol = sample.symbol_named("monitor_code")
    assert rodata is not None
    assert symbol is not None
    assert (symbol.section, symbol.value, symbol.is_local) == (rodata.index, 0x40, True)
    assert symbol.size > 60_000
    places = [each.offset for each in sample.relocations if each.target == rodata.index]
    assert places
    assert min(places) >= symbol.value + symbol.size


def test_the_symbol_of_the_array_is_local_or_global_or_gone() -> None:
    local = module("kqemu-7.ko").symbol_named("monitor_code")
    known = module("kqemu-7-global.ko").symbol_named("monitor_code")
    assert local is not None and local.is_local
    assert known is not None and not known.is_local
    assert module("kqemu-7-stripped.ko").symbol_named("monitor_code") is None


def test_the_array_is_where_the_name_of_the_sample_says() -> None:
    assert section_at("kqemu-7.ko", MANIFEST["kqemu-7.ko"]["image"]).name == ".rodata"
    assert section_at("kqemu-7-data.ko", MANIFEST["kqemu-7-data.ko"]["image"]).name == ".data"


def test_the_section_of_the_array_without_relocations_has_none() -> None:
    sample = module("kqemu-7-norela.ko")
    assert sample.section_named(".rodata") is not None
    assert sample.section_named(".rela.rodata") is None


def test_the_cut_image_ends_with_its_section_inside_the_exit_site() -> None:
    entry = MANIFEST["kqemu-7-cut.ko"]
    end = entry["image"] + len(image_of("kqemu-7-cut.ko"))
    assert entry["exit_site"] < end < entry["exit_site"] + entry["exit_site_size"]


def test_the_relocation_lies_on_the_exit_site() -> None:
    name = "kqemu-7-sitereloc.ko"
    section = section_at(name, MANIFEST[name]["image"])
    start = MANIFEST[name]["exit_site"] - section.offset
    size = MANIFEST[name]["exit_site_size"]
    assert len(module(name).relocations_at(section.index, start, start + size)) == 1


def test_the_image_is_there_twice() -> None:
    data = contents("kqemu-7-twice.ko")
    image = image_of("kqemu-7.ko")[:0x1000]
    assert data.count(image) == 2


def test_the_sample_with_more_sections_has_them() -> None:
    names = {section.name for section in module("kqemu-7-ehframe.ko").sections}
    assert names >= {".eh_frame", ".note.gnu.property", ".gnu_debuglink"}


@pytest.mark.parametrize(
    ("name", "undefined", "absent"),
    [
        ("kqemu-6.ko", {"sched_lock"}, {"_thread_lock_flags", "destroy_dev_sched"}),
        ("kqemu-7.ko", {"_thread_lock_flags", "destroy_dev_sched"}, {"sched_lock"}),
        ("kqemu-7-ambiguous.ko", {"Giant"}, {"_thread_lock_flags", "sched_lock"}),
        ("kqemu-7-fix-a.ko", {"gdt", "gdt_segs", "common_tss", "ssdtosyssd"}, {"mp_ncpus"}),
        ("kqemu-7-fix-c.ko", {"gdt", "mp_ncpus", "common_tss"}, {"ssdtosyssd"}),
    ],
)
def test_the_undefined_symbols_tell_the_kernel_or_the_fix(
    name: str, undefined: set[str], absent: set[str]
) -> None:
    assert module(name).undefined >= undefined
    assert not module(name).undefined & absent


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_no_sample_holds_a_path_of_the_machine_that_built_it(name: str) -> None:
    data = contents(name)
    assert b"/tmp" not in data
    assert str(Path(__file__).parents[2]).encode() not in data
