"""Where foreign exceptions end: input, output, the machine, or a bug of kpatch are told apart."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from opcode import opmap
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final, TextIO

import click

from kpatch.errors import BugError, FileAccessError, KpatchError, MachineError

_LIBRARIES: Final = ("keystone", "unicorn", "lief", "iced_x86", "zstandard", "elftools")
_NO_MEMORY: Final = ("out of memory", "cannot allocate memory", "no memory")
_LIMITS: Final = {
    errno.ENOMEM: "make room in memory, or raise the limit (ulimit -v)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "wait until fewer files are open on this machine",
    errno.EAGAIN: "raise the limit of processes (ulimit -u)",
}
_ROOM: Final = "make room in memory, or raise the limit (ulimit -v)"


def as_ours(error: Exception) -> KpatchError:
    """The error of our tree for one that is not: MachineError where the machine, or a library on
    it, refused; BugError for all else.
    """
    if isinstance(error, KpatchError):
        return error
    said = str(error) or type(error).__name__
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, MemoryError) or any(sign in said.lower() for sign in _NO_MEMORY):
        return MachineError("there is no memory for it", todo=_ROOM)
    if isinstance(error, SystemError):
        # The interpreter's own, or a library's in C, where something it asked for was refused.
        return MachineError(f"Python failed: {said}", todo="look at the machine's limits")
    if isinstance(error, ImportError):
        return MachineError(
            f"cannot load {error.name or 'a library'}: {said}",
            todo=f"{_ROOM}, or install kpatch again" if _is_limited() else "install kpatch again",
        )
    if isinstance(error, AttributeError) and (package := _without_files(error.obj)):
        return MachineError(
            f"cannot load {package}: its files cannot be read",
            todo="look at the machine's limits and its disk, or install kpatch again",
        )
    if _is_import(error.__traceback__):
        return MachineError(
            f"a library cannot be loaded: {said}", todo="look at the machine's limits and its disk"
        )
    if isinstance(error, OSError):
        place = "" if error.filename is None else str(error.filename)
        todo = _LIMITS.get(error.errno or 0, "look at the machine's limits and its disk")
        return MachineError(f"the system refused: {error.strerror or said}", where=place, todo=todo)
    if library in _LIBRARIES:
        return MachineError(f"the library {library} failed: {said}", todo="install it again")
    return BugError(
        f"a bug of kpatch: {type(error).__name__}: {said}, at {_place(error.__traceback__)}",
        todo="report it with the file; -v shows where it came from",
    )


def _is_limited() -> bool:
    """Is there a limit of address space? A library that does not fit in does not say why."""
    try:
        import resource
    except ImportError:
        return False  # no such limits on this system, or no room even for that
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def ended(error: Exception, *, verbose: bool) -> KpatchError:
    """The error of our tree for what ended a command or a file; with ``verbose`` a bug is shown
    with its traceback. Raises ``error`` again where it is about our own output.
    """
    if isinstance(error, OSError) and is_about_output(error):
        raise error
    ours = as_ours(error)
    if isinstance(ours, BugError) and verbose:
        import traceback

        traceback.print_exception(error)
    return ours


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """What a refusal in here leaves alone is said with it: nothing was written yet."""
    try:
        yield
    except KpatchError as refusal:
        refusal.left = "the file is unchanged"
        raise


def _is_import(traceback: TracebackType | None) -> bool:
    """Did it happen in Python's importer? A read that gives nothing makes it raise TypeError.

    What the importer calls has no frame of its own there: then the last one stands at an import.
    """
    last = None
    while traceback is not None:
        last, traceback = traceback, traceback.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    is_at_import = code.co_code[last.tb_lasti] == opmap["IMPORT_NAME"]
    return is_at_import or code.co_filename.startswith("<frozen importlib")


def _without_files(value: object) -> str:
    """The name of a package without files; Python makes one of a folder that it cannot look into.

    Empty for anything else.
    """
    if not isinstance(value, ModuleType) or not hasattr(value, "__path__"):
        return ""
    return value.__name__ if getattr(value, "__file__", None) is None else ""


def _place(traceback: TracebackType | None) -> str:
    """File and line of the last frame in kpatch."""
    place = "an unknown line"
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if f"{os.sep}kpatch{os.sep}" in file:
            place = f"{Path(file).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def is_about_output(error: OSError) -> bool:
    """Did this happen while we printed?"""
    printing = (click.echo.__code__, flush.__code__)
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in printing:
            return True
        traceback = traceback.tb_next
    return False


def flush() -> None:
    """Bring out what was printed. Raises OSError."""
    if sys.stdout is not None:
        sys.stdout.flush()


def output_lost(cause: OSError) -> int:
    """Say that the output did not get out, unless its reader has left: then end in silence."""
    error = FileAccessError(f"cannot write the output: {cause.strerror}", todo="it is incomplete")
    if cause.errno != errno.EPIPE:
        with contextlib.suppress(OSError):
            click.echo(f"kpatch: {error}", err=True)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not _is_flushed(stream):
            # What is left in the buffer may not fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return error.exit_code


def _is_flushed(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True
