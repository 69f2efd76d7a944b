"""Packages that no packaging tool makes. All are refused with a message, and soon."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.containers.sniff import Kind, sniff
from kpatch.elf.constants import ELF_MAGIC
from kpatch.errors import DamagedFileError, KpatchError, UnknownModuleError
from kpatch.storage.bulk import Bulk
from tests.package.makers import (
    COMPRESSORS,
    MODULE,
    PKG_NAME,
    manifest,
    member,
    package,
    packing_list,
    to_original,
    to_patched,
    with_header_field,
)
from tests.package.refused import GOOD, refusal
from tests.package.whole import replace_module

MANIFEST = manifest().encode()


def test_the_package_that_the_others_spoil_is_good() -> None:
    assert replace_module(GOOD, "x.pkg", to_patched).changed == ("+MANIFEST", PKG_NAME)


SPOILED = {
    "climbs": [member("../../etc/rc.conf")],
    "climbs out of its folder": [member("/usr/../../etc/rc.conf")],
    "a link instead of the top folder": [member(".", tarfile.SYMTYPE, "/etc")],
    "the module twice": [member(PKG_NAME)],
    "the module twice under another spelling": [member("./boot//modules/kqemu.ko")],
    "metadata twice": [member("./+MANIFEST")],
    "metadata twice, once absolute": [member("/+MANIFEST")],
    "a hard link to the manifest": [member("/sbin/x", tarfile.LNKTYPE, "+MANIFEST")],
    "a link where the module's folder should be": [
        member("/boot/modules", tarfile.SYMTYPE, "/etc")
    ],
    "a link above the module's folder": [member("boot", tarfile.SYMTYPE, "/tmp")],
    "a file where a folder should be": [member("/boot")],
    "any file behind a link": [
        member("/usr/x", tarfile.SYMTYPE, "../../.."),
        member("/usr/x/etc/rc.conf"),
    ],
    "any file behind a link that comes later": [
        member("/usr/x/etc/rc.conf"),
        member("/usr/x", tarfile.SYMTYPE, "../../.."),
    ],
    "a hard link that climbs": [member("/usr/x", tarfile.LNKTYPE, "../../etc/rc.conf")],
    "a hard link out of the package": [member("/usr/x", tarfile.LNKTYPE, "/etc/rc.conf")],
    "a hard link to itself": [member("/usr/x", tarfile.LNKTYPE, "/usr/x")],
    "a hard link to a later member": [
        member("/usr/x", tarfile.LNKTYPE, "/etc/rc.conf"),
        member("/etc/rc.conf"),
    ],
    "a second manifest that is a link": [member("+COMPACT_MANIFEST", tarfile.SYMTYPE, "/etc/x")],
    "an absolute packing list": [member("/+CONTENTS")],
    "a member of unknown type": [member("/x", b"V")],
    "a sparse file in GNU's old form": [member("/x", tarfile.GNUTYPE_SPARSE)],
    "a name longer than a path may be": [member("/" + "x/" * 600)],
}


@pytest.mark.parametrize("extra", SPOILED.values(), ids=SPOILED.keys())
def test_a_package_that_could_write_elsewhere_is_damaged(extra: list[tarfile.TarInfo]) -> None:
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert isinstance(refusal(package(extra=extra, format_=format_)), DamagedFileError)


def test_links_within_a_package_are_no_harm() -> None:
    extra = [
        member("/usr/x"),
        member("/usr/y", tarfile.LNKTYPE, "/usr/x"),
        member("/usr/z", tarfile.SYMTYPE, "../../x"),
    ]
    assert replace_module(package(extra=extra), "x.pkg", to_patched).changed


def test_of_very_many_links_to_the_module_a_few_are_named() -> None:
    others = {"+MANIFEST": MANIFEST}
    links = [member(f"/usr/{each:02}", tarfile.LNKTYPE, PKG_NAME) for each in range(30)]
    done = replace_module(package({**others, PKG_NAME: MODULE}, extra=links), "x.pkg", to_patched)
    told = [each for each in done.notices if "hard link" in each]
    assert len(told) == 9 and told[-1].startswith("22 more hard links to ")


@pytest.mark.parametrize("type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, b"6"])
@pytest.mark.parametrize("name", [PKG_NAME, "+MANIFEST"])
def test_a_module_or_manifest_must_be_a_file(name: str, type_: bytes) -> None:
    others = {"+MANIFEST": MANIFEST, PKG_NAME: MODULE, "/etc/x": b"x"}
    del others[name]
    target = "/etc/x"
    if (name, type_) == (PKG_NAME, tarfile.LNKTYPE):
        target = "/etc/y"  # a hard link to a file is that file; to a symbolic link it is none
    links = [member("/etc/y", tarfile.SYMTYPE, "/etc/x"), member(name, type_, target)]
    is_link = (name, type_) == (PKG_NAME, tarfile.SYMTYPE)
    words = "is a symbolic link to /etc/x" if is_link else "link or a device"
    assert words in str(refusal(package(others, extra=links)))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({PKG_NAME: MODULE}, "not a FreeBSD package"),
        ({"+COMPACT_MANIFEST": b"{}", PKG_NAME: MODULE}, "not a FreeBSD package"),
        ({"+MANIFEST": MANIFEST}, "no kernel module in this package"),
        ({"+MANIFEST": MANIFEST, "/boot/modules/kqemu.ko.gz": b"x"}, "compressed by itself"),
        (
            {"+MANIFEST": MANIFEST, PKG_NAME: MODULE, "/boot/kernel/kqemu.ko": MODULE},
            "2 kernel modules",
        ),
        *(
            # kldxref lists what begins as a module does, and kldload takes one of these.
            ({"+MANIFEST": MANIFEST, PKG_NAME: MODULE, name: ELF_MAGIC}, "2 kernel modules")
            for name in ("boot/modules/kqemu.ko.", "/boot/modules/KQEMU.KO", "boot/kernel/x")
        ),
        # Without a list the name is tried before the one in ".ko".
        (
            {"+MANIFEST": MANIFEST, PKG_NAME: MODULE, "boot/modules/kqemu": b"x"},
            "2 kernel modules",
        ),
        (
            {"+MANIFEST": MANIFEST, PKG_NAME: MODULE, "/boot/kernel/kqemu.ko.gz": b"x"},
            "one that is compressed by itself",
        ),
    ],
)
def test_a_package_without_one_module_is_unknown(members: dict[str, bytes], message: str) -> None:
    error = refusal(package(members))
    assert isinstance(error, UnknownModuleError)
    assert message in str(error)
    assert error.todo


def test_what_no_kernel_lists_beside_the_module_is_no_second_one() -> None:
    """No ELF file; left out by kldxref; in no folder of modules."""
    others = {
        "/boot/modules/readme": b"text",
        "/boot/modules/kqemu.ko.symbols": ELF_MAGIC,
        "/usr/local/bin/qemu": ELF_MAGIC,
    }
    data = package({"+MANIFEST": MANIFEST, PKG_NAME: MODULE, **others})
    assert replace_module(data, "x.pkg", to_patched).changed == ("+MANIFEST", PKG_NAME)


def test_a_manifest_without_the_module_is_refused() -> None:
    data = package({"+MANIFEST": b'{"files":{"/x":"-"}}', PKG_NAME: MODULE})
    assert "lists boot/modules/kqemu.ko 0 times" in str(refusal(data))


def test_a_metadata_file_of_many_megabytes_is_refused() -> None:
    data = package({"+MANIFEST": bytes(5 << 20), PKG_NAME: MODULE})
    assert "more than the 1 MiB that are mended" in str(refusal(data))


HEADER_TRICKS = {
    "size in base 256": (124, b"\x80" + bytes(9) + b"\x75\x31"),
    "negative size in base 256": (124, b"\xff" * 12),
    "size with a sign": (124, b"-0000000001\0"),
    "size that is no octal number": (124, b"00000000999\0"),
    "size past the end": (124, b"00777777777\0"),
    "size so that the next header is not one": (124, b"00000001000\0"),
    "a mode that is no number": (100, b"B000644\0"),
    "a time with something behind it": (136, b"0000001\0junk"),
    "a directory with contents": (156, b"5"),
    "a link with contents": (156, b"2"),
}


@pytest.mark.parametrize("trick", HEADER_TRICKS.values(), ids=HEADER_TRICKS.keys())
def test_a_header_that_two_readers_could_read_differently_is_refused(
    trick: tuple[int, bytes],
) -> None:
    assert isinstance(refusal(with_header_field(GOOD, PKG_NAME, *trick)), DamagedFileError)


def pax_package(headers: dict[str, str], *, is_global: bool = False) -> bytes:
    """A package whose module, or all of it, has these records in an extended header."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in (("+MANIFEST", MANIFEST), (PKG_NAME, MODULE)):
            info = member(name, size=len(data))
            info.pax_headers = headers if name == PKG_NAME and not is_global else {}
            archive.addfile(info, io.BytesIO(data))
    prefix = tarfile.TarInfo.create_pax_global_header(headers) if is_global else b""
    return prefix + stream.getvalue()


def test_harmless_extended_headers_stay() -> None:
    data = pax_package({"SCHILY.fflags": "schg", "comment": "x" * 2000})
    patched = replace_module(data, "x.pkg", to_patched).data
    with tarfile.open(fileobj=io.BytesIO(patched)) as archive:
        assert archive.getmember(PKG_NAME).pax_headers["SCHILY.fflags"] == "schg"
    assert replace_module(patched, "x.pkg", to_original).data == data


@pytest.mark.parametrize(
    "headers",
    [
        {"size": str(len(MODULE))},
        {"size": "-1"},
        {"size": "1e3"},
        {"size": "9" * 15},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"path": "../" + PKG_NAME},
        {"path": "/boot/modules/kqemu.ko\0/x"},
        {"comment": "x" * (1 << 20)},
    ],
)
def test_extended_headers_that_change_what_the_module_is_are_refused(
    headers: dict[str, str],
) -> None:
    assert isinstance(refusal(pax_package(headers)), DamagedFileError)


@pytest.mark.parametrize("key", ["path", "size", "linkpath"])
def test_a_global_header_that_names_a_file_is_refused(key: str) -> None:
    data = pax_package({key: "1"}, is_global=True)
    assert "global header" in str(refusal(data))


@pytest.mark.parametrize("records", [b"", b"9 a=b\n", b"6 a=b\n\n", b"99 a=b\n", b"x", b"0 a=b\n"])
def test_a_malformed_extended_header_is_refused(records: bytes) -> None:
    data = pax_package({"comment": "123456"})
    at = data.index(b"18 comment=123456\n")
    filled = (records or b"\0").ljust(18, b"\n")
    assert isinstance(refusal(data[:at] + filled + data[at + 18 :]), DamagedFileError)


def test_extended_headers_without_end_are_refused() -> None:
    header = tarfile.TarInfo.create_pax_global_header({"comment": "x"})
    assert "in a row" in str(refusal(header * 100 + GOOD))


@pytest.mark.parametrize(
    "tail", [b"", bytes(512), bytes(1024) + b"x" + bytes(511), bytes(512) + b"x" + bytes(511)]
)
def test_an_archive_must_end_with_zeros_and_nothing_else(tail: bytes) -> None:
    end = GOOD.index(MODULE) + len(MODULE) + -len(MODULE) % 512
    assert "two zero blocks" in str(refusal(GOOD[:end] + tail))


def test_what_a_file_is_is_told_by_its_bytes_and_else_by_its_name() -> None:
    def kind(name: str, data: bytes) -> Kind:
        return sniff(Bulk(data), name)[0]

    packed = [compress(MODULE) for name, compress in COMPRESSORS.items() if name != "none"]
    assert all(kind("x", compress(GOOD)) is Kind.PACKAGE for compress in COMPRESSORS.values())
    assert all(kind("kqemu.pkg", data) is Kind.PACKED for data in packed)
    assert kind("kqemu.tbz", b"damaged") is Kind.PACKAGE
    assert kind("kqemu.pkg", MODULE) is Kind.MODULE
    assert kind("kqemu.ko", b"damaged") is Kind.MODULE
    assert kind("kqemu.ko.gz", COMPRESSORS["gzip"](b"damaged")) is Kind.PACKED


def test_a_file_that_is_no_archive_is_unknown() -> None:
    assert isinstance(refusal(b"damaged"), UnknownModuleError)
    assert isinstance(refusal(b""), UnknownModuleError)


def test_a_signed_package_loses_its_signature_and_says_so() -> None:
    signed = package({"+MANIFEST": MANIFEST, PKG_NAME: MODULE, "+SIGNATURE": b"x"})
    assert any("signature" in notice for notice in notices(signed))
    assert not any("signature" in notice for notice in notices(GOOD))


def test_a_signature_in_the_gzip_header_is_seen_and_kept() -> None:
    """FreeBSD's pkg_sign put signatures into the extra field."""
    plain = COMPRESSORS["gzip"](GOOD)
    signed = plain[:3] + b"\x04" + plain[4:10] + b"\x05\0SIGN." + plain[10:]
    assert any("signature" in notice for notice in notices(signed))
    assert replace_module(signed, "x", to_patched).data[:17] == signed[:17]


def notices(data: bytes) -> tuple[str, ...]:
    return replace_module(data, "x.pkg", to_patched).notices


def test_a_checksum_that_was_wrong_before_is_reported() -> None:
    data = package({"+MANIFEST": MANIFEST, PKG_NAME: MODULE + b"changed"})
    result = replace_module(data, "x.pkg", lambda _name, module: module + b"more")
    assert any("was wrong before" in notice for notice in result.notices)


def test_errors_of_the_patch_are_said_of_the_package_and_the_module() -> None:
    def fail(_name: str, _data: bytes) -> bytes:
        raise UnknownModuleError("no")

    with pytest.raises(UnknownModuleError) as caught:
        replace_module(GOOD, "x.pkg", fail)
    assert caught.value.where == f"x.pkg: {PKG_NAME}"


BOTH = package(
    {"+CONTENTS": packing_list().encode(), "+MANIFEST": MANIFEST, "boot/modules/kqemu.ko": MODULE}
)


@given(st.data())
def test_a_changed_byte_gives_a_result_or_a_refusal(data: st.DataObject) -> None:
    """In the archive and in what its compressor made of it."""
    name = data.draw(st.sampled_from(list(COMPRESSORS)))
    spoiled = bytearray(COMPRESSORS[name](BOTH))
    # Headers and metadata lie in the first blocks; the module would hide most changes.
    places = st.integers(0, min(len(spoiled), 5000) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        spoiled[place] ^= data.draw(st.integers(1, 255))
    try:
        replace_module(bytes(spoiled), "x.pkg", to_patched)
    except KpatchError as error:
        assert str(error).isprintable()
