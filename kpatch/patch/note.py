"""What a patched module says of itself, in a SHT_NOTE section that no kernel loads.

The descriptor is canonical JSON (sorted keys, ASCII, no spaces), so that the same patch is the
same bytes everywhere. It holds what it takes to give back the original byte for byte, and a
digest of the whole patched file, taken with the digest's own digits as zeros.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kpatch.digest import digest_of
from kpatch.elf import constants as elf
from kpatch.elf.edits import Pieces
from kpatch.elf.layouts import HEADER_SIZE
from kpatch.elf.module import Module, Section
from kpatch.errors import DamagedFileError
from kpatch.units import FileOffset, SectionOffset, counted

SECTION: Final = ".note.kpatch"
OWNER: Final = b"kpatch\0"
TYPE: Final = 0x6B70  # "kp": no type that binutils or pkg give a meaning
NO_DIGEST: Final = "0" * 64
RESTORE: Final = "restore it from the copy beside it, or build it again"
"""What to do where a patched module does not give its original back."""

_FORMAT: Final = 1
_HEADER: Final = struct.Struct("<III")
_DIGITS: Final = 20  # of 2 to the power of 64
_PCPU_FIRST: Final = 8  # behind curthread
_PCPU_SIZE: Final = 0x400  # more than any has; what comes behind cpuid differs
_TSS_STRIDE: Final = 104  # sizeof(struct amd64tss), FreeBSD sys/amd64/include/tss.h
_MOST_STRIDE: Final = 4096  # a page, more than any kernel's


class ReplacedBytes(NamedTuple):
    """Bytes at a file offset, before and after.

    ``section`` and ``at``, the section's name and the offset in it, find them again when another
    tool has laid the file out anew.
    """

    offset: FileOffset
    before: bytes
    after: bytes
    what: str
    section: str = ""
    at: SectionOffset = SectionOffset(0)


class Note(NamedTuple):
    """The record of one patch. Sizes in bytes, digests as hex SHA-256.

    ``loaded_sha256`` is :func:`kpatch.elf.content.loaded_digest` of the original. Nothing says
    whether the patch was proven: anybody can write that, and the proof can be made at any time.
    The first notes had neither that digest nor ``tss_stride`` nor a section for each replacement;
    they still read, and :meth:`like_the_first` makes one.
    """

    version: str
    signature: str
    cpuid: int
    original_size: int
    original_sha256: str
    original_header: bytes
    replaced: tuple[ReplacedBytes, ...]
    source_fix: str
    patched_sha256: str = NO_DIGEST
    loaded_sha256: str = NO_DIGEST
    tss_stride: int = _TSS_STRIDE

    def like_the_first(self) -> "Note":
        """The same as the first notes said it."""
        plain = (c._replace(section="", at=SectionOffset(0)) for c in self.replaced)
        return self._replace(replaced=tuple(plain), loaded_sha256=NO_DIGEST)

    def pack(self) -> bytes:
        """The section's contents. gABI, "Note Section": namesz, descsz, type, name, desc."""
        document = {
            "cpuid": self.cpuid,
            "format": _FORMAT,
            "header": self.original_header.hex(),
            "loaded_sha256": self.loaded_sha256,
            "patched_sha256": self.patched_sha256,
            "replaced": [
                {
                    "after": change.after.hex(),
                    "at": change.at,
                    "before": change.before.hex(),
                    "offset": change.offset,
                    "section": change.section,
                    "what": change.what,
                }
                for change in self.replaced
            ],
            "sha256": self.original_sha256,
            "signature": self.signature,
            "size": self.original_size,
            "source_fix": self.source_fix,
            "tss_stride": self.tss_stride,
            "version": self.version,
        }
        import json

        text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
        name = OWNER + bytes(-len(OWNER) % 4)
        return _HEADER.pack(len(OWNER), len(text), TYPE) + name + text + bytes(-len(text) % 4)


def note_sections(module: Module) -> tuple[Section, ...]:
    """The sections with a note of kpatch in them; linkers merge notes, and objcopy renames."""
    return tuple(
        section
        for section in module.sections
        if section.name == SECTION or any(_descriptions(module, section))
    )


def read_note(module: Module) -> Note | None:
    """The note of a patched module, or None if it has none.

    It may lie among other notes, in a section of any name, and stand there twice. Raises
    DamagedFileError where there is one that does not read, or two that differ.
    """
    holders = note_sections(module)
    texts = {text for section in holders for text in _descriptions(module, section)}
    if not holders:
        return None
    # Imported here: an unpatched module has no note.
    import json

    try:
        if len(texts) > 1:
            raise ValueError(f"there are {len(texts)} of them, and they differ")
        if not texts:
            raise ValueError(_why_none(holders[0]))
        return _from_document(json.loads(texts.pop(), parse_int=_short_number))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise DamagedFileError(
            f"its note of kpatch does not read: {why}",
            where=f"section {holders[0].index} ({holders[0].name}), "
            f"file offset {holders[0].offset:#x}",
            todo=RESTORE,
        ) from error


def _why_none(section: Section) -> str:
    if section.is_compressed:
        return "the section is compressed"
    if section.size < _HEADER.size or not section.has_bytes:
        size = counted(section.size if section.has_bytes else 0, "byte")
        return f"the section has {size}, less than a note"
    return "what the section holds is none of kpatch's notes, or not all of one"


def _descriptions(module: Module, section: Section) -> Iterator[bytes]:
    """What our notes in a section say. gABI, "Note Section": entries of four-byte words."""
    if not (section.type == elf.SHT_NOTE or section.name == SECTION):
        return
    if module.data.find(OWNER, section.offset, section.end) < 0:
        return  # none of ours, however many of others: that is seen without a walk over them
    contents = module.contents(section)
    at = 0
    while at + _HEADER.size <= len(contents):
        namesz, descsz, kind = _HEADER.unpack_from(contents, at)
        name = at + _HEADER.size
        desc = name + namesz + -namesz % 4
        end = desc + descsz
        if end > len(contents):
            return
        if contents[name : name + namesz] == OWNER and kind == TYPE:
            yield contents[desc:end]
        at = end + -descsz % 4


def _from_document(document: Any) -> Note:
    if document["format"] != _FORMAT:
        raise ValueError(f"format {document['format']} was written by another kpatch")
    replaced = tuple(
        ReplacedBytes(
            FileOffset(_natural(entry["offset"])),
            bytes.fromhex(entry["before"]),
            bytes.fromhex(entry["after"]),
            str(entry["what"]),
            str(entry.get("section", "")),
            SectionOffset(_natural(entry.get("at", 0))),
        )
        for entry in document["replaced"]
    )
    note = Note(
        version=str(document["version"]),
        signature=str(document["signature"]),
        cpuid=_in_pcpu(_natural(document["cpuid"])),
        original_size=_natural(document["size"]),
        original_sha256=str(document["sha256"]),
        original_header=bytes.fromhex(document["header"]),
        replaced=replaced,
        source_fix=str(document["source_fix"]),
        patched_sha256=str(document["patched_sha256"]),
        loaded_sha256=str(document.get("loaded_sha256", NO_DIGEST)),
        tss_stride=_stride(_natural(document.get("tss_stride", _TSS_STRIDE))),
    )
    if len(note.original_header) != HEADER_SIZE or len(note.patched_sha256) != len(NO_DIGEST):
        raise ValueError("a field has the wrong length")
    if any(len(change.before) != len(change.after) for change in replaced):
        raise ValueError("a replacement changes a length")
    return note


def _short_number(text: str) -> int:
    """Of the numbers in a note none is longer; Python refuses to read those of 4,300 digits."""
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits is none of ours")
    return int(text)


def _in_pcpu(cpuid: int) -> int:
    if not _PCPU_FIRST <= cpuid < _PCPU_SIZE:
        raise ValueError(f"cpuid at {cpuid:#x} is not inside struct pcpu")
    return cpuid


def _stride(size: int) -> int:
    if not 0 < size <= _MOST_STRIDE:
        raise ValueError(
            f"elements of common_tss of {counted(size, 'byte')} are none of a kernel's"
        )
    return size


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a size or an offset")
    return value


def sealed(pieces: Pieces) -> bytes:
    """``pieces`` in a row, with the all-zero digest in the last replaced by that of the whole.

    They are a patched file whose note was packed without a digest.
    """
    *first, last = pieces
    before, behind = _around(bytes(last), NO_DIGEST)
    return b"".join((*first, before, digest_of(pieces).encode("ascii"), behind))


def seal_holds(data: bytes, note: Note) -> bool:
    """True if not one byte of the patched file changed since it was written."""
    try:
        before, behind = _around(data, note.patched_sha256)
    except ValueError:
        return False
    return digest_of((before, NO_DIGEST.encode("ascii"), behind)) == note.patched_sha256


def _around(data: bytes | bytearray, value: str) -> tuple[memoryview, memoryview]:
    """What stands in front of the digest ``value`` in a patched file, and behind; no copies.

    Raises ValueError where it is not there.
    """
    key = b'"patched_sha256":"'
    at = data.rindex(key + value.encode("ascii")) + len(key)
    view = memoryview(data)
    return view[:at], view[at + len(value) :]
