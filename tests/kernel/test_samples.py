"""What the kernel table, detection and recognition say of the shipped samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.errors import KernelUnknownError
from kpatch.kernel.detect import detect
from kpatch.kqemu.identify import identify
from kpatch.kqemu.sourcefix import recognise

SAMPLES = Path(__file__).parents[2] / "samples"

KINDS = {
    "kqemu-i386.ko": ("freebsd-i386", True),
    "kqemu-linux.ko": ("linux", True),
    "other.ko": ("freebsd-amd64", False),
}
CPUIDS = {
    "kqemu-6.ko": 0x3C,
    "kqemu-7.ko": 0x34,
    "kqemu-7-stripped.ko": 0x34,
    "kqemu-7-data.ko": 0x34,
    "kqemu-7-offsets.ko": 0x34,
    "kqemu-8.ko": 0x34,
}
FIXES = {
    "kqemu-7-fix-a.ko": "A",
    "kqemu-6-fix-a.ko": "A",
    "kqemu-7-fix-a-clang.ko": "A",
    "kqemu-7-fix-b.ko": "B",
    "kqemu-6-fix-b-clang.ko": "B",
    "kqemu-7-fix-c.ko": "C",
}


def sample(name: str) -> Module:
    """One of the shipped samples."""
    return read_module((SAMPLES / name).read_bytes(), name)


def names() -> list[str]:
    """All samples that are not compressed."""
    return sorted(path.name for path in SAMPLES.glob("*.ko"))


@pytest.mark.parametrize("name", names())
def test_each_sample_is_identified(name: str) -> None:
    identity = identify(sample(name))
    assert (identity.kind, identity.is_kqemu) == KINDS.get(name, ("freebsd-amd64", True))
    assert identity.reasons


@pytest.mark.parametrize("name", names())
def test_only_the_fixed_samples_have_a_source_fix(name: str) -> None:
    fix = recognise(sample(name))
    assert (fix.variant if fix else None) == FIXES.get(name)


@pytest.mark.parametrize("name", sorted(FIXES))
def test_the_calls_of_each_source_fix_are_found(name: str) -> None:
    module = sample(name)
    fix = recognise(module)
    assert fix is not None and fix.function is not None
    assert fix.calls
    assert len(fix.ltr_sites) == 1
    assert fix.function.offset <= fix.ltr_sites[0].offset
    assert fix.ltr_sites[0].offset < fix.function.offset + fix.function.size


@pytest.mark.parametrize(("name", "cpuid"), sorted(CPUIDS.items()))
def test_the_offset_of_cpuid_is_told(name: str, cpuid: int) -> None:
    assert detect(sample(name)).require_cpuid() == cpuid


def test_the_module_of_8_names_its_kernel() -> None:
    detection = detect(sample("kqemu-8.ko"))
    assert (detection.low, detection.high, detection.gdt) == (800040, 800040, "shared")


@pytest.mark.parametrize("name", names())
def test_no_sample_contradicts_itself_about_its_kernel(name: str) -> None:
    assert detect(sample(name)).conflicts == ()


def test_the_module_that_does_not_tell_needs_an_option() -> None:
    module = sample("kqemu-7-ambiguous.ko")
    with pytest.raises(KernelUnknownError):
        detect(module).require_cpuid()
    assert detect(module, osversion=700055).require_cpuid() == 0x34
