"""Tells a run that goes round for ever from one that is only long."""

from __future__ import annotations

from kpatch.verify.hardware.registers import RegisterReader, Registers


class CycleFinder:
    """Watches one run from its milestone on: does it come back to where it was there?

    With the same registers, and no access to memory in between, it then does so for ever.
    A run may go round through memory too; that one is only seen to be long.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, int, Registers] | None = None

    def closes(self, address: int, accesses: int, reader: RegisterReader) -> bool:
        """Whether the CPU, at ``address`` and with so many ``accesses`` to memory behind it, is
        where it was when this was asked first.
        """
        if self._seen is None:
            self._seen = address, accesses, reader.read()
            return False
        return self._seen[:2] == (address, accesses) and self._seen[2] == reader.read()
