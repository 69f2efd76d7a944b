"""Identification: which system and machine a file is for, and whether it is kqemu."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.elf.module import read_module
from kpatch.errors import DamagedFileError
from kpatch.kqemu.identify import Identity, identify
from tests.objects import (
    compiled,
    compiled_i386,
    kernel,
    kqemu_module,
    kqemu_source,
    linked,
    objcopied,
)

LINUX = """
static const char info[] __attribute__((section(".modinfo"), used)) = "license=GPL";
int __this_module __attribute__((section(".gnu.linkonce.this_module")));
int kqemu_init_module(void) { return 0; }
"""


def identity_of(data: bytes) -> Identity:
    """What kpatch says of a file."""
    return identify(read_module(data))


def test_a_kqemu_module_is_known_by_its_metadata() -> None:
    identity = identify(kqemu_module())
    assert (identity.kind, identity.is_kqemu) == ("freebsd-amd64", True)
    assert "its metadata names the module kqemu" in identity.reasons


def test_a_stripped_kqemu_module_is_known_by_its_metadata() -> None:
    data = objcopied(compiled(kqemu_source()), "--strip-unneeded")
    identity = identity_of(data)
    assert (identity.kind, identity.is_kqemu) == ("freebsd-amd64", True)


def test_another_freebsd_module_is_not_kqemu() -> None:
    identity = identify(kqemu_module(name="other", cdevsw=0x17032005))
    assert (identity.kind, identity.is_kqemu) == ("freebsd-amd64", False)


def test_a_module_that_only_wants_kqemu_symbols_is_not_kqemu() -> None:
    identity = identify(kqemu_module(name="other", wants=("kqemu_exec",)))
    assert not identity.is_kqemu


def test_a_module_that_depends_on_kqemu_is_not_kqemu() -> None:
    source = kqemu_source(name="other", depends=800040).replace('"kernel"', '"kqemu"')
    assert not identity_of(compiled(source)).is_kqemu


def test_an_osabi_alone_marks_a_freebsd_module() -> None:
    data = bytearray(compiled("int kqemu_exec(void) { return 1; }"))
    assert identity_of(bytes(data)).kind == "other-system"
    data[7] = 9  # EI_OSABI: ELFOSABI_FREEBSD
    identity = identity_of(bytes(data))
    assert (identity.kind, identity.is_kqemu) == ("freebsd-amd64", True)
    assert "its OSABI is FreeBSD" in identity.reasons


def test_a_linux_module_is_known_by_its_sections() -> None:
    identity = identity_of(compiled(LINUX))
    assert (identity.kind, identity.is_kqemu) == ("linux", True)
    assert len(identity.reasons) == 4


def test_an_i386_linux_module_is_a_linux_module() -> None:
    assert identity_of(compiled_i386(LINUX)).kind == "linux"


@pytest.mark.parametrize("shared", [False, True])
def test_an_i386_module_is_known_relocatable_or_shared(shared: bool) -> None:
    source = kqemu_source(extra="void kqemu_exec(void) {}")
    data = compiled_i386(source)
    if shared:
        data = linked(data, "-m", "elf_i386", "-shared")
    identity = identity_of(data)
    assert (identity.kind, identity.is_kqemu) == ("freebsd-i386", True)


def test_a_stripped_i386_module_is_known_by_its_string() -> None:
    data = objcopied(compiled_i386(kqemu_source()), "--strip-unneeded")
    identity = identity_of(data)
    assert (identity.kind, identity.is_kqemu) == ("freebsd-i386", True)
    assert "its data holds the string kqemu" in identity.reasons


@pytest.mark.parametrize("bits", [32, 64])
def test_a_kernel_is_not_a_module(bits: int) -> None:
    identity = identity_of(kernel(bits=bits))
    assert identity.kind == "not-a-module"
    assert identity.reasons == ("it is an executable, not a relocatable file (ET_REL)",)


def test_a_shared_library_is_not_a_module() -> None:
    data = linked(compiled("int exported(void) { return 1; }", "-mcmodel=small"), "-shared")
    assert identity_of(data).kind == "not-a-module"


def test_a_core_is_not_a_module() -> None:
    data = bytearray(compiled(kqemu_source()))
    data[16] = 4  # e_type: ET_CORE
    assert identity_of(bytes(data)).kind == "not-a-module"


@pytest.mark.parametrize(
    ("machine", "name"), [(2, "machine 2"), (43, "SPARC64"), (183, "AArch64"), (250, "machine 250")]
)
def test_another_machine_is_named(machine: int, name: str) -> None:
    data = bytearray(compiled(kqemu_source()))
    data[18:20] = machine.to_bytes(2, "little")
    identity = identity_of(bytes(data))
    assert identity.kind == "other-machine"
    assert f"for {name}" in identity.reasons[0]


@given(st.data())
def test_a_damaged_file_is_identified_without_an_error(data: st.DataObject) -> None:
    changed = bytearray(compiled(kqemu_source(cdevsw=0x17032005, depends=800040)))
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        module = read_module(bytes(changed))
    except DamagedFileError:
        return
    identify(module)
