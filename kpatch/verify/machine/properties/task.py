"""Properties of TR, and of the descriptor that it is loaded from."""

from __future__ import annotations

from kpatch.verify.hardware.descriptors import FREE, TSS_LIMIT
from kpatch.verify.hardware.registers import Table
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
    """What an ``ltr`` from the host's GDT found. (A busy or absent one faults.)"""

    name = "descriptor"
    sentence = "Every descriptor that is loaded into TR is that of a whole TSS of some CPU."

    def complaint(self, seen: Seen) -> str | None:
        """Look at TR after each ``ltr`` under a GDT of the host's."""
        host = seen.host
        tables = {host.gdt_of(cpu) for cpu in range(host.cpus)}
        for task, gdt in seen.run.loaded:
            if gdt.base not in tables:
                continue
            # A larger limit would make an I/O permission bitmap of what lies behind the TSS
            # (SDM vol. 1, "I/O Permission Bit Map").
            # Unicorn's ltr takes a 16-bit TSS, too; a CPU in long mode knows type 9 only
            # (SDM vol. 3, 3.5).
            whole = task.limit == TSS_LIMIT and task.type == FREE
            if owner(host, task) is None or not whole:
                shown = describe_tss(host, task)
                return f"ltr loads {shown}, limit {task.limit:#x}, type {task.type:#x}"
        return None


def owner(host: HostModel, task: Table) -> int | None:
    """The CPU whose TSS this is; None if it is nobody's."""
    return next((cpu for cpu in range(host.cpus) if host.tss_of(cpu) == task.base), None)


def describe_tss(host: HostModel, task: Table) -> str:
    """Whose TSS it is, in words."""
    cpu = owner(host, task)
    whose = "nobody's TSS" if cpu is None else f"the TSS of CPU {cpu}"
    return f"{whose} ({task.base:#x}, selector {task.selector:#x})"
