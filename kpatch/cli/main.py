"""The entry point. It imports nothing before an interrupt is answered as everywhere else."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable

_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
_STANDARD_ERROR = 2
_MACHINE = 18  # errors.MachineError, which may be what cannot be loaded


def main() -> None:
    """Run kpatch and exit with its code."""
    _take_standard_numbers()
    sys.unraisablehook = _not_raised
    sys.exit(run(sys.argv[1:], leave=os._exit))


def run(argv: list[str], leave: Callable[[int], object] | None = None) -> int:
    """Run kpatch and return its exit code. No exception leaves it.

    ``leave`` ends the process at once. It is called where nothing is left to flush or to clean up:
    to take a Python with Capstone's classes apart costs a fifth of a short scan, and 40 ms behind
    a proof.
    """
    # Modules and proofs make many objects that stay, and hardly any cycles.
    gc.set_threshold(50_000, 20, 20)
    try:
        code = _answered(argv)
        if leave is not None:
            leave(code)
        return code
    except KeyboardInterrupt:
        # A library's object that the interrupt left half-made may complain when it is destroyed.
        sys.unraisablehook = lambda _: None
        _say("kpatch: interrupted; no file was changed half-way")
        return _INTERRUPTED
    except (ImportError, MemoryError, OSError, TypeError) as error:
        # What tells errors apart could not be loaded itself. The importer raises TypeError where a
        # read gives nothing.
        _say(
            f"kpatch: cannot start: {str(error) or 'no memory'}; install kpatch again, or make room"
        )
        return _MACHINE


def _not_raised(found: sys.UnraisableHookArgs) -> None:
    """Of what nobody can catch, as in a destructor, only bugs are told: where the machine refused
    there, nothing depends on it.
    """
    if not isinstance(found.exc_value, (MemoryError, OSError)):
        sys.__unraisablehook__(found)


def _take_standard_numbers() -> None:
    """A standard stream that was closed leaves its number to the next file: to the new module, say,
    and what a library of the system then prints as an error would go into that.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    with contextlib.suppress(OSError):
        while (handle := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
            pass
        os.close(handle)


def _answered(argv: list[str]) -> int:
    # Imported here: so that an interrupt in the middle of it has its own words too.
    if argv[:1] == ["scan"]:
        from kpatch.cli import fast_path

        code = fast_path.scan_one(argv[1:])
        if code is not None:
            return code
    from kpatch.cli.commands import answer

    return answer(argv)


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, AttributeError):
        return  # nobody is left to say it to


if __name__ == "__main__":
    main()
