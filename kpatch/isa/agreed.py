"""What an instruction reads and writes, as far as two decoders that share no code vouch for it.

Capstone 5.0.9 lists many effects wrongly, so neither its word nor that of iced-x86 alone decides
what is dead or may be moved. What both say is certain; what one says is possible: a read by either
is a read, a write counts as one only if both know it. Where they differ, the difference is a
*doubt*, unless :mod:`kpatch.isa.effects_table` settles it with the SDM.
"""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from functools import lru_cache
from typing import NamedTuple

from kpatch.isa.effects import Effects, Masks, names_of
from kpatch.isa.instruction import MAX_LENGTH


class Merged(NamedTuple):
    """Effects that hold whichever decoder is right, and in what the two differ.

    ``understood`` is False where they do not even see the same instruction.
    """

    effects: Effects
    doubts: tuple[str, ...]
    understood: bool


def effects_of(code: bytes) -> Merged | None:
    """The effects of the instruction at the start of ``code``; None where either sees none."""
    return _effects_of(code[:MAX_LENGTH])


@lru_cache(maxsize=4096)
def _effects_of(code: bytes) -> Merged | None:
    # Here and not above: who needs no effects does not pay for the second decoder (15 ms).
    from kpatch.isa.effects_capstone import by_capstone
    from kpatch.isa.effects_iced import by_iced
    from kpatch.isa.effects_table import settled

    first, second = by_capstone(code), by_iced(code)
    if first is None or second is None:
        return None
    each, effects = first
    return merge(*settled(each, effects, second))


def beyond_baseline(code: bytes) -> str:
    """What a CPU must have to run the instruction, if not every x86-64 has it; else empty."""
    from kpatch.isa.effects_iced import missing_feature

    return missing_feature(code)


def merge(one: Effects, other: Effects) -> Merged:
    """What holds if either is right, and the names of what they differ in."""
    doubts = [
        name
        for name, said, also_said in (
            ("its length", one.length, other.length),
            ("its memory operands", one.memory, other.memory),
            ("where it goes", one.target, other.target),
        )
        if said != also_said
    ]
    understood = not doubts
    doubts += _registers("reads", one.reads, other.reads)
    doubts += _registers("writes", one.may_write, other.may_write)
    doubts += _flags("reads", one.flags_read, other.flags_read)
    doubts += _flags("changes", one.flags_changed, other.flags_changed)
    undefined = one.flags_undefined | other.flags_undefined
    changed = one.flags_changed | other.flags_changed
    return Merged(
        Effects(
            length=one.length,
            memory=one.memory,
            target=one.target,
            reads=_either(one.reads, other.reads),
            writes=_both(one.writes, other.writes),
            may_write=_either(one.may_write, other.may_write),
            flags_read=one.flags_read | other.flags_read,
            flags_written=one.flags_written & other.flags_written & ~undefined,
            flags_changed=changed | undefined,
            flags_undefined=undefined,
        ),
        tuple(doubts),
        understood,
    )


def _registers(verb: str, one: Masks, other: Masks) -> list[str]:
    if one == other:
        return []
    names = sorted(name for name in {*one, *other} if one.get(name, 0) != other.get(name, 0))
    return [f"whether it {verb} {name}" for name in names]


def _flags(verb: str, one: int, other: int) -> list[str]:
    return [f"whether it {verb} {names_of(one ^ other)}"] if one != other else []


def _either(one: Masks, other: Masks) -> Masks:
    if one == other:
        return one
    return {name: one.get(name, 0) | other.get(name, 0) for name in (*one, *other)}


def _both(one: Masks, other: Masks) -> Masks:
    if one == other:
        return one
    return {name: one[name] & other[name] for name in one if name in other}
