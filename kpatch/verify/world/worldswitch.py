"""What the state structure of a build looks like, read from the operands of its own switch.

The fields that the switch uses lie at other offsets in every build. Each is known by what the
code does with it: the field that goes into cr3 before the jump to the monitor is the monitor's
cr3, whatever its offset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from kpatch.units import ImageOffset, counted
from kpatch.verify.world.routines import LARGEST_STATE, Events, Routines, unknown

_MARKS: Final = 3


@dataclass(frozen=True)
class SwitchLayout:
    """Image offsets of the switch's routines, and state offsets of the fields that it uses.

    ``state_at_exit`` are the registers that hold the state's address on the kernel's side.
    ``host_`` fields are saved by the entry, ``monitor_`` fields are prepared by kqemu_init and
    kqemu_exec. ``tss_cache`` is a 16-byte descriptor. ``nexus_address`` holds the kernel's address
    of the image, or of the code at the image offset ``nexus_to``.
    """

    kernel_to_monitor: ImageOffset
    monitor_side: ImageOffset
    monitor_to_kernel: ImageOffset
    kernel_side: ImageOffset
    state_at_exit: frozenset[str]
    monitor_address: int
    kernel_address: int
    monitor_idt: int
    monitor_gdt: int
    monitor_ldt_sel: int
    monitor_ds_sel: int
    monitor_jump: int
    monitor_cs_sel: int
    monitor_tr_sel: int
    monitor_cr3: int
    monitor_dr7: int
    monitor_rsp: int
    nexus_address: int
    tss_cache: int
    host_idt: int
    host_gdt: int
    host_tr_sel: int
    host_ldt_sel: int
    host_rsp: int
    host_ss: int
    host_cs: int
    host_cr0: int
    host_cr3: int
    host_cr4: int
    loads_dr7: bool = True
    """False for a switch that takes DR7 from no field; ``monitor_dr7`` is then nobody's."""
    nexus_to: int = 0
    kernel_jump: int | None = None
    """The field with the address at which the kernel's side goes on, where the code does not
    calculate that: kqemu_init fills it in."""
    frame: tuple[int, ...] = (0,) * 6
    """The words that the monitor's side pops before its ``ret``, as kqemu_exec prepares them:
    ``FLAGS`` where it pops the flags, else 0."""

    @property
    def state_size(self) -> int:
        """Bytes that the state has at least: up to the end of the last field bound."""
        offsets = (int(value or 0) for name, value in vars(self).items() if name not in _NO_FIELDS)
        return 16 + max(offsets)


_NO_FIELDS: Final = (
    "kernel_to_monitor",
    "monitor_side",
    "monitor_to_kernel",
    "kernel_side",
    "state_at_exit",
    "nexus_to",
    "frame",
)


@lru_cache(maxsize=64)  # of one module for each exploration
def bind(image: bytes, marks: tuple[int, ...]) -> SwitchLayout:
    """Read the layout out of an unpatched monitor image.

    ``marks`` are the offsets of the entry, of the monitor's side of it, and of the kernel's side
    of the exit, as the image's header has them.

    Raises UnknownModuleError, saying what is missing and at which image offset, where the code
    is not a world switch of the known shape.
    """
    if len(marks) != _MARKS:
        raise unknown(
            f"its header has {counted(len(marks), 'mark')} of the switch, not {_MARKS}", 0
        )
    entry, monitor_side, kernel_side = marks
    code = Routines(image)
    to_monitor = Events("entry routine", entry, code.until(entry, "retf"))
    in_monitor_code = code.until(monitor_side, "ret")
    in_monitor = Events(
        "monitor's side of the entry", monitor_side, in_monitor_code, to_monitor.state
    )
    leave = code.behind(in_monitor_code[-1].end)
    to_kernel = Events("exit routine", leave, code.until(leave, "retf"))
    code.until(kernel_side, "ret")
    layout = _layout(entry, to_monitor, monitor_side, in_monitor, kernel_side, to_kernel)
    return _agreed(layout, to_monitor, to_kernel)


def _layout(
    entry: int,
    to_monitor: Events,
    monitor_side: int,
    in_monitor: Events,
    kernel_side: int,
    to_kernel: Events,
) -> SwitchLayout:
    """Each field by what its routine does with it."""
    kernel_jump = to_kernel.continuation(kernel_side)
    loads_dr7 = in_monitor.takes("load dr7")
    return SwitchLayout(
        kernel_to_monitor=ImageOffset(entry),
        monitor_side=ImageOffset(monitor_side),
        monitor_to_kernel=ImageOffset(to_kernel.start),
        kernel_side=ImageOffset(kernel_side),
        state_at_exit=to_kernel.state,
        monitor_address=to_monitor.field("state address"),
        monitor_idt=to_monitor.field("lidt"),
        monitor_gdt=to_monitor.field("lgdt"),
        monitor_rsp=to_monitor.field("load rsp"),
        monitor_cr3=to_monitor.field("load cr3"),
        monitor_cs_sel=to_monitor.field("return to segment"),
        monitor_jump=to_monitor.field("return to address"),
        monitor_ldt_sel=in_monitor.field("lldt"),
        monitor_tr_sel=in_monitor.field("ltr"),
        monitor_ds_sel=in_monitor.field("load ss"),
        monitor_dr7=in_monitor.field("load dr7") if loads_dr7 else 0,
        tss_cache=in_monitor.lent(),
        nexus_address=to_kernel.jump().displacement,
        kernel_address=to_kernel.field("state address"),
        host_tr_sel=to_monitor.field("str"),
        host_idt=to_monitor.field("sidt"),
        host_gdt=to_monitor.field("sgdt"),
        host_ldt_sel=to_monitor.field("sldt"),
        host_cs=to_kernel.field("return to segment"),
        host_ss=to_monitor.field("store ss"),
        host_rsp=to_monitor.field("store rsp"),
        host_cr0=to_monitor.field("store cr0"),
        host_cr3=to_monitor.field("store cr3"),
        host_cr4=to_monitor.field("store cr4"),
        loads_dr7=loads_dr7,
        nexus_to=to_kernel.nexus_to(),
        kernel_jump=kernel_jump,
        frame=in_monitor.popped(),
    )


def _agreed(layout: SwitchLayout, entry: Events, leave: Events) -> SwitchLayout:
    """The layout with a place for every field. UnknownModuleError where the code disagrees."""
    _require_agreement(layout, entry, leave)
    if layout.loads_dr7:
        return layout
    return replace(layout, monitor_dr7=(layout.state_size + 7) // 8 * 8)


def _require_agreement(layout: SwitchLayout, entry: Events, leave: Events) -> None:
    """What the entry saves is what the exit restores, field by field."""
    pairs = (
        (leave, "store rsp", layout.monitor_rsp),
        (leave, "load cr3", layout.host_cr3),
        (leave, "load rsp", layout.host_rsp),
        (leave, "lidt", layout.host_idt),
        (leave, "lgdt", layout.host_gdt),
        (leave, "lldt", layout.host_ldt_sel),
        (entry, "store cs", layout.host_cs),
    )
    for events, what, expected in pairs:
        found = events.field(what)
        if found != expected:
            raise unknown(
                f"'{what}' of the {events.name} uses the field {found:#x}, "
                f"but elsewhere it is {expected:#x}",
                events.start,
            )
    if layout.state_size > LARGEST_STATE:
        raise unknown(f"a state of {counted(layout.state_size, 'byte')}", layout.kernel_to_monitor)
