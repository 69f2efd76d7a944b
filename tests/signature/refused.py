"""The refusal of a drawn image, and images that are refused."""

from __future__ import annotations

from struct import pack

import pytest

from kpatch.errors import KpatchError, MatchError
from tests.signature.images import match_of, module_with
from tests.strategies.machine_code import At
from tests.strategies.world_switches import Switch

STATE = At("rdi", 0x1F0)


def refused(made: Switch | bytes, kind: type[KpatchError] = MatchError) -> str:
    """The refusal, said of an image or of a whole section's bytes."""
    contents = made.contents if isinstance(made, Switch) else made
    with pytest.raises(kind) as caught:
        match_of(module_with(contents))
    return str(caught.value)


def with_header(made: Switch, **entries: int) -> bytes:
    """The image with other values in its header."""
    names = ("kernel2monitor", "interrupt_table", "entry_end", "exit_end", "monitor_exec")
    values = dict(zip(names, made.header, strict=True)) | entries
    return pack("<5I", *values.values()) + made.contents[20:]
