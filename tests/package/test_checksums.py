"""Packing lists and manifests, in every form their writers have used."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.containers.package import contents, manifest
from kpatch.containers.package.edit import Replacement, apply_edits
from kpatch.containers.package.ucl import scalars
from kpatch.errors import DamagedFileError, KpatchError, UnknownModuleError
from tests.package import makers

OLD, NEW = makers.MODULE, makers.PATCHED
CHANGE = Replacement("boot/modules/kqemu.ko", OLD, NEW)
UNDO = Replacement("boot/modules/kqemu.ko", NEW, OLD)

OLD_SHA, NEW_SHA = (hashlib.sha256(data).hexdigest() for data in (OLD, NEW))
OLD_MD5, NEW_MD5 = (hashlib.md5(data).hexdigest() for data in (OLD, NEW))
OTHER_SHA = hashlib.sha256(b"other").hexdigest()

MANIFESTS = {
    "compact JSON of pkg 1.2 and later": (
        f'{{"name":"kqemu","flatsize":{len(OLD)},"files":{{"/bin/x":"1${OTHER_SHA}",'
        f'"/boot/modules/kqemu.ko":"1${OLD_SHA}"}}}}'
    ),
    "JSON with lines, escaped slashes and a comma too many": (
        '{\n  "files" : {\n    "\\/boot\\/modules\\/kqemu.ko" : "1$' + OLD_SHA + '",\n  },\n'
        f'  "flatsize" : {len(OLD)}\n}}\n'
    ),
    "a sum without its type": f'{{"files":{{"/boot/modules/kqemu.ko":"{OLD_SHA}"}}}}',
    "a sum in capitals": f'{{"files":{{"/boot/modules/kqemu.ko":"1${OLD_SHA.upper()}"}}}}',
    "an object with sum, owner and size": (
        '{"files":{"/boot/modules/kqemu.ko":{"uname":"root","sum":"1$' + OLD_SHA + '",'
        f'"perm":"0555","size":{len(OLD)}}}}}}}'
    ),
    "configuration text without quotes and braces": (
        f"name = kqemu;\nflatsize = {len(OLD)};\n# a comment with a {{ in it\n"
        "desc <<EOD\nfiles { /boot/modules/kqemu.ko: none }\nEOD\n"
        f"files {{\n  /boot/modules/kqemu.ko: 1${OLD_SHA},\n /* }} */ /bin/x = '{OTHER_SHA}'\n}}\n"
    ),
    "block YAML of pkg 1.0": (
        "name: kqemu\nversion: 1.4.0\n"
        "desc: |-\n  files:\n    /boot/modules/kqemu.ko: not this one\n\n  end\n"
        f"flatsize: {len(OLD)}\ncategories: [emulators, kld]\n"
        "deps:\n  gmake: {origin: devel/gmake, version: 3.81}\n"
        f"files:\n  /bin/x: {OTHER_SHA}\n  /boot/modules/kqemu.ko: {OLD_SHA}\n"
        "scripts:\n  post-install: kldxref /boot/modules\n"
    ),
    "block YAML with objects": (
        f"files:\n  /boot/modules/kqemu.ko: {{uname: root, sum: {OLD_SHA}}}\n"
        f"  '/bin/x':\n    sum: {OTHER_SHA}\nflatsize: {len(OLD)}\n"
    ),
    "block YAML with nested lines": (
        f'files:\n  "/boot/modules/kqemu.ko":\n    uname: root\n    sum: "{OLD_SHA}"\n'
    ),
}


def mended(text: str, change: Replacement = CHANGE, name: str = "+MANIFEST") -> str:
    return apply_edits(text, manifest.mend(text, name, change).edits)


@pytest.mark.parametrize("text", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_sum_and_sizes_are_mended_and_nothing_else(text: str) -> None:
    expected = text.replace(OLD_SHA, NEW_SHA).replace(OLD_SHA.upper(), NEW_SHA.upper())
    expected = expected.replace(str(len(OLD)), str(len(NEW)))
    assert mended(text) == expected
    assert not manifest.mend(text, "+MANIFEST", CHANGE).notices
    assert mended(expected, UNDO) == text


def test_flatsize_grows_by_as_much_as_the_module_in_both_manifests() -> None:
    for name, compact in (("+MANIFEST", False), ("+COMPACT_MANIFEST", True)):
        before = makers.manifest(OLD, b"other", compact=compact)
        after = json.loads(mended(before, name=name))
        assert after == json.loads(makers.manifest(NEW, b"other", compact=compact))


def test_only_the_top_level_flatsize_counts() -> None:
    files = f'"files":{{"/boot/modules/kqemu.ko":"1${OLD_SHA}"}}'
    text = f'{{"annotations":{{"flatsize":"9"}},{files}}}'
    assert mended(text) == text.replace(OLD_SHA, NEW_SHA)


def test_a_flatsize_that_would_go_below_zero_is_kept() -> None:
    text = f'{{"flatsize":3,"files":{{"/boot/modules/kqemu.ko":"1${NEW_SHA}"}}}}'
    mending = manifest.mend(text, "+MANIFEST", UNDO)
    assert apply_edits(text, mending.edits) == text.replace(NEW_SHA, OLD_SHA)
    assert "flatsize" in mending.notices[0]


def test_another_file_of_the_same_name_is_not_touched() -> None:
    text = (
        f'{{"files":{{"/opt/boot/modules/kqemu.ko":"1${OLD_SHA}",'
        f'"/boot/modules/kqemu.ko":"1${OLD_SHA}"}}}}'
    )
    assert mended(text).index(OLD_SHA) < mended(text).index(NEW_SHA)


def test_a_sum_that_was_wrong_before_is_kept_and_reported() -> None:
    text = f'{{"files":{{"/boot/modules/kqemu.ko":"1${OTHER_SHA}"}}}}'
    mending = manifest.mend(text, "+MANIFEST", CHANGE)
    assert mending.edits == ()
    assert "was wrong before" in mending.notices[0]


@pytest.mark.parametrize("recorded", ["", "-"])
def test_a_file_without_a_sum_gets_none(recorded: str) -> None:
    text = f'{{"files":{{"/boot/modules/kqemu.ko":"{recorded}"}}}}'
    mending = manifest.mend(text, "+MANIFEST", CHANGE)
    assert mending.edits == ()
    assert "no checksum" in mending.notices[0]


def test_a_sum_of_another_type_is_refused() -> None:
    text = '{"files":{"/boot/modules/kqemu.ko":"2$ybndrfg8ejkmcpqxot1uwisza345h769"}}'
    with pytest.raises(UnknownModuleError, match="type 2"):
        mended(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"files":{"/bin/x":"1$' + OTHER_SHA + '"}}',
        "{}",
        "",
        f'{{"files":{{"/boot/modules/kqemu.ko":"{OLD_SHA}","boot/modules/kqemu.ko":"{OLD_SHA}"}}}}',
    ],
)
def test_a_manifest_that_does_not_list_the_module_once_is_refused(text: str) -> None:
    with pytest.raises(DamagedFileError, match="not once"):
        mended(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"files":{"/boot/modules/kqemu.ko":"x"',
        '{"files":{"/boot/modules/kqemu.ko":"x]}}',
        '{"files":]}',
        "{" * 10_000,
        '{"a":' * 10_000,
        "[" * 10_000,
        '{"a" /* no end ',
        "a: b /* one /* in */ another */",
        'a: b /* 12" */',
        '.include "/etc/passwd"\na: b',
        '.include(try=true) "/etc/passwd"\na: b',
        "a <<EOD\nno end",
        "{} {}",
        '{"a"}',
        "}",
        ":",
    ],
)
def test_a_broken_manifest_is_refused(text: str) -> None:
    with pytest.raises(DamagedFileError):
        mended(text)


@pytest.mark.parametrize("unit", ['"', "/* ", "<<A\n", "a: ", " ", "a:\n ", "[", "{a:", "#", "'\\"])
def test_a_large_manifest_of_nothing_costs_linear_time(unit: str) -> None:
    """A quadratic reader would need hours for these; any answer will do."""
    for text in (unit * 300_000, "files:\n  x: y\n" + unit * 300_000):
        try:
            mended(text)
        except KpatchError:
            continue


json_values = st.recursive(
    st.text() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), json_values, max_size=4), st.booleans())
def test_the_reader_finds_every_value_of_a_json_document(
    document: dict[str, object], with_indent: bool
) -> None:
    text = json.dumps(document, indent=2 if with_indent else None, ensure_ascii=False)
    found = [(value.path, text[value.start : value.end]) for value in scalars(text)]
    assert found == list(leaves(document, ()))


def leaves(value: object, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    """All scalars of a parsed document as the reader should report them."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, (*path, "[]"))]
    text = json.dumps(value, ensure_ascii=False)
    return [(path, text[1:-1] if isinstance(value, str) else text)]


@given(st.text(alphabet="abf:={}[],;\"'\\/*<\n #|-files", max_size=60))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    try:
        mended(text)
    except KpatchError as error:
        assert error.what
        assert error.where == "+MANIFEST" or error.where.startswith("+MANIFEST: character")


def test_the_packing_list_is_mended_in_its_section_only() -> None:
    text = makers.packing_list(OLD)
    mending = contents.mend(text, CHANGE)
    assert apply_edits(text, mending.edits) == makers.packing_list(NEW)
    assert mending.notices == ()


@pytest.mark.parametrize(
    "lines",
    [
        "@cwd /\nboot/modules/kqemu.ko\n",
        "@cwd /boot\nmodules/kqemu.ko\n",
        "@cwd /boot/modules\nkqemu.ko\n",
        "@cwd /boot\n@cwd /usr\n@cwd\nmodules/kqemu.ko\n",
        "@cwd /usr/local\nboot/modules/kqemu.ko\n",
        "@cwd /\r\nboot/modules/kqemu.ko\r\n",
        "@cwd /\n@ignore\nboot/modules/kqemu.ko\nboot/modules/kqemu.ko\n",
        "@cwd /\n@comment boot/modules/kqemu.ko\nboot/modules/kqemu.ko\n",
    ],
)
def test_the_line_of_the_module_is_found(lines: str) -> None:
    text = f"@name x\n{lines}@comment MD5:{OLD_MD5}\n@cwd /opt\nkqemu.ko\n@comment MD5:{OLD_MD5}\n"
    mending = contents.mend(text, CHANGE)
    assert apply_edits(text, mending.edits) == text.replace(OLD_MD5, NEW_MD5, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@cwd /\nboot/modules/other.ko\n",
        "@cwd /\n@ignore\nboot/modules/kqemu.ko\n",
        "@cwd /\nboot/modules/kqemu.ko\nboot/modules/kqemu.ko\n",
    ],
)
def test_a_packing_list_that_does_not_name_the_module_once_is_refused(text: str) -> None:
    with pytest.raises(DamagedFileError, match="not once"):
        contents.mend(text, CHANGE)


@pytest.mark.parametrize("after", ["", "\n", "@exec true\n", "@comment MD5:12\n", "bin/x\n"])
def test_a_packing_list_without_a_sum_gets_none(after: str) -> None:
    mending = contents.mend("@cwd /\nboot/modules/kqemu.ko\n" + after, CHANGE)
    assert mending.edits == ()
    assert "no checksum" in mending.notices[0]


def test_an_md5_sum_that_was_wrong_before_is_kept_and_reported() -> None:
    text = f"@cwd /\nboot/modules/kqemu.ko\n@comment MD5:{NEW_MD5}\n"
    mending = contents.mend(text, CHANGE)
    assert mending.edits == ()
    assert "was wrong before" in mending.notices[0]


def test_a_manifest_of_more_values_than_any_has_is_refused_at_once() -> None:
    change = Replacement("boot/modules/kqemu.ko", b"old", b"new")
    with pytest.raises(DamagedFileError, match="more than 50000 values"):
        manifest.mend('{"files":{' + '"/a":1,' * 50_001 + "}}", manifest.NAME, change)
