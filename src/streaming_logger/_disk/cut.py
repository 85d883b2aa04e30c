"""Cuts the middle out of a long session file: its beginning and its last part stay, and a marker says what went.

A session's text may hold what looks like a marker. So the file has an extended attribute that says where the
marker of its last cut stands; on a file system without attributes each cut leaves its own marker.

The last part is copied over the middle first, then the file is cut behind it: what a crash in
between leaves has both parts still.
"""

from __future__ import annotations

import contextlib
import errno
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
_MARKER = re.compile(rb"\[streaming_logger: (\d{1,3}(?:,\d{3}){0,6}) characters dropped: session cap\]")
_LONGEST_MARKER = 80
#: The extended attribute with the place of the marker.
_PLACE = "user.streaming_logger.cut"
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
    start, end = _boundary(fd, quarter), _boundary(fd, size - quarter)
    place, marker_size, dropped_before = _earlier_marker(fd)
    if place is None:
        start = place = _behind_markers(fd, start, start + quarter)
    elif not marker_size or place + marker_size > end:
        place, marker_size, dropped_before = start, 0, 0
    start = min(start, place)  # the limit may have been changed since
    characters = _count(fd, start, place) + _count(fd, place + marker_size, end)
    marker = f"[streaming_logger: {dropped_before + characters:,} characters dropped: {SESSION_CAP}]".encode()
    if start + len(marker) + size - end > end:
        return None  # a limit of a few bytes: the parts would overlap
    with contextlib.suppress(OSError, AttributeError):
        os.setxattr(fd, _PLACE, b"%d" % start)  # first: killed in between, the text there is not a marker
    with _without_append(fd):
        _write(fd, marker, start)
        offset = start + len(marker)
        for position in range(end, size, _PIECE):
            piece = os.pread(fd, min(_PIECE, size - position), position)
            _write(fd, piece, offset)
            offset += len(piece)
        os.ftruncate(fd, offset)
    return Cut(start, end, len(marker), characters)


def _earlier_marker(fd: int) -> tuple[int | None, int, int]:
    """(place, length, characters) of the marker of the last cut; its length is 0 without one.

    The place is None on a file system that cannot tell.
    """
    try:
        noted = os.getxattr(fd, _PLACE)
    except AttributeError:  # this system has no such call
        return None, 0, 0
    except OSError as error:
        return (0 if error.errno == errno.ENODATA else None), 0, 0
    if not re.fullmatch(rb"\d{1,18}", noted):
        return 0, 0, 0
    return int(noted), *_marker_at(fd, int(noted))


def _marker_at(fd: int, place: int) -> tuple[int, int]:
    """(length, characters) of a marker at a place; its length is 0 where there is none."""
    found = _MARKER.match(os.pread(fd, _LONGEST_MARKER, place))
    return (len(found[0]), int(found[1].replace(b",", b""))) if found else (0, 0)


def _behind_markers(fd: int, place: int, end: int) -> int:
    """Behind what may be markers of earlier cuts, and may be text: it stays as it is."""
    while place < end and (size := _marker_at(fd, place)[0]):
        place += size
    return place


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
