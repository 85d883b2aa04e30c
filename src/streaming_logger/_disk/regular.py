"""Reads a small file that somebody else may have made: never waits for it, and never reads more than it may hold."""

from __future__ import annotations

import os
import stat

__all__ = ["IrregularFileError", "read_regular", "read_whole"]

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_FLAGS |= getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class IrregularFileError(OSError):
    """Not a regular file, or one that is too large; the text says which."""


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """What is in a file of at most `limit` bytes. Raises `IrregularFileError`, or the `OSError` of a fault."""
    _check(os.stat(path), limit)  # first: to open a device may have effects
    # One call in C opens and wraps it: an exception that a signal handler raises leaves no descriptor behind.
    # `open`, not `io.FileIO`: a program's tests may have replaced it, together with `os.open`.
    with next(map(open, map(os.open, (path,), (_FLAGS,)), ("rb",), (0,))) as file:
        return read_whole(file.fileno(), limit)


def read_whole(fd: int, limit: int) -> bytes:
    """The same for a descriptor that has not been read."""
    _check(os.fstat(fd), limit)
    parts, size = [], 0
    while size <= limit and (part := os.read(fd, limit + 1 - size)):
        parts.append(part)
        size += len(part)
    if size > limit:
        raise _too_large(limit)  # it grew, or its file system does not tell sizes
    return b"".join(parts)


def _check(found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise IrregularFileError(0, _KINDS.get(stat.S_IFMT(found.st_mode), "not a file"))
    if found.st_size > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> IrregularFileError:
    return IrregularFileError(0, f"more than {limit:,} bytes")
