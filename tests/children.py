"""What is measured in a process of its own, where no neighbour's leftovers count."""

from __future__ import annotations

import os
import traceback
import tracemalloc
from collections.abc import Callable


def in_child(action: Callable[[], object]) -> int:
    """The exit code of a child that runs ``action``: 0, or 99 where it raises."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def peak_of(action: Callable[[], object]) -> int:
    """The most bytes that Python had allocated at once for ``action``, in a child."""
    reading, writing = os.pipe()

    def measured() -> None:
        tracemalloc.start()
        action()
        os.write(writing, str(tracemalloc.get_traced_memory()[1]).encode())

    code = in_child(measured)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        peak = answer.read()
    assert code == 0
    return int(peak)
