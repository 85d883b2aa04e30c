"""A session's log together with its timing file: its chunks, each with the delay before it."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator

from streaming_logger._disk.directory import Directory
from streaming_logger._disk.timing import Timing, parse, timing_name_of
from streaming_logger._view.sessions import Opened, Session
from streaming_logger._view.text import PART, Text, utf8_decoder
from streaming_logger.cli._read import with_session
from streaming_logger.cli._text import counted, one_line
from streaming_logger.cli._verb import FOUND_PROBLEMS, note

__all__ = ["Recording", "with_recording"]


class Recording:
    """A session as it was generated.

    Log and timing need not agree: a crash tears either of them, and the log alone has the marks of dropped
    text. The timing goes as far as the log does; what the log has beyond it is the rest.
    """

    def __init__(self, session: Session, text: Text, timing: Timing) -> None:
        self.session = session
        self.timing = timing
        self._text = text
        self._size = text.size
        self._timed = sum(timing.sizes)

    def chunks(self) -> Iterator[tuple[float, bytes]]:
        """(seconds since the chunk before, its bytes) of each chunk that is in the log."""
        part, start, position = b"", 0, 0  # chunks are small: many are read at once
        for delay, timed in zip(self.timing.delays, self.timing.sizes, strict=True):
            size = min(timed, self._size - position)
            if position + size > start + len(part):
                part, start = self._text.read(position, max(size, PART)), position
            data = part[position - start : position - start + size]
            if timed and not data:
                return
            position += len(data)
            yield delay, data

    def rest(self) -> Iterator[bytes]:
        """The bytes of the log that have no timing, in parts."""
        return self._text.parts(self._timed, self._size)

    def texts(self) -> Iterator[tuple[float, str]]:
        """(seconds since the start, text) of each chunk, and of the rest as if it came with the last one."""
        decode = utf8_decoder().decode
        at = 0.0
        for delay, data in self.chunks():
            at += delay
            yield at, decode(data)
        for data in self.rest():
            yield at, decode(data)
        yield at, decode(b"", final=True)

    def remarks(self) -> list[str]:
        """What is wrong with the pair of files."""
        found = []
        name = one_line(timing_name_of(self.session.file))
        if self.timing.unreadable:
            found.append(f"unreadable lines of {name}, skipped: {self.timing.unreadable:,}")
        missing = self._size - self._timed
        if missing > 0:
            verb = "has" if missing == 1 else "have"
            found.append(f"the last {missing:,} of {counted(self._size, 'byte')} {verb} no timing")
        if missing < 0:
            found.append(f"{name} has {counted(-missing, 'byte')} more than the log")
        return found


def with_recording(args: Namespace, use: Callable[[Recording], int]) -> int:
    """Opens the recording of `args.id` for `use`, and returns its exit code; says why where there is none."""

    def with_timing(opened: Opened) -> int:
        session = opened.session
        try:
            timing = _read_timing(opened.directory, timing_name_of(session.file))
        except FileNotFoundError:
            note(
                f"{one_line(session.id)} has no timing file; the setting record_timing: true records one "
                "for each session that begins after it is set"
            )
            return FOUND_PROBLEMS
        return use(Recording(session, opened.text, timing))

    return with_session(args, with_timing)


def _read_timing(directory: Directory, name: str) -> Timing:
    fd = directory.open_file(name, os.O_RDONLY)
    try:
        with open(fd, "rb", closefd=False) as lines:
            return parse(lines)
    finally:
        directory.close_file(fd)
