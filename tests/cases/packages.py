"""Packages in every form that FreeBSD's tools, and people, have given them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import struct
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import zstandard

HEADER: Final = b"#define KQEMU 1\n"
SKIPPABLE: Final = struct.pack("<II", 0x184D2A50, 4) + b"abcd"
NAMES: Final = ("include/kqemu/kqemu.h", "boot/modules/kqemu.ko")
NEW: Final = ("+COMPACT_MANIFEST", "+MANIFEST", "usr/local/include/kqemu/kqemu.h", NAMES[1])
OLD: Final = ("+CONTENTS", "+COMMENT", "+DESC", *NAMES)
_COMPRESSED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "bzip2": bz2.compress,
    "gzip": partial(gzip.compress, mtime=0),
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(3).compress,
}


def stage(folder: Path, module: bytes) -> None:
    """The files of a package of either kind, as they lie before they are packed."""
    old_sum, new_sum = hashlib.md5(module).hexdigest(), hashlib.sha256(module).hexdigest()
    contents = (
        "@comment PKG_FORMAT_REVISION:1.1\n@name kqemu-kmod-1.4.0.p1_2\n@cwd /usr/local\n"
        f"{NAMES[0]}\n@comment MD5:{hashlib.md5(HEADER).hexdigest()}\n"
        f"@cwd /\n{NAMES[1]}\n@comment MD5:{old_sum}\n@exec kldxref /boot/modules\n"
    )
    files = {
        "+CONTENTS": contents.encode(),
        "+COMMENT": b"Kernel accelerator\n",
        "+DESC": b"long text\n",
        "+COMPACT_MANIFEST": _head(module).encode() + b"}",
        "+MANIFEST": manifest(module, f'"1${new_sum}"'),
        NAMES[0]: HEADER,
        NEW[2]: HEADER,
        NAMES[1]: module,
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / NAMES[1]).chmod(0o555)


def _head(module: bytes) -> str:
    size = len(module) + len(HEADER)
    return f'{{"name":"kqemu-kmod","version":"1.4.0.p1_2","flatsize":{size}'


def manifest(module: bytes, entry: str, path: str = "/boot/modules/kqemu.ko") -> bytes:
    """A ``+MANIFEST`` with ``entry`` for the module."""
    other = f'"/{NEW[2]}":"1${hashlib.sha256(HEADER).hexdigest()}"'
    return f'{_head(module)},"files":{{"{path}":{entry},{other}}}}}'.encode()


def block_manifest(module: bytes) -> bytes:
    """The YAML of pkg 1.0, which has a text in it that looks like a list of files."""
    return (
        f"name: kqemu-kmod\nversion: 1.4.0.p1_2\nflatsize: {len(module) + len(HEADER)}\n"
        "desc: |\n  files:\n    /boot/modules/kqemu.ko: not this one\n"
        f"files:\n  /boot/modules/kqemu.ko: {hashlib.sha256(module).hexdigest()}\n"
        f"  /{NEW[2]}: {hashlib.sha256(HEADER).hexdigest()}\n"
    ).encode()


def tool(*command: str) -> Callable[[Path], bytes]:
    """What a program packs of the staged files, by its standard output."""
    return lambda folder: (
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300).stdout
    )


def bsdtar(*flags: str, names: tuple[str, ...] = NEW) -> Callable[[Path], bytes]:
    """By bsdtar, into a file; the files of a new package get absolute names."""
    absolute = ("-s", ",^boot,/boot,", "-s", ",^usr,/usr,", "-P") if names is NEW else ()

    def made(folder: Path) -> bytes:
        out = folder / "made"
        command = ["bsdtar", *flags, *absolute, "-cf", "made", *names]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
        data = out.read_bytes()
        out.unlink()
        return data

    return made


def compressed(kind: str, parts: int = 1, before: bytes = b"", behind: bytes = b"") -> Callable[
    [Path], bytes
]:  # fmt: skip
    """A package of the new kind in one stream or several, with something before or behind."""

    def made(folder: Path) -> bytes:
        raw = bsdtar("--format", "pax")(folder)
        step = -(-len(raw) // parts)
        streams = (raw[at : at + step] for at in range(0, len(raw), step))
        return before + b"".join(_COMPRESSED[kind](each) for each in streams) + behind

    return made


def with_files(change: Callable[[bytes, dict[str, bytes]], None]) -> Callable[[Path], bytes]:
    """A plain package of the new kind, its members changed before they are packed."""

    def made(folder: Path) -> bytes:
        module = (folder / NAMES[1]).read_bytes()
        members = {
            f"/{name}" if "/" in name else name: (folder / name).read_bytes() for name in NEW
        }
        change(module, members)
        return packed(members)

    return made


def packed(members: dict[str, bytes]) -> bytes:
    """A pax archive; kq2.ko is a hard link to the module, and kq3.ko a symbolic one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if name.endswith("kq2.ko"):
                info.type, info.linkname = tarfile.LNKTYPE, f"/{NAMES[1]}"
            elif name.endswith("kq3.ko"):
                info.type, info.linkname = tarfile.SYMTYPE, data.decode()
            else:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data if info.size else b""))
    return stream.getvalue()


def entry(text: str, path: str = "/boot/modules/kqemu.ko") -> Callable[[Path], bytes]:
    """Another entry of the module in the manifest; SUM stands for its digest."""

    def change(module: bytes, members: dict[str, bytes]) -> None:
        digest = hashlib.sha256(module).hexdigest()
        members["+MANIFEST"] = manifest(module, text.replace("SUM", digest), path)

    return with_files(change)


def _yaml(module: bytes, members: dict[str, bytes]) -> None:
    members["+MANIFEST"] = block_manifest(module)
    del members["+COMPACT_MANIFEST"]


def member(name: str, data: bytes | None = None) -> Callable[[Path], bytes]:
    """One more member: a copy of the module, unless ``data`` is given."""

    def change(module: bytes, members: dict[str, bytes]) -> None:
        members[name] = module if data is None else data

    return with_files(change)


def sparse(format_: str) -> Callable[[Path], bytes]:
    """By GNU tar, with the module's holes left out (`-S`)."""

    def made(folder: Path) -> bytes:
        path = folder / NAMES[1]
        data = path.read_bytes()
        mode = path.stat().st_mode
        path.unlink()
        path.touch()
        os.truncate(path, len(data))
        with path.open("r+b") as out:
            for at in range(0, len(data), 4096):
                if any(data[at : at + 4096]):
                    out.seek(at)
                    out.write(data[at : at + 4096])
        path.chmod(mode)
        return tool("tar", f"--format={format_}", "-S", "-cjf", "-", *OLD)(folder)

    return made


OBJECT: Final = (
    '{"uname":"root","gname":"wheel","perm":"0555","fflags":0,"sum":"1$SUM","mtime":1209636000}'
)
_USTAR: Final = ("--format", "ustar")
FORMS: Final[dict[str, tuple[str, Callable[[Path], bytes]]]] = {
    "old, ustar, bzip2 by bsdtar": (".tbz", bsdtar(*_USTAR, "-j", names=OLD)),
    "old, ustar, gzip by bsdtar": (".tgz", bsdtar(*_USTAR, "-z", names=OLD)),
    "old, ustar, xz by bsdtar": (".txz", bsdtar(*_USTAR, "-J", names=OLD)),
    "old, not compressed": (".tar", bsdtar(*_USTAR, names=OLD)),
    "old, GNU format": (".tbz", tool("tar", "--format=gnu", "-cjf", "-", *OLD)),
    "old, of before POSIX": (".tbz", tool("tar", "--format=v7", "-cjf", "-", *OLD)),
    "old, pax": (".tbz", tool("tar", "--format=pax", "-cjf", "-", *OLD)),
    "old, gzip by GNU": (".tgz", tool("tar", "--format=ustar", "-czf", "-", *OLD)),
    "old, a large owner and a time before 1970": (
        ".tbz",
        tool("tar", "--format=gnu", "--owner=joe:3000000", "--mtime=@-5", "-cjf", "-", *OLD),
    ),
    "old, names with a dot": (
        ".tbz",
        tool("tar", "--format=ustar", "-cjf", "-", *(f"./{name}" for name in OLD)),
    ),
    "old, sparse, GNU format": (".tbz", sparse("gnu")),
    "old, sparse, pax": (".tbz", sparse("pax")),
    "new, not compressed": (".pkg", bsdtar("--format", "pax")),
    "new, extended attributes": (".pkg", bsdtar("--format", "pax", "--xattrs")),
    "new, zstd, several frames": (".pkg", compressed("zstd", 4)),
    "new, zstd, a skippable frame first": (".pkg", compressed("zstd", before=SKIPPABLE)),
    "new, zstd, a skippable frame last": (".tzst", compressed("zstd", behind=SKIPPABLE)),
    "new, zstd, skippable frames around two": (
        ".pkg", compressed("zstd", 2, SKIPPABLE * 2, SKIPPABLE)),
    "new, xz, several streams and padding": (".txz", compressed("xz", 3, behind=bytes(8))),
    "new, bzip2, several streams": (".tbz", compressed("bzip2", 5)),
    "new, gzip, several members and padding": (".tgz", compressed("gzip", 5, behind=bytes(512))),
    "new, a sum without its type": (".pkg", entry('"SUM"')),
    "new, an object": (".pkg", entry(OBJECT)),
    "new, a path with escaped slashes": (".pkg", entry('"1$SUM"', "\\/boot\\/modules\\/kqemu.ko")),
    "new, a path with %": (".pkg", entry('"1$SUM"', "/boot/modules/kqemu%2Eko")),
    "new, YAML": (".pkg", with_files(_yaml)),
    "new, a hard link": (".pkg", with_files(lambda module, members: members.update(
        {"/boot/modules/kq2.ko": b"", "+MANIFEST": manifest(
            module, '"1$SUM","/boot/modules/kq2.ko":"1$SUM"'.replace(
                "SUM", hashlib.sha256(module).hexdigest()))}))),
    "new, a symbolic link": (".pkg", member("/boot/kernel/kq3.ko", b"../modules/kqemu.ko")),
    "new, its debug file beside": (".pkg", member("/usr/lib/debug/boot/modules/kqemu.ko.debug")),
    "new, the same module as a debug file": (
        ".pkg", member("/usr/lib/debug/boot/modules/kqemu.ko")),
    "new, signed": (".pkg", member("+SIGNATURE", b"signature")),
}  # fmt: skip
"""Forms that are patched: the name's ending, and what makes the package of the staged files."""

REFUSED: Final[dict[str, tuple[str, Callable[[Path], bytes], int, str]]] = {
    "a sum of another type": (".pkg", entry('"2$SUM"'), 11, "is of type 2"),
    "junk behind the stream": (".pkg", compressed("zstd", behind=b"junk\n"), 10, "5 bytes behind"),
    "a symbolic link that leads out": (
        ".pkg", member("/boot/modules/kq3.ko", b"/opt/kqemu.ko"), 10,
        "/opt/kqemu.ko, and the package has no module there"),
    "two modules": (".pkg", member("/boot/modules/kqemu2.ko"), 11, "2 kernel modules"),
    "a manifest without the module": (".pkg", entry('"1$SUM"', "/boot/x.ko"), 10, "+MANIFEST"),
    "no manifest": (".pkg", lambda folder: packed({"/boot/modules/kqemu.ko": b"\x7fELF"}), 11,
                    "not a FreeBSD package"),
    "lzma": (".tlz", lambda folder: lzma.compress(bsdtar("--format", "pax")(folder),
                                                  lzma.FORMAT_ALONE), 10,
             "a tar archive compressed with lzma"),
}  # fmt: skip
"""Forms that are refused: the same, apply's exit code, and what it must say."""
