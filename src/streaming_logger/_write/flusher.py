"""The active half: drains sessions into their files, and completes them.

Only the thread that holds the worker's I/O lock runs this code. A fault leaves what was
not written where it is, in order, to be retried at the next flush; it never propagates.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator

from streaming_logger._base.stats import FULL
from streaming_logger._context import Context
from streaming_logger._disk.store import BusyError, DeleteResult, ForeignFileError
from streaming_logger._memory.session import Completion, Session
from streaming_logger._memory.table import SessionTable
from streaming_logger._write.open_files import OpenFiles

__all__ = ["Flusher"]

#: Sessions in a slice. The worker takes the GIL back after each system call within 5 us, sooner than a
#: thread that waits for it wakes up; so a stream's thread may wait until the end of a slice, 0.5 ms.
#: With 4,000 sessions in one slice it waited for 3 ms at p99; with 32 a flush cost a fifth more CPU time.
_SLICE = 128
#: Sessions looked at, without a system call, between two chances for a job.
_EXAMINED = 1024
#: The slices of a flush are spread over this share of the flush interval.
_SPREAD = 0.5
#: A file that another process locks is retried after so long, then twice as long, ...
_FIRST_RETRY_SECONDS = 0.02
#: ... and so often when the process ends: 2 s.
_LAST_TRIES = 100
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class Flusher:
    """Writes and completes sessions.

    `delete_at_completion` is asked at each completion; `on_disk_full` is called when the disk is.
    """

    def __init__(
        self,
        context: Context,
        table: SessionTable,
        *,
        delete_at_completion: Callable[[], bool],
        on_disk_full: Callable[[], None],
    ) -> None:
        self._table = table
        self.files = OpenFiles(context)
        self._store = context.store
        self._owner = context.owner
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        self._delete_at_completion = delete_at_completion
        self._on_disk_full = on_disk_full
        # By session id: ended turns whose text is not in the file yet, in order.
        self._unfinished: dict[str, deque[Completion]] = {}
        self._busy_attempts = 0  # flushes in a row that met a busy file
        self._busy_now = False  # whether this one did
        self._written = 0  # bytes since the last report
        self._total_written = 0

    # -- what the worker calls -------------------------------------------------------

    @property
    def interval(self) -> float:
        """Seconds from one flush to the next: sooner, for a while, after a file was busy."""
        usual = self._settings.config.flush_interval_seconds
        if not self._busy_attempts:
            return usual
        return min(usual, _FIRST_RETRY_SECONDS * float(2 ** min(self._busy_attempts - 1, 20)))

    @property
    def met_busy(self) -> bool:
        """Whether a file was busy at the last flush."""
        return self._busy_attempts > 0

    def flush(self) -> Generator[float, None, None]:
        """Writes what waits, in slices spread over the interval; ends the sessions that are idle for too long.

        Yields the seconds until the next slice.
        """
        written_before = self._total_written + self._written
        busy_before, self._busy_now = self._busy_attempts, False
        self.files.check_directory()
        # First the live sessions, then the ended turns: an older turn of a session that is live now
        # stands in the queue by then, so that its text is written first.
        sessions = list(self._table.live.values())
        self.complete_ended()
        for session_id in list(self._unfinished):
            if session_id in self._unfinished:
                self._finish(session_id)
                yield 0.0
        dirty: list[Session] = []
        for part in _parts(sessions, _EXAMINED):
            dirty += [session for session in part if session]
            self._end_idle(part)
            yield 0.0
        pause = _SPREAD * self.interval / (1 + len(dirty) // _SLICE)
        yield from self._write(dirty, pause)
        # What began meanwhile need not wait for the next flush.
        begun = set(dirty)
        dirty = [session for session in self._table.live.copy().values() if session and session not in begun]
        self.complete_ended()
        yield from self._write(dirty, pause)
        self._busy_attempts = busy_before + 1 if self._busy_now else 0
        self._report(flushes=1)
        if self._total_written > written_before:
            self._table.progress += 1

    def flush_all(self) -> None:
        """A whole flush at once."""
        for _ in self.flush():
            pass

    def complete_ended(self) -> None:
        """Drains the sessions that no writer can reach any more, closes their files, forgets them."""
        queue = self._table.end_queue
        while queue:
            completion = queue[0]  # taken out below: a worker that dies in between must not lose it
            self._unfinished.setdefault(completion.session_id, deque()).append(completion)
            queue.popleft()
            self._finish(completion.session_id)
        self._report()

    def release(self) -> None:
        """At the end of the process: writes and closes everything; what the disk refuses is lost, and counted."""
        for session in list(self._table.live.values()):
            self._table.end(session.id, "released", "released", session)
        self.complete_ended()
        for _ in range(_LAST_TRIES):
            self._busy_now = False
            for session_id in list(self._unfinished):
                self._finish(session_id)
            if not self._busy_now:
                break
            # Another process's sweeper has a file for microseconds: giving up here lost its last
            # words, 3 to 80 records in every second run of the race suite.
            time.sleep(_FIRST_RETRY_SECONDS)
        for completion in [completion for waiting in self._unfinished.values() for completion in waiting]:
            if completion.session is not None:
                self._report_drops(completion.session, FULL)
                self._table.discard(completion.session, "closed")
                self._report_drops(completion.session, "closed")
            self._forget(completion)
        self._unfinished.clear()
        self._report()

    def is_unfinished(self, session_id: str) -> bool:
        """Whether an ended turn of this session waits for the worker or the disk."""
        # In this order: a turn goes from the queue into `_unfinished` before it leaves the queue.
        return bool(self._table.end_queue) or session_id in self._unfinished

    # -- one session -----------------------------------------------------------------

    def _write(self, sessions: list[Session], pause: float) -> Generator[float, None, None]:
        """Writes what some sessions have, slice by slice."""
        for number, part in enumerate(_parts(sessions, _SLICE)):
            if number:
                yield pause
                if self._table.end_queue:
                    self.complete_ended()
                self.files.check_directory()
            self._write_slice(part)
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

    def _write_slice(self, sessions: list[Session]) -> None:
        """Writes what some sessions have: chunks alone in one system call each, whatever else by `_drain`."""
        now = self._clock.monotonic()
        unfinished, is_verified = self._unfinished, self.files.is_verified
        dirty = [
            session
            for session in sessions
            if session and session.id not in unfinished and (is_verified(session) or self._acquire(session))
        ]
        claimed, texts, counts = self._table.next_batches(dirty)
        sizes = self._store.append_all([session.file for session in claimed], texts)
        self._table.reconcile_all(claimed, texts, counts, sizes)
        for session, size in zip(claimed, sizes, strict=True):
            if size:
                session.written += size
                session.last_write = now
                session.attempts = self._cleared(session.attempts)
        self._written += sum(sizes)
        observers = self._events.observers
        if observers.want_text:
            for session, data, size in zip(claimed, texts, sizes, strict=True):
                if size:
                    observers.text(session.id, data[:size])
        for session in dirty:
            if session.sealed:
                self._drain(session)

    def _acquire(self, session: Session) -> bool:
        """Opens or verifies a session's file; whether it can be written."""
        try:
            self.files.acquire(session)
        except (BusyError, ForeignFileError, OSError, MemoryError) as error:
            session.last_write = self._clock.monotonic()
            self._failed(session, error)
            return False
        return True

    def _drain(self, session: Session, *, verify: bool = False) -> bool:
        """Writes all that waits; False when a fault left something."""
        table, store = self._table, self._store
        try:
            file = self.files.acquire(session, verify=verify)
            while batch := table.next_batch(session):
                size = store.append(file, batch)
                table.reconcile(session, batch, size)
                session.written += size
                self._written += size
                if self._events.observers.want_text:
                    self._events.observers.text(session.id, b"".join(batch)[:size])
        except (BusyError, ForeignFileError, OSError, MemoryError) as error:
            self._failed(session, error)
            return False
        finally:
            session.last_write = self._clock.monotonic()
        session.attempts = self._cleared(session.attempts)
        return True

    def _cleared(self, attempts: int) -> int:
        """After a write: no attempt has failed any more."""
        if attempts:
            self._events.clear("write", "writes recovered")
        return 0

    def _failed(self, session: Session, error: Exception) -> None:
        session.attempts += 1
        if isinstance(error, BusyError):
            self._busy_now = True
            self._busy_attempts = self._busy_attempts or 1
            if session.attempts < 8:
                return  # a sweeper holds a lock for microseconds: no error; a lock held for good is
            text = "locked by another process"
        else:
            text = str(error)
        if isinstance(error, OSError):
            if error.errno == errno.EBADF:
                self.files.close(session)
            elif error.errno in _DISK_FULL:
                self._on_disk_full()
        self._counters.add(write_errors=1)
        kind = "quarantine" if isinstance(error, ForeignFileError) else "write"
        self._events.report(
            kind, "cannot write %s, its text stays in memory: %s", session.name, text, session=session.id
        )

    # -- completion ------------------------------------------------------------------

    def _finish(self, session_id: str) -> None:
        """Completes the turns of one session, oldest first, as far as the disk lets it."""
        waiting = self._unfinished[session_id]
        while waiting and self._finished(waiting[0]):
            self._forget(waiting.popleft())
        if not waiting:
            del self._unfinished[session_id]

    def _finished(self, completion: Completion) -> bool:
        session = completion.session
        if session is None or session.completed:
            return True  # a place in the queue, or a turn that two threads ended at once
        self._table.remove(session)  # its caller may have been interrupted before that
        if session and not self._drain(session, verify=True):
            # It stays, and is tried at each flush; charged like all that is buffered. Where not even
            # the marker of what was dropped finds memory, there is nothing to keep.
            self._table.seal(session)
            if self._table.freeze_gaps(session):
                return False
        session.completed = True
        if session.dropped_chars:
            self._report_drops(session, FULL)
        name, size, age = session.name, session.written, self._clock.monotonic() - session.last_write
        deleted = False
        try:
            deleted = self._close(session, completion, age)
        except OSError as error:
            self._counters.add(write_errors=1)
            self._events.report("completion", "completing %s: %s", name, error, session=session.id)
            self.files.close(session)
        self._owner.discard(name)
        self._count()  # before a caller that waits for the completion goes on
        if completion.cause == "abandoned":
            self._counters.add(sessions_abandoned=1)
        elif completion.cause != "released":
            self._counters.add(sessions_completed=1)
        self._events.emit(
            completion.cause if completion.cause in ("abandoned", "released") else "completed",
            logging.DEBUG,
            "%s %s: %d bytes%s",
            completion.outcome,
            name,
            size,
            ", deleted at once" if deleted else "",
            session=session.id,
            file=name,
            outcome=completion.outcome,
            bytes=size,
            age=round(age, 3),
            reason=completion.cause,
        )
        return True

    def _close(self, session: Session, completion: Completion, idle: float) -> bool:
        """Closes the file, or deletes it where that is the rule; whether it did."""
        config = self._settings.config
        released = completion.cause == "released"
        failed = completion.outcome != "completed" and not released
        if not released and self._delete_at_completion() and not (failed and config.keeps_failed):
            file = self.files.detach(session)
            if file is not None:
                how, size = self._store.delete_completed(session.name, file)
            else:  # parked
                how, size = self._store.delete_if(session.name, lambda claim: True)
            if how is DeleteResult.DELETED:
                self._counters.deleted("immediate", 1, size)
                self._events.emit(
                    "deleted", 0, "", session=session.id, file=session.name, bytes=size, reason="immediate"
                )
            return how is DeleteResult.DELETED
        # The debugging window of a stream that stalled begins at its end, not at its last word.
        if session.written and idle > max(1.0, 0.1 * (config.retention_seconds or 600.0)):
            self._store.directory.touch(session.name)
        if session.written and (failed or config.durability == "completed"):
            file = self.files.acquire(session)  # again, if it was parked
            if failed:
                self._store.mark(file, completion.outcome)
            if config.durability == "completed":
                self._store.sync(file)
        self.files.close(session)
        return False

    def _forget(self, completion: Completion) -> None:
        if completion.session is not None:
            self.files.close(completion.session)
        if completion.done is not None:
            completion.done.set()

    def _end_from_within(self, session: Session, cause: str) -> None:
        """Completes a session that its caller has not: idle for too long, or logging was disabled."""
        if self._table.end(session.id, cause, cause, session):
            self.complete_ended()

    # -- numbers -------------------------------------------------------------------

    def unfinished(self) -> list[Session]:
        """Ended turns that wait for the disk."""
        turns = [completion.session for turns in list(self._unfinished.values()) for completion in list(turns)]
        return [session for session in turns if session is not None]

    def _count(self, **more: int) -> None:
        written, self._written = self._written, 0
        self._total_written += written
        self._counters.add(bytes_written=written, **more)

    def _report(self, **more: int) -> None:
        """Adds up, and writes the ledger, once in a while, not once a session."""
        self._count(**more)
        if self._table.drops_reported < self._counters.dropped_characters.get(FULL, 0):
            for session in [*self._table.live.copy().values(), *self.unfinished()]:
                if session.dropped_chars:
                    self._report_drops(session, FULL)
        self._events.observers.batch()

    def _report_drops(self, session: Session, reason: str) -> None:
        characters = session.dropped_chars
        if not characters:
            return
        session.dropped_chars -= characters  # a writer may have added to it
        if reason == FULL:
            self._table.drops_reported += characters
        lost = {"session": session.id, "characters": characters, "reason": reason}
        self._events.emit("dropped", 0, "", **lost)
        self._events.report("dropped", "%d characters of %r dropped: %s", characters, session.id, reason, **lost)


def _parts(sessions: list[Session], size: int) -> Iterator[list[Session]]:
    """The sessions in slices."""
    for start in range(0, len(sessions), size):
        yield sessions[start : start + size]
