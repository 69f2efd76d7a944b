"""Modules to run: a sample, patched, unpatched, and with code of a test's own in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from kpatch.elf.module import Module, read_module
from kpatch.isa.assemble import assemble
from kpatch.patch.apply import apply_plan
from kpatch.patch.plan import make_plan
from kpatch.signature.load import load_signatures
from kpatch.signature.model import Match
from kpatch.signature.scan import find
from kpatch.verify.explore.explorer import explore
from kpatch.verify.explore.options import MemoryModel, Options
from kpatch.verify.explore.result import Result
from kpatch.verify.machine.program import Mode
from kpatch.verify.machine.scenarios import LEAVE, Scenario
from kpatch.verify.machine.setup import Setup, Subject
from kpatch.verify.world.host import HostModel
from kpatch.verify.world.world import World

SAMPLES = Path(__file__).parents[3] / "samples"


@cache
def sample(name: str = "kqemu-7.ko") -> Module:
    """A committed sample."""
    return read_module((SAMPLES / name).read_bytes(), name)


@cache
def match_of(name: str = "kqemu-7.ko") -> Match:
    """Where its monitor image and its sites are."""
    return find(sample(name), load_signatures()[0])


@cache
def patched_module(name: str = "kqemu-7.ko", cpuid: int = 0x34) -> Module:
    """The sample with our patch in it."""
    plan = make_plan(sample(name), match_of(name), cpuid=cpuid, tss_stride=104)
    return read_module(apply_plan(plan), name)


@cache
def image_bytes(name: str = "kqemu-7.ko") -> bytes:
    """The monitor image of a sample."""
    image = match_of(name).image
    return sample(name).contents(image.section)[image.at : image.at + image.size]


@cache
def unpatched(name: str = "kqemu-7.ko") -> Subject:
    """The sample, to be run."""
    return Subject.of(sample(name), match_of(name).image)


@cache
def patched(name: str = "kqemu-7.ko", cpuid: int = 0x34) -> Subject:
    """The patched sample, to be run."""
    return Subject.of(patched_module(name, cpuid), match_of(name).image, sample(name))


def instead(subject: Subject, module: Module) -> Subject:
    """Another module with the same image. What was learned of the old one's code stays there."""
    return Subject(module, subject.image, subject.layout, subject.tail)


def with_exit_code(source: str, name: str = "kqemu-7.ko") -> Subject:
    """The sample with other instructions in the place of its exit site.

    They stand elsewhere in the image, where nothing else runs; the site jumps to them, and they
    jump back behind it.
    """
    match = match_of(name)
    header = match.image.header
    site, room = header["exit_end"], header["monitor_exec"]
    behind = int(match.sites["exit"].end)
    code = _at(source, room, behind)
    image = bytearray(image_bytes(name))
    image[site : site + 5] = b"\xe9" + (room - site - 5).to_bytes(4, "little", signed=True)
    image[room : room + len(code)] = code
    return instead(unpatched(name), with_image(bytes(image), name))


def with_image(image: bytes, name: str = "kqemu-7.ko") -> Module:
    """The sample with another monitor image of the same size."""
    start = match_of(name).image.start
    data = bytearray(sample(name).data)
    data[start : start + len(image)] = image
    return read_module(bytes(data), name)


def world_of(subject: Subject, host: HostModel | None = None) -> World:
    """The subject, loaded into a host of two CPUs."""
    return World(host or HostModel(2), subject.module, subject.image, subject.layout, subject.tail)


def judged(
    subject: Subject,
    where: Scenario = LEAVE,
    cpus: int = 2,
    model: MemoryModel = MemoryModel.SC,
    mode: Mode = "visible",
    cpuid_offset: int = 0x34,
) -> Result:
    """Everything that the explorer finds."""
    setup = Setup(subject, where, cpus, cpuid_offset, model=model, mode=mode)
    return setup.with_program(
        lambda program: explore(program, Options(model=model, max_states=300_000))
    )


def broken(result: Result) -> set[str]:
    """The names of the properties that do not hold."""
    return {found.prop for found in result.counterexamples}


def _at(source: str, room: int, behind: int) -> bytes:
    code = assemble(source) if source else b""
    here = room + len(code) + 5
    return code + b"\xe9" + (behind - here).to_bytes(4, "little", signed=True)
