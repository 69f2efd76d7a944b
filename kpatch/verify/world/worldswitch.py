"""What the state structure of a build looks like, read from the operands of its own switch.

The fields that the switch uses lie at other offsets in every build. Each is known by what the
code does with it: the field that goes into cr3 before the jump to the monitor is the monitor's
cr3, whatever its offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from typing import Final

from kpatch.errors import UnknownModuleError
from kpatch.isa.decode import Instruction, decode
from kpatch.units import ImageOffset
from kpatch.verify.hardware.memory import PAGE
from kpatch.verify.world.dataflow import ARGUMENT, Code, Event, Field, follow

_MARKS: Final = 3
_MOST_BYTES: Final = PAGE  # the switch has to fit the one page that both worlds map
_LARGEST_STATE: Final = 1 << 20
_PADDING: Final = frozenset({"nop", "int3"})


@dataclass(frozen=True)
class SwitchLayout:
    """Image offsets of the switch's routines, and state offsets of the fields that it uses.

    ``state_at_exit`` are the registers that hold the state's address on the kernel's side.
    ``host_`` fields are saved by the entry, ``monitor_`` fields are prepared by kqemu_init and
    kqemu_exec. ``tss_cache`` is a 16-byte descriptor.
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
    """False for a switch that leaves DR7 alone; ``monitor_dr7`` is then a field of nobody's."""

    @property
    def state_size(self) -> int:
        """Bytes that the state has at least: up to the end of the last field bound."""
        offsets = (int(value) for name, value in vars(self).items() if name not in _ROUTINES)
        return 16 + max(offsets)


_ROUTINES: Final = (
    "kernel_to_monitor",
    "monitor_side",
    "monitor_to_kernel",
    "kernel_side",
    "state_at_exit",
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
        raise _unknown(f"its header has {len(marks)} marks of the switch, not {_MARKS}", 0)
    entry, monitor_side, kernel_side = marks
    code = _ImageCode(image)
    to_monitor = _Events("entry routine", entry, code.until(entry, "retf"))
    in_monitor_code = code.until(monitor_side, "ret")
    in_monitor = _Events(
        "monitor's side of the entry", monitor_side, in_monitor_code, to_monitor.state
    )
    leave = code.behind(in_monitor_code[-1].end)
    to_kernel = _Events("exit routine", leave, code.until(leave, "retf"))
    code.until(kernel_side, "ret")

    if to_kernel.continuation() != kernel_side:
        raise _unknown(f"the exit does not go on at {kernel_side:#x}", leave)
    loads_dr7 = in_monitor.has("load dr7") or to_kernel.has("load dr7")
    layout = SwitchLayout(
        kernel_to_monitor=ImageOffset(entry),
        monitor_side=ImageOffset(monitor_side),
        monitor_to_kernel=ImageOffset(leave),
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
        nexus_address=to_kernel.jump(),
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
    )
    return _agreed(layout, to_monitor, to_kernel)


def _agreed(layout: SwitchLayout, entry: _Events, leave: _Events) -> SwitchLayout:
    """The layout with a place for every field. UnknownModuleError where the code disagrees."""
    _require_agreement(layout, entry, leave)
    if layout.loads_dr7:
        return layout
    return replace(layout, monitor_dr7=(layout.state_size + 7) // 8 * 8)


def _require_agreement(layout: SwitchLayout, entry: _Events, leave: _Events) -> None:
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
            raise _unknown(
                f"'{what}' of the {events.name} uses the field {found:#x}, "
                f"but elsewhere it is {expected:#x}",
                events.start,
            )
    if layout.state_size > _LARGEST_STATE:
        raise _unknown(f"a state of {layout.state_size} bytes", layout.kernel_to_monitor)


class _ImageCode:
    """The instructions of an image."""

    def __init__(self, image: bytes) -> None:
        self._image = image

    def until(self, start: int, last: str) -> tuple[Instruction, ...]:
        """From ``start`` up to and with the first ``last`` (``ret`` or ``retf``)."""
        taken: list[Instruction] = []
        for instruction in self._from(start):
            taken.append(instruction)
            if instruction.is_return:
                if instruction.mnemonic.split()[-1].rstrip("q") == last:  # also "repz ret"
                    return tuple(taken)
                break
        raise _unknown(f"no '{last}' at the end of the routine", start)

    def behind(self, end: int) -> int:
        """The first instruction after the padding that follows a routine."""
        padding = takewhile(lambda each: each.mnemonic in _PADDING, self._from(end))
        return max((each.end for each in padding), default=end)

    def _from(self, start: int) -> Iterator[Instruction]:
        return decode(self._image[start : start + _MOST_BYTES], start)


class _Events:
    """The events of one routine, asked for by what must be there exactly once."""

    def __init__(
        self,
        name: str,
        start: int,
        code: Iterable[Instruction],
        state: frozenset[str] = ARGUMENT,
    ) -> None:
        self.name = name
        self.start = start
        self._events, self.state = follow(code, state)

    def field(self, what: str) -> int:
        """The one field that ``what`` happens to."""
        found = {
            event.value.displacement
            for event in self._named(what)
            if isinstance(event.value, Field) and event.value.plus == 0
        }
        return self._only(found, what)

    def has(self, what: str) -> bool:
        """Whether it happens at all, to a field or to anything else that is known."""
        return bool(self._named(what))

    def jump(self) -> int:
        """The field that holds the nexus page's kernel address: jumped to, with an offset."""
        found = {
            event.value.displacement
            for event in self._named("jump")
            if isinstance(event.value, Field)
        }
        return self._only(found, "jump to the kernel address")

    def lent(self) -> int:
        """The 16-byte descriptor: the field whose halves are stored 8 bytes apart."""
        low = self.field("lend +0")
        if self.field("lend +8") != low + 8:
            raise _unknown(f"the halves of the TSS descriptor in the {self.name}", self.start)
        return low

    def continuation(self) -> int:
        """Where the far return goes: an offset by rip, or from the nexus page's address."""
        for event in self._named("return to address"):
            if isinstance(event.value, Code):
                return event.value.offset
            if isinstance(event.value, Field) and event.value.displacement == self.jump():
                return event.value.plus
        raise _unknown(f"no way back is pushed in the {self.name}", self.start)

    def _named(self, what: str) -> list[Event]:
        return [event for event in self._events if event.what == what]

    def _only(self, found: set[int], what: str) -> int:
        if len(found) != 1:
            fields = ", ".join(f"{each:#x}" for each in sorted(found)) or "none"
            raise _unknown(
                f"'{what}' of the {self.name} should use one field of the state, found {fields}",
                self.start,
            )
        (only,) = found
        if not 0 <= only < _LARGEST_STATE:
            raise _unknown(f"'{what}' of the {self.name} uses {only:#x}", self.start)
        return only


def _unknown(what: str, at: int) -> UnknownModuleError:
    return UnknownModuleError(
        what,
        where=f"image offset {at:#x}",
        todo="the emulation knows kqemu's world switch only: verify cannot run this module",
    )
