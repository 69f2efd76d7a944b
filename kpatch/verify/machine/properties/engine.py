"""Properties that the engine itself sees broken, while it runs."""

from __future__ import annotations

from kpatch.verify.machine.properties.base import Property


class NoFault(Property):
    """Exceptions, wild jumps, and instructions that have no business in a world switch."""

    name = "no-fault"
    sentence = "No CPU takes an exception, runs data, or does what the emulation does not model."


class Footprint(Property):
    """Writes by physical address, whatever page tables they went through."""

    name = "footprint"
    sentence = (
        "Nothing is written outside of the own state, the own stacks, the lent monitor "
        "descriptor, the host's TSS descriptor and the patch's lock."
    )


class MakesProgress(Property):
    """Here only the CPU that never comes to an end by itself; the explorer finds the others."""

    name = "progress"
    sentence = "From every state each CPU can finish: no deadlock, no livelock, no lock left held."
