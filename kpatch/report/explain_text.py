"""The bug on one file, in words: its own addresses and instructions, and what its own code does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from kpatch.report.command_line import Given, command_line
from kpatch.report.fold import filled
from kpatch.report.printable import printable
from kpatch.units import counted

if TYPE_CHECKING:
    from kpatch.report.typed import Assessed
    from kpatch.report.typed_proof import CounterexampleFacts, LaneStepFacts


_KEPT: Final = (
    "By its name it is the copy of the original that kpatch keeps of {}: leave it as it is, kpatch "
    "revert uses it."
)


def explanation(
    module: Assessed,
    found: CounterexampleFacts | None,
    path: str,
    *,
    is_patched: bool,
    comes_back: bool = True,
    given: Given = (),
    kept_for: str = "",
) -> list[str]:
    """Paragraphs about a module, from its assessment and, where it was run, one counterexample.

    ``path`` is the file to name in a command, which repeats the options ``given``. With
    ``is_patched`` the module is what it was before the patch; with ``comes_back`` too, revert can
    take the patch out. With ``kept_for`` it is the kept original of the file of that name.
    """
    if is_patched:
        advice = _of_the_patched(path, given, comes_back=comes_back)
    elif kept_for and module["verdict"] == "affected":
        advice = iter(["", _KEPT.format(kept_for)])
    else:
        advice = _next(module, path, given)
    return [*_what(module, is_patched=is_patched), *_where(module), *_how(found), *advice]


def wrapped(lines: list[str], width: int) -> str:
    """The paragraphs as printable text; lines that are indented stay as they are."""
    return "\n".join(_filled(printable(line), width) for line in lines)


def _filled(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return "\n".join(filled(line.lstrip(), width, indent, f"{indent}   " if indent else ""))


def _what(module: Assessed, *, is_patched: bool) -> Iterator[str]:
    what = "Before the patch" if is_patched else module["file"]
    yield f"{what}: {module['verdict'].upper()}. {sentence(module['reason'])}"


def _where(module: Assessed) -> Iterator[str]:
    match = module.get("match")
    if not match:
        return
    image = match["image"]
    yield ""
    yield (
        f"kqemu's switch to its monitor and back is code inside {image['section']} (from "
        f"{image['section']}+{image['section_offset']:#x} on, {counted(image['size'], 'byte')}), "
        "so a disassembly of the module does not show it. Two places of it matter:"
    )
    words = {
        "entry": "Entering the guest, it saves the kernel's TR, but only the selector:",
        "exit": "Leaving it, it clears the busy bit of that GDT slot and loads TR from it:",
    }
    for site in match["sites"]:
        yield ""
        yield words.get(site["site"], f"The {site['site']} site:")
        yield (
            f"  {image['section']}+{site['section_offset']:#x}, file offset "
            f"{site['file_offset']:#x}, {counted(site['size'], 'byte')}"
        )
        yield from (f"    {instruction}" for instruction in site["instructions"])
    yield ""
    yield (
        "Where all CPUs share one GDT, the slot holds the TSS of the CPU that started last. Every "
        "other CPU comes back with that TSS, and with that CPU's stacks: two CPUs write to one "
        "stack, and the kernel panics. And nothing keeps another CPU out between the two "
        "instructions that clear the busy bit and load TR: then the load faults."
    )


def _how(found: CounterexampleFacts | None) -> Iterator[str]:
    """The counterexample in words, and the TSS that each CPU ends with."""
    if found is None:
        return
    lanes = found["lanes"]
    yield ""
    yield (
        f"Run on {lanes['cpus']} emulated CPUs, of which the last to start left its TSS in the "
        "slot, its own code does this:"
    )
    for number, step in enumerate(lanes["steps"], 1):
        yield f"  {number}. {_step(step)}"
    last = lanes["steps"][-1]
    yield ""
    for cpu, task in enumerate(last["tasks"]):
        wrong = task.startswith("TSS ") and task != f"TSS {cpu}"
        yield f"  CPU {cpu} ends with {task}" + (": WRONG, that is another CPU's" if wrong else "")
    name = found["prop"]
    yield f"So {name} (kpatch explain {name}) does not hold: {found['what']}."


def _step(step: LaneStepFacts) -> str:
    instructions = [instruction.split("  ", 1)[-1] for instruction in step["instructions"]]
    slot = ", ".join(step["descriptor"])
    if step["move"] == "drain":
        done = "its oldest store reaches memory"
    elif len(instructions) > 1:
        done = f"{instructions[0]}, and {len(instructions) - 1} more up to {instructions[-1]}"
    else:
        done = instructions[0] if instructions else step["move"]
    return f"CPU {step['cpu']}: {done}; the slot is now {slot}"


def _of_the_patched(path: str, given: Given, *, comes_back: bool) -> Iterator[str]:
    yield ""
    yield f"{path} itself is repaired. To prove it: {command_line('verify', path, given)}"
    yield f"What the patch changed: {command_line('diff', path, given)}"
    if comes_back:
        yield f"Take it back with: {command_line('revert', path, given)}"


def _next(module: Assessed, path: str, given: Given) -> Iterator[str]:
    refusal = module.get("refusal")
    todo = sentence(refusal["todo"]) if refusal else ""
    if module["verdict"] == "affected" and not refusal:
        todo = f"Repair it with: {command_line('apply', path, given)}"
    if todo:
        yield ""
        yield todo


def sentence(text: str) -> str:
    """A reason, or what to do, as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}."
