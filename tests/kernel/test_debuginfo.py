"""Kernels of our own making, with the shape of the real ones and debugging information."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.elf.debuginfo import DebugInfo, read_debug_info
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
