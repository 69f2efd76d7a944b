"""Every word that kpatch prints and that is not plain English: what ``kpatch explain TERM`` says.

Scenarios, properties and the like have their sentences where they are defined; they are read from
there. The words of documents and reports are in :mod:`kpatch.report.words`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from kpatch.errors import KpatchError
from kpatch.report.words import WORDS

_VERDICTS: Final = {
    "affected": "It has the bug: on its way out of the guest it reloads TR from a GDT slot that "
    "may hold the TSS of another CPU. 'kpatch apply' repairs it.",
    "patched": "kpatch has patched it, and not one byte was changed since.",
    "patched-then-changed": "kpatch has patched it, and somebody changed it since (strip does). "
    "Take the original from its copy, or build it again.",
    "fixed-by-source": "It was built with one of the source fixes of 2008: see 'source fix'.",
    "not-affected": "It is kqemu for a system, or the kernel is one, without the bug.",
    "unknown-build": "It is kqemu, but no signature matches it once and only once. "
    "'kpatch explain docs/new-signature.md' says how to write one.",
    "not-kqemu": "It is something else. Nothing to do.",
    "proven": "Every reachable state of every exploration was visited, nothing was wrong in any, "
    "and the controls failed as they must.",
    "violated": "Something is wrong: a property is broken, and a schedule shows it.",
    "not-proven": "Nothing wrong was found, but a bound or an interrupt ended the search early, or "
    "a check came to something that it cannot tell. That is no proof.",
    "withheld": "A control did not fail. A check that cannot fail proves nothing, so there is no "
    "verdict.",
    "refuted": "The control failed, as it must: the check can tell wrong from right.",
    "intact": "Not one byte was changed since kpatch patched it: its SHA-256 is the one that the "
    "note has, and the same patch made again gives the same file.",
    "patched and proven": "The repair is written, and was proven before that: see 'proven', and "
    "'not modelled' for what that leaves out.",
    "refused": "kpatch did nothing to this file; the error says why.",
    "not-verified": "It was patched without a proof (--no-verify). Run 'kpatch verify' on it.",
}

_MACHINE: Final = {
    "tr": "The task register. It holds a selector and, hidden, the base of the TSS that the CPU "
    "uses when it switches stacks. Each CPU must have its own TSS in it.",
    "panic": "How a FreeBSD kernel stops when it cannot go on. With the bug two CPUs use one "
    "kernel stack, and one of them returns to an address that the other wrote; 'kpatch demo' shows "
    "it.",
    "tss": "Task state segment: where a CPU finds its kernel stacks (rsp0 and the IST). FreeBSD "
    "keeps one for each CPU in common_tss[].",
    "gdt": "Global descriptor table. TR is loaded from a slot of it. Kernels before about 7.1 have "
    "one for all CPUs, so the slot holds the TSS of the CPU that started last.",
    "tr 0x30": "The selector of the TSS slot in the kernels up to 7.3.",
    "tr 0x48": "The selector of the TSS slot in FreeBSD 8. With 2 CPUs kpatch proves every "
    "scenario with it too, as 'kpatch verify' does with 16; with 4 CPUs one of each kind of GDT.",
    "cpuid": "The number of a CPU, in the kernel's struct pcpu, behind %gs: at 0x3c in 5.x and "
    "6.x, at 0x34 in 7.x and 8.x. With the wrong one the exit does what it did before.",
    "descriptor": "Sixteen bytes of the GDT that say where a TSS is. Free (type 9) can be loaded; "
    "ltr makes it busy (type 11), and a busy one faults.",
    "busy": "A TSS descriptor that ltr has loaded. Loading it once more is a fault (#GP).",
    "busy bit": "The bit that makes a TSS descriptor busy: type 11 (1011b) instead of 9 (1001b).",
    "monitor": "The part of kqemu that runs instead of the kernel while a guest runs. Its code is "
    "an array of bytes in the module, the monitor image; its TSS is the monitor's.",
    "monitor image": "Code inside a data section, which kqemu_init copies to where it runs.",
    "signature": "A text file that describes the two places to patch, and the code for them, so "
    "that kpatch finds them in every build that has them. 'kpatch explain docs/new-signature.md' "
    "says how to write one.",
    "site": "A place that is patched. The entry site saves TR, IDT, GDT and LDT; the exit site "
    "reloads TR.",
    "trampoline": "The code that a site calls after the patch, in a section of its own.",
    "source fix": "A fix of 2008 in the port's source. A (kqemu_tss_workaround) and B "
    "(kqemu_tss_fixup) repair TR afterwards, without a lock of their own: two CPUs can fault in "
    "the switch before, and where every CPU has a GDT they overwrite the slot of CPU 0. C moves "
    "the CPU to a GDT of its own first, and is sound.",
    "guard": "The entry trampoline checks that the u32 behind cpuid is 1 << cpuid. If not, the "
    "exit does what the unpatched module did, under the lock.",
    "window": "Instructions under the host's page tables while TR is not this CPU's. A patch may "
    "lengthen it by no more than the declared bound, the lock being free.",
}

_PROOF: Final = {
    "proof": "What 'kpatch verify' does, and 'kpatch apply' before it writes: all explorations, "
    "their controls, and checks of the switch as a whole. 'kpatch explain proven' says when it "
    "holds, and 'kpatch explain limits' what it says nothing about.",
    "exploration": "One search through every order that the instructions of several CPUs can have, "
    "for one scenario, one number of CPUs and one memory model.",
    "scenario": "What the CPUs do in an exploration, and on which kind of host: 'kpatch explain "
    "moving' describes one. 'kpatch verify --scenario NAME' explores only that.",
    "obligation": "One thing to prove: a scenario with a number of CPUs under a memory model.",
    "control": "A module that must fail: the unpatched one, and the patch without its lock. A "
    "verdict counts only if the same run refutes them.",
    "state": "The memory, the registers of every CPU and their store buffers, at one moment.",
    "transition": "One move of one CPU from one state to another.",
    "preemption": "A CPU is taken away although it could go on. Counterexamples have as few as "
    "possible.",
    "sc": "Memory model: stores reach memory at once, in program order.",
    "tso": "Memory model of x86: each CPU has a buffer, and its stores reach memory later, in "
    "order, unless a locked or serializing instruction drains it.",
    "symmetry": "CPUs with the same code are interchangeable, so states are kept up to renaming.",
    "bound": "Where a search was told to end. A proof that hit one says so, and is none. Behind "
    "'window:', how many instructions longer than before a foreign TSS may stay loaded; the "
    "signature declares it.",
    "frontier": "States that were found and not looked into when a bound ended the search.",
    "counterexample": "A schedule that shows a broken property; 'kpatch verify --replay' runs it "
    "again, and 'kpatch explain docs/counterexample.md' reads one step by step.",
    "lane": "A column of a counterexample: what one CPU does.",
    "schedule": "Who moves next, as words: '1' CPU 1 goes on to its next access that others can "
    "see; '1d' its oldest buffered store reaches memory; '2t1' CPU 2 takes guest 1 of those "
    "that wait; '0*12' twelve times '0'.",
    "not modelled": "NMIs and machine checks in the window, DMA, and other kernel code: the proof "
    "says nothing about them. 'kpatch explain docs/limits.md' says what else it leaves out.",
}

ENTRIES: Final = {**_VERDICTS, **_MACHINE, **_PROOF, **WORDS}
"""The term, in lower case, and what it means, in a sentence or a few."""


def terms(exit_codes: Mapping[str, str], commands: Mapping[str, str]) -> dict[str, str]:
    """All of them: those here, and what has its sentence where it is defined.

    Those are commands, scenarios, properties, checks, the rules of the kernel linker, lints, kinds
    of errors, and exit codes, the last as ``exit code 17``.
    """
    from kpatch.elf.klink_rules import RULES
    from kpatch.report.kernel_words import kernel_terms
    from kpatch.signature.load import load_signatures
    from kpatch.verify.machine.properties import CATALOG
    from kpatch.verify.machine.scenarios import SCENARIOS
    from kpatch.verify.proof.checks import SENTENCES

    found = {f"exit code {code}": _sentence(what) for code, what in exit_codes.items()}
    found |= {rule.name: f"Rule of the kernel linker: {rule.sentence}" for rule in RULES}
    found |= lint_terms() | kernel_terms()
    found |= {each.id: f"A signature: {each.title}. See 'signature'." for each in load_signatures()}
    found |= {
        error.kind: f"An error: {_first(error)} Exit code {error.exit_code}."
        for error in _kinds(KpatchError)
    }
    found |= {name: f"A command: {what}" for name, what in commands.items()}
    found |= ENTRIES
    found |= {scenario.name: f"Scenario: {scenario.title}." for scenario in SCENARIOS}
    found |= {prop.name: f"Property: {prop.sentence}" for prop in CATALOG}
    return found | {name: f"Check of the whole switch: {text}" for name, text in SENTENCES.items()}


def lint_terms() -> dict[str, str]:
    """The names of lints in lower case: only who writes a signature sees them."""
    from kpatch.patch.lint import LINTS

    return {
        type(lint).__name__.lower(): f"Lint: {_first(type(lint))} {_sentence(lint.recommendation)}"
        for lint in LINTS
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _first(kind: type) -> str:
    """The first paragraph of what a class says of itself."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _kinds(kind: type[KpatchError]) -> Iterator[type[KpatchError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _kinds(subclass)
