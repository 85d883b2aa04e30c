"""Cuts the middle out of a long session file: its beginning and its last part stay, and a marker says what went.

The last part is copied over the middle first, then the file is cut behind it: what a crash in
between leaves has both parts still.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows: files are not cut there
    fcntl = None  # type: ignore[assignment]

__all__ = ["SESSION_CAP", "Cut", "can_cut", "cut"]

#: Why text is dropped that makes a session longer than it may be.
SESSION_CAP = "session cap"

can_cut = fcntl is not None
_PIECE = 1 << 20
_MARKER = re.compile(rb"\[streaming_logger: ([\d,]+) characters dropped: session cap\]")
#: The bytes of a UTF-8 character but its first.
_CONTINUATION = bytes(range(0x80, 0xC0))
_LONGEST_CHARACTER = 4


class Cut(NamedTuple):
    """What a cut did, in bytes of the file as it was before."""

    start: int
    """Where the marker stands now."""
    end: int
    """Up to here the old text went; what was behind it stands behind the marker."""
    marker: int
    """The marker's length."""
    characters: int
    """Characters dropped by this cut alone."""


def cut(fd: int, limit: int) -> Cut | None:
    """Shortens a file to about half of `limit` bytes; None where that is not necessary.

    The first quarter of `limit` stays, and the last. The caller holds the file's exclusive lock.
    """
    size = os.fstat(fd).st_size
    if size <= limit:
        return None
    quarter = limit // 4
    start, before, dropped_before = _earlier_marker(fd, quarter)
    if not before:
        start = _boundary(fd, quarter)
    end = _boundary(fd, size - quarter)
    characters = _count(fd, start + before, end)
    marker = f"[streaming_logger: {dropped_before + characters:,} characters dropped: {SESSION_CAP}]".encode()
    if start + len(marker) + size - end > end:
        return None  # a limit of a few bytes: the parts would overlap
    with _without_append(fd):
        _write(fd, marker, start)
        offset = start + len(marker)
        for position in range(end, size, _PIECE):
            piece = os.pread(fd, min(_PIECE, size - position), position)
            _write(fd, piece, offset)
            offset += len(piece)
        os.ftruncate(fd, offset)
    return Cut(start, end, len(marker), characters)


def _earlier_marker(fd: int, quarter: int) -> tuple[int, int, int]:
    """(start, length, characters) of the marker of an earlier cut; its length is 0 without one."""
    begin = max(0, quarter - _LONGEST_CHARACTER)
    found = _MARKER.search(os.pread(fd, 200, begin))
    if found is None or found.start() > _LONGEST_CHARACTER:
        return 0, 0, 0
    return begin + found.start(), len(found[0]), int(found[1].replace(b",", b""))


def _boundary(fd: int, position: int) -> int:
    """The beginning of the character at a position."""
    begin = max(0, position - _LONGEST_CHARACTER)
    window = os.pread(fd, position - begin + 1, begin)
    for back in range(1, len(window) + 1):
        if window[-back] not in _CONTINUATION:
            return begin + len(window) - back
    return position


def _count(fd: int, start: int, end: int) -> int:
    """Characters between two places."""
    return sum(
        len(os.pread(fd, min(_PIECE, end - position), position).translate(None, _CONTINUATION))
        for position in range(start, end, _PIECE)
    )


def _write(fd: int, data: bytes, offset: int) -> None:
    while data:
        size = os.pwrite(fd, data, offset)
        data, offset = data[size:], offset + size


@contextlib.contextmanager
def _without_append(fd: int) -> Iterator[None]:
    """Linux appends what `pwrite` gets, whatever its offset, while the descriptor is open for appending."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)
    try:
        yield
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
