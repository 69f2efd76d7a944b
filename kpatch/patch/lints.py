"""The lints for signatures, a class each: what the schema cannot say of a good one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kpatch.errors import KpatchError, SignatureError
from kpatch.patch.draft import (
    Draft,
    Lint,
    instructions,
    names_of,
    registers,
    trampoline_names,
)
from kpatch.patch.plan import make_plan
from kpatch.signature.liveness import FLAGS
from kpatch.signature.load import PARAMETERS
from kpatch.signature.pattern import InstructionPattern, MemoryPattern, Placeholder, RegisterHole
from kpatch.signature.prefilter import candidates
from kpatch.signature.safety import CALL_REGISTER
from kpatch.units import counted

PLACES: Final = frozenset({"displaced", "fillers"})
_COMPILERS_OWN: Final = frozenset({".text", ".data", ".bss", ".rodata", ".symtab", ".strtab"})


class IdIsTheFileName(Lint):
    """The file is found by the id that messages and notes name."""

    recommendation = "call the file by its id"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        if Path(draft.signature.file).name != f"{draft.signature.id}.toml":
            yield f"{draft.signature.id} in {draft.signature.file}"


class TitleIsASentence(Lint):
    """People read what is wrong before they read assembler."""

    recommendation = "say in one line what is wrong with the module"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        if len(draft.signature.title.split()) < 5 or draft.signature.title.endswith("."):
            yield draft.signature.title


class HasExamples(Lint):
    """A signature that matches no known module cannot be tested."""

    recommendation = "name a sample and the offsets at which it matches"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        if not draft.signature.examples:
            yield "none"


class ExamplesMatchWhereTheySay(Lint):
    """The sites are where the author saw them."""

    recommendation = (
        "give the offsets that kpatch scan prints, and put the module beside the signature, or "
        "name its folder with --examples"
    )

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        for example in draft.signature.examples:
            try:
                found = draft.match(example)
            except KpatchError as error:
                yield f"{example.file}: {error.what}"
                continue
            if found.image.at != example.image:
                yield f"{example.file}: the image is at {found.image.at:#x}"
            for name, site in found.sites.items():
                if site.start != example.sites[name]:
                    yield f"{example.file}: {name} is at {site.start:#x}"


class TrampolinesCanBeMade(Lint):
    """Each example can be patched."""

    recommendation = "write what the assembler takes, and what decodes to what was written"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        for example in draft.signature.examples:
            try:
                make_plan(
                    draft.module(example.file), draft.match(example), cpuid=0x34, tss_stride=104
                )
            except SignatureError as error:
                yield f"{example.file}: {error}"
            except KpatchError:
                continue  # said by the lint about the examples


class NamesAreUsed(Lint):
    """A declared name that no pattern binds is a slip of the pen."""

    recommendation = "drop names that no pattern binds"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        bound = {name for site in draft.signature.sites for name in names_of(site)}
        for kind in ("registers", "offsets"):
            yield from (name for name in draft.declared[kind] if name not in bound)


class TrampolinesUseWhatIsBound(Lint):
    """What a trampoline names is known there."""

    recommendation = "bind the name in a pattern, or take it from the kernel's table"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        bound: set[str] = set(PARAMETERS)
        for site in draft.signature.sites:
            bound |= names_of(site)
            for name in trampoline_names(site):
                if name not in bound:
                    yield f"{site.name}: ${name}"


class KeysHaveAPrefilterAndAPlace(Lint):
    """The prefilter must know the key, and the pattern must hold it."""

    recommendation = "choose a key that stands in the pattern and has a byte expression"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        for site in draft.signature.sites:
            if site.key not in {instruction.mnemonic for instruction in instructions(site)}:
                yield f"{site.name}: {site.key}"
        for key in (draft.signature.image.anchor, *(site.key for site in draft.signature.sites)):
            try:
                list(candidates(key, b"", 0, 0))
            except SignatureError as error:
                yield error.what


class TheAnchorIsInTheFirstSite(Lint):
    """The image is found by an instruction that every match has."""

    recommendation = "anchor the image on an instruction that every match has"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        anchor = draft.signature.image.anchor
        if anchor not in {
            instruction.mnemonic for instruction in instructions(draft.signature.sites[0])
        }:
            yield anchor


class SitesKeepTheStateRegister(Lint):
    """The state has one base register in all sites."""

    recommendation = "the first name that a site binds is the base of the state, in each site"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        bases = {
            operand.base.name
            for site in draft.signature.sites
            for operand in instructions(site)[0].operands
            if isinstance(operand, MemoryPattern) and isinstance(operand.base, RegisterHole)
        }
        if len(bases) != 1:
            yield ", ".join(sorted(bases))


class PlacesAreKnown(Lint):
    """Displaced instructions run exactly once."""

    recommendation = "a site with gaps takes {fillers}, one without takes {displaced}"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        for site in draft.signature.sites:
            places = [e.name for e in site.trampoline.source if isinstance(e, Placeholder)]
            if len(places) != 1 or not set(places) <= PLACES:
                yield f"{site.name}: {places}"


class ClobbersAreRegisters(Lint):
    """Liveness is checked for what is named here."""

    recommendation = "name 64-bit registers and rflags; the call's register is one of them"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        for site in draft.signature.sites:
            clobbers = site.trampoline.clobbers
            yield from (name for name in clobbers if name != FLAGS and not name.startswith("r"))
            if not {CALL_REGISTER, FLAGS} <= clobbers:
                yield f"{site.name}: the call changes {CALL_REGISTER}"
            if "rsp" in clobbers:
                yield f"{site.name}: rsp"


class FixedRegistersAreClobbered(Lint):
    """A trampoline changes nothing that it does not name."""

    recommendation = "a trampoline names only registers that it may change"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        for site in draft.signature.sites:
            for line in site.trampoline.source:
                if isinstance(line, InstructionPattern):
                    for register in registers(line):
                        if register not in site.trampoline.clobbers:
                            yield f"line {line.line}: {register}"


class SymbolsAreOurOwn(Lint):
    """What is added must not collide with what is there."""

    recommendation = "begin each symbol with kpatch_; give sections names that no compiler gives"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        signature = draft.signature
        symbols = [site.trampoline.symbol for site in signature.sites] + [signature.lock.symbol]
        yield from (name for name in symbols if not name.startswith("kpatch_"))
        if len(set(symbols)) != len(symbols):
            yield "one symbol twice"
        for section in (signature.code_section, signature.lock.section):
            if not section.startswith(".") or section in _COMPILERS_OWN:
                yield section


class TheLockHasAPageForItself(Lint):
    """Code beside the lock makes every store slow."""

    recommendation = "put the lock alone into one 4096-byte page of a section of its own"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        lock = draft.signature.lock
        if lock.page != 4096 or lock.size != 4 or lock.section == draft.signature.code_section:
            yield str(lock)


class TheWindowIsBoundedByTheExit(Lint):
    """The bound follows from the trampoline."""

    recommendation = "allow at least what the exit runs with the lock free, and not twice that"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        exit_ = draft.signature.sites[-1]
        written = sum(isinstance(e, InstructionPattern) for e in exit_.trampoline.source)
        if not written <= draft.signature.window_bound <= 2 * written:
            yield f"{draft.signature.window_bound} for {counted(written, 'instruction')}"


class LinesAreShort(Lint):
    """People read the file."""

    recommendation = "keep the file readable: no line over 100 characters, no tabs"

    def findings(self, draft: Draft) -> Iterator[str]:
        """Where it is not so."""
        lines = draft.text.split("\n")
        yield from (line for line in lines if len(line) > 100 or "\t" in line)
