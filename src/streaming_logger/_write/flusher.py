"""What the worker does with the log: applies it, and once a flush interval writes the sessions, in slices.

Only the thread that does the I/O runs this code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from streaming_logger._base.stats import FULL
from streaming_logger._context import Context
from streaming_logger._wal.log import Log
from streaming_logger._wal.notes import Notes
from streaming_logger._wal.record import About
from streaming_logger._write.completions import FIRST_RETRY_SECONDS, AtCompletion, Completions
from streaming_logger._write.session import Session
from streaming_logger._write.sessions import Sessions
from streaming_logger._write.writer import Writer

__all__ = ["Flusher"]

#: Sessions in a slice. The worker takes the GIL back after each system call within 5 us, sooner than a
#: thread that waits for it wakes up; so a stream's thread may wait until the end of a slice, 0.5 ms.
#: With 4,000 sessions in one slice it waited for 3 ms at p99; with 32 a flush cost a fifth more CPU time.
_SLICE = 128
#: Sessions looked at, without a system call, between two chances for a job.
_EXAMINED = 1024
#: The slices of a flush are spread over this share of the flush interval.
_SPREAD = 0.5
#: While text comes the log is applied so often.
_APPLY_SECONDS = 0.2
#: A flush for lack of room that wrote nothing is tried again after so long.
_RETRY_SECONDS = 1.0
#: Active sessions in one note.
_NOTED = 512


class Flusher:
    """See the module. `at_completion` is asked at each completion; `on_disk_full` is called when the disk is."""

    def __init__(
        self,
        context: Context,
        log: Log,
        *,
        at_completion: AtCompletion,
        on_disk_full: Callable[[], None],
    ) -> None:
        self._log = log
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        self._notes = Notes(log)
        self.sessions = Sessions(log, context.counters, lambda: context.settings.buffer_bytes, context.clock.monotonic)
        self.writer = Writer(context, self.sessions, self._notes, on_disk_full)
        self._completions = Completions(context, self.sessions, self.writer, self._notes, at_completion)
        self.files = self.writer.files
        self.unfinished = self._completions.unfinished
        self._is_quiet = False
        self._unprotected = 0
        self._made_progress = True
        self._tried_at = float("-inf")
        self._busy_attempts = 0  # flushes in a row that met a busy file
        self.ended_at = float("-inf")
        """Monotonic time at which the last flush ended."""

    @property
    def interval(self) -> float:
        """Seconds from one flush to the next: sooner, for a while, after a file was busy."""
        usual = self._settings.config.flush_interval_seconds
        if not self.met_busy:
            return usual
        return min(usual, FIRST_RETRY_SECONDS * float(2 ** min(max(0, self._busy_attempts - 1), 20)))

    @property
    def apply_interval(self) -> float:
        """Seconds until the log should be looked at again."""
        usual = self._settings.config.flush_interval_seconds
        return usual if self._is_quiet else min(usual, _APPLY_SECONDS)

    @property
    def met_busy(self) -> bool:
        """Whether a file was busy at the last flush, or since."""
        return self._busy_attempts > 0 or self.writer.met_busy

    def apply(self) -> Generator[float, None, None]:
        """Applies the log, in slices. What is too much for it is flushed at once."""
        before = self.sessions.applied
        self._log.keep_ready()
        yield from self._apply()
        self._is_quiet = self.sessions.applied == before
        self._note_holes()
        if self._is_pressed and self._may_retry:
            yield from self.flush(spread=0.0)
            yield from self._make_room()

    def _apply(self) -> Generator[float, None, None]:
        """Applies the log. Before memory is full, what is in it goes to the disk."""
        for _ in self.sessions.apply():
            if self.sessions.used > self._settings.buffer_bytes // 4 and self._may_retry:
                before = self.writer.total
                sessions = [session for session in self.sessions.live.values() if session]
                yield from self._write(sessions, 0.0)
                self._finish_ended()
                self._tried(before)
            yield 0.0

    @property
    def _may_retry(self) -> bool:
        """Whether a flush for lack of room makes sense: not right after one that wrote nothing."""
        return self._made_progress or self._clock.monotonic() - self._tried_at > _RETRY_SECONDS

    def _tried(self, written_before: int) -> None:
        self._made_progress = self.writer.total > written_before
        self._tried_at = self._clock.monotonic()

    def _make_room(self) -> Generator[float, None, None]:
        """As long as records wait that found no room in the log: writes what it holds, and moves them into it."""
        while self._log.is_short:
            place = self.sessions.applied
            self._log.keep_ready()
            yield from self._apply()
            if self.sessions.applied == place:
                return
            yield from self.flush(spread=0.0)

    @property
    def _is_pressed(self) -> bool:
        """Whether the log has no room for what comes until the next flush."""
        return self._log.is_short or not self._log.is_ready

    def flush(self, spread: float = _SPREAD) -> Generator[float, None, None]:
        """Writes what waits, in slices spread over a share of the interval; ends the sessions that are idle too long.

        Yields the seconds until the next slice.
        """
        written_before = self.writer.total
        busy_before, self.writer.met_busy = self._busy_attempts, False
        self.files.check_directory()
        self._log.keep_ready()
        yield from self._apply()
        boundary = self.sessions.applied
        sessions = list(self.sessions.live.values())
        self._finish_ended()
        for _ in self._completions.retry():
            yield 0.0
        dirty: list[Session] = []
        for part in _parts(sessions, _EXAMINED):
            dirty += [session for session in part if session]
            self._events.observers.sessions(part)
            self._end_idle(part)
            yield 0.0
        pause = spread * self.interval / (1 + len(dirty) // _SLICE)
        yield from self._write(dirty, pause)
        # What began meanwhile need not wait for the next flush.
        self.sessions.apply_all()
        begun = set(dirty)
        dirty = [session for session in self.sessions.live.values() if session and session not in begun]
        self._finish_ended()
        yield from self._write(dirty, pause)
        self._checkpoint(boundary)
        self._busy_attempts = busy_before + 1 if self.writer.met_busy else 0
        self._report(flushes=1)
        self._tried(written_before)
        self.ended_at = self._clock.monotonic()

    def flush_all(self) -> None:
        """A whole flush at once."""
        for _ in self.flush():
            pass

    def complete_ended(self) -> None:
        """Carries out the ends that the log has: writes the rest, closes the files, forgets the sessions."""
        self._log.keep_ready()
        for _ in self._apply():
            pass
        for _ in self._make_room():
            pass
        self._finish_ended()

    def _finish_ended(self) -> None:
        self._completions.take_ended()
        self._report()

    def release(self) -> None:
        """At the end of the process: writes and closes everything; what the disk refuses is lost, and counted."""
        self.writer.hurry()
        self.complete_ended()
        for session in list(self.sessions.live.values()):
            self._end_from_within(session, "released")
        self.complete_ended()
        self._completions.give_up()
        self._report()

    # -- inside ------------------------------------------------------------------------

    def _write(self, sessions: list[Session], pause: float) -> Generator[float, None, None]:
        """Writes what some sessions have, slice by slice."""
        for number, part in enumerate(_parts(sessions, _SLICE)):
            if number:
                yield pause
                if self.sessions.ended:
                    self._finish_ended()
                self.files.check_directory()
            active = [session for session in part if session.completion is None]
            self.writer.write(active, self._completions.unfinished_ids)
            self._report()

    def _checkpoint(self, boundary: int) -> None:
        """What the log has before this place is in the files, or is noted once more: its segments are used again."""
        log = self._log
        if not log.is_short:  # a chunk that is longer than the whole log cannot be kept in it
            boundary = min(boundary, self.sessions.needed)
        if log.is_half_full:
            log.rotate()
        if len(log.segments) > 1 and log.segments[0].end <= boundary:
            self._note_again(boundary)
            log.release(boundary)
        log.tend()
        self._check_storage()

    def _note_again(self, boundary: int) -> None:
        """What the log is about to forget."""
        for session in [*self.unfinished(), *self.sessions.live.values()]:
            if session.safe < boundary and (session or session.completion is not None):
                end = None if session.completion is None else session.completion.end
                self._notes.again(self._about(session), end, b"".join(self._frozen(session)))
                session.safe = self.sessions.applied
        keys = list(self.sessions.live)
        for start in range(0, len(keys), _NOTED):
            self._notes.live(keys[start : start + _NOTED], self.sessions.applied)

    def _check_storage(self) -> None:
        """Notices that the log's files were removed, or that records had to wait outside of it."""
        log, unprotected = self._log, self._log.unprotected
        if log.storage.is_whole():
            self._events.clear("crash journal lost", "the crash journal is whole again", subject="journal")
        else:
            self._events.report(
                "crash journal lost", "the crash journal is gone: a crash may lose text", subject="journal"
            )
            if log.replace_storage():
                self.sessions.apply_all()
                place = min(log.segments[-1].start, self.sessions.needed)
                self._note_again(place)
                log.release(place)
        if unprotected > self._unprotected and log.storage.is_shared:
            self._events.report(
                "crash journal full",
                "%d chunks found no room in the crash journal for a while: a crash would have lost them",
                unprotected - self._unprotected,
                subject="journal",
            )
        else:
            self._events.clear("crash journal full", "", subject="journal")
        self._unprotected = unprotected

    def _frozen(self, session: Session) -> list[bytes]:
        self.sessions.freeze(session)
        return list(map(bytes, session.unwritten()))

    def _note_holes(self) -> None:
        """Of text that was dropped here the log must not bring back a part."""
        while self.sessions.holes:
            session = self.sessions.holes.pop()
            self._notes.lost(self._about(session))

    def _about(self, session: Session) -> About:
        turn = 0 if session.completion is None else session.completion.end.number
        return About(session.key, turn, self.sessions.applied)

    def _end_idle(self, sessions: list[Session]) -> None:
        """Completes the sessions that are idle for too long; all of them, when logging was disabled."""
        config, now = self._settings.config, self._clock.monotonic()
        timeout = float("inf") if config.idle_timeout_minutes is None else config.idle_timeout_minutes * 60
        for session in sessions:
            if now - session.last_write > timeout and not session:
                self._end_from_within(session, "abandoned")
            elif not config.enabled:
                self._end_from_within(session, "disabled")

    def _end_from_within(self, session: Session, cause: str) -> None:
        """Completes a session that its caller has not: idle for too long, logging was disabled, or the end."""
        self.sessions.end(session.key, cause, cause)
        self.sessions.apply_all()
        self._finish_ended()

    def _report(self, **more: int) -> None:
        """Adds up, and writes the ledger, once in a while, not once a session."""
        self.writer.count(**more)
        if self.sessions.drops_reported < self._counters.dropped_characters.get(FULL, 0):
            for session in [*self.sessions.live.values(), *self.unfinished()]:
                if session.dropped_chars:
                    self.writer.report_drops(session, FULL)
        self._events.observers.batch()


def _parts(sessions: list[Session], size: int) -> Iterator[list[Session]]:
    """The sessions in slices."""
    for start in range(0, len(sessions), size):
        yield sessions[start : start + size]
