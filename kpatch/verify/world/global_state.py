"""What kqemu allocates for all its guests, as far as a source fix needs it: the lock.

It stands on a page behind the module, with the lock free, as kqemu_init leaves it. Beside it are
the places from which kqemu_exec gets its address, where these are not on the stack.
"""

from __future__ import annotations

import struct
from typing import Final

from kpatch.elf.klink import LoadedModule
from kpatch.errors import UnknownModuleError
from kpatch.units import Address
from kpatch.verify.hardware.memory import Region, page_up
from kpatch.verify.world.caller import FRAME_REGISTERS, LockedPart, Place
from kpatch.verify.world.encoding import jump
from kpatch.verify.world.kernel_text import TAIL_DONE_AT, tail
from kpatch.verify.world.routines import LARGEST_STATE

_LOCK: Final = 0x400
_CELLS: Final = 0x800
_LOCK_ROOM: Final = 8
_CELL: Final = 8
_FREE: Final = b"\1"


class GlobalState:
    """The module with the global state behind it, and the code that leads to its locked part."""

    def __init__(self, loaded: LoadedModule, part: LockedPart) -> None:
        """Raises UnknownModuleError where the address of the lock lies in places too far apart."""
        self._at = page_up(len(loaded.memory))
        lock = loaded.base + self._at + _LOCK
        stored = {
            (base, displacement): lock - distance
            for base, displacement, distance in part.cells
            if isinstance(base, str) and base in FRAME_REGISTERS
        }
        registers = dict(part.constants)
        bases, cells = _places(part, loaded.base + self._at + _CELLS)
        for base, start in bases.items():
            if isinstance(base, str):
                registers[base] = start
            else:
                stored[base] = start
        end = max((place + _CELL for place in cells), default=lock + _LOCK_ROOM)
        memory = bytearray(loaded.memory.ljust(page_up(end - loaded.base), b"\0"))
        memory[self._at + _LOCK : self._at + _LOCK + 1] = _FREE
        for place, distance in cells.items():
            at = place - loaded.base
            memory[at : at + _CELL] = struct.pack("<Q", lock - distance)
        registers |= {name: lock - distance for name, distance in part.pointers}
        behind = loaded.address_of(part.section, part.end)
        done = jump(behind, TAIL_DONE_AT)
        memory[behind - loaded.base : behind - loaded.base + len(done)] = done
        self.loaded = loaded._replace(memory=bytes(memory))
        first = loaded.address_of(part.section, part.start)
        self.tail = tail(registers, stored, Address(first))

    def lock_in(self, module: Region) -> Region:
        """The lock, and nothing that is beside it."""
        return module.part("kqemu's lock", self._at + _LOCK, _LOCK_ROOM)


def _places(part: LockedPart, start: int) -> tuple[dict[str | Place, int], dict[int, int]]:
    """Registers and places on the frame, each so that its places lie from ``start`` on, one's
    behind another's; and, by address, the bytes from what a place holds to the lock.

    Only the places that are read are there, not the whole state: it may be large.
    """
    registers: dict[str | Place, int] = {}
    cells: dict[int, int] = {}
    for register in dict.fromkeys(base for base, _, _ in part.cells if base not in FRAME_REGISTERS):
        found = {d: distance for base, d, distance in part.cells if base == register}
        lowest, highest = min(found), max(found)
        if highest - lowest > LARGEST_STATE:
            raise UnknownModuleError(
                f"the global state's address is kept {lowest:#x} and {highest:#x} bytes from "
                f"{register}, which is too far apart"
            )
        registers[register] = start - lowest
        cells |= {start + d - lowest: distance for d, distance in found.items()}
        start += highest - lowest + _CELL
    return registers, cells
