"""What the library reports: events, to all observers, and background errors, at most once a minute each."""

from __future__ import annotations

import logging
from typing import NamedTuple

from streaming_logger._base.clock import Clock
from streaming_logger._events.observers import Event, Observers
from streaming_logger._events.records import LogRecords, escaped_message

__all__ = ["EventLog"]

#: For so long a fault is current, and its repeats are counted instead of logged.
REPEAT_SECONDS = 60.0


class _Fault(NamedTuple):
    """A background error: its text, and the monotonic times when it was logged and last seen."""

    text: str
    logged: float
    seen: float
    repeats: int


class EventLog:
    """The one place that reports. Never raises."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.records = LogRecords()
        self.observers = Observers(self.report)
        self.observers.add(self.records)
        # By kind of error. Unlocked: the worst that a race can do is to log a line twice.
        self._faults: dict[str, _Fault] = {}

    def log(self, level: int, text: str, /, *args: object, **extra: object) -> None:
        """One log record, with `extra` as its fields."""
        self.records.log(level, text, args, extra)

    def emit(self, kind: str, level: int, text: str, /, *args: object, **fields: object) -> None:
        """An event, for all observers; `level`, `text` and `args` are its log record (level 0: none)."""
        self.observers.event(Event(self._clock.wall(), kind, level, text, args, fields))

    def report(self, kind: str, text: str, /, *args: object, **extra: object) -> None:
        """A background error: the first of its `kind` at once, its repeats once a minute."""
        now = self._clock.monotonic()
        before = self._faults.get(kind)
        if before is not None and now - before.logged < REPEAT_SECONDS:
            self._faults[kind] = before._replace(seen=now, repeats=before.repeats + 1)
            return
        self._faults[kind] = _Fault(escaped_message(text, args), now, now, 0)
        if before is not None and before.repeats:
            text, args = text + " (%d more like it since)", (*args, before.repeats)
        self.records.log(logging.ERROR, text, args, extra)

    def faults(self) -> dict[str, str]:
        """The background errors of the last minute that are not known to be over, by kind."""
        now = self._clock.monotonic()
        return {kind: fault.text for kind, fault in self._faults.copy().items() if now - fault.seen < REPEAT_SECONDS}

    def clear(self, kind: str, text: str, *args: object) -> None:
        """The fault is over: logged only if the fault was, and its next occurrence is logged at once."""
        if self._faults.pop(kind, None) is not None:
            self.records.log(logging.WARNING, text, args, {})
