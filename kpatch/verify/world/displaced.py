"""The instructions of a site that its trampoline runs in the site's stead.

They are the module's own, and may do in the trampoline what they did before: with the same bytes,
and with the same in what they read. Elsewhere in the patch, with another address in a register,
the same bytes are an instruction of the patch.
"""

from __future__ import annotations

from collections.abc import Sequence

from kpatch.isa.agreed import effects_of
from kpatch.isa.decode import decode_one
from kpatch.isa.effects import FLAG_NAMES, Effects
from kpatch.isa.instruction import Instruction
from kpatch.verify.world.origins import Bytes, Machine, Origins
from kpatch.verify.world.places import Places
from kpatch.verify.world.transfer import Transfer

_Read = tuple[Bytes | Origins, ...]


class Displaced:
    """Those of one side of the switch. None is the module's own before the site is reached."""

    def __init__(self, places: Places, instructions: Sequence[bytes], *, kernel: bool) -> None:
        """``instructions`` are in the order in which the module ran them; ``kernel`` is as in
        :class:`~kpatch.verify.world.operands.Operands`.
        """
        self._places = places
        self._instructions = instructions
        self._kernel = kernel
        self._reads: dict[bytes, list[_Read]] | None = None

    def reach(self, machine: Machine) -> None:
        """Say what is known at the site; the first time counts."""
        if self._reads is not None:
            return
        self._reads = {}
        for raw in self._instructions:
            instruction, merged = decode_one(raw, 0), effects_of(raw)
            if instruction is None or merged is None:
                return
            self._reads.setdefault(raw, []).append(_read(machine, merged.effects))
            machine = Transfer(
                self._places, machine, instruction, merged.effects, kernel=self._kernel, patch=False
            ).run()

    def holds(self, instruction: Instruction, effects: Effects, machine: Machine) -> bool:
        """Whether an instruction of the patch does what the module's own did."""
        found = (self._reads or {}).get(instruction.raw, [])
        return _read(machine, effects) in found


def _read(machine: Machine, effects: Effects) -> _Read:
    registers = (machine.registers[name] for name in sorted(effects.reads))
    flags = (
        machine.flags[name] for bit, name in enumerate(FLAG_NAMES) if effects.flags_read >> bit & 1
    )
    return (*registers, *flags)
