"""The routines of a world switch, and what each of them does with the fields of the state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from kpatch.errors import UnknownModuleError
from kpatch.isa.decode import decode
from kpatch.isa.instruction import Instruction
from kpatch.units import PAGE, counted
from kpatch.verify.world.dataflow import CALLED, Code, Constant, Event, Field, follow

LARGEST_STATE: Final = 1 << 20
FLAGS: Final = 2
"""RFLAGS with everything off; bit 1 is always set (SDM vol. 1, 3.4.3)."""

_MOST_BYTES: Final = PAGE  # the switch has to fit the one page that both worlds map
_MOST_POPPED: Final = 32
_PADDING: Final = frozenset({"nop", "int3"})


class Routines:
    """The instructions of an image."""

    def __init__(self, image: bytes) -> None:
        self._image = image

    def until(self, start: int, last: str) -> tuple[Instruction, ...]:
        """From ``start`` up to and with the first ``last`` (``ret`` or ``retf``)."""
        taken: list[Instruction] = []
        for instruction in self._from(start):
            taken.append(instruction)
            if instruction.is_return:
                if instruction.operation.rstrip("q") == last:  # also "repz ret"
                    return tuple(taken)
                break
        raise unknown(f"no '{last}' at the end of the routine", start)

    def behind(self, end: int) -> int:
        """The first instruction after the padding that follows a routine."""
        padding = takewhile(lambda instruction: instruction.mnemonic in _PADDING, self._from(end))
        return max((instruction.end for instruction in padding), default=end)

    def _from(self, start: int) -> Iterator[Instruction]:
        return decode(self._image[start : start + _MOST_BYTES], start)


class Events:
    """The events of one routine, asked for by what must be there exactly once."""

    def __init__(
        self,
        name: str,
        start: int,
        code: Iterable[Instruction],
        state: frozenset[str] = CALLED,
    ) -> None:
        self.name = name
        self.start = start
        self._code = tuple(code)
        self._events, self.state, self._depth = follow(self._code, state)

    def field(self, what: str) -> int:
        """The one field that ``what`` happens to."""
        found = {
            event.value.displacement
            for event in self._named(what)
            if isinstance(event.value, Field) and event.value.plus == 0
        }
        return self._only(found, what)

    def takes(self, what: str) -> bool:
        """Whether it happens to a field."""
        return any(isinstance(event.value, Field) for event in self._named(what))

    def jump(self) -> Field:
        """What is jumped to: the field with the nexus page's kernel address, with an offset."""
        found = {event.value for event in self._named("jump") if isinstance(event.value, Field)}
        displacement = self._only(
            {field.displacement for field in found}, "jump to the kernel address"
        )
        return Field(displacement, 8, self._only({field.plus for field in found}, "jump"))

    def nexus_to(self) -> int:
        """Where in the image that field points: to its start, or straight behind the jump."""
        if self.jump().plus:
            return 0
        jump = next(event for event in self._named("jump") if isinstance(event.value, Field))
        return next(instruction.end for instruction in self._code if instruction.address == jump.at)

    def lent(self) -> int:
        """The 16-byte descriptor: the field whose halves are stored 8 bytes apart."""
        low = self.field("lend +0")
        if self.field("lend +8") != low + 8:
            raise unknown(f"the halves of the TSS descriptor in the {self.name}", self.start)
        return low

    def continuation(self, kernel_side: int) -> int | None:
        """The field that says where the far return goes; None where the code calculates it: an
        offset by rip, or from the nexus page's address.
        """
        found = [event.value for event in self._named("return to address")]
        for value in found:
            if isinstance(value, Field) and value.displacement != self.jump().displacement:
                if value.plus == 0 and value.size == 8:
                    return self._only({value.displacement}, "return to address")
            elif value in (Code(kernel_side), Field(self.jump().displacement, 8, kernel_side)):
                return None
            else:
                raise unknown(f"the exit does not go on at {kernel_side:#x}", self.start)
        raise unknown(f"no way back is pushed in the {self.name}", self.start)

    def popped(self) -> tuple[int, ...]:
        """The words of the stack that the routine takes off before its ``ret``."""
        words, odd = divmod(self._depth, 8)
        if odd or not 0 <= words <= _MOST_POPPED:
            raise unknown(
                f"the {self.name} returns from {counted(self._depth, 'byte')} up", self.start
            )
        flags = {
            event.value.number
            for event in self._named("load flags")
            if isinstance(event.value, Constant)
        }
        return tuple(FLAGS if 8 * at in flags else 0 for at in range(words))

    def _named(self, what: str) -> list[Event]:
        return [event for event in self._events if event.what == what]

    def _only(self, found: set[int], what: str) -> int:
        if len(found) != 1:
            fields = ", ".join(f"{offset:#x}" for offset in sorted(found)) or "none"
            raise unknown(
                f"'{what}' of the {self.name} should use one field of the state, found {fields}",
                self.start,
            )
        (only,) = found
        if not 0 <= only < LARGEST_STATE:
            raise unknown(f"'{what}' of the {self.name} uses {only:#x}", self.start)
        return only


def unknown(what: str, at: int) -> UnknownModuleError:
    """The refusal of a switch in which ``what`` is at the image offset ``at``."""
    return UnknownModuleError(
        what,
        where=f"image offset {at:#x}",
        todo="the emulation knows kqemu's world switch only: verify cannot run this module",
    )
