"""When a file was made, which Python cannot tell on Linux; here `statx` does."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable

__all__ = ["birth_time"]

_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME = -100, 0x100, 0x800
_MASK = struct.Struct("=I")
_BTIME = struct.Struct("=qI")
_BTIME_AT = 80


def _by_statx() -> Callable[[str], float | None]:
    statx = ctypes.CDLL(None).statx
    buffer = ctypes.create_string_buffer(256)

    def born(path: str) -> float | None:
        if statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer):
            return None
        if not _MASK.unpack_from(buffer)[0] & _STATX_BTIME:
            return None  # this file system does not keep it
        seconds, nanoseconds = _BTIME.unpack_from(buffer, _BTIME_AT)
        return float(seconds + nanoseconds / 1e9)

    return born


def _by_stat(path: str) -> float | None:
    try:
        return getattr(os.lstat(path), "st_birthtime", None)
    except OSError:
        return None


def _best() -> Callable[[str], float | None]:
    if sys.platform == "linux":
        try:
            return _by_statx()
        except (OSError, AttributeError):  # a C library without it
            pass
    return _by_stat


#: The unix time at which a file was made, or None where that is not known.
birth_time = _best()
