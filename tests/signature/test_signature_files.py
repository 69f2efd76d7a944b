"""Signature files: the shipped ones pass every check, and each kind of slip is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from kpatch.data import signatures_folder
from kpatch.errors import SignatureError
from kpatch.isa.assemble import assemble
from kpatch.patch.lint import LINTS, lint
from kpatch.signature.load import FILES, NO_SIGNATURES, load_signatures, parse_signature
from kpatch.signature.pattern import FixedRegister, InstructionPattern, LabelTarget, SymbolAddress

SAMPLES = Path(__file__).parents[2] / "samples"
SHIPPED = signatures_folder() / "kqemu-amd64-tr.toml"
TEXT = SHIPPED.read_text(encoding="utf-8")
EXAMPLES = TEXT[TEXT.index("examples = [") : TEXT.index("\n]\n") + 2]


def test_a_shipped_signature_passes_every_lint() -> None:
    for signature in load_signatures():
        text = (signatures_folder() / signature.file).read_text(encoding="utf-8")
        assert lint(text, signature.file, lambda name: (SAMPLES / name).read_bytes()) == ()


LINT_SLIPS = {
    "IdIsTheFileName": ('id = "kqemu-amd64-tr"', 'id = "another"'),
    "TitleIsASentence": ("to the last CPU", "to the last CPU."),
    "HasExamples": (EXAMPLES, "examples = []"),
    "ExamplesMatchWhereTheySay": ("entry = 0x21, exit = 0x171", "entry = 0x22, exit = 0x171"),
    "TrampolinesCanBeMade": ("bts    eax, ecx", "bts    eax, cl"),
    "NamesAreUsed": ('"gdt", "ldt_sel"]', '"gdt", "ldt_sel", "unused"]'),
    "TrampolinesUseWhatIsBound": ("[$state + $tr_sel]; the", "[$state + $later]; the"),
    "KeysHaveAPrefilterAndAPlace": ('key = "ltr"', 'key = "hlt"'),
    "TheAnchorIsInTheFirstSite": ('anchor = "str"', 'anchor = "ltr"'),
    "SitesKeepTheStateRegister": (
        "mov   $sel:16, [$state + $tr_sel] ||",
        "mov   $sel:16, [$slot + $tr_sel] ||",
    ),
    "PlacesAreKnown": ("  {fillers}\n", ""),
    "ClobbersAreRegisters": ('["rax", "rcx", "rdx", "rflags"]', '["rcx", "rdx", "rflags"]'),
    "FixedRegistersAreClobbered": ('"r8", "r9", "r10", "rflags"]', '"r8", "r9", "rflags"]'),
    "SymbolsAreOurOwn": ('symbol = "kpatch_tss_exit"', 'symbol = "tss_exit"'),
    "TheLockHasAPageForItself": ("size = 4", "size = 8"),
    "TheWindowIsBoundedByTheExit": ("bound = 48", "bound = 480"),
    "LinesAreShort": ("# One disease", "# " + "One disease " * 9),
}


def test_every_lint_has_a_slip_that_it_finds() -> None:
    assert set(LINT_SLIPS) == {type(each).__name__ for each in LINTS}


@pytest.mark.parametrize("name", LINT_SLIPS)
def test_a_lint_finds_its_slip(name: str) -> None:
    wanted, written = LINT_SLIPS[name]
    assert wanted in TEXT
    slipped = TEXT.replace(wanted, written, 1).replace(
        '"gdt", "ldt_sel"]',
        '"gdt", "ldt_sel", "later"]' if "later" in written else '"gdt", "ldt_sel"]',
    )
    found = lint(slipped, SHIPPED.name, lambda example: (SAMPLES / example).read_bytes())
    assert name in {each.lint for each in found}


@dataclass(frozen=True)
class Slip:
    """A slip of the pen: what is written instead of what, and what must be said about it."""

    wanted: str
    written: str
    said: str


SCHEMA_SLIPS = (
    Slip("schema = 1", "schema = 2", "schema must be 1"),
    Slip("schema = 1", "schema = true", "schema must be an integer"),
    Slip("schema = 1", "", "the key schema is missing"),
    Slip("schema = 1", "schema = 1\ncolour = 1", "unknown key colour"),
    Slip("schema = 1", "schema = ", "not TOML"),
    Slip('machine = "x86_64"', 'machine = "i386"', "machine must be one of x86_64"),
    Slip('id = "kqemu-amd64-tr"', "id = 7", "id must be a text"),
    Slip('registers = ["state"', 'registers = [7, "state"', "registers must be a list of"),
    Slip('registers = ["state"', 'registers = [["x"], "state"', "registers must be a list of"),
    Slip('registers = ["state"', 'registers = ["state", "state"', "registers must be a list of"),
    Slip('registers = ["state"', 'registers = ["gdt", "state"', "one name two meanings"),
    Slip('offsets = ["tr_sel"', 'offsets = ["cpuid", "tr_sel"', "one name two meanings"),
    Slip('symbol = "monitor_code"', "", "the key symbol is missing"),
    Slip("first_page = 4096", "first_page = -1", "first_page must be an integer"),
    Slip("first_page = 4096", 'first_page = "x"', "first_page must be an integer"),
    Slip('header = ["kernel2monitor", ', "header = [", "ascending does not name"),
    Slip('ascending = ["kernel2monitor", ', 'ascending = ["x", ', "ascending does not name"),
    Slip(
        'ascending = ["kernel2monitor", "entry_end", "exit_end"]',
        'ascending = ["exit_end"]',
        "ascending does not name",
    ),
    Slip('from = "exit_end"', 'from = "nowhere"', "'nowhere' is not in header"),
    Slip('to = "entry_end"', 'to = "nowhere"', "'nowhere' is not in header"),
    Slip('name = "exit"', 'name = "entry"', "two [[site]] of one name"),
    Slip('key = "ltr"', "", "the key key is missing"),
    Slip('key = "ltr"', 'key = "ltr"\nwhy = "x"', "unknown key why"),
    Slip(
        "max_gap = 4\npattern = '''\n  mov", "max_gap = -4\npattern = '''\n  mov", "max_gap must be"
    ),
    Slip('symbol = "kpatch_tss_exit"', "", "the key symbol is missing"),
    Slip('clobbers = ["rax", "rcx", "rdx", "rsi"', "clobbers = [1", "clobbers must be a list of"),
    Slip("size = 4", "size = 4.5", "size must be an integer"),
    Slip("page = 4096 ", "page = 4095 ", "page must be a power of two"),
    Slip("align = 16", "align = 0", "align must be a power of two"),
    Slip("bound = 48", "bound = false", "bound must be an integer"),
    Slip("[window]", "[[window]]", "is not a table"),
    Slip("image = 0x40, ", "", "the key image is missing"),
    Slip("image = 0x40, ", 'image = "x", ', "image must be an integer"),
    Slip('file = "kqemu-7.ko"', "file = 7", "file must be a text"),
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
    assert caught.value.where.startswith("x.toml")
    assert slip.said in caught.value.what


TOO_MUCH = {
    f"{'a.' * 30_000}a = 1": "has a line of more than 4096 characters",
    f"\n[{'a.' * 30_000}a]": "has a line of more than 4096 characters",
    "x = 1\n" * 11_000: "has more than 64 KiB",
    f"schema = {'9' * 4_001}": "schema must be an integer",
    f"schema = {'1' * 4_087}": "schema must be an integer",
    f"schema = 0x{'f' * 4_080}": "a number of very many digits",
    f"schema = {'[' * 2_000}": "has brackets that are nested too deeply",
    f"schema = '{'x' * 4_000}'": f"not '{'x' * 79}...",
}
"""Texts of a data file, and what is said of them."""


@pytest.mark.parametrize(("text", "said"), TOO_MUCH.items(), ids=range(len(TOO_MUCH)))
def test_what_no_data_file_needs_is_refused_at_once(text: str, said: str) -> None:
    with pytest.raises(SignatureError) as caught:
        parse_signature(text, "x.toml")
    assert said in caught.value.what and len(caught.value.what) < 250


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
        ("", "must be a text that is not empty"),
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
    assert files | NO_SIGNATURES == {path.name for path in signatures_folder().glob(FILES)}
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
