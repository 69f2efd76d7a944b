"""A module on both sides of its patch, whichever of the two was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kpatch.elf.module import Module, read_module
from kpatch.errors import KpatchError
from kpatch.kernel.host import UNKNOWN_HOST, Host
from kpatch.patch.apply import apply_plan
from kpatch.patch.assess import Assessment, Verdict, assess
from kpatch.patch.assessment import Means
from kpatch.patch.plan import Plan
from kpatch.patch.prepare import prepare
from kpatch.signature.model import Signature


class Sides(NamedTuple):
    """What was ``given``, the module before the patch, and the module after it.

    ``plan`` leads from one to the other. It is None where the file is not ours to patch (``after``
    is then the module itself), or where another version of kpatch made the patch.
    """

    given: Assessment
    before: Assessment
    plan: Plan | None
    after: Module


def both_sides(
    module: Module, *, host: Host = UNKNOWN_HOST, signatures: Sequence[Signature] | None = None
) -> Sides:
    """Take the patch out of a patched module, or plan one for any other.

    Raises the refusals of :func:`~kpatch.patch.prepare.prepare`, and DamagedFileError.
    """
    found = assess(module, host=host, signatures=signatures)
    if found.before is not None:
        original = assess(found.before.module, host=host, signatures=signatures)
        return Sides(found, original, _same_plan(original, module), module)
    if found.verdict is Verdict.SOURCE_FIXED:
        return Sides(found, found, None, module)
    plan = prepare(found)
    return Sides(found, found, plan, read_module(apply_plan(plan), module.name))


def named_sides(
    module: Module,
    *,
    host: Host = UNKNOWN_HOST,
    signatures: Sequence[Signature] | None = None,
    replace_source_fix: bool = False,
) -> tuple[Module, Module]:
    """Two modules to compare, with names that say which is which.

    Raises what :func:`both_sides` raises.
    """
    found = assess(module, host=host, signatures=signatures)
    if found.before is not None:
        what = "original" if found.before.means is Means.ORIGINAL else "without the patch"
        return found.before.module.called(f"{module.name} ({what})"), module
    made = apply_plan(prepare(found, replace_source_fix=replace_source_fix))
    return module, read_module(made, f"{module.name} (patched)")


def as_patched(found: Assessment, signatures: Sequence[Signature] | None = None) -> Assessment:
    """The module as apply would make it; itself where there is nothing to apply.

    Raises what :func:`both_sides` raises.
    """
    if found.verdict is not Verdict.AFFECTED:
        return found
    made = apply_plan(prepare(found))
    return assess(read_module(made, found.module.name), signatures=signatures)


def _same_plan(found: Assessment, patched: Module) -> Plan | None:
    """The plan that leads to ``patched``; None where another version of kpatch made it."""
    try:
        plan = prepare(found)
        return plan if apply_plan(plan) == patched.data else None
    except KpatchError:
        return None
