"""Sessions of dead processes: recovered from their logs, counted, and written down."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streaming_logger._base.errors import reason_of
from streaming_logger._base.outcomes import CRASHED, has_failed
from streaming_logger._base.sync import allocate_lock
from streaming_logger._context import Context
from streaming_logger._disk.names import SUFFIX
from streaming_logger._disk.store import DeleteResult
from streaming_logger._disk.turns import Patience
from streaming_logger._events.model import RecoveryPassedOver, SessionDeleted, SessionEnded
from streaming_logger._sweep.rules import Rules
from streaming_logger._wal.dead import DeadLogs
from streaming_logger._wal.recovery import Recovered, recover

__all__ = ["Crashes"]

#: Sessions recovered in a slice.
_SLICE = 64
#: A recovery that another process is at is looked at so often, while text waits for it.
_LOOK_SECONDS = 0.25


class Crashes:
    """Recovers what dead processes left of one directory's sessions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        config, directory = context.settings.config, context.store.directory
        self._dead = DeadLogs(Path(config.crash_journal_directory), directory, Patience(context.clock))
        self._running = allocate_lock()
        self._looked_at = float("-inf")
        self.faults = context.events.rounds()

    def recover(self) -> Iterator[float]:
        """In slices: yields the seconds until the next one may begin. Whatever goes wrong is reported, never raised.

        Nothing while another thread is at it, or this one is between two slices.
        """
        if self._running.acquire(blocking=False):
            try:
                yield from self._recover()
            finally:
                self._running.release()

    def _recover(self) -> Iterator[float]:
        self._looked_at = self._context.clock.monotonic()
        events, counters = self._context.events, self._context.counters
        sessions: Counter[int] = Counter()
        sizes: Counter[int] = Counter()
        for count, found in enumerate(self._recovered(), 1):
            sessions[found.pid] += 1
            sizes[found.pid] += found.saved
            counters.add(sessions_recovered=1, bytes_recovered=found.saved)
            self._note(found)
            if count % _SLICE == 0:
                events.observers.batch()
                yield 0.0
        for pid, count in sessions.items():
            events.log(
                logging.WARNING,
                "process %d died: %d sessions recovered, %d bytes",
                pid,
                count,
                sizes[pid],
                bytes=sizes[pid],
            )
        self.faults.end()
        events.observers.batch()

    def is_awaited(self, since: float) -> bool:
        """Whether text may still be missing in the files that was written before this moment, by a process that died.

        Recovers it, unless another process is at it; that is waited for until it stands still for 15 s.
        """
        looked = self._looked_at
        if looked <= since or (self._dead.is_waiting and self._context.clock.monotonic() - looked > _LOOK_SECONDS):
            self.recover_all()
        return self._dead.is_waiting or bool(self._running.locked())

    @property
    def is_due(self) -> bool:
        """Whether a dead process has left something that nobody recovers."""
        return bool(self._dead.waiting(lambda name, why: None))

    def _note(self, found: Recovered) -> None:
        """One turn is recovered. Its end is carried out, if the log has it; its own outcome is told."""
        events = self._context.events
        events.emit(
            SessionEnded(
                session=found.session_id,
                file=found.name,
                outcome=found.outcome,
                bytes=found.saved,
                reason=found.cause,
                error=found.error,
            )
        )
        if found.cause == CRASHED:
            return
        what = Rules.of(self._context.settings.config).at_completion(
            failed=has_failed(found.outcome), released=found.cause == "released", silent=0.0, inline=False
        )
        if what != "delete":
            return
        how, size = self._context.store.delete_if(found.name, lambda claim: True)
        if how is DeleteResult.DELETED:
            self._context.counters.deleted("immediate", 1, size)
            events.emit(SessionDeleted(session=found.session_id, file=found.name, bytes=size, reason="immediate"))

    def _recovered(self) -> Iterator[Recovered]:
        try:
            yield from recover(self._context.store, self._dead, self._failed, self._passed_over)
        except Exception as error:  # noqa: BLE001 - a constructor, a sweep and the command go on without
            self._failed("crash journals", reason_of(error))

    def recover_all(self) -> None:
        """All slices at once."""
        for _ in self.recover():
            pass

    def _passed_over(self, name: str, process: str) -> None:
        if self.faults.lasts("stuck recovery", name):
            return
        reason = f"it recovers {name}, and stands still"
        self._context.events.emit(RecoveryPassedOver(holder=process, reason=reason), log=False)
        self.faults.report(
            "stuck recovery", "%s recovers %s and makes no progress: continuing without it", process, name, subject=name
        )

    def _failed(self, name: str, why: str) -> None:
        # By kind, not by name: there may be thousands.
        kind = "recovery of a session" if name.endswith(SUFFIX) else "recovery of a journal"
        if self.faults.lasts(kind, name):
            return  # said; a journal that cannot be read stays so
        self._context.counters.add(sweep_errors=1)
        self.faults.report(kind, "cannot recover %s: %s", name, why, subject=name)
