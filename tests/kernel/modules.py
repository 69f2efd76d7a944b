"""Modules that tell their kernel in one way or another, and kernel files."""

from __future__ import annotations

from kpatch.elf.module import Module
from kpatch.kernel.detect import Detection
from kpatch.kernel.kernelfile import KernelFile
from tests.objects import kqemu_module

CDEVSW_6_TO_72 = 0x17032005


CDEVSW_73 = 0x28042009


CDEVSW_LATER = 0x17122009


def module_of_6() -> Module:
    """A module that wants the scheduler lock of 6.x."""
    return kqemu_module(wants=("sched_lock",), cdevsw=CDEVSW_6_TO_72)


def module_of_7() -> Module:
    """A module that wants the thread locks of 7.x."""
    return kqemu_module(wants=("_thread_lock_flags", "destroy_dev_sched"), cdevsw=CDEVSW_6_TO_72)


def module_of_8() -> Module:
    """A module whose metadata names a version of 8-CURRENT with the shared GDT."""
    return kqemu_module(wants=("_thread_lock_flags",), depends=800040)


def silent_module() -> Module:
    """A module without any trace of its kernel."""
    return kqemu_module()


def kernel_file(
    osreldate: int, *, architecture: str = "amd64", has_common_tss: bool = True
) -> KernelFile:
    """A kernel file as if it had been read."""
    return KernelFile(
        name="/boot/kernel/kernel",
        architecture="amd64" if architecture == "amd64" else "i386",
        osreldate=osreldate,
        has_common_tss=has_common_tss,
    )


def sources(detection: Detection) -> list[str]:
    """The sources in the order of the evidence."""
    return [evidence.source for evidence in detection.evidence]
