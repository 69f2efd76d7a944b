"""Patching and taking back, over modules of every layout that the strategy draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpatch.digest import digest
from kpatch.elf import constants as elf
from kpatch.elf import klink
from kpatch.elf.edits import NewSection
from kpatch.elf.module import read_module
from kpatch.errors import DamagedFileError, KpatchError
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Assessment, Verdict, assess
from kpatch.patch.diff import diff_modules
from kpatch.patch.note import read_note, sealed
from kpatch.patch.original import original_of
from kpatch.patch.prepare import prepare
from tests.children import peak_of
from tests.editing import append
from tests.strategies.kqemu_modules import DrawnModule, kqemu_modules

SAMPLES = Path(__file__).parents[2] / "samples"
FEW = settings(max_examples=25)
HEADER_FIELDS = {*range(40, 48), *range(60, 62)}  # e_shoff, e_shnum


def found(data: bytes) -> Assessment:
    return assess(read_module(data, "drawn.ko"))


def patched(data: bytes) -> bytes:
    return apply_plan(prepare(found(data)))


@FEW
@given(kqemu_modules())
def test_every_drawn_module_is_affected_and_its_names_are_found(drawn: DrawnModule) -> None:
    assessment = found(drawn.data)
    assert (assessment.verdict, assessment.refusal) == (Verdict.AFFECTED, None)
    match, detection = assessment.match, assessment.detection
    assert match is not None and detection is not None
    assert dict(match.names) == drawn.switch.names
    assert detection.cpuid == drawn.cpuid
    assert (match.image.section.name, match.image.at) == (drawn.section, drawn.at)
    assert tuple(match.image.header.values()) == drawn.switch.header
    entry, exit_ = match.sites["entry"], match.sites["exit"]
    assert (entry.start, entry.end) == drawn.switch.entry
    assert (exit_.start, exit_.end) == drawn.switch.exit
    assert entry.raw == drawn.data[slice(*drawn.file_span(drawn.switch.entry))]
    assert exit_.raw == drawn.data[slice(*drawn.file_span(drawn.switch.exit))]


@FEW
@given(kqemu_modules())
def test_taking_back_gives_the_original_byte_for_byte(drawn: DrawnModule) -> None:
    assert original_of(read_module(patched(drawn.data))) == drawn.data


@FEW
@given(kqemu_modules())
def test_only_sites_and_two_header_fields_change_in_place(drawn: DrawnModule) -> None:
    after = patched(drawn.data)
    allowed = HEADER_FIELDS.union(
        *(range(*drawn.file_span(site)) for site in (drawn.switch.entry, drawn.switch.exit))
    )
    changed = {at for at, byte in enumerate(drawn.data) if after[at] != byte}
    assert changed <= allowed
    assert len(after) > len(drawn.data)


@FEW
@given(kqemu_modules())
def test_a_patched_module_is_known_again_and_the_kernel_takes_it(drawn: DrawnModule) -> None:
    after = found(patched(drawn.data))
    assert (after.verdict, after.refusal) == (Verdict.PATCHED, None)
    # What no relocation used before, a symbol or a table, those of the patch may use.
    broken, before = ({each.rule for each in klink.check(m)} for m in (after.module, drawn.module))
    assert broken <= before
    klink.require(after.module)
    note = read_note(after.module)
    assert note is not None
    assert (note.cpuid, note.original_sha256) == (drawn.cpuid, digest(drawn.data))
    with pytest.raises(KpatchError):
        prepare(after)


@FEW
@given(kqemu_modules())
def test_the_name_of_a_file_leaves_no_trace(drawn: DrawnModule) -> None:
    renamed = apply_plan(prepare(assess(read_module(drawn.data, "elsewhere/other name.ko"))))
    assert renamed == patched(drawn.data)


@settings(max_examples=8)
@given(drawn=kqemu_modules(), data=st.data())
def test_any_changed_byte_is_noticed(drawn: DrawnModule, data: st.DataObject) -> None:
    whole = patched(drawn.data)
    for _ in range(25):
        at = data.draw(st.integers(0, len(whole) - 1))
        changed = bytearray(whole)
        changed[at] ^= data.draw(st.integers(1, 255))
        assert verdict_of(bytes(changed)) not in (Verdict.PATCHED, Verdict.AFFECTED)


def test_any_changed_byte_of_the_notes_and_headers_is_noticed() -> None:
    whole = patched((SAMPLES / "kqemu-7.ko").read_bytes())
    note = read_module(whole).section_named(".note.kpatch")
    assert note is not None
    start = whole.index(b"{", note.offset)
    # In the middle of every name, text and number; what holds them together at both ends.
    fields = re.compile(rb'"[^"]+"|\d+').finditer(whole, start, note.end)
    middles = [sum(each.span()) // 2 for each in fields]
    assert len(middles) > 40
    for at in (
        *range(64),
        *range(note.offset, start + 1),
        *middles,
        *range(note.end - 6, note.end),
    ):
        changed = bytearray(whole)
        changed[at] ^= 0x01
        assert verdict_of(bytes(changed)) is not Verdict.PATCHED, hex(at)


def test_bytes_behind_the_end_are_noticed() -> None:
    whole = patched((SAMPLES / "kqemu-7.ko").read_bytes())
    assert verdict_of(whole + b"\0") is Verdict.CHANGED


def test_a_module_whose_note_is_gone_is_not_patched_again() -> None:
    whole = patched((SAMPLES / "kqemu-7.ko").read_bytes())
    nameless = whole.replace(b".note.kpatch", b".note.kparch")
    assert verdict_of(nameless) is Verdict.STRIPPED


@settings(max_examples=8)
@given(drawn=kqemu_modules(), data=st.data())
def test_a_cut_off_file_is_refused_in_words(drawn: DrawnModule, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from((drawn.data, patched(drawn.data))))
    for _ in range(25):
        end = data.draw(st.integers(0, len(whole) - 1))
        assert verdict_of(whole[:end]) is not Verdict.PATCHED


@settings(max_examples=8)
@given(drawn=kqemu_modules(), data=st.data())
def test_a_damaged_module_is_patched_or_refused_in_words(
    drawn: DrawnModule, data: st.DataObject
) -> None:
    for _ in range(10):
        changed = bytearray(drawn.data)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(changed) - 1))
            changed[at] = data.draw(st.integers(0, 255))
        try:
            after = patched(bytes(changed))
        except KpatchError as error:
            assert error.what
        else:
            assert original_of(read_module(after)) == changed
            assert diff_modules(drawn.module, read_module(after)).hunks


@pytest.mark.parametrize(
    "name",
    ["kqemu-6.ko", "kqemu-7.ko", "kqemu-7-data.ko", "kqemu-7-norela.ko", "kqemu-7-offsets.ko",
     "kqemu-7-stripped.ko", "kqemu-7-ehframe.ko", "kqemu-8.ko"],
)  # fmt: skip
def test_the_samples_come_back_too(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    assert original_of(read_module(patched(data))) == data


def test_a_module_is_patched_with_one_copy_of_it_and_given_back_with_one() -> None:
    size = 8 << 20
    section = NewSection(".debug_info", elf.SHT_PROGBITS, 0, 1, bytes(size))
    small = read_module((SAMPLES / "kqemu-7.ko").read_bytes())
    plan = prepare(found(append(small, sections=[section])))
    assert peak_of(lambda: apply_plan(plan)) < size + (4 << 20)
    after = read_module(apply_plan(plan))
    assert peak_of(lambda: original_of(after)) < size + (4 << 20)


@pytest.mark.parametrize("name", ["kqemu-7-fix-a.ko", "kqemu-7-fix-b.ko"])
def test_a_replaced_source_fix_comes_back_too(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    after = read_module(apply_plan(prepare(found(data), replace_source_fix=True)), name)
    assert assess(after).verdict is Verdict.PATCHED
    assert original_of(after) == data


def test_a_note_may_not_lie_about_the_original() -> None:
    data = (SAMPLES / "kqemu-7.ko").read_bytes()
    plan = prepare(found(data))
    whole = apply_plan(plan)
    genuine = plan.note.original_sha256.encode()
    seal = read_note(read_module(whole))
    assert seal is not None
    forged = whole.replace(genuine, digest(b"another file").encode())
    forged = sealed([forged.replace(seal.patched_sha256.encode(), b"0" * 64)])
    with pytest.raises(DamagedFileError, match="SHA-256 does not come back"):
        original_of(read_module(forged))
    assert verdict_of(forged) is Verdict.CHANGED


def verdict_of(data: bytes) -> Verdict | None:
    """What scan would say; None for a file that does not even read."""
    try:
        return found(data).verdict
    except DamagedFileError:
        return None
