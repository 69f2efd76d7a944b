"""The package functions on bytes, where a test has a package in memory anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kpatch.containers import package
from kpatch.containers.package import PackagedModule, tar
from kpatch.containers.package.tar import TarArchive
from kpatch.storage.bulk import Bulk


class Whole(NamedTuple):
    """``PackageResult``, with its bytes."""

    data: bytes
    changed: tuple[str, ...]
    notices: tuple[str, ...]


def modules_in(data: bytes, name: str = "") -> tuple[PackagedModule, ...]:
    return package.modules_in(Bulk(data), name)


def replace_module(data: bytes, name: str, patch: Callable[[str, bytes], bytes]) -> Whole:
    changed = package.with_module(Bulk(data), name, patch)
    if changed is None:
        return Whole(data, (), ())
    done = changed.result(stays=False)
    return Whole(done.data.whole(), done.changed, done.notices)


def read_tar(raw: bytes) -> TarArchive:
    return tar.read(Bulk(raw))
