"""Trampolines: GNU as is the referee of what is assembled, and no wrong byte gets through."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from kpatch.data import signatures_folder
from kpatch.errors import SignatureError
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import decode
from kpatch.isa.instruction import Instruction, register_view
from kpatch.patch import pieces
from kpatch.patch import trampoline as trampolines
from kpatch.patch.plan import Plan, make_plan
from kpatch.patch.trampoline import Trampoline, build_trampoline
from kpatch.signature.load import parse_signature
from kpatch.signature.match import Bindings
from kpatch.signature.model import Match
from kpatch.signature.pattern import InstructionPattern, Label, Placeholder, SourceLine
from tests.signature.images import FIELDS, filled, match_of, module_with, signature
from tests.strategies.machine_code import At, load, store
from tests.strategies.world_switches import Forms, assemble_switch

STRIDE = 104


@dataclass(frozen=True)
class Case:
    """One layout of the state, one set of registers, one kernel."""

    forms: Forms
    fields: Mapping[str, int]
    cpuid: int

    @property
    def match(self) -> Match:
        return match_of(module_with(assemble_switch(self.forms, self.fields).contents))

    @property
    def plan(self) -> Plan:
        match = self.match
        module = module_with(assemble_switch(self.forms, self.fields).contents)
        return make_plan(module, match, cpuid=self.cpuid, tss_stride=STRIDE)


def shifted(by: int) -> dict[str, int]:
    return {name: at + by for name, at in FIELDS.items()}


CASES = (
    Case(Forms(), FIELDS, 0x34),
    Case(Forms(state="r12", sel="rbx", slot="r9"), shifted(-0x8C), 0x3C),
    Case(Forms(state="rbp", sel="r15", slot="rsi", wide=True), shifted(-0x200), 0x34),
    Case(Forms(state="r13", sel="rcx", slot="rax"), shifted(0x7000), 0x7C),
    Case(
        filled(load("rdx", At("rdi", 8)), store(At("rdi", 16), "r11"), b"\x90"), shifted(-8), 0x1000
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.forms.state)
def test_gnu_as_makes_the_same_instructions_of_the_source(case: Case, tmp_path: Path) -> None:
    plan = case.plan
    names: Bindings = {**plan.match.names, "cpuid": case.cpuid, "tss_stride": STRIDE}
    for site, built in zip(plan.match.sites.values(), plan.trampolines, strict=True):
        inserts = {"displaced": site.instructions, "fillers": site.fillers}
        text = gnu_text(site.rule.trampoline.source, names, inserts)
        theirs = disassembled(gnu_assembled(text, tmp_path), tmp_path)
        ours = disassembled(built.code, tmp_path)
        assert ours == theirs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.forms.state)
def test_it_writes_the_registers_that_the_signature_says_and_no_others(case: Case) -> None:
    plan = case.plan
    for site, built in zip(plan.match.sites.values(), plan.trampolines, strict=True):
        inserts = {"displaced": site.instructions, "fillers": site.fillers}
        own = own_instructions(site.rule.trampoline.source, built, inserts)
        written = set[str]().union(*(each.writes for each in own))
        # The stack is another test's; the call itself goes through rax.
        assert written - {"rsp", "rip"} | {"rax"} == site.rule.trampoline.clobbers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.forms.state)
def test_the_exit_never_touches_gs(case: Case) -> None:
    exit_ = case.plan.trampolines[1]
    assert not any("gs:" in each.text for each in exit_.instructions)
    assert sum("gs:" in each.text for each in case.plan.trampolines[0].instructions) == 2


def test_the_stack_is_balanced_on_every_way() -> None:
    entry, exit_ = CASES[0].plan.trampolines
    assert stack_moves(entry) == {0}  # pop the way back, push the stash, jump
    assert stack_moves(exit_) == {-2}  # pop the way back and the stash, jump


def test_a_fixup_is_an_empty_field_of_a_movabs() -> None:
    for built in CASES[0].plan.trampolines:
        for fixup in built.fixups:
            assert built.code[fixup.offset : fixup.offset + 8] == bytes(8)
            holder = [i for i in built.instructions if i.address < fixup.offset < i.end]
            assert [each.mnemonic for each in holder] == ["movabs"]
    found = [f.symbol for built in CASES[0].plan.trampolines for f in built.fixups]
    assert found == ["common_tss", "kpatch_tss_lock"]


@cache
def first_match() -> Match:
    """The match of the first case, found before a test gives the assembler a fault."""
    return CASES[0].match


def build(name: str) -> Trampoline:
    """Anew each time: a plan keeps what was built of the same before."""
    match = first_match()
    names: Bindings = {**match.names, "cpuid": 0x34, "tss_stride": STRIDE}
    site = match.sites[name]
    inserts = {"displaced": site.instructions, "fillers": site.fillers}
    return build_trampoline(site.rule.trampoline, names, inserts, "x.toml")


@pytest.mark.parametrize("name", ["entry", "exit"])
def test_a_wrong_byte_from_the_assembler_is_caught(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every bit of every byte: either the build refuses it, or it means the very same."""
    genuine: list[bytes] = []

    def watched(text: str) -> bytes:
        genuine.append(assemble(text))
        return genuine[-1]

    monkeypatch.setattr(trampolines, "assemble", watched)
    right = build(name)
    for at in range(len(genuine[0])):
        for bit in range(8):
            wrong = bytearray(genuine[0])
            wrong[at] ^= 1 << bit
            monkeypatch.setattr(trampolines, "assemble", lambda _, w=bytes(wrong): w)
            try:
                built = build(name)
            except SignatureError:
                continue
            assert meaning(built) == meaning(right), f"byte {at:#x}, bit {bit}"


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_missing_and_extra_bytes_from_the_assembler_are_caught(
    monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    for change in (lambda code: code[:-cut], lambda code: code + b"\x90" * cut):
        monkeypatch.setattr(trampolines, "assemble", lambda text, c=change: c(assemble(text)))
        with pytest.raises(SignatureError, match="the assembler made something else"):
            build("entry")


def test_a_call_that_is_assembled_to_something_else_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = "0x1122334455667788"
    for wrong in (
        "mov rax, 0x11223344\ncall rax",
        f"movabs rax, {number}\njmp rax",
        f"movabs rcx, {number}\ncall rax",
        f"movabs rax, {number}\ncall rcx",
        f"movabs rax, {number}\ncall rax\nnop",
    ):
        monkeypatch.setattr(pieces, "assemble", lambda _, text=wrong: assemble(text))
        with pytest.raises(SignatureError, match="call to a trampoline assembles to"):
            assert CASES[0].plan


def test_what_the_assembler_refuses_names_the_file_and_the_trampoline() -> None:
    shipped = signatures_folder() / "kqemu-amd64-tr.toml"
    text = shipped.read_text(encoding="utf-8").replace("imul   rcx", "nosuch rcx")
    rule = parse_signature(text, "x.toml").site("entry").trampoline
    names: Bindings = {**CASES[0].match.names, "cpuid": 0x34, "tss_stride": STRIDE}
    with pytest.raises(SignatureError, match=r"x\.toml: trampoline 'kpatch_tss_entry'"):
        build_trampoline(rule, names, {"displaced": ()}, "x.toml")


def test_an_unbound_name_and_an_unfilled_place_name_their_line() -> None:
    rule = signature().site("entry").trampoline
    names = dict(CASES[0].match.names)
    with pytest.raises(SignatureError, match=r"x\.toml:\d+: '\$cpuid' is not bound"):
        build_trampoline(rule, names, {"displaced": ()}, "x.toml")
    with pytest.raises(SignatureError, match=r"x\.toml:\d+: nothing fills '\{displaced\}'"):
        build_trampoline(rule, names, {}, "x.toml")


def own_instructions(
    source: Sequence[SourceLine], built: Trampoline, inserts: Mapping[str, Sequence[Instruction]]
) -> list[Instruction]:
    """The instructions that the source writes out, without those put into its places."""
    own: list[Instruction] = []
    rest = list(built.instructions)
    for line in source:
        if isinstance(line, Placeholder):
            rest = rest[len(inserts[line.name]) :]
        elif isinstance(line, InstructionPattern):
            own.append(rest.pop(0))
    return own


def meaning(built: Trampoline) -> list[tuple[str, tuple[object, ...], tuple[str, ...]]]:
    """What a trampoline does, whatever bytes say it."""
    fields = [(fixup.symbol, _holder(built, fixup.offset)) for fixup in built.fixups]
    return [
        (each.mnemonic, each.operands, tuple(s for s, at in fields if at == index))
        for index, each in enumerate(built.instructions)
    ]


def _holder(built: Trampoline, offset: int) -> int:
    return next(
        index for index, each in enumerate(built.instructions) if each.address < offset < each.end
    )


def stack_moves(built: Trampoline) -> set[int]:
    """By how many words the stack has moved at each jump out of the trampoline."""
    at = {each.address: each for each in built.instructions}
    pending, seen, found = [(0, 0)], set[tuple[int, int]](), set[int]()
    while pending:
        place = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        each, depth = at[place[0]], place[1]
        depth += {"push": 1, "pop": -1}.get(each.mnemonic, 0)
        if each.mnemonic == "jmp" and each.branch_target is None:
            found.add(depth)
            continue
        if each.branch_target is not None:
            pending.append((each.branch_target, depth))
        if each.mnemonic != "jmp":
            pending.append((each.end, depth))
    return found


def gnu_text(
    source: Sequence[SourceLine], names: Bindings, inserts: Mapping[str, Sequence[Instruction]]
) -> str:
    """The source in the words of GNU as, put there with no help from kpatch."""
    lines = []
    for line in source:
        if isinstance(line, Label):
            lines.append(f"{line.name}:")
        elif isinstance(line, Placeholder):
            lines += [f".byte {', '.join(map(hex, i.raw))}" for i in inserts[line.name]]
        else:
            text = re.sub(
                r"\$([a-z_]+):(16|32|64)", lambda m: view(names, m[1], int(m[2])), line.text
            )
            text = re.sub(r"\$([a-z_]+)", lambda m: str(names[m[1]]), text)
            text = re.sub(r"\b(byte|word|dword|qword) (?=\[|[fg]s:)", r"\1 ptr ", text)
            lines.append(re.sub(r"=\w+", "0", text))
    return "\n".join(lines) + "\n"


def view(names: Bindings, name: str, bits: int) -> str:
    return register_view(str(names[name]), bits // 8)


def gnu_assembled(text: str, folder: Path) -> bytes:
    made, code = folder / "gnu.o", folder / "gnu.bin"
    source = f".intel_syntax noprefix\n{text}"
    subprocess.run(["as", "-o", made, "-"], input=source.encode(), check=True, timeout=300)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, code], check=True, timeout=300)
    return code.read_bytes()


def disassembled(code: bytes, folder: Path) -> list[str]:
    """The words of objdump; jumps go to the number of an instruction, not to an address."""
    path = folder / "code.bin"
    path.write_bytes(code)
    command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows = re.findall(r"^ *([0-9a-f]+):\t[0-9a-f ]+\t(.*)$", done.stdout, re.MULTILINE)
    number = {address: index for index, (address, _) in enumerate(rows)}
    return [
        re.sub(
            r"^(j\w+ +)0x([0-9a-f]+)$", lambda m: f"{m[1]}#{number[m[2]]}", " ".join(text.split())
        )
        for _, text in rows
    ]


def test_the_referee_can_object(tmp_path: Path) -> None:
    assert disassembled(b"\x90\xc3", tmp_path) == ["nop", "ret"]
    assert disassembled(gnu_assembled("mov eax, 1", tmp_path), tmp_path) != disassembled(
        assemble("mov eax, 2"), tmp_path
    )
    assert [each.mnemonic for each in decode(assemble("pause"))] == ["pause"]
