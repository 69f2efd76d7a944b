"""Tells a run that goes round for ever from one that is only long."""

from __future__ import annotations

from kpatch.verify.hardware.registers import RegisterReader, Registers


class CycleFinder:
    """Watches one run: after ``milestone`` instructions, does it come back to where it was?

    With the same registers, and no access to memory in between, it then does so for ever.
    A run may go round through memory too; that one is only seen to be long.
    """

    def __init__(self, milestone: int) -> None:
        self._milestone = milestone
        self._seen: tuple[int, int, Registers] | None = None

    def closes(self, steps: int, address: int, accesses: int, reader: RegisterReader) -> bool:
        """Whether the CPU, about to make step number ``steps`` at ``address`` and with so many
        ``accesses`` to memory behind it, is where it was at the milestone.
        """
        if steps < self._milestone:
            return False
        if self._seen is None:
            self._seen = address, accesses, reader.read()
            return False
        return self._seen[:2] == (address, accesses) and self._seen[2] == reader.read()
