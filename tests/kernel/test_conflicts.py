"""What contradicts itself: which claim counts, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.elf.module import Module
from kpatch.errors import KernelUnknownError
from kpatch.kernel.claims import Claim, Source
from kpatch.kernel.detect import detect
from kpatch.kernel.kernels import CONFIDENCES, builtin_table
from kpatch.kernel.versions import VersionRange, exactly, intersect
from kpatch.kernel.weigh import weigh
from tests.kernel.modules import (
    CDEVSW_73,
    kernel_file,
    module_of_6,
    module_of_7,
    module_of_8,
    silent_module,
)
from tests.objects import kqemu_module


@pytest.mark.parametrize(
    ("osversion", "make"),
    [
        (602000, module_of_7),
        (700055, module_of_6),
        (700055, module_of_8),
        (703000, module_of_6),
        # Built for 8-CURRENT before April 2009, if not for 6.x or 7.x: no promise for 8.0.
        (800107, module_of_7),
        (803000, module_of_7),
    ],
)
def test_an_option_against_the_module_is_refused(
    osversion: int, make: Callable[[], Module]
) -> None:
    detection = detect(make(), osversion=osversion)
    assert any(conflict.matters for conflict in detection.conflicts)
    assert detection.not_affected is None
    with pytest.raises(KernelUnknownError, match=f"--osversion {osversion}"):
        detection.require_cpuid()


def test_two_options_against_each_other_are_refused() -> None:
    detection = detect(silent_module(), osversion=700055, kernel=kernel_file(700100))
    with pytest.raises(KernelUnknownError, match="osreldate is 700100"):
        detection.require_cpuid()


def test_an_option_overrides_what_is_only_inferred_and_says_so() -> None:
    detection = detect(kqemu_module(cdevsw=CDEVSW_73), osversion=602000)
    assert detection.require_cpuid() == 0x3C
    assert [conflict.matters for conflict in detection.conflicts] == [False]
    overridden = [e.source for e in detection.evidence if e.is_overridden]
    assert overridden == ["module data"]


def test_an_inferred_conflict_over_the_offset_is_refused_and_an_option_settles_it() -> None:
    module = kqemu_module(wants=("sched_lock",), cdevsw=CDEVSW_73)
    with pytest.raises(KernelUnknownError, match="--osversion"):
        detect(module).require_cpuid()
    assert detect(module, osversion=602000).require_cpuid() == 0x3C


def test_a_conflict_that_leaves_the_offset_alone_is_reported_and_goes_on() -> None:
    detection = detect(kqemu_module(depends=800040, cdevsw=CDEVSW_73))
    assert detection.require_cpuid() == 0x34
    assert [conflict.matters for conflict in detection.conflicts] == [False]


@pytest.mark.parametrize(
    "wants", [("sched_lock", "_thread_lock_flags"), ("sched_lock", "destroy_dev_sched")]
)
def test_a_module_that_contradicts_itself_is_refused_for_good(wants: tuple[str, ...]) -> None:
    detection = detect(kqemu_module(wants=wants))
    with pytest.raises(KernelUnknownError, match="contradicts itself"):
        detection.require_cpuid()


SOURCES: list[Source] = ["--osversion", "module metadata", "undefined symbol", "module data"]


VERSIONS = st.one_of(
    st.sampled_from([k.versions.first for k in builtin_table().kernels]),
    st.integers(400000, 1000000),
)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    """Any claim of a module or an option."""
    source = draw(st.sampled_from(SOURCES))
    is_exact = source in ("--osversion", "module metadata")
    first, last = sorted((draw(VERSIONS), draw(VERSIONS)))
    return Claim(
        source=source,
        seen="seen",
        means="means",
        versions=exactly(first) if is_exact else (VersionRange(first, last),),
        confidence=draw(st.sampled_from(CONFIDENCES)),
        is_exact=is_exact,
    )


@given(st.lists(claims(), max_size=6))
def test_what_is_left_agrees_with_every_claim_that_counted(given_claims: list[Claim]) -> None:
    weighed = weigh(given_claims, builtin_table())
    assert len(weighed.evidence) == len(given_claims)
    overridden = sum(evidence.is_overridden for evidence in weighed.evidence)
    assert overridden == len(weighed.conflicts)
    if weighed.uncovered is not None:
        assert weighed.versions == () and weighed.candidates == ()
        return
    assert weighed.versions
    for evidence, claim in zip(weighed.evidence, given_claims, strict=True):
        agrees = intersect(weighed.versions, claim.versions) == weighed.versions
        assert agrees is not evidence.is_overridden


def test_every_pair_of_option_and_module_is_answered_or_refused_cleanly() -> None:
    modules = (module_of_6(), module_of_7(), module_of_8(), silent_module())
    versions = [k.versions.first for k in builtin_table().kernels] + [400000, 900000]
    for module, version in product(modules, versions):
        detection = detect(module, osversion=version)
        known = next((k for k in builtin_table().kernels if version in k.versions), None)
        try:
            cpuid = detection.require_cpuid()
        except KernelUnknownError as error:
            assert error.todo
        else:
            assert known is not None
            assert cpuid == known.cpuid
