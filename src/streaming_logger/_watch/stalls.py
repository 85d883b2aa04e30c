"""Streams that stall: active sessions that get no text for too long, reported once, and once more when that ends."""

from __future__ import annotations

from collections.abc import Sequence

from streaming_logger._context import Context
from streaming_logger._events.model import Event, SessionEnded, SessionStalled, StallEnded
from streaming_logger._events.observers import Observer, Watched

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
                self._events.emit(SessionStalled(session=session.id, seconds=round(now - session.last_write, 1)))

    def on_event(self, event: Event) -> None:
        if isinstance(event, SessionEnded) and event.session in self._since:
            self._ended(event.session, event.outcome, self._clock.monotonic())

    def _ended(self, session_id: str, how: str, at: float) -> None:
        seconds = at - self._since.pop(session_id)
        self._events.emit(StallEnded(session=session_id, seconds=round(seconds, 1), reason=how))
