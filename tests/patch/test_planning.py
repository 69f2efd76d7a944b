"""What a plan refuses, and what goes into the note."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.errors import (
    AlreadyFixedError,
    DamagedFileError,
    KernelUnknownError,
    KpatchError,
    LinkerRefusalError,
    MatchError,
    NotAffectedError,
    UnknownModuleError,
)
from kpatch.kernel.host import Host
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.note import ReplacedBytes, read_note
from kpatch.patch.original import original_of
from kpatch.patch.pieces import note_section
from kpatch.patch.prepare import prepare
from kpatch.units import FileOffset
from tests.signature.images import module_with, switch

SAMPLES = Path(__file__).parents[2] / "samples"


def sample(name: str) -> Module:
    return read_module((SAMPLES / name).read_bytes(), name)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("kqemu-7-ambiguous.ko", KernelUnknownError, "which kernel"),
        ("kqemu-7-cut.ko", MatchError, "cut off"),
        ("kqemu-7-fix-a.ko", AlreadyFixedError, "source fix A"),
        ("kqemu-7-fix-b.ko", AlreadyFixedError, "source fix B"),
        ("kqemu-7-fix-c.ko", AlreadyFixedError, "source fix C"),
        ("kqemu-7-sitereloc.ko", MatchError, "relocation"),
        ("kqemu-7-twice.ko", MatchError, "2 monitor images"),
        ("kqemu-i386.ko", NotAffectedError, "FreeBSD/i386"),
        ("kqemu-linux.ko", NotAffectedError, "Linux"),
        ("kqemu-unknown.ko", MatchError, "line"),
        ("other.ko", UnknownModuleError, "not kqemu"),
    ],
)
def test_each_sample_that_must_not_be_patched_is_refused_with_its_name(
    name: str, kind: type[KpatchError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        prepare(assess(sample(name)))
    assert caught.value.where.startswith(name)
    assert caught.value.todo


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("kqemu-7-ambiguous.ko", "--osversion"),
        ("kqemu-7-fix-a.ko", "--replace-source-fix"),
        ("kqemu-7-fix-b.ko", "--replace-source-fix"),
        ("kqemu-7-fix-c.ko", None),
        ("other.ko", None),
    ],
)
def test_a_refusal_carries_the_option_that_has_it_done(name: str, option: str | None) -> None:
    refusal = assess(sample(name)).refusal
    assert refusal is not None and refusal.option == option


def test_only_the_fixes_that_can_be_switched_off_are_replaced() -> None:
    with pytest.raises(AlreadyFixedError, match="source fix C"):
        prepare(assess(sample("kqemu-7-fix-c.ko")), replace_source_fix=True)
    plan = prepare(assess(sample("kqemu-7-fix-a.ko")), replace_source_fix=True)
    assert plan.note.source_fix == "A"
    assert [each.what for each in plan.note.replaced][2:] == ["source fix"]


def test_what_is_asked_about_source_fixes_does_not_matter_without_one() -> None:
    module = sample("kqemu-7.ko")
    asked = apply_plan(prepare(assess(module), replace_source_fix=True))
    assert asked == apply_plan(prepare(assess(module)))


def test_the_kernel_that_the_user_names_settles_the_doubt() -> None:
    module = sample("kqemu-7-ambiguous.ko")
    six, seven = (prepare(assess(module, host=Host(v))) for v in (602000, 700055))
    assert (six.cpuid, seven.cpuid) == (0x3C, 0x34)
    assert apply_plan(six) != apply_plan(seven)


def test_a_kernel_with_a_gdt_per_cpu_needs_no_patch() -> None:
    assessment = assess(sample("kqemu-7.ko"), host=Host(703000))
    assert assessment.verdict is Verdict.NOT_AFFECTED
    with pytest.raises(NotAffectedError):
        prepare(assessment)


def test_a_module_with_a_common_tss_of_its_own_is_refused() -> None:
    module = module_with(switch().contents)
    clash = module.data.replace(b"\0kqemu_exec\0", b"\0common_tss\0")
    clash = clash.replace(
        b"\0_thread_lock_flags\0common_tss\0", b"\0_thread_lock_flags\0another_on\0"
    )
    with pytest.raises(MatchError, match="defines common_tss itself"):
        prepare(assess(read_module(clash, "clash.ko")))


def test_a_module_with_a_section_of_ours_is_refused() -> None:
    module = sample("kqemu-7-ehframe.ko")
    taken = read_module(module.data.replace(b".gnu_debuglink", b".text.kpatch\0\0"), "taken.ko")
    with pytest.raises(LinkerRefusalError, match=r"has a section \.text\.kpatch already"):
        apply_plan(prepare(assess(taken)))


def test_the_note_comes_back_as_it_was_written() -> None:
    plan = prepare(assess(sample("kqemu-7.ko")))
    patched = read_module(apply_plan(plan))
    note = read_note(patched)
    assert note is not None
    assert note.patched_sha256 != plan.note.patched_sha256
    assert note._replace(patched_sha256=plan.note.patched_sha256) == plan.note


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"format":1', b'"format":2'),
        (b'"format":1', b'"format":['),
        (b'{"cpuid"', b'["cpuid"'),
        (b'"cpuid":52', b'"cpuid":-1'),
        (b'"cpuid":52', b'"cpuid":""'),
        (b'"header":"7f454c46', b'"header":"zz454c46'),
        (b'"header":"7f454c46', b'"header":"    4c46'),
        (b'"replaced":[', b'"replaced":{'),
        (b'"offset":', b'"offsat":'),
        (b'"after":"', b'"after":{'),
        (b"kpatch\0\0{", b"kpotch\0\0{"),
        (b"kpatch\0\0{", b"kpatch\0\0\xff"),
    ],
)
def test_a_note_that_does_not_read_is_a_changed_module(old: bytes, new: bytes) -> None:
    patched = apply_plan(prepare(assess(sample("kqemu-7.ko"))))
    assert old in patched
    broken = read_module(patched.replace(old, new), "broken.ko")
    assert assess(broken).verdict is Verdict.CHANGED
    with pytest.raises(DamagedFileError):
        original_of(broken)


def test_a_note_with_hostile_ranges_gives_nothing_back() -> None:
    module = sample("kqemu-7.ko")
    genuine = prepare(assess(module)).note
    patched = read_module(apply_plan(prepare(assess(module))))
    hostile = (
        (1 << 62, b"a", b"b"),
        (0, b"", b""),
        (len(module.data) - 1, b"aa", b"bb"),
        (0, b"x", b"x"),
    )
    for offset, before, after in hostile:
        replaced = (ReplacedBytes(FileOffset(offset), before, after, "x"),)
        with pytest.raises(DamagedFileError):
            original_of(patched, genuine._replace(replaced=replaced))


def test_the_notes_section_is_one_that_no_kernel_loads() -> None:
    section = note_section(prepare(assess(sample("kqemu-7.ko"))).note.pack())
    assert (section.name, section.flags, section.align) == (".note.kpatch", 0, 4)
    assert len(section.contents) % 4 == 0
