"""Kernel files: what is read from them, and what is refused with which advice."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kpatch.errors import DamagedFileError, KernelUnknownError
from kpatch.kernel.kernelfile import KernelFile, read_kernel, unpacked
from tests.objects import compiled, kernel, kqemu_source, objcopied


def test_a_kernel_says_its_version_and_symbols() -> None:
    assert read_kernel(kernel(), "/boot/kernel/kernel") == KernelFile(
        name="/boot/kernel/kernel",
        architecture="amd64",
        osreldate=700055,
        has_common_tss=True,
    )


@pytest.mark.parametrize("version", [500000, 602000, 800107, 1300139])
def test_the_value_comes_from_the_file(version: int) -> None:
    data = kernel(f"char before[77] = {{1}}; int osreldate = {version}; int after = 5;")
    assert read_kernel(data, "kernel").osreldate == version


def test_a_constant_osreldate_is_read_too() -> None:
    assert read_kernel(kernel("const int osreldate = 603000;"), "kernel").osreldate == 603000


def test_a_kernel_without_common_tss_says_so() -> None:
    found = read_kernel(kernel(extra=""), "kernel")
    assert not found.has_common_tss


def test_an_i386_kernel_is_read() -> None:
    found = read_kernel(kernel(bits=32), "kernel")
    assert (found.architecture, found.osreldate) == ("i386", 700055)


@pytest.mark.parametrize(
    "compress", [lzma.compress, bz2.compress, zstandard.compress], ids=["xz", "bzip2", "zstd"]
)
def test_a_kernel_in_what_modules_come_in_is_read(compress: Callable[[bytes], bytes]) -> None:
    assert read_kernel(compress(kernel()), "kernel") == read_kernel(kernel(), "kernel")


def test_a_kernel_in_an_archive_is_told_as_one() -> None:
    with pytest.raises(DamagedFileError, match="this is a zip archive") as caught:
        read_kernel(b"PK\3\4" + bytes(100), "kernel.zip")
    assert "/boot/kernel/kernel" in caught.value.todo


def test_a_compressed_kernel_is_read() -> None:
    assert read_kernel(gzip.compress(kernel()), "kernel.gz").osreldate == 700055


def test_a_stripped_kernel_is_refused() -> None:
    with pytest.raises(KernelUnknownError, match="no symbol osreldate") as caught:
        read_kernel(objcopied(kernel(), "--strip-all"), "kernel")
    assert "--osversion 700055" in caught.value.todo
    assert caught.value.where == "kernel"


def test_a_symbols_file_is_refused() -> None:
    symbols = objcopied(kernel(), "--only-keep-debug")
    with pytest.raises(KernelUnknownError, match=r"kernel\.symbols") as caught:
        read_kernel(symbols, "kernel.symbols")
    assert "give the kernel itself" in caught.value.todo


def test_an_osreldate_without_a_value_is_refused() -> None:
    with pytest.raises(KernelUnknownError, match="not its data"):
        read_kernel(kernel("int osreldate;"), "kernel")


@pytest.mark.parametrize("value", ["0", "7", "-700055", "2000000000"])
def test_an_osreldate_that_is_no_version_is_refused(value: str) -> None:
    with pytest.raises(KernelUnknownError, match="is no __FreeBSD_version"):
        read_kernel(kernel(f'int __attribute__((section(".data"))) osreldate = {value};'), "kernel")


def test_another_systems_kernel_is_refused() -> None:
    with pytest.raises(KernelUnknownError, match="not a FreeBSD kernel"):
        read_kernel(kernel("int linux_banner = 5;"), "vmlinux")


def test_a_module_is_not_taken_for_a_kernel() -> None:
    with pytest.raises(KernelUnknownError, match="not a kernel but a relocatable file"):
        read_kernel(compiled(kqemu_source(extra="int osreldate = 700055;")), "kqemu.ko")


def test_a_kernel_of_another_machine_is_refused() -> None:
    data = bytearray(kernel())
    data[18:20] = (43).to_bytes(2, "little")  # e_machine: SPARC V9
    with pytest.raises(KernelUnknownError, match="SPARC64"):
        read_kernel(bytes(data), "kernel")


def test_a_symbol_outside_its_section_is_damage() -> None:
    data = kernel(
        extra='__asm__(".data; .globl osreldate; .set osreldate, . + 0x1000; .text");',
        osreldate="int any = 1;",
    )
    with pytest.raises(DamagedFileError, match="lies outside its section"):
        read_kernel(data, "kernel")


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x1f\x8b", b"\x1f\x8b\x08\0"])
def test_what_is_no_elf_file_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedFileError) as caught:
        read_kernel(data, "kernel")
    assert caught.value.where.startswith("kernel")
    assert caught.value.todo


def test_a_cut_off_compressed_kernel_is_damage() -> None:
    with pytest.raises(DamagedFileError, match="cut short"):
        read_kernel(gzip.compress(kernel())[:-9], "kernel.gz")


def test_a_compressed_kernel_with_a_wrong_checksum_is_damage() -> None:
    packed = bytearray(gzip.compress(kernel()))
    packed[-5] ^= 1
    with pytest.raises(DamagedFileError, match="gzip stream is damaged"):
        read_kernel(bytes(packed), "kernel.gz")


def test_unpacking_stops_at_the_limit() -> None:
    packed = gzip.compress(bytes(10_000))
    assert unpacked(packed, limit=10_000) == bytes(10_000)
    with pytest.raises(DamagedFileError, match="more than 9999 bytes"):
        unpacked(packed, limit=9_999)


def test_padding_behind_the_gzip_data_is_ignored_but_nothing_else_is() -> None:
    packed = gzip.compress(b"kernel")
    assert unpacked(packed + bytes(512)) == b"kernel"
    with pytest.raises(DamagedFileError, match="behind the gzip stream"):
        unpacked(packed + b"more")


@given(st.data())
def test_a_damaged_kernel_is_read_or_refused_cleanly(data: st.DataObject) -> None:
    changed = bytearray(kernel())
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    for candidate in (bytes(changed), bytes(changed[:cut])):
        try:
            read_kernel(candidate, "kernel")
        except (DamagedFileError, KernelUnknownError) as error:
            assert error.where.startswith("kernel")
