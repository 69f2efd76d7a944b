"""Settings for every test, and what happens where a referee is not installed."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import kpatch
from tests.referees import REFEREES, require

# No test depends on how fast the machine is, or on chance: what is drawn is the same in every run.
# Other draws: --hypothesis-profile=explore.
_OF_CHANCE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile(
    "explore", deadline=None, suppress_health_check=_OF_CHANCE, print_blob=True
)
settings.register_profile("kpatch", settings.get_profile("explore"), derandomize=True)
settings.load_profile("kpatch")

# Collecting 8,000 tests makes millions of objects that stay; garbage is looked for behind it.
gc.disable()

# A background job of a plain shell starts with interrupts ignored, and so would every program that
# a test interrupts (POSIX, Shell Command Language, 2.11); one of nohup starts with SIGHUP ignored.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        is_interrupt = _number == signal.SIGINT
        signal.signal(_number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)

_MANY = 200
"""Tests of a run that are worth an import ahead."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """A fixture that needs a missing referee skips its test."""
    yield from _skipping(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A test that needs a missing referee is skipped."""
    yield from _skipping(item)


def _skipping(item: pytest.Item) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        program = Path(str(error.filename)).name
        if program in REFEREES:
            require(program)
        raise


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected stays until the end: no later collection of garbage looks at it again.

    All of kpatch is loaded before a test: a module that were first imported while a test has
    replaced something would keep the replacement. In a long run neither is what the children of
    many tests would each import anew: LIEF alone takes longer than most tests.
    """
    for module in pkgutil.walk_packages(kpatch.__path__, "kpatch."):
        is_dear = module.name.startswith("kpatch.witness.readers.by_")
        if not module.name.endswith("__main__") and (not is_dear or len(session.items) >= _MANY):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """At the end everything goes, as without these tests: LIEF says what stays behind."""
    gc.unfreeze()
