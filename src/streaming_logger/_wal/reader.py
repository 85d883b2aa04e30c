"""What live processes have not written to the files yet, read from their logs: text is seen as soon as it is logged.

Nothing is locked, and nothing is mapped: a segment that is emptied, used again or removed meanwhile is read once more.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from streaming_logger._base.errors import StreamingLoggerError
from streaming_logger._disk.directory import Directory
from streaming_logger._wal.contents import Turn, turns_in
from streaming_logger._wal.dead import opened, read_all, segment_paths
from streaming_logger._wal.header import HEADER_SIZE, about_of
from streaming_logger._wal.segment import HEADER_SIZE as SEGMENT_HEADER
from streaming_logger._wal.storage import OWN, SET_NAME

__all__ = ["Tail", "tails"]

_TRIES = 3


class Tail(NamedTuple):
    """Text of a session that its file does not have yet."""

    session_id: str
    file_name: str
    text: bytes
    at: int
    """The size of the file behind which it comes."""
    is_active: bool
    """Whether the session goes on, as far as the log says."""


def tails(place: Path, directory: Directory, names: Collection[str] | None = None) -> dict[str, Tail]:
    """By file name, what comes behind the content that each file has now; of these files, or of all.

    Empty where logs cannot be read.
    """
    found: dict[str, Tail] = {}
    left = None if names is None else set(names)
    for header in _headers(place, directory):
        for _ in range(_TRIES):
            before = _sizes(directory, left)
            turns = _turns(header)
            after = _sizes(directory, left)
            if turns is None:
                continue
            told = [turn for turn in turns if left is None or turn.file_name in left]
            if all(before.get(turn.file_name) == after.get(turn.file_name) for turn in told):
                for turn in told:
                    _add(found, turn, before.get(turn.file_name, 0))
                break
    return found


def _add(found: dict[str, Tail], turn: Turn, size: int) -> None:
    text, written = turn.text, turn.written
    if turn.attempt is not None and size > turn.attempt.file_size:
        # The append that was under way when the log was read has been done, wholly or in part.
        written = min(turn.attempt.start + size - turn.attempt.file_size, max(turn.attempt.start, turn.attempt.end))
    before = found.get(turn.file_name)
    rest = (b"" if before is None else before.text) + text[written:]
    if rest or turn.end is None:
        found[turn.file_name] = Tail(turn.session_id, turn.file_name, rest, size, turn.end is None)


def _headers(place: Path, directory: Directory) -> Iterator[Path]:
    """The headers of the logs of this directory, of live processes and dead ones."""
    try:
        names = sorted(filter(SET_NAME.fullmatch, os.listdir(place)))
        here = os.stat(directory.path)
    except OSError:
        return
    for name in names:
        identity = OWN.get(name)
        if identity is None:
            with suppress(OSError, StreamingLoggerError):
                fd = opened(place / name)
                if fd is not None:
                    try:
                        about = about_of(read_all(fd, 0, HEADER_SIZE))
                    finally:
                        os.close(fd)
                    identity = about["device"], about["inode"]
        if identity == (here.st_dev, here.st_ino):
            yield place / name


def _turns(header: Path) -> list[Turn] | None:
    """What a log says; None when it was changed too much while it was read."""
    contents = []
    try:
        for path in segment_paths(header):
            fd = opened(path)
            if fd is None:
                return None
            try:
                size = os.fstat(fd).st_size
                begins = read_all(fd, 0, SEGMENT_HEADER)
                content = read_all(fd, 0, size)
                if read_all(fd, 0, SEGMENT_HEADER) != begins:
                    return None
                contents.append(content)
            finally:
                os.close(fd)
        return turns_in(contents)
    except (OSError, StreamingLoggerError, ValueError, LookupError):
        return None


def _sizes(directory: Directory, names: Collection[str] | None) -> dict[str, int]:
    """Of these files, or of all."""
    sizes = {}
    with suppress(OSError):
        for name in os.listdir(directory.path) if names is None else names:
            with suppress(OSError):
                sizes[name] = os.lstat(directory.path / name).st_size
    return sizes
