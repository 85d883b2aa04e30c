"""The timing files, where `record_timing` is on: each session's chunks as they came, beside its log.

The log's lock covers its timing file, too: it is written while the log is open and locked, and
deleted with it. Only the thread that holds the worker's I/O lock runs this code.
"""

from __future__ import annotations

from collections.abc import Sequence

from streaming_logger._base.errors import reason_of
from streaming_logger._context import Context
from streaming_logger._disk.cut import Cut
from streaming_logger._disk.store import ForeignFileError
from streaming_logger._disk.timing import cut_out, format_line, merged
from streaming_logger._write.extension import Extension
from streaming_logger._write.session import Mark, Session

__all__ = ["TimingFiles"]

#: Lines that wait for the disk; above that they become one, which keeps the sums right.
_MAX_WAITING = 1 << 16


class _Recording:
    """What is known of one session's timing file."""

    __slots__ = ("begun", "last", "waiting")

    def __init__(self, last: float) -> None:
        self.last = last
        """Monotonic time of the last chunk; before the first, of the session's start."""
        self.waiting = b""
        """Lines that the disk has not taken."""
        self.begun = False
        """Whether this turn has written to the file."""


class TimingFiles(Extension):
    """Writes `<session>.timing`. A fault never reaches the session's log."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._counters = context.counters
        self._events = context.events
        self._recordings: dict[str, _Recording] = {}

    def wrote(self, session: Session, marks: Sequence[Mark]) -> None:
        """These chunks went to the session's log."""
        recording = self._recordings.get(session.id)
        if recording is None:
            recording = self._recordings[session.id] = _Recording(session.begun)
        lines = [recording.waiting]
        for at, length in marks:
            lines.append(format_line(0.0 if at is None else max(0.0, at - recording.last), length))
            if at is not None:
                recording.last = max(recording.last, at)
        recording.waiting = b"".join(lines)
        self._append(session, recording)

    def was_cut(self, session: Session, cut: Cut) -> None:
        """The same bytes leave the timing file."""
        recording = self._recordings.get(session.id)
        if recording is None:
            return
        try:
            self._store.rewrite_timing(session.name, lambda lines: cut_out(lines, cut.start, cut.end, cut.marker))
        except (OSError, ForeignFileError) as error:
            self._failed(session, error)

    def over(self, session: Session) -> None:
        """The turn's text is in its log, which is still open."""
        self._events.release("timing", session.id)
        recording = self._recordings.pop(session.id, None)
        if recording is not None and recording.waiting:
            self._append(session, recording)

    def _append(self, session: Session, recording: _Recording) -> None:
        try:
            taken = self._store.append_timing(session.name, recording.waiting, repair=not recording.begun)
            recording.begun = True
            self._events.clear("timing", "", subject=session.id)
        except (OSError, ForeignFileError) as error:
            taken = 0
            self._failed(session, error)
        recording.waiting = recording.waiting[taken:]
        if len(recording.waiting) > _MAX_WAITING:
            recording.waiting = merged(recording.waiting)

    def _failed(self, session: Session, error: Exception) -> None:
        """Counts and reports what could not be recorded."""
        self._counters.add(write_errors=1)
        self._events.report(
            "timing",
            "cannot write the timing of %s: %s",
            session.name,
            reason_of(error),
            subject=session.id,
            session=session.id,
        )
