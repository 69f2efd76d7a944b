"""Whatever stands in its headers, an archive is read as libarchive and tarfile read it, or refused.

A package whose module has one name here and another one in pkg would be called patched, and the
module that is installed would not be.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpatch.containers.package import tar
from kpatch.errors import DamagedFileError, KpatchError
from tests.package import libarchive
from tests.package.libarchive import Entry
from tests.package.makers import (
    COMPRESSORS,
    MODULE,
    PATCHED,
    files_of,
    manifest,
    to_original,
    to_patched,
)
from tests.package.whole import modules_in, read_tar, replace_module

NAMES: Final = ("a", "b/c", "boot/modules/kqemu.ko", "/boot/modules/kqemu.ko", "d/", "+MANIFEST")
RECORDS: Final = (
    *("path", "linkpath", "size", "mtime", "comment", "hdrcharset", "charset", "Path", "PATH"),
    *(f"GNU.sparse.{name}" for name in ("name", "major", "minor", "size", "realsize", "map")),
    *("GNU.sparse.numblocks", "SCHILY.realsize", "SCHILY.filetype", "SCHILY.fflags"),
    *("SCHILY.xattr.user.a", "SUN.holesdata", "LIBARCHIVE.symlinktype"),
)
VALUES: Final = (*NAMES, "", "0", "1", "512", "1,0", "0,4", "BINARY", "regular", "a\0b")
TYPES: Final = (b"0", b"\0", b"7", b"1", b"2", b"5", b"S", b"V", b"M", b"D", b"A")
MAGICS: Final = (b"ustar\x0000", b"ustar  \0", bytes(8), b"ustar\0\0\0", b"ustar00\0")


def block(
    name: str, type_: bytes, size: int, magic: bytes = MAGICS[0], link: str = "", prefix: str = ""
) -> bytes:
    """One header block, its checksum right."""
    header = bytearray(512)
    header[: len(name)] = name.encode()
    header[100:124] = b"0000644\0" + b"0000000\0" * 2
    header[124:148] = b"%011o\0" % size + b"00000000000\0"
    header[156:157] = type_
    header[157 : 157 + len(link)] = link.encode()
    header[257:265] = magic
    header[345 : 345 + len(prefix)] = prefix.encode()
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def extended(type_: bytes, body: bytes) -> bytes:
    return block("header", type_, len(body)) + padded(body)


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n".encode()
    size = len(text) + len(str(len(text)))
    size = len(text) + len(str(size))
    return str(size).encode() + text


def archive(*parts: bytes) -> bytes:
    return b"".join(parts) + bytes(1024)


pax_bodies = st.lists(
    st.builds(record, st.sampled_from(RECORDS), st.sampled_from(VALUES)), min_size=1, max_size=3
).map(b"".join)
extensions = st.one_of(
    st.builds(extended, st.sampled_from([b"x", b"x", b"g", b"X"]), pax_bodies),
    st.builds(
        extended,
        st.sampled_from([b"L", b"K"]),
        st.sampled_from([*NAMES, "", "n" * 200]).map(lambda name: name.encode() + b"\0"),
    ),
)


@st.composite
def tricky_members(draw: st.DrawFn) -> bytes:
    """A member with up to three extended headers and any field that readers might differ in."""
    before = draw(st.lists(extensions, max_size=3))
    data = draw(st.sampled_from([b"", b"", b"1\n0\n4\n", b"text" * 300]))
    own = block(
        draw(st.sampled_from(NAMES)),
        draw(st.sampled_from(TYPES)),
        len(data),
        draw(st.sampled_from([*MAGICS, MAGICS[0], MAGICS[0]])),
        draw(st.sampled_from(["", "", "a", "b/c"])),
        draw(st.sampled_from(["", "", "", "boot"])),
    )
    return b"".join(before) + own + padded(data)


def ours(raw: bytes) -> list[Entry]:
    found = []
    for member in (archive_ := read_tar(raw)).members:
        kind = {tar.HARD_LINK: "hardlink", tar.SYMBOLIC_LINK: "symlink"}.get(member.type)
        kind = kind or ("folder" if member.is_directory else "file")
        held = archive_.contents(member)
        target = member.link if kind.endswith("link") else ""
        found.append(Entry(member.name, kind, target, hashlib.sha256(held).hexdigest()))
    return found


def tarfiles(raw: bytes) -> list[Entry]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(raw)) as file:
        for info in file:
            kind = "hardlink" if info.islnk() else "symlink" if info.issym() else "file"
            kind = "folder" if info.isdir() else kind
            stream = file.extractfile(info) if kind == "file" else None
            held = stream.read() if stream else b""
            target = info.linkname if kind.endswith("link") else ""
            found.append(Entry(info.name, kind, target, hashlib.sha256(held).hexdigest()))
    return found


def without_slashes(entries: list[Entry]) -> list[Entry]:
    """Python's tarfile takes the slash off the names of folders."""
    return [each._replace(name=each.name.rstrip("/")) for each in entries]


@settings(max_examples=300)
@given(st.lists(tricky_members(), min_size=1, max_size=3).map(lambda parts: archive(*parts)))
@example(archive(extended(b"x", record("path", "a")), extended(b"L", b"b\0"), block("c", b"0", 0)))
@example(archive(extended(b"x", record("GNU.sparse.name", "a")), block("c", b"0", 0)))
@example(archive(block("a", b"0", 0, b"ustar00\0", prefix="boot")))
@example(archive(block("d/", b"0", 0)))
@example(archive(extended(b"K", b"a\0"), block("b", b"2", 0)))
@example(archive(extended(b"L", b"a\0"), block("d/", b"\0", 0, MAGICS[1])))
@example(archive(block("a", b"1", 0)))
def test_names_kinds_and_contents_are_those_of_other_readers(raw: bytes) -> None:
    try:
        found = ours(raw)
    except DamagedFileError:
        return
    assert found == libarchive.read(raw)
    assert without_slashes(found) == without_slashes(tarfiles(raw))


def package_with(*before_module: bytes, name: str = "boot/modules/kqemu.ko") -> bytes:
    listed = manifest().encode()
    return archive(
        block("+MANIFEST", b"0", len(listed)) + padded(listed),
        *before_module,
        block(name, b"0", len(MODULE)) + padded(MODULE),
    )


SECOND_NAMES: Final = {
    "GNU.sparse.name": extended(b"x", record("GNU.sparse.name", "boot/modules/other.ko")),
    "global GNU.sparse.name": extended(b"g", record("GNU.sparse.name", "boot/modules/other.ko")),
    "global path": extended(b"g", record("path", "boot/modules/other.ko")),
    "pax path and GNU long name": extended(b"x", record("path", "boot/modules/kqemu.ko"))
    + extended(b"L", b"boot/modules/other.ko\0"),
    "GNU long name and pax path": extended(b"L", b"boot/modules/kqemu.ko\0")
    + extended(b"x", record("path", "boot/modules/other.ko")),
    "two paths": extended(b"x", record("path", "a") + record("path", "boot/modules/kqemu.ko")),
    "two pax headers": extended(b"x", record("path", "a")) + extended(b"x", record("mtime", "1")),
    "two long names": extended(b"L", b"a\0") + extended(b"L", b"boot/modules/kqemu.ko\0"),
    "a name behind a zero byte": extended(b"L", b"a\0boot/modules/kqemu.ko\0"),
    "real size": extended(b"x", record("SCHILY.realsize", "9")),
    "unknown": extended(b"x", record("ACME.name", "boot/modules/other.ko")),
}


@pytest.mark.parametrize("header", SECOND_NAMES.values(), ids=SECOND_NAMES.keys())
def test_a_second_source_of_what_a_member_is_is_refused_by_name(header: bytes) -> None:
    assert modules_in(package_with())
    with pytest.raises(KpatchError, match=r"record '|two extended headers|long name") as refused:
        modules_in(package_with(header))
    assert isinstance(refused.value, DamagedFileError)
    assert "byte" in str(refused.value)


def test_extended_headers_have_a_bound_together() -> None:
    header = extended(b"x", record("comment", "x" * (1 << 19)))
    member = block("a", b"0", 0)
    with pytest.raises(DamagedFileError, match="8 MiB"):
        read_tar(archive(*[header + member] * 20))


def with_two_names(first: str, second: str, *, both_listed: bool) -> bytes:
    listed = manifest().encode()
    if both_listed:
        entry = f'"/boot/modules/kqemu.ko":"1${hashlib.sha256(MODULE).hexdigest()}"'
        other = entry.replace("/boot/modules/kqemu.ko", "/boot/modules/kq2.ko")
        listed = listed.replace(entry.encode(), f"{entry},{other}".encode())
    return archive(
        block("+MANIFEST", b"0", len(listed)) + padded(listed),
        block(first, b"0", len(MODULE)) + padded(MODULE),
        block(second, b"1", 0, link=first),
    )


@pytest.mark.parametrize("both_listed", [True, False])
@pytest.mark.parametrize("names", [("kqemu.ko", "kq2.ko"), ("kq2.ko", "kqemu.ko")])
def test_a_module_with_a_hard_link_is_patched_under_both_names(
    names: tuple[str, str], *, both_listed: bool
) -> None:
    """Pkg and bsdtar write a file of two names once, and a hard link to it."""
    first, second = (f"boot/modules/{name}" for name in names)
    data = with_two_names(first, second, both_listed=both_listed)
    patched = replace_module(data, "x.pkg", to_patched)
    assert any("hard link" in notice for notice in patched.notices)
    assert all(entry.kind in ("file", "hardlink") for entry in tarfiles(patched.data))
    held = files_of(patched.data)
    assert (held[first], held[second]) == (PATCHED, PATCHED)
    sums = held["+MANIFEST"].decode()
    assert sums.count(hashlib.sha256(PATCHED).hexdigest()) == 1 + both_listed
    assert hashlib.sha256(MODULE).hexdigest() not in sums
    assert replace_module(patched.data, "x.pkg", to_original).data == data


FRAME: Final = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


@pytest.mark.parametrize(("before", "after"), [(FRAME, b""), (b"", FRAME), (FRAME * 2, FRAME)])
def test_skippable_frames_of_zstd_are_skipped_and_kept(before: bytes, after: bytes) -> None:
    data = before + COMPRESSORS["zstd"](package_with()) + after
    patched = replace_module(data, "x.pkg", to_patched)
    assert patched.data.startswith(before) and patched.data.endswith(after)
    assert modules_in(patched.data)[0].data == PATCHED
    assert replace_module(patched.data, "x.pkg", to_original).data == data
