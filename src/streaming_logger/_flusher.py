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

from streaming_logger._clock import Clock
from streaming_logger._config_file import Settings
from streaming_logger._files import OpenFiles
from streaming_logger._log import Door
from streaming_logger._owner import OwnerFile
from streaming_logger._session import Session
from streaming_logger._stats import Counters
from streaming_logger._store import BusyError, QuarantinedError, Removal, Store
from streaming_logger._table import SessionTable

__all__ = ["Flusher"]

#: Sessions looked at between two chances for an order.
_SLICE = 64
#: A file that somebody else holds is tried again after so long, then twice as long, ...
_FIRST_RETRY_SECONDS = 0.02
#: ... and so often when the process ends: 2 s.
_LAST_TRIES = 100
_FULL = {errno.ENOSPC, errno.EDQUOT}


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
        # By session id: completed turns whose bytes the disk has not taken yet, in order.
        self._unfinished: dict[str, deque[Session]] = {}
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
        self.complete_ended()
        busy_before, self._busy_now = self._busy_attempts, False
        for session_id in list(self._unfinished):
            if session_id in self._unfinished:
                self._finish(session_id)
                yield
        config = self._settings.config
        patience = float("inf") if config.idle_timeout_minutes is None else config.idle_timeout_minutes * 60
        now = self._clock.monotonic()
        sessions = iter(list(self._table.live.values()))
        while part := list(islice(sessions, _SLICE)):
            self._flush_slice(part, now)
            for session in part:
                if now - session.last_write > patience and not session.dirty:
                    self._end_from_within(session, "abandoned")
                if not config.enabled:
                    self._end_from_within(session, "disabled")
            self._report()
            yield
        self._busy_attempts = busy_before + 1 if self._busy_now else 0
        self._report(flushes=1)

    def flush_all(self) -> int:
        """A whole flush at once; the bytes written."""
        before = self._total_written
        for _ in self.flush():
            pass
        return self._total_written - before

    def complete_ended(self) -> None:
        """Drains the sessions that no writer can reach any more, closes their files, forgets them."""
        suspect, self._files.suspect = self._files.suspect, True
        ended = self._table.ended
        while ended:
            session = ended[0]  # taken out below: a worker that dies in between must not lose it
            self._unfinished.setdefault(session.id, deque()).append(session)
            ended.popleft()
            self._finish(session.id)
        self._files.suspect = suspect
        self._report()

    def release(self) -> None:
        """At the end of the process: writes and closes everything; what the disk refuses is lost, and counted."""
        for session in list(self._table.live.values()):
            self._table.leave(session.id, "released", session)
        self.complete_ended()
        for session in set(self._table.closing.values()).difference(self.unfinished()):
            self._unfinished.setdefault(session.id, deque()).append(session)  # a SIGINT came inside `leave`
        for _ in range(_LAST_TRIES):
            self._busy_now = False
            for session_id in list(self._unfinished):
                self._finish(session_id)
            if not self._busy_now:
                break
            # Another process's sweeper has a file for microseconds: giving up here lost its last
            # words, 3 to 80 records in every second run of the race suite.
            time.sleep(_FIRST_RETRY_SECONDS)
        for session in self.unfinished():
            self._table.discard(session, "closed")
            self._forget(session)
        self._unfinished.clear()
        self._report()

    # -- one session -----------------------------------------------------------------

    def _flush_slice(self, sessions: list[Session], now: float) -> None:
        """Writes what some sessions have: in one system call where all is well, else by `_drain`."""
        dirty = self._table.to_flush(sessions)
        taken = self._table.take_loose(dirty)
        if not self._files.suspect:
            written = self._store.append_all([(session.file, session.unwritten) for session in taken])
            for session, size in zip(taken, written, strict=True):
                if size:
                    session.unwritten = session.unwritten[size:]
                    session.written += size
                    session.last_write = now
            self._written += sum(written)
        for session in dirty:
            if session.unwritten or session.blocks or session.gap:
                self._drain(session)

    def _drain(self, session: Session) -> bool:
        """Writes all that waits; False when a fault left something."""
        table, store = self._table, self._store
        try:
            file = self._files.of(session)
            while True:
                if not session.unwritten:
                    session.unwritten = table.take(session)
                    if not session.unwritten:
                        break
                taken = store.append(file, session.unwritten)
                session.unwritten = memoryview(session.unwritten)[taken:]  # no copy: a batch may be large
                session.written += taken
                self._written += taken
                if session.blocks:
                    table.wrote(session)  # now, not at the end: a writer may fill as fast as this empties
        except (BusyError, QuarantinedError, OSError) as error:
            self._failed(session, error)
            return False
        finally:
            table.wrote(session)
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
            elif error.errno in _FULL:
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

    def _finished(self, session: Session) -> bool:
        if session.dirty and not self._drain(session):
            self._table.join_waiting(session)
            if session.blocks or session.unwritten:
                return False  # it stays, and is tried at each flush; bounded like all that is buffered
        name, size, age = session.name, session.written, self._clock.monotonic() - session.last_write
        deleted = False
        try:
            deleted = self._close(session, age)
        except OSError as error:
            self._counters.add(write_errors=1)
            self._door.error("completion", "completing %s: %s", name, error, session=session.id)
            self._files.drop(session)
        self._owner.discard(name)
        self._count()  # before anybody who waits for the completion goes on
        if session.outcome == "abandoned":
            self._counters.add(sessions_abandoned=1)
        elif session.outcome != "released":
            self._counters.add(sessions_completed=1)
        self._door.record(
            session.outcome if session.outcome in ("abandoned", "released") else "completed",
            logging.DEBUG,
            "%s %s: %d bytes%s",
            session.outcome,
            name,
            size,
            ", deleted at once" if deleted else "",
            session=session.id,
            file=name,
            outcome=session.outcome,
            bytes=size,
            age=round(age, 3),
            reason=session.outcome,
        )
        return True

    def _close(self, session: Session, silent: float) -> bool:
        """Closes the file, or deletes it where that is the rule; whether it did."""
        config = self._settings.config
        trouble = session.outcome not in ("completed", "released")
        if session.outcome != "released" and self._delete_at_completion() and not (trouble and config.keeps_trouble):
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
                self._store.mark(file, session.outcome)
            if config.durability == "completed":
                self._store.sync(file)
        self._files.drop(session)
        return False

    def _forget(self, session: Session) -> None:
        self._files.drop(session)
        self._table.settled(session)

    def _end_from_within(self, session: Session, outcome: str) -> None:
        """Completes a session that nobody completed: silent for too long, or logging was disabled."""
        if self._table.leave(session.id, outcome, session) is not None:
            self.complete_ended()

    # -- numbers -------------------------------------------------------------------

    def unfinished(self) -> list[Session]:
        """Completed turns that wait for the disk."""
        return [session for waiting in list(self._unfinished.values()) for session in list(waiting)]

    def _count(self, **more: int) -> None:
        written, self._written = self._written, 0
        self._total_written += written
        self._counters.add(bytes_written=written, **more)

    def _report(self, **more: int) -> None:
        """Adds up, and writes the ledger, once in a while, not once a session."""
        self._count(**more)
        for (session, reason), characters in self._table.drops().items():
            lost = {"session": session, "characters": characters, "reason": reason}
            self._door.ledger.note(self._clock.wall(), "dropped", **lost)
            self._door.error("dropped", "%d characters of %r dropped: %s", characters, session, reason, **lost)
        self._door.ledger.write()
