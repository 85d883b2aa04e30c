"""The end of a turn: drains it, closes or deletes its file, tells who waits and who watches.

Whatever one turn's end raises is counted and reported; it never reaches the other sessions.
Only the thread that holds the worker's I/O lock runs this code.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Iterator
from typing import Literal, Protocol

from streaming_logger._base.errors import reason_of
from streaming_logger._base.outcomes import has_failed
from streaming_logger._base.stats import FULL
from streaming_logger._base.sync import OneShotEvent
from streaming_logger._context import Context
from streaming_logger._disk.names import file_name_of
from streaming_logger._disk.store import DeleteResult
from streaming_logger._events.model import SessionDeleted, SessionEnded
from streaming_logger._memory.session import Completion, Session
from streaming_logger._memory.table import SessionTable
from streaming_logger._write.drain import Drain

__all__ = ["FIRST_RETRY_SECONDS", "AtCompletion", "Completions"]

#: A file that another process locks is retried after so long, then twice as long, ...
FIRST_RETRY_SECONDS = 0.02
#: ... and so often when the process ends: 2 s.
_LAST_TRIES = 100
#: Completions that share one write to the ledger.
_BATCH = 32


class AtCompletion(Protocol):
    """Says what happens to a session's file at its end; see `Rules.at_completion`."""

    def __call__(self, *, failed: bool, released: bool, silent: float) -> Literal["delete", "keep", "restart"]: ...


class Completions:
    """The ended turns. `at_completion` is asked at each."""

    def __init__(self, context: Context, table: SessionTable, drain: Drain, *, at_completion: AtCompletion) -> None:
        self._table = table
        self._drain = drain
        self._files = drain.files
        self._store = context.store
        self._owner = context.owner
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        self._at_completion = at_completion
        # By session id: ended turns whose text is not in the file yet, in order.
        self._unfinished: dict[str, deque[Completion]] = {}
        # Whom to tell that a turn is over, after the ledger has it.
        self._waiting: deque[OneShotEvent] = deque()
        self._unwritten = 0

    @property
    def unfinished_ids(self) -> Container[str]:
        """Sessions with an older turn that waits for the disk: a newer one must not be written before it."""
        return self._unfinished

    def take_ended(self) -> None:
        """Completes the turns that no writer can reach any more."""
        queue = self._table.end_queue
        while queue:
            completion = queue[0]  # taken out below: a worker that dies in between must not lose it
            self._unfinished.setdefault(completion.session_id, deque()).append(completion)
            queue.popleft()
            self._finish(completion.session_id)
        self._tell()

    def retry(self) -> Iterator[None]:
        """Tries the turns again that the disk refused, one session at a time."""
        for session_id in list(self._unfinished):
            if session_id in self._unfinished:
                self._finish(session_id)
                self._tell()
                yield

    def give_up(self) -> None:
        """At the end of the process: what the disk refuses is lost, and counted."""
        for _ in range(_LAST_TRIES):
            self._drain.met_busy = False
            for _ in self.retry():
                pass
            if not self._drain.met_busy:
                break
            # Another process's sweeper has a file for microseconds: giving up here lost its last
            # words, 3 to 80 records in every second run of the race suite.
            time.sleep(FIRST_RETRY_SECONDS)
        for completion in [completion for waiting in self._unfinished.values() for completion in waiting]:
            try:
                if completion.session is not None:
                    self._drain.report_drops(completion.session, FULL)
                    self._table.discard(completion.session, "closed")
                    self._drain.report_drops(completion.session, "closed")
                    self._drain.release(completion.session)
                self._forget(completion)
            except Exception as error:  # noqa: BLE001 - it is this session's
                self._failed(completion.session_id, file_name_of(completion.session_id), error)
        self._unfinished.clear()
        self._tell()

    def is_unfinished(self, session_id: str) -> bool:
        """Whether an ended turn of this session waits for the worker or the disk."""
        # In this order: a turn goes from the queue into `_unfinished` before it leaves the queue.
        return bool(self._table.end_queue) or session_id in self._unfinished

    def unfinished(self) -> list[Session]:
        """Ended turns that wait for the disk."""
        turns = [completion.session for turns in list(self._unfinished.values()) for completion in list(turns)]
        return [session for session in turns if session is not None]

    def _finish(self, session_id: str) -> None:
        """Completes the turns of one session, oldest first, as far as the disk lets it."""
        waiting = self._unfinished[session_id]
        try:
            while waiting and self._finished(waiting[0]):
                self._forget(waiting.popleft())
        except Exception as error:  # noqa: BLE001 - it is this session's; its turns are tried again at each flush
            self._failed(session_id, file_name_of(session_id), error, subject=session_id)
        else:
            self._events.clear("completion", "", subject=session_id)
        if not waiting:
            del self._unfinished[session_id]

    def _finished(self, completion: Completion) -> bool:
        session = completion.session
        if session is None or session.completed:
            return True  # a place in the queue, or a turn that two threads ended at once
        self._table.remove(session)  # its caller may have been interrupted before that
        if session and not self._drain.drain(session, verify=True):
            # It stays, and is tried at each flush; charged like all that is buffered. Where not even
            # the marker of what was dropped finds memory, there is nothing to keep.
            self._table.seal(session)
            if self._table.freeze_gaps(session):
                return False
        session.completed = True
        if session.dropped_chars:
            self._drain.report_drops(session, FULL)
        name, size, age = session.name, session.written, self._clock.monotonic() - session.last_write
        begin, end = self._place(session)
        try:
            self._drain.finish(session)
            self._close(session, completion, age)
        except Exception as error:  # noqa: BLE001 - all its text is written: it is complete
            self._failed(session.id, name, error)
            self._files.close(session)
        self._owner.discard(name)
        self._drain.count()  # before a caller that waits for the completion goes on
        if completion.cause == "abandoned":
            self._counters.add(sessions_abandoned=1)
        elif completion.cause != "released":
            self._counters.add(sessions_completed=1)
        self._events.emit(
            SessionEnded(
                session=session.id,
                file=name,
                outcome=completion.outcome,
                bytes=size,
                begin=begin,
                end=end,
                reason=completion.cause,
                age=round(age, 3),
                error=completion.error,
            )
        )
        return True

    def _place(self, session: Session) -> tuple[int | None, int | None]:
        """(begin, end) of the turn in its file, in bytes; None if unknown.

        A turn from which the middle was cut has written more than it has there: it begins behind the one before.
        """
        if not session.written:
            return None, None
        try:
            file = session.file
            end = self._store.directory.stat(session.name).st_size if file is None else self._store.size(file)
        except OSError:
            return None, None
        return max(0, end - session.written), end

    def _close(self, session: Session, completion: Completion, idle: float) -> None:
        """Closes the file, or deletes it if the rules say so."""
        config = self._settings.config
        released = completion.cause == "released"
        failed = has_failed(completion.outcome)
        what = self._at_completion(failed=failed, released=released, silent=idle)
        if what == "delete":
            file = self._files.detach(session)
            if file is not None:
                how, size = self._store.delete_completed(session.name, file)
            else:  # parked
                how, size = self._store.delete_if(session.name, lambda claim: True)
            if how is DeleteResult.DELETED:
                self._counters.deleted("immediate", 1, size)
                self._events.emit(SessionDeleted(session=session.id, file=session.name, bytes=size, reason="immediate"))
            return
        if session.written and what == "restart":
            self._store.directory.touch(session.name)
        if session.written and (failed or config.durability == "completed"):
            file = self._files.acquire(session)  # again, if it was parked
            if failed:
                self._store.mark(file, completion.outcome)
            if config.durability == "completed":
                self._store.sync(file)
        self._files.close(session)

    def _failed(self, session_id: str, name: str, error: Exception, subject: str | None = None) -> None:
        self._counters.add(write_errors=1)
        self._events.report(
            "completion", "completing %s: %s", name, reason_of(error), subject=subject, session=session_id
        )

    def _forget(self, completion: Completion) -> None:
        try:
            if completion.session is not None:
                self._files.close(completion.session)
        finally:
            if completion.done is not None:
                self._waiting.append(completion.done)
            self._unwritten += 1
            if self._unwritten >= _BATCH:
                self._tell()

    def _tell(self) -> None:
        """Writes the ledger, then wakes who waits: whoever hears of a completion can read of it."""
        if self._unwritten:
            self._unwritten = 0
            self._events.observers.batch()
        while self._waiting:
            self._waiting.popleft().set()
