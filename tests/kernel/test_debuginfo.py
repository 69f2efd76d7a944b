"""Kernels of our own making, with the shape of the real ones and debugging information."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kpatch.elf.debuginfo import DebugInfo, read_debug_info
from kpatch.elf.module import Module, read_module
from kpatch.errors import KernelUnknownError
from kpatch.kernel.detect import detect
from kpatch.kernel.kernelfile import read_kernel

SAMPLES = Path(__file__).parents[2] / "samples"
TIME = {
    6: "struct { long sec; unsigned long frac; } pc_switchtime;",
    7: "unsigned long pc_switchtime;",
}
CPUID = {6: 0x3C, 7: 0x34}

SOURCE = """
int osreldate = {osreldate};
struct amd64tss {{ unsigned rsvd0; unsigned words[25]; }};
struct amd64tss common_tss[{maxcpu}];
struct pcpu {{
    void *pc_curthread, *pc_idlethread, *pc_fpcurthread, *pc_deadthread, *pc_curpcb;
    {time}
    int pc_switchticks;
    {more}
    unsigned pc_cpuid;
    unsigned pc_cpumask;
    unsigned pc_other_cpus;
}};
struct pcpu __pcpu[1];
void _start(void) {{ }}
"""


@cache
def kernel(
    branch: int, *options: str, compiler: str = "gcc", osreldate: int = 0, more: str = ""
) -> bytes:
    """A kernel with struct pcpu as FreeBSD ``branch`` has it."""
    version = osreldate or {6: 602000, 7: 700055}[branch]
    source = SOURCE.format(osreldate=version, maxcpu=16, time=TIME[branch], more=more)
    with TemporaryDirectory() as folder:
        (Path(folder) / "kernel.c").write_text(source)
        plain = ["-O1", "-fno-pic", "-no-pie", "-nostdlib", "-static", "-fcommon"]
        subprocess.run(
            [compiler, *plain, *options, "-o", "kernel", "kernel.c"], cwd=folder, check=True
        )
        return (Path(folder) / "kernel").read_bytes()


@pytest.mark.parametrize("branch", [6, 7])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_debugging_information_says_where_cpuid_is(
    branch: int, version: int, compiler: str
) -> None:
    data = kernel(branch, f"-gdwarf-{version}", compiler=compiler)
    assert read_debug_info(data) == DebugInfo(CPUID[branch], CPUID[branch] + 4, 104, 16)


def test_a_kernel_without_debugging_information_says_nothing() -> None:
    assert read_debug_info(kernel(7)) is None
    assert read_debug_info(b"\x7fELF") is None


def test_damaged_debugging_information_is_none() -> None:
    data = bytearray(kernel(7, "-gdwarf-4"))
    section = read_module(bytes(data)).section_named(".debug_abbrev")
    assert section is not None
    data[section.offset : section.end] = b"\xff" * section.size
    assert read_debug_info(bytes(data)) is None


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
    assert [each.confidence for each in found.evidence if each.source == "--kernel"] == ["proven"]
