"""Signature files: the shipped ones pass every check, and each kind of slip is named."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from kpatch.data import signatures_folder
from kpatch.elf.module import read_module
from kpatch.errors import SignatureError
from kpatch.isa.assemble import assemble
from kpatch.isa.decode import REGISTERS
from kpatch.signature.liveness import FLAGS
from kpatch.signature.load import FILES, PARAMETERS, load_signatures, parse_signature
from kpatch.signature.model import Signature, SiteRule
from kpatch.signature.pattern import (
    Choice,
    FixedRegister,
    ImmediateHole,
    InstructionPattern,
    LabelTarget,
    MemoryPattern,
    OperandPattern,
    Placeholder,
    RegisterHole,
    SymbolAddress,
    Unordered,
)
from kpatch.signature.prefilter import candidates
from kpatch.signature.safety import CALL_REGISTER
from kpatch.signature.scan import find

SAMPLES = Path(__file__).parents[2] / "samples"
SHIPPED = signatures_folder() / "kqemu-amd64-tr.toml"
TEXT = SHIPPED.read_text(encoding="utf-8")
PLACES = {"displaced", "fillers"}


class Check:
    """One thing that a good signature has. ``findings`` says where it is not so."""

    recommendation: ClassVar[str]

    def findings(self, signature: Signature) -> Iterator[str]:
        raise NotImplementedError


class IdIsTheFileName(Check):
    recommendation = "call the file by its id"

    def findings(self, signature: Signature) -> Iterator[str]:
        if signature.file != f"{signature.id}.toml":
            yield f"{signature.id} in {signature.file}"


class TitleIsASentence(Check):
    recommendation = "say in one line what is wrong with the module"

    def findings(self, signature: Signature) -> Iterator[str]:
        if len(signature.title.split()) < 5 or signature.title.endswith("."):
            yield signature.title


class HasExamples(Check):
    recommendation = "name a sample and the offsets at which it matches"

    def findings(self, signature: Signature) -> Iterator[str]:
        if not signature.examples:
            yield "none"


class ExamplesMatchWhereTheySay(Check):
    recommendation = "give the offsets that kpatch scan prints"

    def findings(self, signature: Signature) -> Iterator[str]:
        for example in signature.examples:
            data = (SAMPLES / example.file).read_bytes()
            match = find(read_module(data, example.file), signature)
            if match.image.at != example.image:
                yield f"{example.file}: the image is at {match.image.at:#x}"
            for name, site in match.sites.items():
                if site.start != example.sites[name]:
                    yield f"{example.file}: {name} is at {site.start:#x}"


class NamesAreUsed(Check):
    recommendation = "drop names that no pattern binds"

    def findings(self, signature: Signature) -> Iterator[str]:
        bound = {name for site in signature.sites for name in names_of(site)}
        for name in declared(signature):
            if name not in bound:
                yield name


class TrampolinesUseWhatIsBound(Check):
    recommendation = "bind the name in a pattern, or take it from the kernel's table"

    def findings(self, signature: Signature) -> Iterator[str]:
        bound: set[str] = set(PARAMETERS)
        for site in signature.sites:
            bound |= names_of(site)
            for name in trampoline_names(site):
                if name not in bound:
                    yield f"{site.name}: ${name}"


class KeysHaveAPrefilterAndAPlace(Check):
    recommendation = "choose a key that stands in the pattern and has a byte expression"

    def findings(self, signature: Signature) -> Iterator[str]:
        for site in signature.sites:
            list(candidates(site.key, b"", 0, 0))
            if site.key not in {each.mnemonic for each in instructions(site)}:
                yield f"{site.name}: {site.key}"
        list(candidates(signature.image.anchor, b"", 0, 0))


class TheAnchorIsInTheFirstSite(Check):
    recommendation = "anchor the image on an instruction that every match has"

    def findings(self, signature: Signature) -> Iterator[str]:
        if signature.image.anchor not in {e.mnemonic for e in instructions(signature.sites[0])}:
            yield signature.image.anchor


class SitesKeepTheStateRegister(Check):
    recommendation = "the first name that a site binds is the base of the state, in each site"

    def findings(self, signature: Signature) -> Iterator[str]:
        bases = {
            operand.base.name
            for site in signature.sites
            for operand in instructions(site)[0].operands
            if isinstance(operand, MemoryPattern) and isinstance(operand.base, RegisterHole)
        }
        if len(bases) != 1:
            yield ", ".join(sorted(bases))


class PlacesAreKnown(Check):
    recommendation = "a site with gaps takes {fillers}, one without takes {displaced}"

    def findings(self, signature: Signature) -> Iterator[str]:
        for site in signature.sites:
            places = [e.name for e in site.trampoline.source if isinstance(e, Placeholder)]
            if len(places) != 1 or not set(places) <= PLACES:
                yield f"{site.name}: {places}"


class ClobbersAreRegisters(Check):
    recommendation = "name 64-bit registers and rflags; the call's register is one of them"

    def findings(self, signature: Signature) -> Iterator[str]:
        for site in signature.sites:
            clobbers = site.trampoline.clobbers
            yield from (name for name in clobbers if name != FLAGS and not name.startswith("r"))
            if not {CALL_REGISTER, FLAGS} <= clobbers:
                yield f"{site.name}: the call changes {CALL_REGISTER}"
            if "rsp" in clobbers:
                yield f"{site.name}: rsp"


class FixedRegistersAreClobbered(Check):
    recommendation = "a trampoline names only registers that it may change"

    def findings(self, signature: Signature) -> Iterator[str]:
        for site in signature.sites:
            for each in site.trampoline.source:
                if isinstance(each, InstructionPattern):
                    for register in registers(each):
                        if register not in site.trampoline.clobbers:
                            yield f"line {each.line}: {register}"


class SymbolsAreOurOwn(Check):
    recommendation = "begin every symbol and section that is added with kpatch"

    def findings(self, signature: Signature) -> Iterator[str]:
        symbols = [site.trampoline.symbol for site in signature.sites] + [signature.lock.symbol]
        yield from (name for name in symbols if not name.startswith("kpatch_"))
        if len(set(symbols)) != len(symbols):
            yield "one symbol twice"
        for section in (signature.code_section, signature.lock.section):
            if not section.endswith(".kpatch"):
                yield section


class TheLockHasAPageForItself(Check):
    recommendation = "put the lock alone into one 4096-byte page of a section of its own"

    def findings(self, signature: Signature) -> Iterator[str]:
        lock = signature.lock
        if lock.page != 4096 or lock.size != 4 or lock.section == signature.code_section:
            yield str(lock)


class TheWindowIsBoundedByTheExit(Check):
    recommendation = "allow at least what the exit runs with the lock free, and not twice that"

    def findings(self, signature: Signature) -> Iterator[str]:
        exit_ = signature.sites[-1]
        written = sum(isinstance(e, InstructionPattern) for e in exit_.trampoline.source)
        if not written <= signature.window_bound <= 2 * written:
            yield f"{signature.window_bound} for {written} instructions"


class CommentsAreLessThanLines(Check):
    recommendation = "keep the file readable: no line over 100 characters, no tabs"

    def findings(self, signature: Signature) -> Iterator[str]:
        lines = (signatures_folder() / signature.file).read_text(encoding="utf-8").split("\n")
        yield from (line for line in lines if len(line) > 100 or "\t" in line)


CHECKS = tuple(check() for check in Check.__subclasses__())


@pytest.mark.parametrize("signature", load_signatures(), ids=lambda each: each.id)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: type(check).__name__)
def test_a_shipped_signature_passes_the_linter(check: Check, signature: Signature) -> None:
    assert list(check.findings(signature)) == [], check.recommendation


def declared(signature: Signature) -> set[str]:
    names = tomllib.loads((signatures_folder() / signature.file).read_text())["names"]
    return {*names["registers"], *names["offsets"]}


def instructions(site: SiteRule) -> list[InstructionPattern]:
    found: list[InstructionPattern] = []
    for element in site.pattern:
        choices = element.members if isinstance(element, Unordered) else (element,)
        found += [a for c in choices if isinstance(c, Choice) for a in c.alternatives]
    return found


def names_of(site: SiteRule) -> set[str]:
    return {name for each in instructions(site) for o in each.operands for name in operand_names(o)}


def trampoline_names(site: SiteRule) -> set[str]:
    return {
        name
        for each in site.trampoline.source
        if isinstance(each, InstructionPattern)
        for operand in each.operands
        for name in operand_names(operand)
    }


def operand_names(operand: OperandPattern) -> Iterator[str]:
    if isinstance(operand, RegisterHole | ImmediateHole):
        yield operand.name
    elif isinstance(operand, MemoryPattern):
        if operand.offset.name is not None:
            yield operand.offset.name
        if isinstance(operand.base, RegisterHole):
            yield operand.base.name


def registers(line: InstructionPattern) -> Iterator[str]:
    for operand in line.operands:
        base = operand.base if isinstance(operand, MemoryPattern) else operand
        if isinstance(base, FixedRegister):
            yield REGISTERS[base.name][0]


@dataclass(frozen=True)
class Slip:
    """A slip of the pen: what is written instead of what, and what must be said about it."""

    wanted: str
    written: str
    said: str


SCHEMA_SLIPS = (
    Slip("schema = 1", "schema = 2", "schema 2 is not 1"),
    Slip("schema = 1", "schema = true", "'schema' is not a number"),
    Slip("schema = 1", "", "lacks 'schema'"),
    Slip("schema = 1", "schema = 1\ncolour = 1", "'colour' is not a known key"),
    Slip("schema = 1", "schema = ", "not TOML"),
    Slip('machine = "x86_64"', 'machine = "i386"', "machine 'i386' is not x86_64"),
    Slip('id = "kqemu-amd64-tr"', "id = 7", "'id' is not a text"),
    Slip('registers = ["state"', 'registers = [7, "state"', "'registers' is not a list of"),
    Slip('registers = ["state"', 'registers = [["x"], "state"', "'registers' is not a list of"),
    Slip('registers = ["state"', 'registers = ["state", "state"', "'registers' is not a list of"),
    Slip('registers = ["state"', 'registers = ["gdt", "state"', "one name two meanings"),
    Slip('offsets = ["tr_sel"', 'offsets = ["cpuid", "tr_sel"', "one name two meanings"),
    Slip('symbol = "monitor_code"', "", "[image] lacks 'symbol'"),
    Slip("first_page = 4096", "first_page = -1", "[image] 'first_page' is not a number"),
    Slip("first_page = 4096", 'first_page = "x"', "[image] 'first_page' is not a number"),
    Slip('header = ["kernel2monitor", ', "header = [", "'kernel2monitor' is not in image.header"),
    Slip('ascending = ["kernel2monitor", ', 'ascending = ["x", ', "image.ascending does not name"),
    Slip(
        'ascending = ["kernel2monitor", "entry_end", "exit_end"]',
        'ascending = ["exit_end"]',
        "image.ascending does not name",
    ),
    Slip('from = "exit_end"', 'from = "nowhere"', "site 'exit': 'nowhere' is not in image.header"),
    Slip('to = "entry_end"', 'to = "nowhere"', "site 'entry': 'nowhere' is not in image.header"),
    Slip('name = "exit"', 'name = "entry"', "two of one name"),
    Slip('key = "ltr"', "", "[site] lacks 'key'"),
    Slip('key = "ltr"', 'key = "ltr"\nwhy = "x"', "[site] 'why' is not a known key"),
    Slip("max_gap = 4\npattern = '''\n  mov", "max_gap = -4\npattern = '''\n  mov", "'max_gap'"),
    Slip('symbol = "kpatch_tss_exit"', "", "[trampoline] lacks 'symbol'"),
    Slip('clobbers = ["rax", "rcx", "rdx", "rsi"', "clobbers = [1", "'clobbers' is not a list of"),
    Slip("size = 4", "size = 4.5", "[lock] 'size' is not a number"),
    Slip("page = 4096 ", "page = 4095 ", "[lock] 'page' is not a power of two"),
    Slip("align = 16", "align = 0", "[code] 'align' is not a power of two"),
    Slip("bound = 48", "bound = false", "[window] 'bound' is not a number"),
    Slip("[window]", "[[window]]", "'window' is not a table"),
    Slip("image = 0x40, ", "", "an example has the keys entry, exit, file, image"),
    Slip("image = 0x40, ", 'image = "x", ', "example: 'image' is not a number"),
    Slip('file = "kqemu-7.ko"', "file = 7", "example: 'file' is not a text"),
    Slip("pattern = '''\n  unordered", "pattern = ''' unordered", "write pattern and code as"),
)

LINE_SLIPS = (
    Slip("str   [$state + $tr_sel]", "str   [$stat + $tr_sel]", "'$stat' does not fit"),
    Slip("str   [$state + $tr_sel]", "str   [$state + $tr]", "'$tr' does not fit"),
    Slip("str   [$state + $tr_sel]", "str   [$state + $sel + 2]", "'$sel' does not fit"),
    Slip("str   [$state + $tr_sel]", "str   [$state:32 + $tr_sel]", "'$state:32' does not fit"),
    Slip("str   [$state + $tr_sel]", "str   [$state + ]", "'' does not fit"),
    Slip("str   [$state + $tr_sel]", "str   [$state - $tr_sel]", "does not fit"),
    Slip("str   [$state + $tr_sel]", "str   [$state + 010]", "'010' does not fit"),
    Slip("str   [$state + $tr_sel]", "str   [$state * 2]", "does not fit"),
    Slip("str   [$state + $tr_sel]", "STR   [$state + $tr_sel]", "is not an instruction"),
    Slip("str   [$state + $tr_sel]", "str   [$state + $tr_sel", "is not an operand"),
    Slip("str   [$state + $tr_sel]", "unordered", "'unordered' is not an instruction"),
    Slip("str   [$state + $tr_sel]", "...", "'...' is not an instruction"),
    Slip("str   [$state + $tr_sel]", "lock", "'lock' is not an instruction"),
    Slip("mov   $slot:32, $sel:32", "mov   $slot:33, $sel:32", "'$slot:33' is not an operand"),
    Slip("mov   $slot:32, $sel:32", "mov   $slit:32, $sel:32", "'$slit' is not a declared name"),
    Slip("mov   $slot:32, $sel:32", "end", "'end' is not an instruction"),
    Slip("mov   $slot:32, $sel:32", "mov   $slot:32, =lock", "'=lock' is not an operand"),
    Slip("mov   $slot:32, $sel:32", "mov   $slot:32, again", "'again' is not an operand"),
    Slip("mov   $slot:32, $sel:32", "mov   $slot:32, $sel:32 ||", "is not an instruction"),
    Slip("and   $slot:32, 0xfff8 ||", "and   $slot:32, 0XFFF8 ||", "'0XFFF8' is not an operand"),
    Slip("jne    busy", "jne    bussy", "label 'bussy' is not defined once"),
    Slip("busy:", "acquire:", "label 'busy' is not defined once"),
    Slip("movabs r8, =kpatch_tss_lock", "movabs r8, =", "'=' is not an operand"),
    Slip("pop    rsi  ", "pop    rsj  ", "label 'rsj' is not defined once"),
)  # fmt: skip


@pytest.mark.parametrize("slip", SCHEMA_SLIPS, ids=lambda slip: slip.written.strip() or slip.said)
def test_a_slip_in_the_schema_is_named_with_its_file(slip: Slip) -> None:
    assert TEXT.count(slip.wanted) >= 1
    with pytest.raises(SignatureError) as caught:
        parse_signature(TEXT.replace(slip.wanted, slip.written, 1), "x.toml")
    assert caught.value.where == "x.toml"
    assert slip.said in caught.value.what


@pytest.mark.parametrize("slip", LINE_SLIPS, ids=lambda slip: slip.written.strip())
def test_a_slip_in_a_pattern_is_named_with_its_line(slip: Slip) -> None:
    before, _, _ = TEXT.partition(slip.wanted)
    slipped = TEXT.replace(slip.wanted, slip.written, 1)
    with pytest.raises(SignatureError) as caught:
        parse_signature(slipped, "x.toml")
    file, _, line = caught.value.where.partition(":")
    assert file == "x.toml" and slip.said in caught.value.what
    if not slip.said.startswith("label"):  # said of the jump, not of the label
        assert int(line) == before.count("\n") + 1


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "starts with an instruction"),
        ("  ...\n  nop", "starts with an instruction"),
        ("  nop\n  ...", "ends with an instruction"),
        ("  unordered\n  nop", "'unordered' has no 'end'"),
        ("  unordered\n  end", "is not an instruction"),
        ("  ; only this", "starts with an instruction"),
    ],
)
def test_a_pattern_without_a_shape_is_refused(pattern: str, said: str) -> None:
    start = TEXT.index("  mov   $sel:16")
    end = TEXT.index("'''", start)
    with pytest.raises(SignatureError, match=said):
        parse_signature(f"{TEXT[:start]}{pattern}\n{TEXT[end:]}", "x.toml")


def test_a_symbol_keeps_its_capitals() -> None:
    signature = parse_signature(TEXT.replace("=common_tss", "=IdlePTD"), "x.toml")
    symbols = [
        operand.symbol
        for each in signature.site("entry").trampoline.source
        if isinstance(each, InstructionPattern)
        for operand in each.operands
        if isinstance(operand, SymbolAddress)
    ]
    assert symbols == ["IdlePTD"]


def test_every_signature_file_is_loaded() -> None:
    files = {each.file for each in load_signatures()}
    assert files == {path.name for path in signatures_folder().glob(FILES)}
    assert SHIPPED.name in files


def test_every_branch_of_a_trampoline_stays_in_it() -> None:
    for signature in load_signatures():
        for site in signature.sites:
            for each in site.trampoline.source:
                if isinstance(each, InstructionPattern) and each.mnemonic.startswith("j"):
                    (target,) = each.operands
                    assert isinstance(target, LabelTarget | FixedRegister)


def test_the_assembler_names_what_it_refuses() -> None:
    with pytest.raises(SignatureError, match="the assembler refuses the text"):
        assemble("no such instruction")
