"""Modules with one image, each wrong in one way, for tests of what is refused."""

from __future__ import annotations

from dataclasses import replace

from kpatch.elf import constants as elf
from kpatch.elf.module import Module, read_module
from kpatch.signature.load import load_signatures
from kpatch.signature.model import Match, Signature
from kpatch.signature.scan import find
from tests.strategies.elf_builder import FilePlan, RelocationPlan, SectionPlan, build
from tests.strategies.kqemu_modules import HostSection
from tests.strategies.world_switches import Forms, Switch, assemble_switch

FIELDS = {
    "tr_sel": 0x8C, "idt": 0x78, "gdt": 0x82, "ldt_sel": 0x8E, "cs": 0xA8, "ss": 0x98, "rsp": 0x90,
    "cr0": 0xB0, "cr3": 0xB8,
}  # fmt: skip
"""Where one real build has them."""

PLAIN = Forms()


def switch(**changes: bytes) -> Switch:
    """The switch of that build, changed as ``assemble_switch`` allows."""
    return assemble_switch(
        PLAIN,
        FIELDS,
        behind_entry=changes.get("behind_entry", b""),
        behind_exit=changes.get("behind_exit", b""),
        before_entry=changes.get("before_entry", b""),
        tail=changes.get("tail", b""),
        entry=changes.get("entry"),
        exit_=changes.get("exit_"),
    )


def written(forms: Forms) -> Switch:
    """The same, written in another form."""
    return assemble_switch(forms, FIELDS)


def filled(*fillers: bytes, forms: Forms = PLAIN) -> Forms:
    """``forms`` with other instructions behind the first of the exit."""
    return replace(forms, fillers=(tuple(fillers), (), (), (), ()))


def module_with(contents: bytes, relocations: tuple[RelocationPlan, ...] | None = None) -> Module:
    """A FreeBSD 7 module with ``contents`` in .rodata."""
    text = SectionPlan(".text", elf.SHT_PROGBITS, 6, 16, 64, 0, None)
    host = HostSection(
        ".rodata", elf.SHT_PROGBITS, elf.SHF_ALLOC, 32, len(contents), 0, relocations, contents
    )
    plan = FilePlan(
        sections=(text, host),
        symbols=(("kqemu_exec", ".text", 0, True),),
        shared_strings=False,
        header_order=tuple(range(9)),
        file_order=tuple(range(9)),
        gap=0,
        headers_first=False,
        trailing=b"",
        externals=("_thread_lock_flags", "common_tss"),
    )
    return read_module(build(plan), "kqemu.ko")


def signature() -> Signature:
    """The shipped signature."""
    (only,) = load_signatures()
    return only


def match_of(module: Module) -> Match:
    """Where it matches, or the error that says why it does not."""
    return find(module, signature())
