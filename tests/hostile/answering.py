"""Commands on a hostile file, in a child: what each answers, and what it takes."""

from __future__ import annotations

import os
import pickle
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cli.harness import Done, copied, run

ANSWERS: Final = frozenset({0, 1, 2, *range(10, 19)})


_LATEST: Final = 10
"""Seconds of processor time of the call alone: what others run on the machine does not count."""


_MEGABYTES: Final = 1000
"""By which the process may grow; what the tests before have used does not count."""


_PAGE: Final = resource.getpagesize()


@dataclass(frozen=True)
class Answer:
    """What a call said, its processor time, how far the process grew, and whether the file is as
    it was.
    """

    done: Done
    seconds: float
    grown: int
    kept: bool


def in_child(path: Path, output: Path, calls: Sequence[Call]) -> list[Answer]:
    """The answers of the calls, one after the other, in one process beside this one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writing, "wb") as answer:
            size = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
            pickle.dump([_answer(each, path, output, size) for each in calls], answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    found: list[Answer] = pickle.loads(said)
    return found


def _answer(call: Call, path: Path, output: Path, size: int) -> Answer:
    before, start = path.read_bytes(), time.process_time()
    done = run(*(output if word == "OUTPUT" else word for word in call.words), path)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    output.unlink(missing_ok=True)
    return Answer(done, seconds, peak - size, path.read_bytes() == before)


@dataclass(frozen=True)
class Call:
    """A command that looks at one file, and its options."""

    words: tuple[str, ...]

    def require_promises(self, answer: Answer) -> None:
        """An answer obeys every promise."""
        done = answer.done
        assert done.code in ANSWERS
        assert answer.seconds < _LATEST
        assert answer.kept
        assert "Traceback" not in done.out + done.err
        assert answer.grown < _MEGABYTES << 20
        if done.code > 1 and not done.out:
            assert done.err.startswith("kpatch: ")
        if "--json" in self.words:
            assert done.document["exit_code"] == done.code


SCAN: Final = Call(("scan",))


CALLS: Final = (
    SCAN,
    Call(("scan", "--json", "-v")),
    Call(("apply", "--no-verify", "-o", "OUTPUT")),
    Call(("apply", "--dry-run", "--json", "--osversion", "700055", "--replace-source-fix")),
    Call(("revert", "-o", "OUTPUT")),
    Call(("diff", "-u")),
    Call(("diff", "--json")),
)


VERIFY: Final = Call(
    (
        *("verify", "--jobs=1", "--cpus=2", "--model=sc", "--scenario=leave"),
        *("--tr-selector=0x30", "--max-states=2000"),
    )
)


def load_everything(folder: Path) -> None:
    """Whatever the commands import is here before the first child: none imports it again."""
    path = copied("kqemu-7.ko", folder)
    for call in (*CALLS, VERIFY):
        _answer(call, path, folder / "output.ko", 0)


def answers(data: bytes, folder: Path, *calls: Call) -> list[Done]:
    """What the calls say to a file with these bytes."""
    path = folder / "hostile.ko"
    path.write_bytes(data)
    found = in_child(path, folder / "output.ko", calls or CALLS)
    for call, answer in zip(calls or CALLS, found, strict=True):
        call.require_promises(answer)
    return [each.done for each in found]
