"""What kqemu allocates for all its guests, as far as a source fix needs it: the lock.

It stands on a page behind the module, with the lock free, as kqemu_init leaves it. Beside it are
the places from which kqemu_exec gets its address, where these are not on the stack.
"""

from __future__ import annotations

import struct
from typing import Final

from kpatch.elf.klink import LoadedModule
from kpatch.errors import UnknownModuleError
from kpatch.units import PAGE, Address
from kpatch.verify.hardware.memory import Region, page_up
from kpatch.verify.world.caller import LockedPart
from kpatch.verify.world.kernel_text import TAIL_DONE_AT, jump, tail

_LOCK: Final = 0x400
_CELLS: Final = 0x800
_LOCK_ROOM: Final = 8
_FREE: Final = b"\1"
_STACK: Final = ("rsp", "rbp")


class GlobalState:
    """The module with the global state behind it, and the code that leads to its locked part."""

    def __init__(self, loaded: LoadedModule, part: LockedPart) -> None:
        """Raises UnknownModuleError where the address of the lock lies in too many places."""
        self._at = page_up(len(loaded.memory))
        lock = loaded.base + self._at + _LOCK
        memory = bytearray(loaded.memory.ljust(self._at + PAGE, b"\0"))
        memory[self._at + _LOCK : self._at + _LOCK + 1] = _FREE
        registers = dict(part.constants)
        stored: dict[tuple[str, int], int] = {}
        bases = dict.fromkeys(base for base, _, _ in part.cells if base not in _STACK)
        for number, base in enumerate(bases):
            registers[base] = loaded.base + self._at + _CELLS + number * _CELLS // 8
        for base, displacement, distance in part.cells:
            if base in _STACK:
                stored[base, displacement] = lock - distance
                continue
            place = registers[base] + displacement - loaded.base
            if not self._at + _LOCK + _LOCK_ROOM <= place <= len(memory) - 8:
                raise UnknownModuleError(f"the global state is kept {displacement:#x} bytes behind")
            memory[place : place + 8] = struct.pack("<Q", lock - distance)
        registers |= {name: lock - distance for name, distance in part.pointers}
        end = loaded.address_of(part.section, part.end)
        done = jump(end, TAIL_DONE_AT)
        memory[end - loaded.base : end - loaded.base + len(done)] = done
        self.loaded = loaded._replace(memory=bytes(memory))
        start = loaded.address_of(part.section, part.start)
        self.tail = tail(registers, stored, Address(start))

    def lock_in(self, module: Region) -> Region:
        """The lock, and nothing that is beside it."""
        return module.part("kqemu's lock", self._at + _LOCK, _LOCK_ROOM)
