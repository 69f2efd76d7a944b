"""A signature that the machine cannot read now is not a wrong one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kpatch.entry import read_text
from kpatch.errors import FileAccessError, SignatureError


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_refusal_of_the_machine_exits_18(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(_: Path) -> os.stat_result:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(FileAccessError, match=os.strerror(code)) as caught:
        read_text(Path("a.toml"))
    assert (caught.value.exit_code, caught.value.where) == (18, "a.toml")


def test_a_file_that_is_not_there_is_still_a_mistake_in_the_data(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="No such file"):
        read_text(tmp_path / "a.toml")


def test_a_pipe_of_that_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(FileAccessError, match="it is not a file"):
        read_text(tmp_path / "a.toml")
