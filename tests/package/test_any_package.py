"""Whatever members a package has, only the module and its metadata change."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.package.makers import (
    COMPRESSORS,
    MODULE,
    PATCHED,
    PKG_NAME,
    manifest,
    to_original,
    to_patched,
)
from tests.package.whole import read_tar, replace_module

PART = st.text("abcdefghijklmnopqrstuvwxyz-_.äß", min_size=1, max_size=12).filter(
    lambda part: part.strip(".") != ""
)
NAMES = st.lists(PART, min_size=1, max_size=30).map(lambda parts: "/opt/" + "/".join(parts))
FORMATS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


@st.composite
def infos(draw: st.DrawFn) -> tarfile.TarInfo:
    """A member of any legitimate kind, with any owner, mode and time."""
    info = tarfile.TarInfo(draw(NAMES))
    info.type = draw(
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
    )
    info.mode = draw(st.integers(0, 0o7777))
    info.uid = draw(st.integers(0, 70_000))
    info.uname = draw(st.sampled_from(["", "root", "wheel"]))
    info.mtime = draw(st.integers(0, 2**33 - 1))
    if info.isreg():
        info.size = draw(st.integers(0, 3000))
    if info.issym() or info.islnk():
        info.linkname = draw(NAMES)
    return info


@dataclass(frozen=True)
class Recipe:
    """What a package is made of. The bytes would make a failing test unreadable."""

    before: list[tarfile.TarInfo]
    after: list[tarfile.TarInfo]
    format: int
    has_bare_end: bool

    def make(self) -> bytes:
        """The uncompressed package: manifest, some members, the module, the others."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=self.format) as archive:
            add(archive, tarfile.TarInfo("+MANIFEST"), manifest().encode())
            for info in self.before:
                add(archive, info, b"x" * info.size)
            add(archive, tarfile.TarInfo(PKG_NAME), MODULE)
            for info in self.after:
                add(archive, info, b"y" * info.size)
            end = archive.offset
        raw = stream.getvalue()
        return raw[:end] + bytes(1024) if self.has_bare_end else raw


def legitimate(drawn: list[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """Those that lie in folders only, with hard links to the member before them."""
    kept: list[tarfile.TarInfo] = []
    for info in drawn:
        if any(lies_behind(info, other) or lies_behind(other, info) for other in kept):
            continue
        if info.islnk() and kept:
            info.linkname = kept[-1].name
        elif info.islnk():
            info.type = tarfile.SYMTYPE
        kept.append(info)
    return kept


def lies_behind(info: tarfile.TarInfo, other: tarfile.TarInfo) -> bool:
    return info.name.startswith(f"{other.name}/") and not other.isdir()


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    others = legitimate(draw(st.lists(infos(), max_size=8, unique_by=lambda info: info.name)))
    place = draw(st.integers(0, len(others)))
    return Recipe(others[:place], others[place:], draw(FORMATS), draw(st.booleans()))


def add(archive: tarfile.TarFile, info: tarfile.TarInfo, data: bytes) -> None:
    if info.isreg():
        info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def members(raw: bytes) -> list[tuple[dict[str, object], bytes]]:
    """All that tarfile knows about each member, but its place and checksum."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() else None
            known: dict[str, object] = {**info.get_info(), **info.pax_headers}
            del known["chksum"], known["size"]
            found.append((known, stream.read() if stream else b""))
    return found


@given(recipes())
def test_tarfile_reads_the_same_members_before_and_after(recipe: Recipe) -> None:
    """And but for the module and what is said of it they stay as they are."""
    raw = recipe.make()
    ours = [
        (m.name.rstrip("/"), m.link, m.is_directory, m.size, m.data) for m in read_tar(raw).members
    ]
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        theirs = [(m.name, m.linkname, m.isdir(), m.size, m.offset_data) for m in archive]
    assert ours == theirs
    patched = replace_module(raw, "x.pkg", to_patched).data
    changed = {MODULE: PATCHED, manifest().encode(): manifest(PATCHED).encode()}
    assert members(patched) == [(info, changed.get(data, data)) for info, data in members(raw)]
    assert len(patched) % 512 == 0


@settings(max_examples=40)
@given(recipes(), st.sampled_from(list(COMPRESSORS)))
def test_undoing_the_change_gives_back_every_byte(recipe: Recipe, compression: str) -> None:
    original = COMPRESSORS[compression](recipe.make())
    patched = replace_module(original, "x.pkg", to_patched)
    assert replace_module(patched.data, "x.pkg", to_original).data == original
    assert not any("revert" in notice for notice in patched.notices)


@given(st.integers(0, 21), st.integers(0, 21), st.booleans())
def test_every_form_of_the_end_comes_back(blocks: int, growth: int, is_bare: bool) -> None:
    """A record has 20 blocks, so this meets each remainder before and after."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, tarfile.TarInfo("+MANIFEST"), manifest().encode())
        add(archive, tarfile.TarInfo("/filler"), bytes(512 * blocks))
        add(archive, tarfile.TarInfo(PKG_NAME), MODULE)
        end = archive.offset
    original = stream.getvalue()[:end] + bytes(1024) if is_bare else stream.getvalue()
    new = MODULE + bytes(512 * growth + 1)
    patched = replace_module(original, "x.pkg", lambda _name, _data: new).data
    if len(original) - end > 1024:
        assert len(patched) % 10240 == 0
    assert replace_module(patched, "x.pkg", lambda _name, _data: MODULE).data == original
