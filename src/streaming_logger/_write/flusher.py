"""The active half: drains sessions into their files, and completes them.

Only who holds the worker's I/O lock is in here, so one thread at a time. A fault leaves
what was not written where it is, in order, to be tried again at the next flush; it never
leaves this room as an exception.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from streaming_logger._base.clock import Clock
from streaming_logger._base.stats import FULL, Counters
from streaming_logger._config.watch import Settings
from streaming_logger._disk.owner import OwnerFile
from streaming_logger._disk.store import BusyError, QuarantinedError, Removal, Store
from streaming_logger._events.event_log import Door
from streaming_logger._memory.session import Completion, Session
from streaming_logger._memory.table import SessionTable
from streaming_logger._write.open_files import OpenFiles

__all__ = ["Flusher"]

#: Sessions looked at between two chances for an order.
_SLICE = 64
#: A file that somebody else holds is tried again after so long, then twice as long, ...
_FIRST_RETRY_SECONDS = 0.02
#: ... and so often when the process ends: 2 s.
_LAST_TRIES = 100
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class Flusher:
    """The worker's hands on active sessions.

    `delete_at_completion` is asked at each completion; `disk_full` is told when the disk is.
    """

    def __init__(
        self,
        table: SessionTable,
        store: Store,
        files: OpenFiles,
        owner: OwnerFile,
        settings: Settings,
        counters: Counters,
        clock: Clock,
        door: Door,
        *,
        delete_at_completion: Callable[[], bool],
        disk_full: Callable[[], None],
    ) -> None:
        self._table = table
        self._store = store
        self._files = files
        self._owner = owner
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._door = door
        self._delete_at_completion = delete_at_completion
        self._disk_full = disk_full
        # By session id: ended turns whose text is not in the file yet, in order.
        self._unfinished: dict[str, deque[Completion]] = {}
        # Flushes in a row that met a busy file, and whether this one did.
        self._busy_attempts = 0
        self._busy_now = False
        # Bytes written: since the last report, and in all.
        self._written = 0
        self._total_written = 0

    # -- what the worker is told to do -----------------------------------------------

    @property
    def interval(self) -> float:
        """Seconds from one flush to the next: sooner, for a while, when somebody held a file."""
        usual = self._settings.config.flush_interval_seconds
        if not self._busy_attempts:
            return usual
        return min(usual, _FIRST_RETRY_SECONDS * float(2 ** min(self._busy_attempts - 1, 20)))

    @property
    def met_busy(self) -> bool:
        """Whether somebody held a file at the last flush."""
        return self._busy_attempts > 0

    def flush(self) -> Iterator[None]:
        """Writes what waits, session by session, in slices; abandons those that have gone silent."""
        self._files.look_at_directory()
        written_before = self._total_written + self._written
        busy_before, self._busy_now = self._busy_attempts, False
        # First the live sessions, then the ended turns: an older turn of a session that is live now
        # stands in the queue by then, so that its text is written first.
        sessions = iter(list(self._table.live.values()))
        self.complete_ended()
        for session_id in list(self._unfinished):
            if session_id in self._unfinished:
                self._finish(session_id)
                yield
        config = self._settings.config
        patience = float("inf") if config.idle_timeout_minutes is None else config.idle_timeout_minutes * 60
        now = self._clock.monotonic()
        while part := list(islice(sessions, _SLICE)):
            self._flush_slice(part, now)
            for session in part:
                if now - session.last_write > patience and not session:
                    self._end_from_within(session, "abandoned")
                if not config.enabled:
                    self._end_from_within(session, "disabled")
            self._report()
            yield
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
        must_verify, self._files.suspect = self._files.suspect, True
        queue = self._table.end_queue
        while queue:
            completion = queue[0]  # taken out below: a worker that dies in between must not lose it
            self._unfinished.setdefault(completion.session_id, deque()).append(completion)
            queue.popleft()
            self._finish(completion.session_id)
        self._files.suspect = must_verify
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

    def _flush_slice(self, sessions: list[Session], now: float) -> None:
        """Writes what some sessions have: in one system call where all is well, else by `_drain`."""
        unfinished = self._unfinished
        dirty = [session for session in sessions if session and session.id not in unfinished]
        if not self._files.suspect:
            claimed, texts, counts = self._table.claim(dirty)
            sizes = self._store.append_all([session.file for session in claimed], texts)
            self._table.settle(claimed, texts, counts, sizes)
            for session, size in zip(claimed, sizes, strict=True):
                if size:
                    session.written += size
                    session.last_write = now
            self._written += sum(sizes)
            dirty = [session for session in dirty if session.sealed]
        for session in dirty:
            self._drain(session)

    def _drain(self, session: Session) -> bool:
        """Writes all that waits; False when a fault left something."""
        table, store = self._table, self._store
        try:
            file = self._files.of(session)
            while batch := table.next_batch(session):
                size = store.append(file, batch)
                table.written(session, batch, size)
                session.written += size
                self._written += size
        except (BusyError, QuarantinedError, OSError, MemoryError) as error:
            self._failed(session, error)
            return False
        finally:
            session.last_write = self._clock.monotonic()
        if session.attempts:
            session.attempts = 0
            self._door.recovered("write", "the disk takes text again")
        return True

    def _failed(self, session: Session, error: Exception) -> None:
        session.attempts += 1
        if isinstance(error, BusyError):
            self._busy_now = True
            self._busy_attempts = self._busy_attempts or 1
            if session.attempts < 8:
                return  # a sweeper's microseconds are no error; a lock held for good is
            text = "somebody holds its lock"
        else:
            text = str(error)
        if isinstance(error, OSError):
            if error.errno == errno.EBADF:
                self._files.drop(session)
            elif error.errno in _DISK_FULL:
                self._disk_full()
        self._counters.add(write_errors=1)
        kind = "quarantine" if isinstance(error, QuarantinedError) else "write"
        self._door.error(kind, "cannot write %s, the text waits in memory: %s", session.name, text, session=session.id)

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
        if session and not self._drain(session):
            # It stays, and is tried at each flush; charged like all that is buffered. Where not even
            # the marker of what was dropped finds memory, there is nothing to keep.
            self._table.seal(session)
            if self._table.freeze_gaps(session):
                return False
        session.completed = True
        if session.dropped:
            self._report_drops(session, FULL)
        name, size, age = session.name, session.written, self._clock.monotonic() - session.last_write
        deleted = False
        try:
            deleted = self._close(session, completion, age)
        except OSError as error:
            self._counters.add(write_errors=1)
            self._door.error("completion", "completing %s: %s", name, error, session=session.id)
            self._files.drop(session)
        self._owner.discard(name)
        self._count()  # before anybody who waits for the completion goes on
        if completion.cause == "abandoned":
            self._counters.add(sessions_abandoned=1)
        elif completion.cause != "released":
            self._counters.add(sessions_completed=1)
        self._door.record(
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

    def _close(self, session: Session, completion: Completion, silent: float) -> bool:
        """Closes the file, or deletes it where that is the rule; whether it did."""
        config = self._settings.config
        released = completion.cause == "released"
        trouble = completion.outcome != "completed" and not released
        if not released and self._delete_at_completion() and not (trouble and config.keeps_trouble):
            file = self._files.give(session)
            if file is not None:
                how, size = self._store.delete_completed(session.name, file)
            else:  # parked
                how, size = self._store.delete_if(session.name, lambda fd, found: True)
            if how is Removal.DELETED:
                self._counters.deleted("immediate", 1, size)
                self._door.ledger.note(
                    self._clock.wall(), "deleted", session=session.id, file=session.name, bytes=size, reason="immediate"
                )
            return how is Removal.DELETED
        # The debugging window of a stream that stalled begins at its end, not at its last word.
        if session.written and silent > max(1.0, 0.1 * (config.retention_seconds or 600.0)):
            self._store.directory.touch(session.name)
        if session.written and (trouble or config.durability == "completed"):
            file = self._files.of(session)  # again, if it was parked
            if trouble:
                self._store.mark(file, completion.outcome)
            if config.durability == "completed":
                self._store.sync(file)
        self._files.drop(session)
        return False

    def _forget(self, completion: Completion) -> None:
        if completion.session is not None:
            self._files.drop(completion.session)
        if completion.done is not None:
            completion.done.set()

    def _end_from_within(self, session: Session, cause: str) -> None:
        """Completes a session that nobody completed: silent for too long, or logging was disabled."""
        if self._table.end(session.id, cause, cause, session):
            self.complete_ended()

    # -- numbers -------------------------------------------------------------------

    def unfinished(self) -> list[Session]:
        """Ended turns that wait for the disk."""
        waiting = [completion.session for turns in list(self._unfinished.values()) for completion in list(turns)]
        return [session for session in waiting if session is not None]

    def _count(self, **more: int) -> None:
        written, self._written = self._written, 0
        self._total_written += written
        self._counters.add(bytes_written=written, **more)

    def _report(self, **more: int) -> None:
        """Adds up, and writes the ledger, once in a while, not once a session."""
        self._count(**more)
        if self._table.drops_reported < self._counters.dropped_characters.get(FULL, 0):
            for session in [*self._table.live.copy().values(), *self.unfinished()]:
                if session.dropped:
                    self._report_drops(session, FULL)
        self._door.ledger.write()

    def _report_drops(self, session: Session, reason: str) -> None:
        characters = session.dropped
        if not characters:
            return
        session.dropped -= characters  # a writer may have added to it
        if reason == FULL:
            self._table.drops_reported += characters
        lost = {"session": session.id, "characters": characters, "reason": reason}
        self._door.ledger.note(self._clock.wall(), "dropped", **lost)
        self._door.error("dropped", "%d characters of %r dropped: %s", characters, session.id, reason, **lost)
