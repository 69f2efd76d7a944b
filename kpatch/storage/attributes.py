"""Owner, mode, ACL and extended attributes of a file go on to the one that takes its place."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from pathlib import Path
from typing import Final

from kpatch.storage.reasons import not_given_away

_NOT_MINE_TO_GIVE: Final = (errno.EPERM, errno.EINVAL)
"""EINVAL is an owner that the user namespace does not know (chown(2))."""

_ACL: Final = "system.posix_acl_access"
_OF_THE_CONTENTS: Final = ("security.ima", "security.evm")
"""Checksums that the kernel keeps of the bytes: they are those of the old ones."""

_ACL_ENTRY: Final = struct.Struct("<HHI")
_GROUP_OBJ, _MASK = 0x04, 0x10
"""Tags of an ACL's entries (Linux, include/uapi/linux/posix_acl.h)."""


def take_after(handle: int, model: Path, *, must_own: bool) -> tuple[str, ...]:
    """Give the open file what ``model`` has. Returns the names of what could not be given.

    Where there is no ``model`` it keeps what a new file has there, by umask(2) or the folder's ACL.
    Without ``must_own`` the owner, and the bits that depend on it, come along where that is
    permitted. Raises FileAccessError where the owner must be given and cannot, and OSError.
    """
    try:
        status = model.stat()
    except FileNotFoundError:
        return ()
    attributes = _attributes(model)
    # Owner first: giving a file away clears its set-user-ID bits.
    own = os.fstat(handle)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.fchown(handle, status.st_uid, status.st_gid)
        except OSError as error:
            if must_own:
                raise not_given_away(model, status, own, error) from error
            if error.errno not in _NOT_MINE_TO_GIVE:
                raise
    _drop_inherited_acl(handle)
    mode = stat.S_IMODE(status.st_mode) & (0o7777 if must_own else 0o777)
    if _ACL in attributes:
        # The group's bits in the mode are the ACL's mask (acl(5)): without the ACL they would
        # give the group what only a named user had.
        mode = mode & ~stat.S_IRWXG | _group_permission(attributes[_ACL]) << 3
    os.fchmod(handle, mode)
    return tuple(
        name for name in sorted(attributes) if not _is_given(handle, name, attributes[name])
    )


def _attributes(model: Path) -> dict[str, bytes]:
    """All extended attributes, the ACL among them, where Python can read them (Linux)."""
    if not hasattr(os, "listxattr"):
        return {}
    found: dict[str, bytes] = {}
    with contextlib.suppress(OSError):  # no such thing on this file system
        for name in os.listxattr(model):
            if name not in _OF_THE_CONTENTS:
                with contextlib.suppress(OSError):
                    found[name] = os.getxattr(model, name)
    return found


def _drop_inherited_acl(handle: int) -> None:
    """Take away the ACL that a new file has from its folder's default ACL (acl(5)).

    The mode that it is given next would be that ACL's mask, and let its users in. Raises OSError.
    """
    if hasattr(os, "listxattr") and _ACL in _names(handle):
        os.removexattr(handle, _ACL)


def _names(handle: int) -> list[str]:
    try:
        return os.listxattr(handle)
    except OSError:  # no such thing on this file system
        return []


def _is_given(handle: int, name: str, value: bytes) -> bool:
    try:
        if name in os.listxattr(handle) and os.getxattr(handle, name) == value:
            return True
        os.setxattr(handle, name, value)
    except OSError:
        return False
    return True


def _group_permission(acl: bytes) -> int:
    """What the owning group may do under an ACL: its own entry, as far as the mask lets it."""
    entries: dict[int, int] = {tag: may for tag, may, _ in _ACL_ENTRY.iter_unpack(acl[4:])}
    return entries.get(_GROUP_OBJ, 0) & entries.get(_MASK, 7) & 7
