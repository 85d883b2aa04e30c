"""Streams that stall: active sessions that get no text for too long, reported once, and once more when that ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streaming_logger._context import Context
from streaming_logger._events.observers import Event, Observer, Watched

__all__ = ["Stalls"]


class Stalls(Observer):
    """Reports by `stall_seconds`. A stall is measured from flush to flush, so it is known within a flush interval."""

    name = "stalls"
    wants_sessions = True

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._events = context.events
        # Sessions that have stalled, and the monotonic time of their last text.
        self._since: dict[str, float] = {}

    def on_sessions(self, sessions: Sequence[Watched]) -> None:
        limit, now = self._settings.config.stall_seconds, self._clock.monotonic()
        if limit is None and not self._since:
            return
        for session in sessions:
            since = self._since.get(session.id)
            if since is not None:
                if session.last_write != since:
                    self._ended(session.id, "resumed", session.last_write)
            elif limit is not None and now - session.last_write > limit and not session:
                self._since[session.id] = session.last_write
                self._counters.add(stalls=1)
                self._events.emit(
                    "stalled",
                    logging.WARNING,
                    "%s stalled: no text for %.1f s",
                    session.id,
                    now - session.last_write,
                    session=session.id,
                    seconds=round(now - session.last_write, 1),
                )

    def on_event(self, event: Event) -> None:
        if "outcome" in event.fields and event.fields["session"] in self._since:
            self._ended(str(event.fields["session"]), str(event.fields["outcome"]), self._clock.monotonic())

    def _ended(self, session_id: str, how: str, at: float) -> None:
        seconds = at - self._since.pop(session_id)
        self._events.emit(
            "stall_ended",
            logging.WARNING,
            "%s %s after a stall of %.1f s",
            session_id,
            how,
            seconds,
            session=session_id,
            seconds=round(seconds, 1),
            reason=how,
        )
