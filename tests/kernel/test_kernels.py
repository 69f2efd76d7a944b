"""The kernel table: what it says, and what its schema refuses."""

from __future__ import annotations

import copy
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.data import signatures_folder
from kpatch.errors import SignatureError, UsageError
from kpatch.kernel.kernels import KERNELS_FILE, builtin_table, load_table, read_table
from kpatch.kernel.versions import VersionRange, intersect, join, parse_osversion

# (a version, its GDT, its cpuid offset): releases, and both sides of every change
KNOWN = [
    (500000, "shared", 0x3C),
    (600034, "shared", 0x3C),
    (601000, "shared", 0x3C),
    (602000, "shared", 0x3C),
    (603000, "shared", 0x3C),
    (604000, "shared", 0x3C),
    (604100, "shared", 0x3C),
    (700000, "shared", None),
    (700043, "shared", None),
    (700044, "shared", 0x34),
    (700055, "shared", 0x34),
    (700100, "shared", 0x34),
    (700111, "shared", 0x34),
    (700112, "ambiguous", 0x34),
    (701000, "private", 0x34),
    (702000, "private", 0x34),
    (703000, "private", 0x34),
    (800000, "shared", 0x34),
    (800045, "shared", 0x34),
    (800046, "private", 0x34),
    (800107, "private", 0x34),
]


def document() -> dict[str, Any]:
    """The table that comes with kpatch, before it is checked."""
    return tomllib.loads((signatures_folder() / KERNELS_FILE).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("version", "gdt", "cpuid"), KNOWN)
def test_each_known_version_has_its_gdt_and_offset(
    version: int, gdt: str, cpuid: int | None
) -> None:
    (kernel,) = [k for k in builtin_table().kernels if version in k.versions]
    assert (kernel.gdt, kernel.cpuid) == (gdt, cpuid)


@pytest.mark.parametrize("version", [0, 400000, 499999, 605000, 700113, 10000000])
def test_a_version_outside_the_table_has_no_kernel(version: int) -> None:
    assert not [k for k in builtin_table().kernels if version in k.versions]


def test_kernels_rise_and_do_not_overlap() -> None:
    for lower, upper in pairwise(builtin_table().kernels):
        assert lower.versions.last < upper.versions.first


def test_cpumask_is_right_behind_cpuid() -> None:
    for kernel in builtin_table().kernels:
        assert kernel.cpuid is None or kernel.cpumask == kernel.cpuid + 4


def test_every_rule_leaves_a_release() -> None:
    table = builtin_table()
    releases = join(k.versions for k in table.kernels if not k.snapshot)
    for rule in table.rules:
        assert rule.kind == "dependency" or intersect(rule.versions, releases)


def test_the_kernel_selector_moved_in_8() -> None:
    selectors = {k.versions.first // 100000: k.tr_selector for k in builtin_table().kernels}
    assert selectors == {5: 0x30, 6: 0x30, 7: 0x30, 8: 0x48, 9: 0x48}


@pytest.mark.parametrize(
    ("kind", "key", "value", "complaint"),
    [
        ("kernel", "gdt", "none", "gdt must be one of shared, private, ambiguous"),
        ("kernel", "gdt_confidence", "sure", "gdt_confidence must be one of"),
        ("kernel", "first", -1, "first must be an integer"),
        ("kernel", "first", True, "first must be an integer"),
        ("kernel", "first", "500000", "first must be an integer"),
        ("kernel", "first", 600000, "first 600000 is above last 599999"),
        ("kernel", "last", 600000, "overlap"),
        ("kernel", "cpuid", 0x1000, "cpuid must be an integer"),
        ("kernel", "cpuid", 0x34, "cpumask must be the four bytes behind cpuid"),
        ("kernel", "tr_selector", 0x10000, "tr_selector must be an integer"),
        ("kernel", "snapshot", 1, "snapshot must be true or false"),
        ("kernel", "source", " ", "source must be a text"),
        ("kernel", "colour", "red", "unknown key colour"),
        ("evidence", "kind", "smell", "kind must be one of"),
        ("evidence", "value", 1, "unknown key value"),
        ("evidence", "versions", [], "unknown key versions"),
    ],
)
def test_the_schema_refuses_a_wrong_value(
    kind: str, key: str, value: object, complaint: str
) -> None:
    broken = document()
    broken[kind][0][key] = value
    with pytest.raises(SignatureError) as caught:
        read_table(broken, "kernels.toml")
    assert complaint in str(caught.value)
    assert "kernels.toml" in str(caught.value)


@pytest.mark.parametrize("key", ["name", "first", "last", "gdt", "tss_stride", "source", "cpuid"])
def test_the_schema_refuses_a_kernel_with_a_key_missing(key: str) -> None:
    broken = document()
    del broken["kernel"][3][key]
    with pytest.raises(SignatureError, match=r"\[\[kernel\]\] 4"):
        read_table(broken, "kernels.toml")


@pytest.mark.parametrize("versions", [[], [[1]], [[2, 1]], 5, [[1, 2, 3]], [["a", "b"]], ["ab"]])
def test_the_schema_refuses_wrong_version_pairs(versions: object) -> None:
    broken = document()
    broken["evidence"][1]["versions"] = versions
    with pytest.raises(SignatureError, match="sched_lock"):
        read_table(broken, "kernels.toml")


@pytest.mark.parametrize("kind", ["kernel", "evidence"])
def test_the_schema_refuses_a_table_without_entries(kind: str) -> None:
    broken = document()
    del broken[kind]
    with pytest.raises(SignatureError, match=kind):
        read_table(broken, "kernels.toml")


@pytest.mark.parametrize("entry", [5, "text", []])
def test_the_schema_refuses_an_entry_that_is_not_a_table(entry: object) -> None:
    broken = document()
    broken["kernel"][0] = entry
    with pytest.raises(SignatureError, match="is not a table"):
        read_table(broken, "kernels.toml")


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(schema: object) -> None:
    with pytest.raises(SignatureError, match="schema must be"):
        read_table(document() | {"schema": schema}, "kernels.toml")


@pytest.mark.parametrize("data", [b"kernel = [", b"\xff\xfe", b""])
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(data)
    with pytest.raises(SignatureError, match=r"mine\.toml"):
        load_table(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match=r"absent\.toml"):
        load_table(tmp_path / "absent.toml")


@given(st.data())
def test_any_value_put_anywhere_is_accepted_or_refused_cleanly(data: st.DataObject) -> None:
    changed = copy.deepcopy(document())
    entry = data.draw(st.sampled_from(changed["kernel"] + changed["evidence"]))
    key = data.draw(st.sampled_from(sorted(entry)))
    entry[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
    )
    try:
        read_table(changed, "kernels.toml")
    except SignatureError as error:
        assert error.where.startswith("kernels.toml")


RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(
        lambda pair: VersionRange(min(pair), max(pair))
    ),
    max_size=5,
)


def members(ranges: tuple[VersionRange, ...] | list[VersionRange]) -> set[int]:
    """The versions of ``ranges``, one by one."""
    return {version for each in ranges for version in range(each.first, each.last + 1)}


@given(RANGES)
def test_joining_keeps_the_versions_and_leaves_gaps(ranges: list[VersionRange]) -> None:
    joined = join(ranges)
    assert members(joined) == members(ranges)
    assert all(lower.last + 1 < upper.first for lower, upper in pairwise(joined))


@given(RANGES, RANGES)
def test_intersecting_keeps_what_both_have(
    left: list[VersionRange], right: list[VersionRange]
) -> None:
    assert members(intersect(left, right)) == members(left) & members(right)


@pytest.mark.parametrize("text", ["500000", "700055", "900000", "1300139"])
def test_a_version_number_is_parsed(text: str) -> None:
    assert parse_osversion(text) == int(text)


@pytest.mark.parametrize(
    "text",
    ["", "7", "7.0", "7.1-RELEASE", "70005", "70005555", "0x7", "-70005", "٧٠٠٠٥٥", "070005"],
)
def test_anything_else_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError, match="700055"):
        parse_osversion(text)


def test_a_release_name_is_answered_with_its_number() -> None:
    with pytest.raises(UsageError, match="RELEASE give 701000"):
        parse_osversion("7.1")
