"""Recognition of the source fixes, by name, by symbols and by instructions."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError
from kpatch.kqemu.codescan import find_ltr
from kpatch.kqemu.sourcefix import SourceFix, recognise
from tests.objects import assembled, compiled, compiled_i386, kqemu_source, objcopied

# What the fixes have in common: the slot gets this CPU's TSS, then TR is loaded from it.
SLOT_FIX = """
extern char gdt[], common_tss[];
{linkage} __attribute__((noinline)) void {name}(void)
{{
    *(long *)(gdt + 48) = (long)common_tss;
    __asm__ volatile ("ltr %w0" : : "r" (48));
}}
void kqemu_switch(void);
int kqemu_exec(int x) {{ kqemu_switch(); {name}(); return x; }}
void kqemu_tail(void) {{ kqemu_switch(); {name}(); }}
"""
OWN_GDT_FIX = """
extern char gdt[]; extern int mp_ncpus;
{linkage} __attribute__((noinline)) void kqemu_tss_fixup(void)
{{
    if (mp_ncpus > 1) __asm__ volatile ("lgdt %0; ltr %w1" : : "m" (gdt[0]), "r" (48));
}}
int kqemu_exec(int x) {{ kqemu_tss_fixup(); return x; }}
"""
PLAIN = """
void kqemu_switch(void);
int kqemu_exec(int x) { kqemu_switch(); return x; }
const unsigned char monitor_code[] = { 0x0f, 0x00, 0xd8, 0x0f, 0x00, 0xd8 };
"""


def slot_fix(name: str, linkage: str = "") -> str:
    """C of a module with fix A or B."""
    return kqemu_source(extra=SLOT_FIX.format(name=name, linkage=linkage))


def own_gdt_fix(linkage: str = "") -> str:
    """C of a module with fix C."""
    return kqemu_source(extra=OWN_GDT_FIX.format(linkage=linkage))


def fix_of(source: str, *flags: str) -> SourceFix:
    """The fix in the module that GCC makes of ``source``."""
    found = recognise(read_module(compiled(source, *flags)))
    assert found is not None
    return found


def ltr_offsets(data: bytes, folder: Path) -> dict[str, list[int]]:
    """Offsets of ``ltr`` by section, as objdump sees them."""
    path = folder / "kqemu.o"
    path.write_bytes(data)
    listing = subprocess.run(
        ["objdump", "-d", str(path)], check=True, capture_output=True, text=True, timeout=300
    ).stdout
    found: dict[str, list[int]] = {}
    section = ""
    for line in listing.splitlines():
        if head := re.match(r"Disassembly of section (\S+):", line):
            section = head.group(1)
        elif instruction := re.match(r"\s*([0-9a-f]+):\t[0-9a-f ]+\tltr\b", line):
            found.setdefault(section, []).append(int(instruction.group(1), 16))
    return found


@pytest.mark.parametrize(
    ("source", "variant", "judgement"),
    [
        (slot_fix("kqemu_tss_workaround"), "A", "without a lock"),
        (slot_fix("kqemu_tss_fixup"), "B", "without a lock"),
        (own_gdt_fix(), "C", "sound"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("-ffunction-sections",), ("-O0",)])
def test_each_fix_is_recognised(
    source: str, variant: str, judgement: str, flags: tuple[str, ...]
) -> None:
    found = fix_of(source, *flags)
    assert found.variant == variant
    assert judgement in found.judgement
    assert found.function is not None
    assert any(found.function.symbol.name in sentence for sentence in found.evidence)
    assert found.ltr_sites


def test_a_module_without_a_fix_has_none() -> None:
    assert recognise(read_module(compiled(kqemu_source(extra=PLAIN)))) is None


def test_a_module_that_only_wants_the_function_has_no_fix() -> None:
    extra = "void kqemu_tss_fixup(void); int kqemu_exec(int x) { kqemu_tss_fixup(); return x; }"
    assert recognise(read_module(compiled(kqemu_source(extra=extra)))) is None


def test_a_variable_of_that_name_is_no_fix() -> None:
    extra = "int kqemu_tss_fixup = 5;"
    assert recognise(read_module(compiled(kqemu_source(extra=extra)))) is None


@pytest.mark.parametrize("linkage", ["", "static"])
@pytest.mark.parametrize("flags", [(), ("-ffunction-sections",)])
def test_calls_and_tail_jumps_are_found(linkage: str, flags: tuple[str, ...]) -> None:
    data = compiled(slot_fix("kqemu_tss_workaround", linkage), *flags)
    module = read_module(data)
    found = recognise(module)
    assert found is not None and found.function is not None
    assert sorted(call.mnemonic for call in found.calls) == ["call", "jmp"]
    for call in found.calls:
        code = module.contents(module.sections[call.place.section])
        place = code[call.place.offset : call.place.offset + call.place.size]
        assert place[0] in ({0xE8} if call.mnemonic == "call" else {0xE9, 0xEB})
        if call.relocation is None:
            distance = int.from_bytes(place[1:], "little", signed=True)
            assert call.place.section == found.function.section
            assert call.place.offset + call.place.size + distance == found.function.offset
        else:
            assert call.relocation.offset == call.place.offset + 1


def test_a_conditional_jump_to_the_fix_is_found() -> None:
    extra = """
    __asm__ (".globl kqemu_exec; kqemu_exec: test %edi, %edi; jne kqemu_tss_fixup; ret");
    __attribute__((noinline)) void kqemu_tss_fixup(void) { __asm__ volatile ("ltr %ax"); }
    """
    assert [call.mnemonic for call in fix_of(kqemu_source(extra=extra)).calls] == ["jne"]


FIX = ".type kqemu_tss_fixup, @function\n kqemu_tss_fixup: ltr %ax\n ret\n"


@pytest.mark.parametrize(
    "source",
    [
        # The call is of something else; the bytes eb f9 in its distance would be a jump to the fix.
        FIX + ".byte 0xe8, 0xeb, 0xf9, 0x00, 0x00\n ret\n",
        # The field of a call that is still to be relocated leads to what follows it: the fix.
        "kqemu_exec: call kqemu_switch\n" + FIX,
    ],
)
def test_what_only_looks_like_a_call_of_the_fix_is_none(source: str) -> None:
    found = recognise(read_module(assembled(source)))
    assert found is not None and found.function is not None
    assert found.calls == ()


def test_a_resolved_call_has_no_relocation() -> None:
    found = fix_of(slot_fix("kqemu_tss_workaround", "static"))
    assert [call.relocation for call in found.calls] == [None, None]


def test_calls_of_another_function_are_not_counted() -> None:
    extra = SLOT_FIX.format(name="kqemu_tss_workaround", linkage="")
    extra += """
    __attribute__((noinline)) void kqemu_near(void) { kqemu_switch(); __asm__ volatile (""); }
    int kqemu_other(int x) { kqemu_near(); kqemu_switch(); return x; }
    """
    assert len(fix_of(kqemu_source(extra=extra)).calls) == 2


@pytest.mark.parametrize(
    ("source", "variant"),
    [(slot_fix("kqemu_tss_workaround", "static"), "unknown"), (own_gdt_fix("static"), "C")],
)
def test_a_stripped_fix_is_seen_by_its_instruction(source: str, variant: str) -> None:
    stripped = objcopied(compiled(source), "--strip-unneeded", "--keep-symbol=kqemu_exec")
    found = recognise(read_module(stripped))
    assert found is not None
    assert found.function is None
    assert found.variant == variant
    assert found.calls == ()
    assert any("ltr" in sentence for sentence in found.evidence)


@pytest.mark.parametrize("name", ["kqemu_tss_workaround", "kqemu_load"])
def test_a_fix_is_seen_in_a_section_that_is_not_marked_as_code(name: str) -> None:
    """The kernel makes all that it loads executable and looks at no flag: the fix runs."""
    data = objcopied(compiled(slot_fix(name)), "--set-section-flags", ".text=alloc,load,data")
    found = recognise(read_module(data))
    assert found is not None
    assert found.ltr_sites
    assert (found.function is not None) == (name == "kqemu_tss_workaround")


def test_a_clone_of_the_function_keeps_its_name() -> None:
    renamed = objcopied(
        compiled(slot_fix("kqemu_tss_workaround")),
        "--redefine-sym",
        "kqemu_tss_workaround=kqemu_tss_workaround.isra.0",
    )
    found = recognise(read_module(renamed))
    assert found is not None
    assert found.variant == "A"


def test_code_that_kpatch_added_is_no_source_fix() -> None:
    source = '.section .text.kpatch,"ax",@progbits\n ltr %ax\n'
    module = read_module(assembled(source))
    assert recognise(module, ignored={".text.kpatch"}) is None
    assert recognise(module) is not None


def test_an_i386_module_has_no_fix_that_counts() -> None:
    data = compiled_i386('void kqemu_tss_fixup(void) { __asm__ ("ltr %ax"); }')
    assert recognise(read_module(data)) is None


@pytest.mark.parametrize(
    "operand", ["%ax", "%r9w", "(%rdi)", "0x40(%rdi)", "0x1000(%r12)", "0x8(%rip)"]
)
def test_every_form_of_ltr_is_found_where_objdump_finds_it(operand: str, tmp_path: Path) -> None:
    data = assembled(f"nop\n mov $0xd8000f, %eax\n ltr {operand}\n ret\n")
    sites = find_ltr(read_module(data))
    assert {".text": [site.offset for site in sites]} == ltr_offsets(data, tmp_path)


@pytest.mark.parametrize(
    "lookalike",
    ["mov $0x00d8000f, %eax", "movabs $0x0f00d80f00d80f00, %rax", "sldt %ax", "lldt %ax"],
)
def test_bytes_that_look_like_ltr_are_no_ltr(lookalike: str) -> None:
    assert find_ltr(read_module(assembled(f"{lookalike}\n ret\n"))) == ()


def test_ltr_right_behind_a_byte_that_is_no_instruction_is_found() -> None:
    source = ".byte 0x06\n ltr %ax\n ret\n"
    assert [site.offset for site in find_ltr(read_module(assembled(source)))] == [1]


def test_decoding_starts_afresh_at_each_function() -> None:
    cut_off_movabs = ".byte 0x48, 0xb8"
    source = f"{cut_off_movabs}\n .type f, @function\n f: ltr %ax\n ret\n .fill 20, 1, 0x90\n"
    assert [site.offset for site in find_ltr(read_module(assembled(source)))] == [2]


def test_ltr_behind_data_in_code_is_found() -> None:
    source = ".byte 0x06, 0x07, 0x0e\n nop\n nop\n ltr %ax\n ret\n"
    assert [site.offset for site in find_ltr(read_module(assembled(source)))] == [5]


def test_ltr_is_found_across_decoding_windows() -> None:
    source = "".join(f".rept {n}\n nop\n .endr\n ltr %ax\n" for n in (1022, 1021, 1020, 1))
    offsets = [site.offset for site in find_ltr(read_module(assembled(source)))]
    assert offsets == [1022, 2046, 3069, 3073]


def test_the_number_of_sites_is_bounded() -> None:
    source = ".rept 5000\n ltr %ax\n .endr\n"
    assert len(find_ltr(read_module(assembled(source)))) == 64


def fixed_module() -> bytes:
    """A module with fix A."""
    return compiled(slot_fix("kqemu_tss_workaround", "static"))


@given(st.data())
def test_a_damaged_module_is_answered_without_an_error(data: st.DataObject) -> None:
    changed = bytearray(fixed_module())
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        module: Module = read_module(bytes(changed))
    except DamagedFileError:
        return
    recognise(module)
