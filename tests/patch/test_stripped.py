"""What other tools make of a patched module, and that kpatch still knows it.

The tools are those that ports and administrators use. Each test makes its inputs.
"""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import pytest

from kpatch import repair
from kpatch.elf.content import differing, loaded_digest
from kpatch.elf.klink import check
from kpatch.elf.module import Module, read_module
from kpatch.errors import DamagedFileError, KpatchError, LinkerRefusalError, UnknownModuleError
from kpatch.kernel.host import Host
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Verdict, assess
from kpatch.patch.assessment import Means
from kpatch.patch.giveback import given_back
from kpatch.patch.note import NO_DIGEST, read_note, sealed
from kpatch.patch.prepare import prepare
from kpatch.patch.unpatch import require_genuine
from kpatch.proving import case_of
from kpatch.verify.explore import MemoryModel
from kpatch.verify.machine.scenarios import LEAVE
from kpatch.verify.proof.obligations import suite
from kpatch.verify.proof.tasks import Bounds
from kpatch.verify.proof.workers import run_proof
from tests.elf.objects import with_section_field

SAMPLES = Path(__file__).parents[2] / "samples"
KEEPING = {
    "strip -g": ("strip", "-g"),
    "strip -x": ("strip", "-x"),
    "strip --strip-unneeded": ("strip", "--strip-unneeded"),
    "objcopy": ("objcopy",),
    "objcopy --add-gnu-debuglink": ("objcopy", f"--add-gnu-debuglink={SAMPLES / 'kqemu-7.ko'}"),
    "llvm-strip -g": ("llvm-strip", "-g"),
    "llvm-strip -x": ("llvm-strip", "-x"),
    "llvm-objcopy": ("llvm-objcopy",),
    "eu-strip": ("eu-strip",),
    "eu-strip -g": ("eu-strip", "-g"),
    "objcopy --strip-debug": ("objcopy", "--strip-debug"),
    "ld -r": ("ld", "-r"),
    "ld.lld -r": ("ld.lld", "-r"),
}
NOTELESS = {
    "objcopy -R .note.kpatch": ("objcopy", "-R", ".note.kpatch"),
    "objcopy -R .note*": ("objcopy", "-R", ".note*"),
    "strip -R .note.kpatch": ("strip", "-g", "-R", ".note.kpatch"),
}
SHT_LLVM_ADDRSIG = 0x6FFF4C03
USELESS = {
    "install -s": ("install", "-s"),
    "strip": ("strip",),
    "llvm-strip --strip-all": ("llvm-strip", "--strip-all"),
}


@cache
def sample(name: str) -> Module:
    return read_module((SAMPLES / name).read_bytes(), name)


@cache
def patched(name: str = "kqemu-7.ko") -> bytes:
    found = assess(sample(name))
    return apply_plan(prepare(found, replace_source_fix=found.source_fix is not None))


def through(command: tuple[str, ...], data: bytes, folder: Path) -> Module:
    """``data`` as a tool rewrites it."""
    before, after = folder / "before.ko", folder / "after.ko"
    before.write_bytes(data)
    plain = "objcopy" in command[0] or command[0] == "install"
    named = (str(before), str(after)) if plain else ("-o", str(after), str(before))
    subprocess.run([*command, *named], check=True, capture_output=True)
    return read_module(after.read_bytes(), "after.ko")


def proven(module: Module) -> str:
    """A short proof of the module as it is, with its controls."""
    case = case_of(assess(module))
    wanted = suite((LEAVE,), (2,), (MemoryModel.SC,))
    return run_proof(case, wanted, Bounds(), jobs=1, report=lambda _: None).verdict


def test_a_kernel_symbol_that_was_renamed_is_named(tmp_path: Path) -> None:
    module = through(("objcopy", "--redefine-sym", "common_tss=tss"), patched(), tmp_path)
    found = assess(module)
    assert found.verdict is Verdict.CHANGED
    assert "its symbol common_tss has another name, or is gone" in found.reason


def test_the_round_trip_through_every_tool(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """apply, the tool, scan, verify, revert: one row a tool."""
    rows = []
    shown: dict[str, str] = {}
    for name, command in KEEPING.items():
        module = through(command, patched(), tmp_path)
        found = assess(module)
        back = given_back(module)
        again = assess(read_module(back.data, "back.ko"), host=Host(700055))
        other_way = through(command, sample("kqemu-7.ko").data, tmp_path)
        same = loaded_digest(read_module(back.data)) == loaded_digest(other_way)
        loads = loaded_digest(
            module
        )  # a proof is about what is loaded, so the same needs no second
        if loads not in shown:
            shown[loads] = proven(module)
        rows.append(
            (name, found.verdict.value, shown[loads], back.is_original, again.verdict.value, same)
        )
    with capsys.disabled():
        print(f"\n{'tool':28} {'scan':22} {'verify':13} {'revert':9} scan again")
        for tool, scan, verdict, original, after, _ in rows:
            given = "original" if original else "taken out"
            print(f"{tool:28} {scan:22} {verdict:13} {given:9} {after}")
    assert {row[1] for row in rows} == {"patched-then-stripped"}
    assert {row[2] for row in rows} == {"proven"}
    assert len(shown) < len(rows)
    assert {row[3:] for row in rows} == {(False, "affected", True)}


@pytest.mark.parametrize("command", KEEPING.values(), ids=KEEPING)
def test_what_is_taken_out_is_a_module_that_can_be_patched_again(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    module = through(command, patched(), tmp_path)
    back = read_module(given_back(module).data, "back.ko")
    assert not [s.name for s in back.sections if "kpatch" in s.name]
    assert not [s.name for s in back.symbols if "kpatch" in s.name or s.name == "common_tss"]
    assert not [each for each in check(back) if each.is_fatal]
    again = apply_plan(prepare(assess(back, host=Host(700055))))
    assert differing(read_module(again), module) == ()


@pytest.mark.parametrize("name", ["kqemu-6.ko", "kqemu-7-offsets.ko", "kqemu-7-norela.ko",
                                  "kqemu-7-data.ko", "kqemu-7-fix-b.ko", "kqemu-8.ko"])  # fmt: skip
@pytest.mark.parametrize("command", [KEEPING["strip -x"], NOTELESS["objcopy -R .note*"]], ids=str)
def test_every_sample_is_known_again(name: str, command: tuple[str, ...], tmp_path: Path) -> None:
    found = assess(through(command, patched(name), tmp_path))
    assert (found.verdict, found.refusal) == (Verdict.STRIPPED, None)
    note = read_note(read_module(patched(name)))
    assert note is not None and found.before is not None
    assert (found.before.cpuid, found.before.tss_stride) == (note.cpuid, note.tss_stride)


@pytest.mark.parametrize("command", [KEEPING["strip -g"], KEEPING["llvm-strip -x"]], ids=str)
def test_clang_s_table_of_symbol_numbers_does_not_hide_the_repair(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """Every build by clang has one. What comes back says that its numbers are out of date."""
    (tmp_path / "numbers").write_bytes(bytes(range(60, 90)))
    add = ("--add-section", f".llvm_addrsig={tmp_path / 'numbers'}")
    plain = through(("objcopy", *add), sample("kqemu-7.ko").data, tmp_path)
    section = plain.section_named(".llvm_addrsig")
    assert section is not None
    data = with_section_field(plain.data, section.index, "type", SHT_LLVM_ADDRSIG)
    built = read_module(data, "clang.ko")
    module = through(command, apply_plan(prepare(assess(built))), tmp_path)
    table = module.section_named(".llvm_addrsig")
    assert table is not None and table.type == SHT_LLVM_ADDRSIG and module.symtab is not None
    linked = with_section_field(module.data, table.index, "link", module.symtab.index)
    for data in (module.data, linked):
        found = assess(read_module(data, "stripped.ko"))
        assert (found.verdict, found.refusal) == (Verdict.STRIPPED, None)
        back = read_module(given_back(read_module(data, "stripped.ko")).data)
        after = back.section_named(".llvm_addrsig")
        assert after is not None and after.link == 0
        assert back.contents(after) == bytes(range(60, 90))


@pytest.mark.parametrize("command", NOTELESS.values(), ids=NOTELESS)
def test_a_module_without_its_note_is_known_and_gives_nothing_back(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    module = through(command, patched(), tmp_path)
    found = assess(module)
    assert found.verdict is Verdict.STRIPPED and "without its note" in found.reason
    assert found.before is not None and found.before.means is Means.REBUILT
    with pytest.raises(DamagedFileError, match="its note is gone"):
        given_back(module)


def test_a_module_without_its_note_is_proven_as_it_is(tmp_path: Path) -> None:
    assert proven(through(NOTELESS["objcopy -R .note*"], patched(), tmp_path)) == "proven"


@pytest.mark.parametrize("command", USELESS.values(), ids=USELESS)
@pytest.mark.parametrize("data", [patched(), sample("kqemu-7.ko").data], ids=["patched", "bare"])
def test_a_module_without_symbols_is_said_to_be_one_that_no_kernel_loads(
    command: tuple[str, ...], data: bytes, tmp_path: Path
) -> None:
    found = assess(through(command, data, tmp_path))
    assert isinstance(found.refusal, LinkerRefusalError)
    assert "kernel" in found.reason and "symbol" in found.reason
    assert found.reason.startswith("patched by kpatch") == (data == patched())


@pytest.mark.parametrize("where", [".text.kpatch", ".rodata", ".text"])
@pytest.mark.parametrize("command", [KEEPING["strip -g"], NOTELESS["objcopy -R .note*"]], ids=str)
def test_a_changed_byte_in_a_stripped_module_is_not_called_intact(
    where: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    """Without the note nothing tells what the rest of the module was."""
    module = through(command, patched(), tmp_path)
    section = module.section_named(where)
    assert section is not None
    image = 0x40 + 0x21 if where == ".rodata" else 4
    data = bytearray(module.data)
    data[section.offset + image] ^= 0x10
    found = assess(read_module(bytes(data), "changed.ko"))
    if where == ".text" and read_note(module) is None:
        assert found.verdict is Verdict.STRIPPED
    else:
        assert found.verdict is Verdict.CHANGED


def test_a_note_over_a_foreign_original_is_not_intact() -> None:
    """64 zero bytes are no kqemu, however well the note is sealed."""
    module = read_module(patched(), "kqemu.ko")
    note = read_note(module)
    section = module.section_named(".note.kpatch")
    assert note is not None and section is not None
    zeros = bytes(64)
    forged = note._replace(
        original_size=64,
        original_sha256=hashlib.sha256(zeros).hexdigest(),
        original_header=zeros,
        replaced=(),
        patched_sha256=NO_DIGEST,
    ).pack()
    assert len(forged) <= section.size
    padded = forged + bytes(section.size - len(forged))
    data = sealed([module.data[: section.offset] + padded + module.data[section.end :]])
    found = assess(read_module(data, "forged.ko"))
    assert found.verdict is Verdict.CHANGED
    with pytest.raises(DamagedFileError):
        given_back(read_module(data, "forged.ko"))


def test_a_broken_trampoline_under_a_new_seal_is_not_patched_already() -> None:
    module = read_module(patched(), "kqemu.ko")
    code, note = module.section_named(".text.kpatch"), read_note(module)
    assert code is not None and note is not None
    data = bytearray(module.data)
    at = data.index(b"\x87", code.offset)  # xchg becomes mov: no lock any more
    data[at] = 0x89
    resealed = sealed([bytes(data).replace(note.patched_sha256.encode(), NO_DIGEST.encode())])
    broken = read_module(resealed, "broken.ko")
    found = assess(broken)
    assert found.verdict is Verdict.CHANGED and "patching its original again" in found.reason
    assert found.before is not None
    with pytest.raises(DamagedFileError, match="patching its original again"):
        require_genuine(broken, found.before)
    with pytest.raises(KpatchError):
        repair.apply(resealed, "broken.ko", proving=None)
    with pytest.raises(DamagedFileError):
        given_back(broken)


@pytest.mark.parametrize(("cpuid", "stride"), [(0x3C, 104), (0x34, 112)])
def test_a_note_that_names_another_kernel_is_not_intact(cpuid: int, stride: int) -> None:
    module = read_module(patched(), "kqemu.ko")
    note, section = read_note(module), module.section_named(".note.kpatch")
    assert note is not None and section is not None
    lie = note._replace(cpuid=cpuid, tss_stride=stride, patched_sha256=NO_DIGEST)
    forged = lie.pack()
    assert len(forged) == section.size
    data = sealed([module.data[: section.offset] + forged + module.data[section.end :]])
    assert assess(read_module(data, "forged.ko")).verdict is Verdict.CHANGED


@pytest.mark.parametrize(("size", "where"), [(0, ".data"), (1 << 62, ".rodata.str1.1")])
def test_constants_of_no_size_or_an_impossible_one_are_not_lost(size: int, where: str) -> None:
    """Strings of no size are of bytes (mold -r), and are told by who refers to them.

    The huge size, taken at its word, was a MemoryError.
    """
    module = sample("kqemu-7.ko")
    section = module.section_named(".rodata.cst8") or module.section_named(".rodata.str1.1")
    assert section is not None and section.size > 8
    data = with_section_field(module.data, section.index, "entsize", size)
    changed = bytearray(data)
    changed[section.end - 2] ^= 1
    first, second = read_module(data), read_module(bytes(changed))
    assert loaded_digest(first) != loaded_digest(second)
    assert differing(first, second) == (where,)


def test_split_off_symbols_are_not_taken_for_an_unknown_kqemu(tmp_path: Path) -> None:
    split = through(("objcopy", "--only-keep-debug"), sample("kqemu-7.ko").data, tmp_path)
    found = assess(split)
    assert isinstance(found.refusal, UnknownModuleError)
    assert "symbols and debugging information only" in found.reason
