"""Kinds of integers that must never meet by accident.

A byte of the file has a file offset. Inside a section it has a section offset; inside the
monitor image (an array in a section) an image offset. Once loaded it has an address.

And how messages write a number of things.
"""

from typing import Final, NewType, TypeAlias

FileOffset = NewType("FileOffset", int)
"""From the first byte of the file."""

SectionOffset = NewType("SectionOffset", int)
"""From the first byte of a section."""

ImageOffset = NewType("ImageOffset", int)
"""From the first byte of the monitor image, behind its header: where its own code counts from."""

Address = NewType("Address", int)
"""In the kernel's address space, once the module is loaded; 64 bits."""

Readable: TypeAlias = bytes | memoryview
"""Bytes to look at. A view keeps all of its file: take ``bytes`` of what is kept."""

ADDRESS_MASK: Final = (1 << 64) - 1
"""Arithmetic on addresses wraps here."""

PAGE: Final = 4096
"""Bytes of a page of memory on x86."""


def counted(number: int, noun: str) -> str:
    """A number and what it counts, for nouns that take an s: ``1 byte``, ``0 bytes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
