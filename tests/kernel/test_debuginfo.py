"""Kernels of our own making, with the shape of the real ones and debugging information."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from kpatch.elf.debuginfo import DebugInfo, read_debug_info
from kpatch.elf.debugunits import Units
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, KernelUnknownError
from kpatch.kernel.detect import detect
from kpatch.kernel.kernelfile import read_kernel
from tests.kernel.kernels import CPUID, kernel

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize("branch", [6, 7, 8])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_debugging_information_says_where_cpuid_is(
    branch: int, version: int, compiler: str
) -> None:
    data = kernel(branch, f"-gdwarf-{version}", compiler=compiler)
    assert read_debug_info(data) == DebugInfo(CPUID[branch], CPUID[branch] + 4, 104, 16)


@pytest.mark.parametrize(
    "options", [("-gdwarf-4", "-fdebug-types-section"), ("-gdwarf64",)], ids=str
)
def test_types_in_units_of_their_own_are_read(options: tuple[str, ...]) -> None:
    assert read_debug_info(kernel(7, "-g", *options)) == (0x34, 0x38, 104, 16)


def test_a_type_that_cannot_be_looked_up_leaves_the_rest() -> None:
    """Type units of DWARF 5, as gcc writes them."""
    found = read_debug_info(kernel(7, "-gdwarf-5", "-fdebug-types-section"))
    assert found is not None and found[:2] == (0x34, 0x38)


OTHER_FILE = """
struct other { int first; struct other *next; };
struct other others[3];
struct pcpu *nobody;
"""
"""A file of the kernel that has neither struct."""

USE = "; extern struct { char bytes[104]; } common_tss[]; void *use = common_tss;"


def with_another(tmp_path: Path, source: str, *options: str, compiler: str = "gcc") -> bytes:
    """A kernel of two compilation units."""
    other = tmp_path / "other.c"
    other.write_text(source)
    return kernel(7, *options, str(other), compiler=compiler)


@pytest.mark.parametrize(
    ("compiler", "options"),
    [
        ("gcc", ("-gdwarf-2",)),
        ("gcc", ("-gdwarf-4", "-fdebug-types-section", "-gz")),
        ("gcc", ("-gdwarf-5", "-gdwarf64")),
        ("gcc", ("-gdwarf-5", "-fdebug-types-section")),
        ("clang", ("-gdwarf-4",)),
        ("clang", ("-gdwarf-5",)),
    ],
    ids=str,
)
def test_no_unit_that_has_an_entry_of_a_name_is_passed_over(
    tmp_path: Path, compiler: str, options: tuple[str, ...]
) -> None:
    """For each name that there is, against a reader that parses every unit."""
    data = with_another(tmp_path, OTHER_FILE, *options, compiler=compiler)
    dwarf = ELFFile(io.BytesIO(data)).get_dwarf_info()
    has = []
    for unit in (*dwarf.iter_CUs(), *dwarf.iter_TUs()):
        names = (die.attributes.get("DW_AT_name") for die in unit.iter_DIEs())
        has.append({name.value for name in names if name is not None})
    told = [names for _, names in Units(dwarf, *set().union(*has))]
    assert all(names <= seen for names, seen in zip(has, told, strict=True))
    assert {b"pcpu", b"pc_cpuid", b"pc_cpumask", b"common_tss"} <= set().union(*has)
    assert any(b"others" in seen and b"pc_cpuid" not in seen for seen in told)
    found = read_debug_info(data)
    assert found is not None and found[:2] == (0x34, 0x38)


def test_a_name_at_too_many_places_leaves_no_unit_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = with_another(tmp_path, OTHER_FILE, "-gdwarf-4")
    monkeypatch.setattr("kpatch.elf.debugunits._MOST_PLACES", 0)
    units = list(Units(ELFFile(io.BytesIO(data)).get_dwarf_info(), b"pc_cpuid"))
    assert [names for _, names in units] == [{b"pc_cpuid"}] * 2


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("struct pcpu { int first; unsigned pc_cpuid; } strange" + USE, "structs pcpu"),
        (USE.replace("104", "96"), "arrays common_tss"),
        (USE.replace("[];", "[4];"), "arrays common_tss"),
    ],
    ids=["layout", "stride", "count"],
)
def test_what_two_files_say_otherwise_is_told_not_chosen_from(
    tmp_path: Path, source: str, what: str
) -> None:
    with pytest.raises(DamagedFileError, match=f"two different {what}"):
        read_debug_info(with_another(tmp_path, source, "-gdwarf-4"))


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("_MOST_BYTES", "name struct pcpu or common_tss have more than 0 MiB"),
        ("MOST_UNPACKED", "it has more than 0 MiB, unpacked"),
    ],
)
def test_too_much_is_told_with_the_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str, message: str
) -> None:
    monkeypatch.setattr(f"kpatch.elf.debuginfo.{limit}", 0)
    with pytest.raises(DamagedFileError, match=message):
        read_debug_info(kernel(7, "-gdwarf-4"))


@pytest.mark.parametrize("is_compressed", [True, False])
def test_a_section_that_claims_to_be_large_is_refused_before_it_is_unpacked(
    is_compressed: bool,
) -> None:
    data = bytearray(kernel(7, "-g", "-gz=zlib") if is_compressed else kernel(7, "-g"))
    file = ELFFile(io.BytesIO(data))
    section = file.get_section_by_name(".debug_info")
    if is_compressed:
        struct.pack_into("<Q", data, section["sh_offset"] + 8, 1 << 40)  # ch_size
    else:
        header = file["e_shoff"] + file.get_section_index(".debug_info") * file["e_shentsize"]
        struct.pack_into("<I", data, header + 4, 8)  # sh_type, SHT_NOBITS
        struct.pack_into("<Q", data, header + 32, 1 << 40)  # sh_size
    with pytest.raises(DamagedFileError, match="more than 256 MiB, unpacked"):
        read_debug_info(bytes(data))


def test_split_debugging_information_says_nothing(tmp_path: Path) -> None:
    """The types are in another file, which the kernel only names."""
    data = with_another(tmp_path, OTHER_FILE, "-g", "-gsplit-dwarf")
    assert read_debug_info(data) is None


NUMBERED_STRINGS = """
    .section .debug_abbrev, "", @progbits
    .uleb128 1, 0x11, 1, 0x72, 0x17, 0, 0             # compile_unit: str_offsets_base
    .uleb128 2, 0x13, 1, 0x03, FORM, 0, 0             # structure_type: name
    .uleb128 3, 0x0d, 0, 0x03, FORM, 0x38, 0x0b, 0, 0 # member: name, data_member_location
    .uleb128 0
    .section .debug_info, "", @progbits
    .long 2f - 1f
1:  .short 5
    .byte 1, 8
    .long 0
    .uleb128 1
    .long 8
    .uleb128 2
    INDEX 0
    .uleb128 3
    INDEX 1
    .byte 0x34
    .uleb128 3
    INDEX 2
    .byte 0x38
    .uleb128 0, 0
2:  .section .debug_str_offsets, "", @progbits
    .long 16
    .short 5, 0
    .long 0, 5, 14
    .section .debug_str, "MS", @progbits, 1
    .asciz "pcpu"
    .asciz "pc_cpuid"
    .asciz "pc_cpumask"
"""
"""struct pcpu, whose names are numbers of strings (DWARF 5, 7.5.6 and 7.26)."""


@pytest.mark.parametrize(
    ("form", "index"),
    [("0x1a", ".uleb128"), ("0x25", ".byte"), ("0x26", ".short"), ("0x28", ".long")],
)
def test_the_number_of_a_string_is_read_in_each_width(
    tmp_path: Path, form: str, index: str
) -> None:
    source, path = NUMBERED_STRINGS.replace("FORM", form).replace("INDEX", index), tmp_path / "k.o"
    subprocess.run(["as", "-o", path], input=source.encode(), check=True)
    assert read_debug_info(path.read_bytes()) == (0x34, 0x38, None, None)


def test_the_old_compression_of_debug_sections_is_answered_with_the_way_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(kernel(7, "-g", "-gz=zlib-gnu"))
    with pytest.raises(DamagedFileError, match="does not read") as caught:
        read_kernel(path.read_bytes(), "kernel")
    assert "objcopy --decompress-debug-sections" in caught.value.todo
    subprocess.run(["objcopy", "--decompress-debug-sections", path], check=True)
    assert read_debug_info(path.read_bytes()) == (0x34, 0x38, 104, 16)


def test_a_kernel_without_debugging_information_says_nothing() -> None:
    assert read_debug_info(kernel(7)) is None


@pytest.mark.parametrize("name", [".debug_abbrev", ".debug_info"])
def test_damaged_debugging_information_is_said_to_be_damaged(name: str) -> None:
    data = bytearray(kernel(7, "-gdwarf-4"))
    section = read_module(bytes(data)).section_named(name)
    assert section is not None
    data[section.offset : section.end] = b"\xff" * section.size
    with pytest.raises(DamagedFileError, match="its debugging information does not read") as caught:
        read_kernel(bytes(data), "kernel.debug")
    assert caught.value.exit_code == 10 and "strip-debug" in caught.value.todo
    assert caught.value.where.startswith("kernel.debug")


@given(st.data())
def test_any_damage_to_the_debugging_information_is_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(kernel(7, "-gdwarf-5"))
    parts = [s for s in read_module(bytes(changed)).sections if s.name.startswith(".debug")]
    for _ in range(data.draw(st.integers(1, 4))):
        part = data.draw(st.sampled_from(parts))
        changed[part.offset + data.draw(st.integers(0, part.size - 1))] = data.draw(
            st.integers(0, 255)
        )
    try:
        read_kernel(bytes(changed), "kernel")
    except DamagedFileError as error:
        assert "\n" not in str(error)


def module() -> Module:
    """A module that does not say which kernel it is for."""
    name = "kqemu-7-ambiguous.ko"
    return read_module((SAMPLES / name).read_bytes(), name)


def test_a_kernel_that_the_table_does_not_know_is_known_by_its_debugging_information() -> None:
    plain = read_kernel(kernel(7, osreldate=650000), "kernel")
    with pytest.raises(KernelUnknownError):
        detect(module(), kernel=plain).require_layout()
    known = read_kernel(kernel(7, "-gdwarf-4", osreldate=650000), "kernel")
    layout = detect(module(), kernel=known).require_layout()
    assert (layout.cpuid, layout.tss_stride) == (0x34, 104)


def test_the_file_and_the_table_in_conflict_are_both_named_and_refused() -> None:
    odd = read_kernel(kernel(7, "-gdwarf-4", more="int pc_more[2];"), "odd")
    with pytest.raises(KernelUnknownError, match=r"0x3c.*0x34") as caught:
        detect(module(), kernel=odd).require_layout()
    assert caught.value.exit_code == 15


def test_a_mask_that_is_not_behind_cpuid_is_refused() -> None:
    moved = kernel(7, "-gdwarf-4").replace(b"pc_cpumask\0", b"pc_cpumasc\0")
    moved = moved.replace(b"pc_other_cpus\0", b"pc_cpumask\0\0\0\0")
    with pytest.raises(KernelUnknownError, match="pc_cpumask at 0x3c"):
        detect(module(), kernel=read_kernel(moved, "moved")).require_layout()


def test_a_file_of_symbols_only_needs_no_version() -> None:
    data = kernel(7, "-gdwarf-4").replace(b"osreldate\0", b"osreldatf\0")
    found = detect(module(), kernel=read_kernel(data, "kernel.symbols"))
    assert found.require_layout().cpuid == 0x34
    words = [each for each in found.evidence if each.source == "--kernel"]
    assert {each.confidence for each in words} == {"proven"}
    assert words[0].means.startswith("its debugging information says so")
