"""Kinds of integers that must never meet by accident.

A byte of the file has a file offset. Inside a section it has a section offset; inside the
monitor image (an array in a section) an image offset. Once loaded it has an address.
"""

from typing import NewType

FileOffset = NewType("FileOffset", int)
SectionOffset = NewType("SectionOffset", int)
ImageOffset = NewType("ImageOffset", int)
Address = NewType("Address", int)
