"""Properties of TR, and of the descriptor that it is loaded from."""

from __future__ import annotations

from kpatch.verify.hardware.cpustate import LoadedTask
from kpatch.verify.hardware.descriptors import changed, parse
from kpatch.verify.hardware.registers import TableRegister
from kpatch.verify.machine.properties.base import Property, Seen
from kpatch.verify.world.host import HostModel


class OwnTss(Property):
    """The bug itself."""

    name = "own-tss"
    sentence = "Whenever a CPU is back in the kernel, TR holds the TSS of this CPU."

    def complaint(self, seen: Seen) -> str | None:
        """Compare the hidden base of TR with ``&common_tss[cpu]``."""
        if seen.settled is None:
            return None
        task = seen.settled.table("tr")
        if task.base == seen.host.tss_of(seen.cpu) and task.selector == seen.host.tr_selector:
            return None
        return f"CPU {seen.cpu} returns with {describe_tss(seen.host, task)}"


class Descriptor(Property):
    """What an ``ltr`` from the host's GDT found, and what it leaves there. (A busy one faults.)

    What all CPUs share is looked at when all have finished: one may have changed it meanwhile.
    """

    name = "descriptor"
    sentence = (
        "Every descriptor that is loaded into TR is that of a whole TSS of some CPU, and is left "
        "with nothing changed but the busy bit and, where CPUs share it, the base."
    )

    def complaint(self, seen: Seen) -> str | None:
        """Look at TR after each ``ltr`` from a table in the kernel's half of the address space (the
        monitor's is in the other half), and at the slot at the end.
        """
        for loaded in seen.run.loaded:
            wrong = _wrong(seen.host, loaded) if loaded.gdt.base >> 63 else ""
            if wrong:
                shown = describe_tss(seen.host, loaded.task)
                return f"ltr loads {shown}, limit {loaded.task.limit:#x}: {wrong}"
        if seen.settled is None or not seen.slot:
            return None
        left = parse(seen.slot)
        if left.base != seen.host.tss_of(seen.cpu):
            return f"the CPU's own slot is left with {left}"
        other = changed(seen.slot, seen.booted_slot)
        return f"in the CPU's own slot {other}" if other else None


def _wrong(host: HostModel, loaded: LoadedTask) -> str:
    if not loaded.descriptor:
        return "the selector names no descriptor"
    refusal = parse(loaded.descriptor).refusal()
    if refusal:
        return refusal
    if owner(host, loaded.task) is None:
        return "it is not the TSS of a CPU"
    # A larger limit would make an I/O permission bitmap of what lies behind the TSS
    # (SDM vol. 1, "I/O Permission Bit Map"); with a smaller one a process loses its own.
    if loaded.task.limit == host.tss_limit:
        return ""
    return "the limit is another than that of the TSS"


def owner(host: HostModel, task: TableRegister) -> int | None:
    """The CPU whose TSS this is; None if it is nobody's."""
    return next((cpu for cpu in range(host.cpus) if host.tss_of(cpu) == task.base), None)


def describe_tss(host: HostModel, task: TableRegister) -> str:
    """Whose TSS it is, in words."""
    cpu = owner(host, task)
    whose = "nobody's TSS" if cpu is None else f"the TSS of CPU {cpu}"
    return f"{whose} ({task.base:#x}, selector {task.selector:#x})"
