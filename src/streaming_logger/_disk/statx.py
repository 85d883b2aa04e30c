"""What a file is, and when it was made: Python cannot tell the latter on Linux, where `statx` tells both at once."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Found", "lstat"]


class Found(NamedTuple):
    """What lstat says, as far as it matters here, and the time of birth."""

    identity: tuple[int, int]
    """(device, inode)"""
    mode: int
    links: int
    size: int
    mtime: float
    born: float | None
    """None where the file system does not keep it."""


_AT_FDCWD, _AT_SYMLINK_NOFOLLOW = -100, 0x100
_BASIC_STATS, _BTIME = 0x7FF, 0x800
#: struct statx: mask, 12 bytes, nlink, 8 bytes of owner, mode, inode, size; at 80 the birth, at 112 the mtime,
#: at 136 the device.
_STATX = struct.Struct("=I12xI8xH2xQQ32xqI20xqI12xII")


def _by_statx() -> Callable[[str], Found]:
    statx = ctypes.CDLL(None, use_errno=True).statx
    buffer = ctypes.create_string_buffer(256)
    unpack, makedev = _STATX.unpack_from, os.makedev
    devices: dict[tuple[int, int], int] = {}

    def look(path: str) -> Found:
        name = path.encode("utf-8", "surrogateescape")
        if statx(_AT_FDCWD, name, _AT_SYMLINK_NOFOLLOW, _BASIC_STATS | _BTIME, buffer):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        mask, links, mode, inode, size, born, born_ns, mtime, mtime_ns, major, minor = unpack(buffer)
        device = devices.get((major, minor))
        if device is None:
            device = devices[major, minor] = makedev(major, minor)
        birth = born + born_ns / 1e9 if mask & _BTIME else None
        return Found((device, inode), mode, links, size, mtime + mtime_ns / 1e9, birth)

    return look


def _by_lstat(path: str) -> Found:
    found = os.lstat(path)
    return Found(
        (found.st_dev, found.st_ino),
        found.st_mode,
        found.st_nlink,
        found.st_size,
        found.st_mtime,
        getattr(found, "st_birthtime", None),
    )


def _best() -> Callable[[str], Found]:
    if sys.platform == "linux":
        try:
            look = _by_statx()
            look("/")
        except (OSError, AttributeError):  # a C library or a kernel without it
            pass
        else:
            return look
    return _by_lstat


#: What a path leads to, and does not follow a link. Raises as `os.lstat`.
lstat = _best()
