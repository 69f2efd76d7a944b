"""Detection: which source counts, what is a conflict, and what an error says."""

from __future__ import annotations

import pytest

from kpatch.elf.module import Module, read_module
from kpatch.errors import KernelUnknownError, NotAffectedError
from kpatch.kernel.detect import HostLayout, detect
from kpatch.kernel.kernels import builtin_table
from tests.kernel.modules import (
    CDEVSW_6_TO_72,
    CDEVSW_73,
    CDEVSW_LATER,
    kernel_file,
    module_of_6,
    module_of_7,
    module_of_8,
    silent_module,
    sources,
)
from tests.objects import assembled, compiled, kqemu_module, kqemu_source


def test_sched_lock_means_cpuid_at_3c() -> None:
    detection = detect(module_of_6())
    assert detection.require_layout() == HostLayout(cpuid=0x3C, tss_stride=104)
    assert (detection.low, detection.high) == (600000, 604999)
    assert detection.gdt == "shared"


def test_thread_locks_mean_cpuid_at_34() -> None:
    detection = detect(module_of_7())
    assert detection.require_cpuid() == 0x34
    assert detection.low == 700055


def test_metadata_names_the_version_exactly() -> None:
    detection = detect(module_of_8())
    assert (detection.low, detection.high) == (800040, 800040)
    assert detection.require_cpuid() == 0x34
    assert detection.gdt == "shared"


@pytest.mark.parametrize(("cdevsw", "cpuid"), [(CDEVSW_73, 0x34), (CDEVSW_LATER, 0x34)])
def test_a_late_cdevsw_alone_tells_the_offset(cdevsw: int, cpuid: int) -> None:
    assert detect(kqemu_module(cdevsw=cdevsw)).require_cpuid() == cpuid


@pytest.mark.parametrize("cdevsw", [CDEVSW_6_TO_72, 0x12345678, None])
def test_a_module_that_does_not_tell_is_refused(cdevsw: int | None) -> None:
    detection = detect(kqemu_module(cdevsw=cdevsw))
    assert detection.cpuid is None
    with pytest.raises(KernelUnknownError) as caught:
        detection.require_cpuid()
    assert "0x3c" in caught.value.what and "0x34" in caught.value.what
    assert "--osversion" in caught.value.todo
    assert "--kernel /boot/kernel/kernel" in caught.value.todo


@pytest.mark.parametrize(("osversion", "cpuid"), [(602000, 0x3C), (700055, 0x34)])
def test_the_option_settles_a_module_that_does_not_tell(osversion: int, cpuid: int) -> None:
    assert detect(silent_module(), osversion=osversion).require_cpuid() == cpuid


@pytest.mark.parametrize(("osreldate", "cpuid"), [(602000, 0x3C), (700055, 0x34)])
def test_the_kernel_settles_a_module_that_does_not_tell(osreldate: int, cpuid: int) -> None:
    assert detect(silent_module(), kernel=kernel_file(osreldate)).require_cpuid() == cpuid


def test_doubt_between_shared_and_private_goes_on_and_says_why() -> None:
    detection = detect(module_of_7())
    assert detection.gdt == "unknown"
    assert detection.not_affected is None
    last = detection.evidence[-1]
    assert last.source == "conclusion"
    assert "the patch is right on both" in last.means


def test_the_ambiguous_version_goes_on_and_says_why() -> None:
    detection = detect(module_of_7(), osversion=700112)
    assert detection.gdt == "unknown"
    detection.require_affected()
    assert detection.require_cpuid() == 0x34
    assert "the patch is right on both" in detection.evidence[-1].means


@pytest.mark.parametrize(
    ("osversion", "gdt", "cpuid"),
    [
        (504000, "inferred-strong", "inferred-strong"),
        (602000, "inferred-strong", "inferred-strong"),
        (604000, "inferred-weak", "inferred-strong"),
        (703000, "proven", "proven"),
        (None, "inferred-weak", "inferred-strong"),  # of several the least sure
    ],
)
def test_what_the_table_only_infers_is_marked_as_that(
    osversion: int | None, gdt: str, cpuid: str
) -> None:
    module = module_of_7() if osversion == 703000 else module_of_6()
    said = [e for e in detect(module, osversion=osversion).evidence if e.source == "kernel table"]
    assert [e.confidence for e in said] == [gdt, cpuid]
    assert "the GDT is" in said[0].means and "cpuid is at" in said[1].means


def test_a_known_kernel_leaves_no_conclusion() -> None:
    assert "conclusion" not in sources(detect(module_of_7(), osversion=700055))


def test_evidence_stands_in_the_order_of_its_strength() -> None:
    module = kqemu_module(wants=("_thread_lock_flags",), cdevsw=CDEVSW_6_TO_72, depends=800040)
    detection = detect(module, osversion=800040, kernel=kernel_file(800040))
    assert sources(detection) == [
        "--osversion",
        "--kernel",
        "module metadata",
        "undefined symbol",
        "module data",
        "kernel table",
        "kernel table",
    ]
    assert [e.is_decisive for e in detection.evidence] == [True, *[False] * 6]


@pytest.mark.parametrize("osversion", [701000, 702000, 703000, 800046, 800107])
def test_an_option_that_names_a_private_gdt_means_not_affected(osversion: int) -> None:
    detection = detect(kqemu_module(wants=("_thread_lock_flags",)), osversion=osversion)
    with pytest.raises(NotAffectedError, match=str(osversion)):
        detection.require_affected()


@pytest.mark.parametrize("osversion", [700044, 700055, 700100, 700111, 700112, 800045])
def test_an_option_that_names_a_shared_gdt_means_affected(osversion: int) -> None:
    detect(kqemu_module(wants=("_thread_lock_flags",)), osversion=osversion).require_affected()


def test_a_kernel_file_with_private_gdt_means_not_affected() -> None:
    detection = detect(module_of_7(), kernel=kernel_file(701000))
    assert detection.not_affected is not None


def test_metadata_of_a_private_gdt_means_not_affected() -> None:
    assert detect(kqemu_module(depends=800107)).not_affected is not None


def test_fingerprints_alone_never_mean_not_affected() -> None:
    detection = detect(kqemu_module(wants=("_thread_lock_flags",), cdevsw=CDEVSW_LATER))
    assert detection.gdt == "private"
    assert detection.not_affected is None


def test_an_i386_kernel_means_not_affected() -> None:
    detection = detect(module_of_7(), kernel=kernel_file(602000, architecture="i386"))
    assert detection.not_affected is not None
    assert "i386" in detection.not_affected
    assert not detection.conflicts


def test_a_kernel_without_common_tss_is_reported() -> None:
    detection = detect(module_of_7(), kernel=kernel_file(700055, has_common_tss=False))
    assert any("common_tss" in evidence.seen for evidence in detection.evidence)


@pytest.mark.parametrize("osversion", [400000, 605000, 700113, 10000000])
def test_a_version_that_the_table_does_not_know_is_refused(osversion: int) -> None:
    detection = detect(module_of_7(), osversion=osversion)
    assert detection.candidates == ()
    assert detection.low is None and detection.high is None
    assert detection.conflicts == ()
    with pytest.raises(KernelUnknownError) as caught:
        detection.require_cpuid()
    assert str(osversion) in caught.value.what
    assert "covers 500000-604999, 700000-700112" in caught.value.what
    detection.require_affected()


def test_metadata_that_the_table_does_not_know_is_refused() -> None:
    with pytest.raises(KernelUnknownError, match="605000"):
        detect(kqemu_module(depends=605000)).require_cpuid()


@pytest.mark.parametrize("osversion", [703000, 704000, 800107, 900000, 1500000])
def test_every_kernel_from_7_3_on_is_named_as_not_affected(osversion: int) -> None:
    detection = detect(kqemu_module(wants=("_thread_lock_flags",)), osversion=osversion)
    with pytest.raises(NotAffectedError, match=str(osversion)):
        detection.require_affected()


def test_metadata_that_is_no_version_is_ignored() -> None:
    assert "module metadata" not in sources(detect(kqemu_module(depends=1)))


def test_a_snapshot_is_considered_only_when_named() -> None:
    assert not any(k.snapshot for k in detect(module_of_6()).candidates)
    with pytest.raises(KernelUnknownError, match="not known for FreeBSD 7-CURRENT"):
        detect(kqemu_module(wants=("sched_lock",)), osversion=700020).require_cpuid()


def data_module(assembler: str) -> Module:
    """A module whose ``kqemu_cdevsw`` is ``assembler``."""
    source = f".data\n .globl kqemu_cdevsw\n kqemu_cdevsw: {assembler}\n"
    return read_module(assembled(source))


def test_an_int_at_the_end_of_its_section_is_read() -> None:
    assert sources(detect(data_module(".long 0x28042009")))[0] == "module data"


def test_a_relocated_int_is_not_read_as_a_version() -> None:
    module = data_module(".long 0x28042009\n .reloc kqemu_cdevsw, R_X86_64_32S, there")
    assert "module data" not in sources(detect(module))


def test_an_int_beyond_the_end_of_its_section_is_not_read() -> None:
    table = builtin_table()
    short = next(r for r in table.rules if r.kind == "data-int")._replace(value=0x2009)
    module = data_module(".short 0x2009")
    detection = detect(module, table=table._replace(rules=(short,)))
    assert "module data" not in sources(detection)


def test_a_dependency_on_another_module_names_no_kernel() -> None:
    source = kqemu_source(depends=700055).replace('"kernel"', '"usb"')
    assert "module metadata" not in sources(detect(read_module(compiled(source))))


def test_an_int_without_bytes_in_the_file_is_not_read() -> None:
    assert "module data" not in sources(detect(kqemu_module(extra="int kqemu_cdevsw[4];")))
