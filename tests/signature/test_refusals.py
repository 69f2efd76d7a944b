"""What must not be patched is refused, and the reason is the right one."""

from __future__ import annotations

from dataclasses import replace
from struct import pack

import pytest

from kpatch.data import signatures_folder
from kpatch.elf import constants as elf
from kpatch.elf.constants import relocation_name
from kpatch.errors import MatchError, UnknownModuleError
from kpatch.patch.assess import Verdict, assess
from tests.signature.images import FIELDS, PLAIN, filled, match_of, module_with, switch, written
from tests.signature.refused import refused, with_header
from tests.strategies.elf_builder import RelocationPlan
from tests.strategies.machine_code import REX_W, At, encode, load, push
from tests.strategies.world_switches import entry_site, exit_site, exit_steps


def test_the_plain_switch_is_accepted() -> None:
    made = switch()
    match = match_of(module_with(made.contents))
    assert dict(match.names) == made.names


@pytest.mark.parametrize("kind", [elf.R_X86_64_64, elf.R_X86_64_32S])
@pytest.mark.parametrize("site", ["entry", "exit"])
def test_a_relocation_on_a_site(site: str, kind: int) -> None:
    made = switch()
    start, end = made.entry if site == "entry" else made.exit
    wide = elf.field_width(kind)
    for at in (start - wide + 1, start, end - 1):
        relocation = RelocationPlan(at, kind, "common_tss", 0)
        module = module_with(made.contents, (relocation,))
        said = f"site '{site}'.*relocation {relocation_name(kind)} writes"
        with pytest.raises(MatchError, match=said):
            match_of(module)
    for at in (start - wide, end):
        match_of(module_with(made.contents, (RelocationPlan(at, kind, "common_tss", 0),)))


def test_two_matches_in_one_image() -> None:
    twin = exit_site(PLAIN, FIELDS)
    made = switch(tail=b"\xcc" * 8 + twin)
    first, second = made.exit[0], made.header[1] + 8
    reason = refused(made)
    assert "site 'exit' matches 2 times" in reason
    assert f"{first:#x}-" in reason and f"{second:#x}-" in reason


def test_two_images() -> None:
    made = switch().contents
    padded = made + bytes(-len(made) % 16)
    reason = refused(padded + padded)
    assert "2 monitor images match" in reason
    assert f".rodata+{len(padded):#x}" in reason


def test_an_image_that_does_not_match_does_not_hide_one_that_does() -> None:
    other = switch(exit_=b"\x90" * 32).contents
    padded = other + bytes(-len(other) % 16)
    match = match_of(module_with(padded + switch().contents))
    assert match.image.at == len(padded)


def test_an_entry_that_straddles_the_end_of_its_routine() -> None:
    made = switch()
    reason = refused(with_header(made, entry_end=made.entry[1] - 1))
    assert "site 'entry' matches" in reason and "not inside its routine" in reason


def test_an_exit_in_front_of_its_routine() -> None:
    made = switch()
    reason = refused(with_header(made, exit_end=made.exit[0] + 1))
    assert "site 'exit' matches" in reason and "not inside its routine" in reason


def test_an_image_that_is_cut_off() -> None:
    made = switch()
    for end in (made.exit[0] + 3, made.header[1] - 1):
        assert "the image is cut off" in refused(made.contents[:end])


def test_a_jump_into_a_site() -> None:
    inside = switch().entry[0] + 7
    for before in (0, 5):
        jump = b"\x90" * before
        at = switch().entry[0] + before
        code = jump + b"\xeb" + bytes([inside + before + 2 - at & 0xFF])
        made = switch(before_entry=code)
        reason = refused(made)
        assert "site 'entry'" in reason and f"at {at:#x} jumps into it" in reason
    assert match_of(module_with(switch(before_entry=b"\xeb\x00").contents))


def test_a_jump_into_a_site_from_behind_undecodable_bytes() -> None:
    made = switch(behind_exit=b"")
    at = made.exit[1] + 64
    contents = bytearray(made.contents)
    contents[at - 2 : at] = b"\x06\x06"  # no instruction in 64-bit mode
    contents[at : at + 2] = b"\x75" + bytes([made.exit[0] + 7 - at - 2 & 0xFF])
    assert "jumps into it" in refused(bytes(contents))


def test_a_long_jump_into_a_site_from_anywhere_in_the_image() -> None:
    plain = switch()
    for opcode in (b"\xe8", b"\xe9", b"\x0f\x84"):
        at = plain.header[1] + 40
        distance = plain.exit[0] + 2 - (at + len(opcode) + 4)
        made = switch(tail=b"\xcc" * 40 + opcode + pack("<i", distance))
        assert f"at {at:#x} jumps into it" in refused(made)
        made = switch(tail=b"\xcc" * 40 + opcode + pack("<i", distance - 2))
        assert match_of(module_with(made.contents)), "a jump to its start is sound"


def test_a_state_addressed_with_32_bits() -> None:
    narrow = b"".join(
        b"\x67" + encode(opcode, digit, At("rdi", FIELDS[name]))
        for name, opcode, digit in (
            ("tr_sel", "0f00", 1), ("idt", "0f01", 1), ("gdt", "0f01", 0), ("ldt_sel", "0f00", 0),
        )
    )  # fmt: skip
    assert "site 'entry' matches nowhere" in refused(switch(entry=narrow))


def test_a_state_behind_gs() -> None:
    forms = replace(PLAIN, entry_prefix="65")
    reason = refused(written(forms))
    assert "site 'entry' matches nowhere" in reason and "gs:[rdi" in reason


def test_an_entry_with_the_stack_pointer_saved_between_its_pieces() -> None:
    whole = entry_site(PLAIN, FIELDS)
    made = switch(entry=whole[:7] + bytes.fromhex("4889a790000000") + whole[7:])
    assert "site 'entry' matches nowhere" in refused(made)


def test_an_entry_that_needs_the_register_of_the_call_between_its_pieces() -> None:
    whole = entry_site(PLAIN, FIELDS)
    made = switch(entry=whole[:7] + bytes.fromhex("668987a8000000") + whole[7:])
    assert "through which the call to the trampoline goes" in refused(made)


@pytest.mark.parametrize(
    ("filler", "why"),
    [
        (bytes.fromhex("488b1d00000000"), "rip-relative"),
        (bytes.fromhex("488d1500000000"), "rip-relative"),
        (bytes.fromhex("eb00"), "a jump"),
        (bytes.fromhex("e200"), "a loop"),
        (bytes.fromhex("e800000000"), "a call"),
        (bytes.fromhex("c8000000"), "enter"),
        (push("rbx"), "the stack"),
        (bytes.fromhex("488d5c2408"), "the stack's address"),
        (bytes.fromhex("0f92c3"), "setb reads flags"),
        (bytes.fromhex("c3"), "a return"),
        (bytes.fromhex("0f0b"), "ud2"),
        (bytes.fromhex("89c3"), "the selector"),
        (load("rdi", At("rdi", 8)), "changes the state"),
    ],
)
def test_an_instruction_between_those_of_the_exit_that_cannot_move(filler: bytes, why: str) -> None:
    assert "site 'exit' matches nowhere" in refused(written(filled(filler))), why


def test_an_instruction_between_those_of_the_exit_that_reads_the_calls_register() -> None:
    forms = filled(bytes.fromhex("4889c3"), forms=replace(PLAIN, sel="r12"))
    reason = refused(written(forms))
    assert "'mov rbx, rax' reads rax, through which the call" in reason


def test_more_other_instructions_than_the_signature_allows() -> None:
    assert match_of(module_with(written(filled(*[b"\x90"] * 4)).contents))
    assert "site 'exit' matches nowhere" in refused(written(filled(*[b"\x90"] * 5)))


def test_an_instruction_between_that_writes_a_register_in_use_behind() -> None:
    made = switch(
        exit_=exit_site(filled(load("rdx", At("rdi", 0x40))), FIELDS),
        behind_exit=bytes.fromhex("4889d3"),
    )
    assert "still reads rdx" in refused(made)


def test_a_match_of_one_site_alone() -> None:
    assert "site 'exit' matches nowhere" in refused(switch(exit_=b"\x90" * 40))


@pytest.mark.parametrize(
    "entries",
    [
        {"exit_end": 4096},
        {"exit_end": 5000},
        {"kernel2monitor": 19},
        {"kernel2monitor": 0},
        {"entry_end": 21},
        {"entry_end": 0},
        {"exit_end": 60},
        {"kernel2monitor": 0xFFFFFFFF},
    ],
    ids=str,
)
def test_a_header_that_is_none(entries: dict[str, int]) -> None:
    made = switch(tail=b"\xcc" * 6000)
    assert "no monitor image" in refused(with_header(made, **entries), UnknownModuleError)


@pytest.mark.parametrize("beyond", ["interrupt_table", "monitor_exec"])
def test_a_header_that_points_behind_the_image(beyond: str) -> None:
    made = switch()
    size = len(made.contents)
    reason = refused(with_header(made, **{beyond: size}))
    assert f"it has {size:#x} bytes, but its header says {beyond} = {size:#x}" in reason
    assert match_of(module_with(with_header(made, **{beyond: size - 1})))


def test_an_image_without_its_anchor() -> None:
    contents = switch(entry=b"\x90" * 28).contents
    assert "no monitor image" in refused(contents, UnknownModuleError)


@pytest.mark.parametrize(
    ("step", "wrong", "line_text", "found"),
    [
        (1, "89c2", "and $slot:32", "and ecx, 0xfff8"),
        (2, "81e1f0ff0000", "and $slot:32, 0xfff8", "and ecx, 0xfff0"),
        (3, "48038f80000000", "add $slot, [$state + $gdt + 2]", "[rdi + 0x80]"),
        (4, "816104ffffffff", "and dword [$slot + 4], 0xfffffdff", "and dword ptr [rcx + 4]"),
        (5, "0f00da", "ltr $sel:16", "ltr dx"),
    ],
)
def test_a_near_miss_names_the_line_the_place_and_what_is_there(
    step: int, wrong: str, line_text: str, found: str
) -> None:
    steps = list(exit_steps(PLAIN, FIELDS))
    steps[step] = bytes.fromhex(wrong)
    made = switch(exit_=b"".join(steps))
    assessment = assess(module_with(made.contents))
    assert assessment.verdict is Verdict.UNKNOWN_BUILD
    reason = assessment.reason
    place = made.exit[0] + sum(len(each) for each in steps[: step if step != 1 else 2])
    assert f"image offset {place:#x}" in reason
    assert "wanted '" in reason and line_text in reason and found in reason
    number = int(reason.partition(" of the signature kqemu-amd64-tr.toml ")[0].rpartition(" ")[2])
    assert line_text in " ".join(_signature_line(number).split())


def _signature_line(number: int) -> str:
    text = (signatures_folder() / "kqemu-amd64-tr.toml").read_text(encoding="utf-8")
    return text.split("\n")[number - 1]


def test_a_file_full_of_anchors_is_refused_at_once() -> None:
    anchors = bytes.fromhex("0f0008") * 30_000
    assert "too many places" in refused(anchors, UnknownModuleError)
    header = pack("<5I", 20, 4000, 60, 200, 4000) + bytes.fromhex("0f000890")
    assert "too many places" in refused(header * 3000, UnknownModuleError)


def test_an_image_full_of_key_instructions_is_refused_at_once() -> None:
    almost = load("rax", At("rdi", 0x8C)) + bytes.fromhex("89c1 0f00d8")
    assert "look like 'ltr'" in refused(switch(tail=almost * 5000))


def test_useless_prefixes_do_not_matter() -> None:
    forms = replace(PLAIN, entry_prefix="3e", entry_rex=REX_W, ltr_rex=REX_W)
    made = written(forms)
    assert match_of(module_with(made.contents)).sites["entry"].start == made.entry[0]
