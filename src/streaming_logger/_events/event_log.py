"""What the library reports: events, to all observers, and background errors, at most once a minute each.

A background error is current for a minute after it was last seen. One whose cause lasts names its subject (a
session, a file, a directory), and is current until it is cleared for every subject: the next attempt may be an
hour away.
"""

from __future__ import annotations

import logging
import os
from typing import Any, NamedTuple

from streaming_logger._base.clock import Clock
from streaming_logger._events.messages import REPEATS
from streaming_logger._events.model import Event
from streaming_logger._events.observers import Observers
from streaming_logger._events.records import LogRecords, escaped_message

__all__ = ["EventLog", "Rounds"]

#: How long a fault is current after it was last seen; its repeats are counted meanwhile instead of logged.
REPEAT_SECONDS = 60.0


class _Fault(NamedTuple):
    """A background error: its text, and the monotonic times when it was logged and last seen."""

    text: str
    logged: float
    seen: float
    repeats: int
    subjects: dict[str, str]
    """What it lasts for, each with its own text."""


class EventLog:
    """The one place that reports. Never raises."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.records = LogRecords()
        self.observers = Observers(self.report)
        # By kind of error. Unlocked: the worst that a race can do is to log a line twice.
        self._faults: dict[str, _Fault] = {}

    def log(self, level: int, text: str, /, *args: object, **extra: object) -> None:
        """One log record, with `extra` as its fields."""
        self.records.log(level, text, args, extra)

    def emit(self, event: Event, *, log: bool = True) -> None:
        """An event has happened: gives it its time and process, and tells the log and all observers.

        `log` is false for a repeat of what was logged before.
        """
        event = event.stamped(self._clock.wall(), os.getpid())
        if log:
            self.observers.call("log records", self._log, event)
        self.observers.event(event)

    def _log(self, event: Event) -> None:
        level, text, args, fault = event.log_text()
        if fault:
            self.report(fault, text, *args, subject=None, level=logging.ERROR, **event.fields())
        elif self.records.wants(level):
            self.records.log(level, text, args, event.fields())

    def report(
        self,
        kind: str,
        text: str,
        /,
        *args: object,
        subject: str | None = None,
        level: int = logging.ERROR,
        **extra: object,
    ) -> None:
        """A background error: the first of its `kind` at once, its repeats once a minute.

        With a `subject` it is current until `clear` or `release` is called with the same; without, for a minute.
        """
        now, shown = self._clock.monotonic(), escaped_message(text, args)
        before = self._faults.get(kind)
        subjects: dict[str, str] = {} if before is None else before.subjects
        if subject is not None:
            subjects[subject] = shown
        if before is not None and now - before.logged < REPEAT_SECONDS:
            self._faults[kind] = before._replace(seen=now, repeats=before.repeats + 1)
            return
        self._faults[kind] = _Fault(shown, now, now, 0, subjects)
        if before is not None and before.repeats:
            text, args = text + REPEATS, (*args, before.repeats)
        self.records.log(level, text, args, extra)

    def faults(self) -> dict[str, str]:
        """The background errors that are current, by kind. Of several subjects one speaks for all."""
        now, found = self._clock.monotonic(), {}
        for kind, fault in self._faults.copy().items():
            if texts := list(fault.subjects.values()):
                found[kind] = texts[0]
            elif now - fault.seen < REPEAT_SECONDS:
                found[kind] = fault.text
        return found

    def clear(self, kind: str, text: str, /, *args: object, subject: str) -> None:
        """The cause is over for one subject.

        After the last one the fault is over: `text` is logged, if there is one, and the next occurrence at once.
        """
        fault = self._faults.get(kind)
        if fault is None or subject not in fault.subjects:
            return
        fault.subjects.pop(subject, None)
        if not fault.subjects:
            self._faults.pop(kind, None)
            if text:
                self.records.log(logging.WARNING, text, args, {})

    def rounds(self) -> Rounds:
        """For work that is done in rounds."""
        return Rounds(self)

    def release(self, kind: str, subject: str) -> None:
        """Nothing more is attempted for one subject: without others the fault is current for the rest of its minute."""
        fault = self._faults.get(kind)
        if fault is not None:
            fault.subjects.pop(subject, None)


class Rounds:
    """The faults of work that is done in rounds over the same files: what a round does not meet again is over."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._before: set[tuple[str, str]] = set()
        self._met: set[tuple[str, str]] = set()

    def report(self, kind: str, text: str, /, *args: object, subject: str, **extra: Any) -> None:
        """As `EventLog.report`; the subject is cleared by a whole round that does not report it."""
        self._met.add((kind, subject))
        self._events.report(kind, text, *args, subject=subject, **extra)

    def lasts(self, kind: str, subject: str) -> bool:
        """Whether a fault is known from an earlier round; then it is met again by this one, too."""
        if (kind, subject) not in self._before | self._met:
            return False
        self._met.add((kind, subject))
        return True

    def end(self) -> None:
        """A whole round is done."""
        met, self._met = self._met, set()
        for kind, subject in self._before - met:
            self._events.clear(kind, "", subject=subject)
        self._before = met

    def abandon(self) -> None:
        """This process does no more rounds for now: another one does, or nobody need."""
        self._met = set()
        self.end()
