"""The readers' own process: it starts, reads, dies, and is ended, whatever it does."""

from __future__ import annotations

import errno
import faulthandler
import os
import resource
import signal

import pytest

from kpatch.readback import others_reading
from kpatch.storage import bulk
from kpatch.witness.readers import readback
from kpatch.witness.readers.background import Background
from kpatch.witness.readers.readback import READERS, read_by_each
from tests.children import in_child
from tests.witness.damages import DAMAGES, sample


def test_readings_come_from_another_process_too() -> None:
    module, wanted = sample()
    with others_reading(is_likely=True) as others:
        assert others.readings() == ()
        others.read(module.data, wanted)
        assert others.readings() == read_by_each(module.data, wanted)


def test_a_reader_that_the_other_process_cannot_have_reads_in_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, wanted = sample()
    this, load = os.getpid(), READERS["LIEF"]

    def short_of_descriptors() -> tuple[str, readback.Read]:
        if os.getpid() != this:
            raise OSError(errno.EMFILE, "Too many open files")
        return load()

    monkeypatch.setitem(READERS, "LIEF", short_of_descriptors)
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert all(reading.agrees for reading in others.readings())


@pytest.mark.parametrize("has_room", [True, False])
def test_a_large_module_lies_in_a_file_where_there_is_room_for_one(
    has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, wanted = sample()
    monkeypatch.setattr(bulk, "IN_MEMORY", 0)
    if not has_room:

        def full() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(bulk, "_temporary", full)
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert others.readings() == read_by_each(module.data, wanted)
        damaged = bytearray(module.data)
        DAMAGES["a byte between two sections"](damaged)
    with others_reading(is_likely=True) as others:
        others.read(bytes(damaged), wanted)
        assert not any(reading.agrees for reading in others.readings())


def test_an_interrupt_while_the_process_starts_is_not_lost() -> None:
    def action() -> None:
        os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
        background = Background()
        with pytest.raises(KeyboardInterrupt):
            background.load()
        background.end()

    assert in_child(action) == 0


def test_a_process_that_does_not_listen_to_sigterm_is_ended_too() -> None:
    """As under a shell that had it ignored, or in a library that handles it in its own way."""

    def action() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(READERS, "LIEF", lambda: signal.pause())
            background = Background()
            background.load()
            background.read(b"", sample()[1])
            background.end()

    assert in_child(action) == 0


def test_a_process_that_dies_has_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module, wanted = sample()
    monkeypatch.setitem(READERS, "LIEF", lambda: os._exit(1))
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert not any(reading.agrees for reading in others.readings())


@pytest.mark.parametrize(("number", "agree"), [(signal.SIGKILL, True), (signal.SIGSEGV, False)])
def test_a_process_that_somebody_kills_says_nothing_about_the_file(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, *, agree: bool
) -> None:
    """A crash does: a file that a reader cannot bear is not as it should be."""
    module, wanted = sample()
    this, load = os.getpid(), READERS["LIEF"]

    def killed() -> tuple[str, readback.Read]:
        if os.getpid() != this:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            faulthandler.disable()  # pytest's
            os.kill(os.getpid(), number)
        return load()

    monkeypatch.setitem(READERS, "LIEF", killed)
    with others_reading(is_likely=True) as others:
        others.read(module.data, wanted)
        assert all(reading.agrees for reading in others.readings()) == agree
