"""Text into files: writes what sessions hold, keeps what the disk refuses, and reports why.

Only the thread that holds the worker's I/O lock runs this code. A fault leaves what was
not written where it is, in order, to be retried at the next flush. Whatever one session's
step raises is counted and reported; it never reaches the other sessions.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Container, Sequence

from streaming_logger._base.errors import reason_of
from streaming_logger._base.stats import FULL
from streaming_logger._context import Context
from streaming_logger._disk.store import BusyError, ForeignFileError
from streaming_logger._events.model import TextDropped
from streaming_logger._memory.session import Session
from streaming_logger._memory.table import SessionTable
from streaming_logger._write.appends import appends_of
from streaming_logger._write.cap import Cap
from streaming_logger._write.open_files import OpenFiles
from streaming_logger._write.timing import TimingFiles

__all__ = ["Drain"]

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
#: Faults that are reported beside those of the disk.
_KINDS: dict[type[Exception], str] = {ForeignFileError: "quarantine", BusyError: "locked"}
#: All kinds of faults of a session's writes: its text waits in memory until one succeeds.
_FAULTS = ("write", *_KINDS.values())
#: A file that was busy this often is claimed by a process that is stuck.
_BUSY_ATTEMPTS = 8


class Drain:
    """Writes sessions. `on_disk_full` is called when the disk is."""

    def __init__(self, context: Context, table: SessionTable, *, on_disk_full: Callable[[], None]) -> None:
        self.files = OpenFiles(context)
        self.met_busy = False
        """Whether a file was locked by another process since this was last set to False."""
        self.total = 0
        """Bytes written so far."""
        self.appends = appends_of(table, context.store)
        self._timing = TimingFiles(context) if context.settings.config.record_timing else None
        self._cap = Cap(context, self.files)
        self._table = table
        self._store = context.store
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        self._on_disk_full = on_disk_full
        self._counted = 0

    def write_slice(self, sessions: list[Session], held_back: Container[str]) -> None:
        """Writes what some sessions have, except for ids in `held_back`.

        Chunks alone take one system call each; whatever else there is, `drain` writes.
        """
        now = self._clock.monotonic()
        is_verified = self.files.is_verified
        dirty = [
            session
            for session in sessions
            if session and session.id not in held_back and (is_verified(session) or self._acquire(session))
        ]
        claimed, texts, counts = self._table.next_batches(dirty)
        sizes = self.appends.append_all(claimed, texts)
        self._table.reconcile_all(claimed, texts, counts, sizes)
        for session, data, size in zip(claimed, texts, sizes, strict=True):
            if size:
                session.written += size
                if self._timing is not None:
                    self._record_timing(session, [data], size)
                session.last_write = now
                if session.attempts:
                    self._recovered(session)
        self.total += sum(sizes)
        observers = self._events.observers
        if readers := observers.text_readers():
            for session, data, size in zip(claimed, texts, sizes, strict=True):
                if size:
                    observers.text(readers, session.id, [data], size)
        unclaimed = set(dirty).difference(claimed)
        for session in dirty:
            if session.sealed or session in unclaimed:
                self.drain(session)
        if self._cap.limit is not None:
            for session in dirty:
                self._keep_to_cap(session)

    def drain(self, session: Session, *, verify: bool = False) -> bool:
        """Writes all that waits; False when a fault left something."""
        table = self._table
        try:
            self.files.acquire(session, verify=verify)
            while batch := table.next_batch(session):
                size = self.appends.append(session, batch)
                table.reconcile(session, batch, size)
                session.written += size
                self.total += size
                if self._timing is not None:
                    self._record_timing(session, batch, size)
                if readers := self._events.observers.text_readers():
                    self._events.observers.text(readers, session.id, batch, size)
                self._keep_to_cap(session)
                self.files.acquire(session)  # a cut may have lost the file's lock
        except Exception as error:  # noqa: BLE001 - see the module
            self._failed(session, error)
            return False
        finally:
            session.last_write = self._clock.monotonic()
        if session.attempts:
            self._recovered(session)
        return True

    def _keep_to_cap(self, session: Session) -> None:
        """A file that cannot be cut stays too long; its text is written, and its session can end."""
        try:
            cut = self._cap.apply(session)
            if cut is not None and self._timing is not None:
                self._timing.was_cut(session, cut)
        except BusyError as error:
            self._failed(session, error)
        except Exception as error:  # noqa: BLE001 - see the module
            if isinstance(error, OSError) and error.errno == errno.EBADF:
                self.files.close(session)
            self._counters.add(write_errors=1)
            self._cap.failed(session, error)

    def _record_timing(self, session: Session, blocks: Sequence[bytes | memoryview], size: int) -> None:
        assert self._timing is not None  # noqa: S101 - its callers made sure
        try:
            self._timing.wrote(session, blocks, size)
        except Exception as error:  # noqa: BLE001 - see the module; the text itself is written
            self._timing.failed(session, error)

    def finish(self, session: Session) -> None:
        """The turn's text is in its file, which is still open."""
        self._cap.forget(session.id)
        if self._timing is not None:
            try:
                self._timing.finish(session)
            except Exception as error:  # noqa: BLE001 - see the module
                self._timing.failed(session, error)
        self.release(session)
        self.appends.finish(session)

    def _acquire(self, session: Session) -> bool:
        """Opens or verifies a session's file; whether it can be written."""
        try:
            self.files.acquire(session)
        except Exception as error:  # noqa: BLE001 - see the module
            session.last_write = self._clock.monotonic()
            self._failed(session, error)
            return False
        return True

    def _recovered(self, session: Session) -> None:
        """After a write: no attempt has failed any more."""
        session.attempts = 0
        for kind in _FAULTS:
            self._events.clear(kind, "writes recovered", subject=session.id)

    def release(self, session: Session) -> None:
        """Nothing more is written for a session, whatever has failed."""
        for kind in (*_FAULTS, "timing"):
            self._events.release(kind, session.id)

    def _failed(self, session: Session, error: Exception) -> None:
        session.attempts += 1
        if isinstance(error, BusyError):
            self.met_busy = True
            if session.attempts < _BUSY_ATTEMPTS:
                return  # a sweeper holds a lock for microseconds: no error; a lock held for good is
            text = f"locked by another process: {self._store.directory.holder(session.name)}"
        else:
            text = reason_of(error)
        if isinstance(error, OSError):
            if error.errno == errno.EBADF:
                self.files.close(session)
            elif error.errno in _DISK_FULL:
                self._on_disk_full()
        self._counters.add(write_errors=1)
        kind = _KINDS.get(type(error), "write")
        self._events.report(
            kind,
            "cannot write %s, its text stays in memory: %s",
            session.name,
            text,
            subject=session.id,
            session=session.id,
        )

    # -- numbers -------------------------------------------------------------------

    def count(self, **more: int) -> None:
        """Adds up what was written since the last time."""
        written, self._counted = self.total - self._counted, self.total
        self._counters.add(bytes_written=written, **more)

    def report_drops(self, session: Session, reason: str) -> None:
        characters = session.dropped_chars
        if not characters:
            return
        session.dropped_chars -= characters  # a writer may have added to it
        if reason == FULL:
            self._table.drops_reported += characters
        self._events.emit(TextDropped(session=session.id, characters=characters, reason=reason))
