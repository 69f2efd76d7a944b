"""The hooks of an engine, as the library calls them.

``Uc.hook_add`` of Unicorn 2.1.4 puts three Python calls around each event, and the pointer that it
makes of a function (``ctypes.cast``) refers to itself: an engine with hooks is only given back when
the garbage collector comes by, with all that it has translated. What is made here is a plain
function pointer. What a hook raises is raised again behind the run: in a callback ctypes
would swallow it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Container, Set
from dataclasses import dataclass, field
from typing import Any, Final

from unicorn import (
    UC_HOOK_CODE,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    Uc,
    UcError,
)
from unicorn.unicorn_py3 import unicorn as binding

_TYPES: Final = {
    UC_HOOK_CODE: binding.HOOK_CODE_CFUNC,
    UC_HOOK_INTR: binding.HOOK_INTR_CFUNC,
    UC_HOOK_INSN_INVALID: binding.HOOK_INSN_INVALID_CFUNC,
    UC_HOOK_MEM_READ: binding.HOOK_MEM_ACCESS_CFUNC,
    UC_HOOK_MEM_WRITE: binding.HOOK_MEM_ACCESS_CFUNC,
}


@dataclass
class Trace:
    """The instructions of one run so far.

    Those in ``quiet`` that are not in ``stops`` need no look at them, as long as fewer than
    ``most`` have run.
    """

    addresses: list[int] = field(default_factory=list)
    quiet: Set[int] = frozenset()
    stops: Container[int] = frozenset()
    most: int = 0

    def begin(
        self, addresses: list[int], quiet: Set[int], stops: Container[int], most: int
    ) -> None:
        """From here on it is another run's."""
        self.addresses, self.quiet, self.stops, self.most = addresses, quiet, stops, most


class Hooks:
    """The hooks of one engine. They refer to what they call until they are removed."""

    def __init__(self, uc: Uc) -> None:
        self._uc = uc
        self._kept: list[tuple[Any, Any]] = []  # handles, and functions that the library calls
        self._raised: BaseException | None = None

    def add(self, kind: int, called: Callable[..., Any]) -> None:
        """Call ``called(handle of the engine, ..., None)`` on each event of a kind; in between is
        what the library says about it: of an interrupt its number. Raises UcError.
        """

        def event(*said: Any) -> Any:
            try:
                return called(*said)
            except BaseException as error:
                self._caught(error)
                return None

        self._add(kind, event, 1, 0)

    def add_accesses(
        self, kind: int, called: Callable[[int, int], None], low: int = 1, high: int = 0
    ) -> None:
        """Call ``called(address, size)`` before each access of a kind to memory. From ``low`` to
        ``high`` only, if they are in this order. Raises UcError.
        """

        def event(_: int, access: int, address: int, size: int, value: int, data: None) -> None:
            try:
                called(address, size)
            except BaseException as error:
                self._caught(error)

        self._add(kind, event, low, high)

    def add_trace(self, trace: Trace, called: Callable[[int], None]) -> None:
        """Note the address of each quiet instruction before it runs, and call ``called(address)``
        before every other one. Raises UcError.
        """

        def event(_: int, address: int, size: int, data: None) -> None:
            try:
                addresses = trace.addresses
                if (
                    address in trace.quiet
                    and address not in trace.stops
                    and len(addresses) < trace.most
                ):
                    addresses.append(address)
                else:
                    called(address)
            except BaseException as error:
                self._caught(error)

        self._add(UC_HOOK_CODE, event, 1, 0)

    def remove(self) -> None:
        """Remove all of them, and what they refer to."""
        for handle, _ in self._kept:
            binding.uclib.uc_hook_del(self._uc._uch, handle)
        self._kept.clear()

    def raise_again(self) -> None:
        """Raise what a hook has raised since the last time."""
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    def _caught(self, error: BaseException) -> None:
        self._raised = self._raised or error
        self._uc.emu_stop()

    def _add(self, kind: int, event: Callable[..., Any], low: int, high: int) -> None:
        function = _TYPES[kind](event)
        handle = binding.uc_hook_h()
        status = binding.uclib.uc_hook_add(
            self._uc._uch,
            ctypes.byref(handle),
            kind,
            function,
            None,
            ctypes.c_uint64(low),
            ctypes.c_uint64(high),
        )
        if status:
            raise UcError(status)
        self._kept.append((handle, function))
