"""The active half: what the worker does once a flush interval, in slices spread over it.

Only the thread that holds the worker's I/O lock runs this code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from streaming_logger._base.errors import reason_of
from streaming_logger._base.stats import FULL
from streaming_logger._context import Context
from streaming_logger._memory.session import Session
from streaming_logger._memory.table import SessionTable
from streaming_logger._write.completions import FIRST_RETRY_SECONDS, AtCompletion, Completions
from streaming_logger._write.drain import Drain

__all__ = ["Flusher"]

#: Sessions in a slice. The worker takes the GIL back after each system call within 5 us, sooner than a
#: thread that waits for it wakes up; so a stream's thread may wait until the end of a slice, 0.5 ms.
#: With 4,000 sessions in one slice it waited for 3 ms at p99; with 32 a flush cost a fifth more CPU time.
_SLICE = 128
#: Sessions looked at, without a system call, between two chances for a job.
_EXAMINED = 1024
#: The slices of a flush are spread over this share of the flush interval.
_SPREAD = 0.5


class Flusher:
    """Writes all sessions, and completes those that ended.

    `at_completion` is asked at each completion; `on_disk_full` is called when the disk is.
    """

    def __init__(
        self,
        context: Context,
        table: SessionTable,
        *,
        at_completion: AtCompletion,
        on_disk_full: Callable[[], None],
    ) -> None:
        self._table = table
        self._drain = Drain(context, table, on_disk_full=on_disk_full)
        self._completions = Completions(context, table, self._drain, at_completion=at_completion)
        self.files = self._drain.files
        self.is_unfinished = self._completions.is_unfinished
        self.unfinished = self._completions.unfinished
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
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
    def met_busy(self) -> bool:
        """Whether a file was busy at the last flush, or since."""
        return self._busy_attempts > 0 or self._drain.met_busy

    def flush(self) -> Generator[float, None, None]:
        """Writes what waits, in slices spread over the interval; ends the sessions that are idle for too long.

        Yields the seconds until the next slice.
        """
        written_before = self._drain.total
        busy_before, self._drain.met_busy = self._busy_attempts, False
        self.files.check_directory()
        self._note(lambda: self._drain.appends.begin_flush(self.unfinished))
        # First the live sessions, then the ended turns: an older turn of a session that is live now
        # stands in the queue by then, so that its text is written first.
        sessions = list(self._table.live.values())
        self.complete_ended()
        for _ in self._completions.retry():
            yield 0.0
        dirty: list[Session] = []
        for part in _parts(sessions, _EXAMINED):
            dirty += [session for session in part if session]
            self._events.observers.sessions(part)
            self._end_idle(part)
            yield 0.0
        pause = _SPREAD * self.interval / (1 + len(dirty) // _SLICE)
        yield from self._write(dirty, pause)
        # What began meanwhile need not wait for the next flush.
        begun = set(dirty)
        dirty = [session for session in self._table.live.copy().values() if session and session not in begun]
        self.complete_ended()
        yield from self._write(dirty, pause)
        self._note(self._drain.appends.end_flush)
        self._busy_attempts = busy_before + 1 if self._drain.met_busy else 0
        self._report(flushes=1)
        if self._drain.total > written_before:
            self._table.progress += 1
        self.ended_at = self._clock.monotonic()

    def flush_all(self) -> None:
        """A whole flush at once."""
        for _ in self.flush():
            pass

    def complete_ended(self) -> None:
        """Drains the sessions that no writer can reach any more, closes their files, forgets them."""
        self._completions.take_ended()
        self._report()

    def release(self) -> None:
        """At the end of the process: writes and closes everything; what the disk refuses is lost, and counted."""
        for session in list(self._table.live.values()):
            self._table.end(session.id, "released", "released", session)
        self.complete_ended()
        self._completions.give_up()
        self._report()

    def _write(self, sessions: list[Session], pause: float) -> Generator[float, None, None]:
        """Writes what some sessions have, slice by slice."""
        for number, part in enumerate(_parts(sessions, _SLICE)):
            if number:
                yield pause
                if self._table.end_queue:
                    self.complete_ended()
                self.files.check_directory()
            self._drain.write_slice(part, self._completions.unfinished_ids)
            self._report()

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
        """Completes a session that its caller has not: idle for too long, or logging was disabled."""
        if self._table.end(session.id, cause, cause, session):
            self.complete_ended()

    def _note(self, work: Callable[[], None]) -> None:
        """Does something in the crash journal, without which the flush goes on."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the sessions' text must reach their files
            self._counters.add(write_errors=1)
            self._events.report("crash journal", "a crash may lose the last flush interval: %s", reason_of(error))

    def _report(self, **more: int) -> None:
        """Adds up, and writes the ledger, once in a while, not once a session."""
        self._drain.count(**more)
        if self._table.drops_reported < self._counters.dropped_characters.get(FULL, 0):
            for session in [*self._table.live.copy().values(), *self.unfinished()]:
                if session.dropped_chars:
                    self._drain.report_drops(session, FULL)
        self._events.observers.batch()


def _parts(sessions: list[Session], size: int) -> Iterator[list[Session]]:
    """The sessions in slices."""
    for start in range(0, len(sessions), size):
        yield sessions[start : start + size]
