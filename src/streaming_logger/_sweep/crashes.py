"""Sessions of dead processes: recovered from their crash journals, counted, and written down."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streaming_logger._base.errors import reason_of
from streaming_logger._base.outcomes import CRASHED
from streaming_logger._context import Context
from streaming_logger._disk.names import SUFFIX
from streaming_logger._events.model import SessionEnded
from streaming_logger._wal.recovery import Recovered, recover

__all__ = ["Crashes"]

#: Sessions recovered in a slice.
_SLICE = 64


class Crashes:
    """Recovers what dead processes left of one directory's sessions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.faults = context.events.rounds()

    def recover(self) -> Iterator[float]:
        """In slices: yields the seconds until the next one may begin. Whatever goes wrong is reported, never raised."""
        events, counters = self._context.events, self._context.counters
        sessions: Counter[int] = Counter()
        sizes: Counter[int] = Counter()
        for count, found in enumerate(self._recovered(), 1):
            sessions[found.pid] += 1
            sizes[found.pid] += found.saved
            counters.add(sessions_recovered=1, bytes_recovered=found.saved)
            events.emit(
                SessionEnded(
                    session=found.session_id, file=found.name, outcome=CRASHED, bytes=found.saved, reason=CRASHED
                )
            )
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

    def _recovered(self) -> Iterator[Recovered]:
        config = self._context.settings.config
        try:
            yield from recover(self._context.store, Path(config.crash_journal_directory), self._failed)
        except Exception as error:  # noqa: BLE001 - a constructor, a sweep and the command go on without
            self._failed("crash journals", reason_of(error))

    def recover_all(self) -> None:
        """All slices at once."""
        for _ in self.recover():
            pass

    def _failed(self, name: str, why: str) -> None:
        # By kind, not by name: there may be thousands.
        kind = "recovery of a session" if name.endswith(SUFFIX) else "recovery of a journal"
        if self.faults.lasts(kind, name):
            return  # said; a journal that cannot be read stays so
        self._context.counters.add(sweep_errors=1)
        self.faults.report(kind, "cannot recover %s: %s", name, why, subject=name)
