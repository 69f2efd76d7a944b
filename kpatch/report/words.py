"""The words of documents and reports: statuses, outcomes, kinds, and what stands beside them.

What is wrong, proven or meant by the machine is in :mod:`kpatch.report.glossary`.
"""

from __future__ import annotations

from typing import Final

STATUSES: Final = {
    "already-patched": "It was patched when kpatch came; the file stays as it is. apply proves it "
    "again, unless told --no-verify.",
    "would-patch": "The dry run: apply would patch it. Nothing was written or verified.",
    "passed-over": "Found in a folder, and nothing for kpatch. It counts as nothing to do.",
    "nothing to do": "In the closing line: files that need no repair, or have it already.",
    "not-judged": "Nothing was explored: the source fix in the module cannot be run here, or no "
    "scenario that was asked for applies to it. The module may be right or wrong.",
    "patched-then-stripped": "kpatch has patched it, and another tool has taken symbols or "
    "debugging information out since. The repair is whole; 'kpatch verify' proves it.",
    "reverted": "The file is the original again, byte for byte.",
    "taken-out": "The repair is out, but the file is not the original, because another tool "
    "changed it after the patch.",
    "same": "The two modules are equal, byte for byte; in a diff, a line of both.",
    "different": "The two modules differ; the diff says in what.",
    "added": "A line that only the second module has.",
    "removed": "A line that only the first module has.",
    "replayed": "One schedule was run again, and its lanes shown. That is no verdict.",
    "right": "lint-signatures found nothing; of a run on a machine, that nothing was wrong in it.",
    "wrong": "lint-signatures found something; of a check, what is not as it must be.",
    "shown": "The demo went as it must: the original panics, the patched module runs on.",
    "not-shown": "The demo did not go as it must: nobody panicked, or the patched module did.",
    "repaired": "In a ports build: the module carries kpatch's patch.",
    "sound-source-fix": "In a ports build: source fix C. It is right, so the module stays.",
    "unsound-source-fix": "In a ports build: source fix A or B, which leave a wrong TSS for a "
    "moment, and two CPUs that can fault. The build ends, unless told --replace-source-fix.",
    "staged": "The hook's last step: what was staged is what was proven, by its SHA-256.",
    "packaged": "The hook's check right before a package is made: what goes in is what was proven.",
    "hook packaged": "A step of a ports build: the same check once more, before the package.",
    "holds": "The property is proven. A control holds where it was refuted.",
    "cannot tell": "The check came to something that it does not follow. That is not proven.",
    "interrupted": "Somebody ended the search (Ctrl-C). What is left is not proven.",
    "not run": "Explorations that nobody came to, because the search was ended.",
    "caveat": "What a verdict does not cover, in a sentence; printed behind 'note:'.",
    "note": "Behind 'note:' stands what the verdict does not cover.",
}

TESTS: Final = {
    "machine": "QEMU or Bochs, on which the same switch runs as well. A test, no proof: it samples "
    "orders, the exploration visits them all.",
    "qemu": "A machine for --machine: whole CPUs, translated, with real threads (TCG).",
    "bochs": "A machine for --machine: an interpreter, one instruction of one CPU after another.",
    "test": "A run on a machine that must go well. Its counterpart is a control.",
    "passed": "On a machine: every run of the module went well, and every control failed.",
    "failed": "On a machine: the module did something wrong. The findings say what.",
    "done": "The machine ran to its end.",
    "unfinished": "The clock ended the run of a machine whose CPUs still went from round to round.",
    "hang": "The machine did not come to its end in time: a CPU went to no further round.",
    "reset": "The machine reset itself: a fault while a fault was delivered.",
    "broken": "The machine stopped before its end, or said what nobody understands. As a trap of "
    "'kpatch hook --ports-dir': BROKEN, IGNORE or FORBIDDEN stands in the port.",
    "witness": "Something that is not kpatch's own and looks at the same thing: another reader of "
    "ELF files, or another machine.",
    "read back": "pyelftools and LIEF read the patched file too, and must see what kpatch sees.",
}

EVIDENCE: Final = {
    "evidence": "What a verdict about a module or a kernel rests on. 'kpatch scan -v' shows it.",
    "--osversion": "The user says which kernel: its __FreeBSD_version, as 700055.",
    "--kernel": "The user gives the kernel's file; kpatch reads version, GDT and cpuid out of it.",
    "details": "With 'kpatch scan -vv': sizes, offsets, checksums and version ranges, as --json "
    "has them.",
    "decisive": "Evidence that narrowed down which kernels are left.",
    "module metadata": "What the module says of itself in set_modmetadata_set. From 8.x on it "
    "names the kernel's version exactly.",
    "undefined symbol": "What the module wants from the kernel; some came or went at a version.",
    "module data": "The first number of kqemu_cdevsw, which changed with the kernels.",
    "kernel table": "What signatures/kernels.toml says of the kernels that are left.",
    "inferred-strong": "Concluded from what was read or measured, not seen itself; no reason for "
    "doubt is known.",
    "inferred-weak": "Concluded, with room for doubt: '--kernel' with the machine's own kernel "
    "settles it.",
    "conclusion": "What all evidence together leaves.",
    "conflict": "Two sources that cannot both be right. If it matters, apply refuses (15).",
    "overruled": "Evidence that a surer source contradicts; no patch hangs on it.",
    "shared": "One GDT for all CPUs: the kernels that have the bug.",
    "private": "A GDT for each CPU: the bug cannot show, and the patch does no harm.",
    "ambiguous": "A version number that stands for kernels of both kinds, as 700112.",
    "unknown": "The evidence leaves kernels of both kinds, or says nothing. The patch is right on "
    "all that are left, or it is refused.",
    "kernel linker": "The part of FreeBSD that loads modules. It refuses, or worse, what breaks "
    "its rules; kpatch checks every file against them before it writes.",
    "source fix a": "The function kqemu_tss_workaround. See 'source fix'; not sound.",
    "source fix b": "The function kqemu_tss_fixup without a GDT of its own. See 'source fix'; not "
    "sound.",
    "source fix c": "The function kqemu_tss_fixup with a GDT of its own. See 'source fix'; sound.",
}

PARTS: Final = {
    "header": "In a diff: the ELF header.",
    "sections": "In a diff: the table of sections, by name.",
    "symbols": "In a diff: the table of symbols, by name.",
    "relocations": "In a diff: the places that the kernel linker fills in, and with what.",
    "other contents": "In a diff: bytes that are neither code nor a table.",
    "run": "A move of a schedule: the CPU goes on to its next access that others can see.",
    "drain": "A move of a schedule, written 'd': the CPU's oldest buffered store reaches memory.",
    "take": "A move of a schedule, written 't': the CPU takes a guest that waits.",
    "overlay": "A way into a ports build: USES=kpatch, from a tree beside the ports tree.",
    "scripts": "A way into a ports build: a script in the port's folder, for older trees.",
    "hook apply": "A step of a ports build: repair what the build made, or say why not.",
    "hook verify": "A step of a ports build: prove the repair on the files as they are.",
    "hook staged": "A step of a ports build: what was staged is what was proven.",
    "trap": "What would make the hook do nothing, or not be found. 'blocks' says it would.",
}

FIELD: Final = {
    "kqemu": "The kernel accelerator of QEMU, up to 2009. Its FreeBSD module is kqemu.ko.",
    "world switch": "kqemu's way from the kernel into its monitor and back: all tables, stacks and "
    "TR are exchanged. It is what kpatch patches and proves.",
    "switch": "Short for the world switch.",
    "guest": "The system that runs inside kqemu. What it leaves in registers may be anything.",
    "host": "The FreeBSD kernel that kqemu runs in; in a proof, an emulated one.",
    "emulated": "The module's own code ran on CPUs in software (Unicorn), not on a machine.",
    "str": "The instruction that stores TR. It gives the selector only, not the TSS behind it.",
    "ltr": "The instruction that loads TR from a slot of the GDT. It marks the slot busy, and "
    "faults if it is busy already.",
    "slot": "The entry of the GDT from which TR is loaded: number 6 up to FreeBSD 7.3.",
    "#gp": "General protection fault. In the kernel it is a panic.",
    "rsp0": "The stack in a TSS that the CPU takes when it enters the kernel.",
    "common_tss": "The kernel's array of TSSs, one for each CPU.",
    "struct pcpu": "What the kernel keeps for each CPU, behind %gs:. 'cpuid' is a field of it.",
    "__freebsd_version": "A number for each state of the kernel's sources, as 700055 for 7.0. "
    "'sysctl -n kern.osreldate' prints it; --osversion takes it.",
    "entry site": "Where the switch into the guest saves TR, IDT, GDT and LDT.",
    "exit site": "Where the switch out of the guest reloads TR.",
    "image offset": "Counted from the start of the monitor image.",
    "file offset": "Counted from the start of the file.",
    "lock": "A word in a page of its own. The patch holds it while it writes the slot and loads "
    "TR, so that no other CPU comes in between.",
    "foreign tss": "The TSS of another CPU.",
    "interleaving": "An order in which the instructions of several CPUs can follow each other.",
    "memory model": "Which orders of loads and stores other CPUs can see: 'sc' or 'tso'.",
    "local instruction": "One that no other CPU can notice. A lane counts them only.",
    "fewest possible": "No schedule with fewer preemptions shows this.",
    "replay": "Run one schedule again: 'kpatch verify --replay'.",
    "nmi": "Non-maskable interrupt. It comes also where interrupts are off; not modelled.",
    "machine check": "An exception for broken hardware; not modelled.",
    "dma": "Memory accesses by devices; not modelled.",
    "undo": "'kpatch revert' gives the original back, from the patched file alone.",
    "image": "Short for the monitor image.",
    "entry": "Short for the entry site.",
    "exit": "Short for the exit site.",
    "selector": "A number that names a slot of the GDT: 0x30 is slot 6, 0x48 slot 9.",
    "sgdt": "The instruction that stores where the GDT is, and how long.",
    "sidt": "The instruction that stores where the IDT is, and how long.",
    "sldt": "The instruction that stores the selector of the LDT.",
    "idt": "Interrupt descriptor table: where the CPU goes on an interrupt or a fault.",
    "ldt": "Local descriptor table: a second table of segments. kqemu saves it beside TR.",
    "free": "A TSS descriptor that ltr may load. See 'busy'.",
    "fault": "An exception of the CPU, as #GP. In the kernel, here, it is a panic.",
    "stash": "What the entry leaves on the host's stack for the exit: the base of this CPU's TSS, "
    "or 0 where it does not know it.",
    "round": "One way into the guest and back out of it.",
    "reduction": "What spares a search states that cannot differ: 'kpatch verify --no-por' and "
    "'--no-symmetry' do without.",
    "kldload": "FreeBSD's command to load a module. It copies the file, so a kernel that has the "
    "module loaded knows nothing of a repair until 'kldunload' and 'kldload'.",
    "kldunload": "FreeBSD's command to take a module out of the kernel.",
    "osabi": "The byte of the ELF header that names the system; FreeBSD is 9.",
    "elf": "The format of the file: sections, symbols, relocations.",
    "sha-256": "A checksum of 64 hexadecimal digits: two files with the same one are equal.",
    "original": "The file as it was before the patch. apply keeps it as FILE.orig.gz or FILE.orig, "
    "and the patched file holds what 'kpatch revert' needs.",
    "package": "An archive for pkg, with modules in it. kpatch repairs them inside.",
    "dry run": "'kpatch apply --dry-run': the diff is shown, nothing is written or proven.",
    "current": "FreeBSD's development version: 8-CURRENT is what became 8.0.",
    "stable": "A branch of FreeBSD between releases: 7.0-STABLE is on the way from 7.0 to 7.1.",
    "pyelftools": "A library that reads ELF files, as LIEF is. See 'read back'.",
    "lief": "A library that reads ELF files, as pyelftools is. See 'read back'.",
    "in doubt": "The kernels that are left keep cpuid at different places. Name the kernel, with "
    "--osversion or --kernel.",
    "probably private": "A trace in the module speaks for kernels with a GDT for each CPU. That "
    "settles nothing; the patch is right on both kinds.",
}
_TRAPS: Final = {
    "not-installed": "a file of the hook is not there; 'kpatch hook --install' writes it",
    "outdated": "a file of the hook was written by another version; --install writes it anew",
    "no-overlay-line": "OVERLAYS in make.conf does not name the overlay of the hook",
    "no-uses-line": "nothing in make.conf gives USES+=kpatch to the port",
    "late-uses": "the port sets USES after the tree has added to it, so the addition is lost",
    "script-in-the-way": "the port has a script of its own where the hook's would go",
    "no-way-in": "the tree has neither overlays nor scripts of a port: the port must be edited",
    "no-kernel": "nothing says which kernel the module is for; set KPATCH_OSVERSION",
    "other-kernel": "the build is for a version whose kernels need no repair",
    "source-fix": "a patch of the port puts source fix A or B into the module; see 'source fix'",
    "ignored": "make does not build this port, and says why",
    "not-run": "make does not run the steps of the hook; look for an .if around them",
    "not-asked": "no make answered, so makefiles were read as text, without their conditions",
    "no-category": "the Makefile of the overlay's category does not name the port",
    "uses-overwritten": "USES is set in make.conf, where the port's own USES= overwrites it",
    "old-modifiers": "the tree is for an older make; with that of today it may run nothing",
    "local-post-build": "Makefile.local has a post-build, which replaces the port's own",
    "own-post-build": "the port has a post-build; the hook runs after it",
    "own-script": "the port has such a script itself; the hook runs after it",
    "master-port": "the port is made from another one, and the scripts go there",
    "hooked-twice": "overlay and scripts are both there, so each step would run twice",
}
TRAPS: Final = {
    name: f"A trap of 'kpatch hook --ports-dir': {what}. 'kpatch explain docs/ports.md' has more."
    for name, what in _TRAPS.items()
}

WORDS: Final = {**STATUSES, **TESTS, **EVIDENCE, **PARTS, **FIELD, **TRAPS}
"""The term, in lower case, and what it means, in a sentence or a few."""
