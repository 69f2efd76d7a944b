"""What a kernel without debugging information says by its own code, against the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.errors import KernelUnknownError
from kpatch.kernel.detect import detect
from kpatch.kernel.kernelcode import KernelCode, read_code
from kpatch.kernel.kernelfile import read_kernel
from tests.kernel.kernels import CPUID, kernel
from tests.objects import kqemu_module, objcopied

SAMPLES = Path(__file__).parents[2] / "samples"


def ambiguous() -> Module:
    """A module that does not say which kernel it is for."""
    name = "kqemu-7-ambiguous.ko"
    return read_module((SAMPLES / name).read_bytes(), name)


def said(data: bytes) -> KernelCode:
    found = read_code(read_module(data, "kernel"))
    assert found is not None
    return found


@pytest.mark.parametrize("gdt", ["shared", "private"])
@pytest.mark.parametrize("branch", [6, 7, 8])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("options", ["-O2", "-Os -fno-omit-frame-pointer"])
def test_the_code_says_whose_the_gdt_is_and_where_cpuid_is(
    options: str, compiler: str, branch: int, gdt: str
) -> None:
    found = said(kernel(branch, *options.split(), compiler=compiler, gdt=gdt))
    assert found.gdt == gdt
    assert [offset for offset, _ in found.cpu_numbers] == [CPUID[branch]]


@pytest.mark.parametrize("version", [2, 5])
def test_it_is_the_same_with_debugging_information_and_without(version: int) -> None:
    data = kernel(8, f"-gdwarf-{version}", gdt="private")
    assert said(objcopied(data, "--strip-debug")) == said(data) == said(kernel(8, gdt="private"))


def test_a_kernel_of_8_says_all_of_it() -> None:
    module = kqemu_module(wants=("_thread_lock_flags",))
    found = detect(module, kernel=read_kernel(kernel(8, gdt="private"), "kernel"))
    assert found.gdt == "private" and found.not_affected is not None
    words = [each.seen for each in found.evidence if each.source == "--kernel"]
    assert "init_secondary of kernel loads a GDT of its own on every CPU" in words
    assert "the code of kernel takes %gs:0x34 as a CPU's number" in words


@pytest.mark.parametrize(
    ("gdt", "not_affected"),
    [("shared", None), ("private", "init_secondary of kernel gives every CPU a GDT of its own")],
)
def test_the_code_decides_where_one_version_had_both_kinds(
    gdt: str, not_affected: str | None
) -> None:
    found = detect(ambiguous(), kernel=read_kernel(kernel(7, osreldate=700112, gdt=gdt), "kernel"))
    assert (found.gdt, found.not_affected) == (gdt, not_affected)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (kernel(7, gdt="private"), "a GDT of its own on every CPU, but .* 7.0 has a shared one"),
        (kernel(7, osreldate=703000), "one GDT for all CPUs, but .* 7.3 has a private one"),
        (kernel(7, more="int pc_more[2];"), "takes %gs:0x3c as .*, but .* has cpuid at 0x34"),
        (kernel(6, osreldate=700055), "takes %gs:0x3c as .*, but .* has cpuid at 0x34"),
    ],
    ids=["private 7.0", "shared 7.3", "another struct pcpu", "6.2 that calls itself 7.0"],
)
def test_the_code_and_the_table_in_conflict_are_both_named_and_refused(
    data: bytes, says: str
) -> None:
    found = detect(ambiguous(), kernel=read_kernel(data, "kernel"))
    assert found.not_affected is None
    with pytest.raises(KernelUnknownError, match=says) as caught:
        found.require_layout()
    assert caught.value.exit_code == 15


def test_debugging_information_that_its_own_code_contradicts_is_refused() -> None:
    honest = kernel(7, "-gdwarf-5", more="int pc_more[2];")
    liar = kernel(7, "-gdwarf-5")
    code = read_kernel(honest, "kernel").code
    kernel_file = read_kernel(liar, "kernel")._replace(code=code)
    with pytest.raises(KernelUnknownError, match=r"0x3c.*its debugging information has .* 0x34"):
        detect(ambiguous(), kernel=kernel_file).require_layout()


@pytest.mark.parametrize("symbol", ["init_secondary", "lgdt", "gdt"])
def test_a_kernel_without_the_symbols_says_nothing_of_its_gdt(symbol: str) -> None:
    assert said(objcopied(kernel(7), f"--strip-symbol={symbol}")).gdt is None


def test_a_function_that_is_lgdt_by_name_only_says_nothing() -> None:
    data = kernel(7).replace(bytes.fromhex("0f0117"), bytes.fromhex("0f011f"))  # lidt (%rdi)
    assert said(data).gdt is None


def test_a_private_slot_in_a_shared_table_is_not_decided() -> None:
    """The descriptor of all CPUs with a slot of this one: neither shape."""
    assert said(kernel(7, gdt="mixed")).gdt is None
