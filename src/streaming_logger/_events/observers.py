"""What watches the streams: observers receive each event and each text that was written.

An observer runs on the thread that does the I/O: the worker's, or that of a caller who
sweeps. It must not call the logger. Its exceptions never reach the stream, and its slowness
is measured: both are reported, at most once a minute each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from streaming_logger._events.model import Event

__all__ = ["Observer", "Observers", "Watched"]

#: One call of an observer that takes longer delays the flush noticeably, and is reported.
SLOW_SECONDS = 0.1


class Watched(Protocol):
    """What an observer sees of a live session. Its length is that of its unwritten text, in pieces."""

    id: str
    last_write: float
    """Monotonic time of the last flush that found text."""

    def __len__(self) -> int: ...


class Observer:
    """Override what you need. `wants_sessions` is read once, when the observer is added."""

    name = "observer"
    wants_sessions = False

    @property
    def wants_text(self) -> bool:
        """Whether it reads the text now: asked once for each slice of a flush."""
        return False

    def on_event(self, event: Event) -> None:
        """Something happened."""

    def on_text(self, session_id: str, data: bytes) -> None:
        """These bytes were appended to the session's file."""

    def on_sessions(self, sessions: Sequence[Watched]) -> None:
        """A flush begins with these live sessions; all of them come, in parts."""

    def on_batch(self) -> None:
        """A slice of a flush or sweep is done: a good moment to write what was gathered."""


class Observers:
    """The observers of one logger, called one after the other, each guarded.

    `report(kind, text, *args)` reports a background error, rate-limited by kind.
    """

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report
        self._all: tuple[Observer, ...] = ()
        self._sessions: tuple[Observer, ...] = ()
        self.seconds: dict[str, float] = {}
        """Time spent in each observer, by name."""

    def add(self, observer: Observer) -> None:
        self.seconds.setdefault(observer.name, 0.0)
        self._all = (*self._all, observer)
        if observer.wants_sessions:
            self._sessions = (*self._sessions, observer)

    def text_readers(self) -> list[Observer]:
        """The observers that read text now; where there are none the flush hands over none."""
        return [observer for observer in self._all if self._wants_text(observer)]

    def _wants_text(self, observer: Observer) -> bool:
        try:
            return observer.wants_text
        except Exception as error:  # noqa: BLE001 - an observer never harms the stream
            self._report(f"observer {observer.name}", "%s failed: %r", observer.name, error)
            return False

    def event(self, event: Event) -> None:
        for observer in self._all:
            self.call(observer.name, observer.on_event, event)

    def text(
        self, readers: Sequence[Observer], session_id: str, blocks: Sequence[bytes | memoryview], size: int
    ) -> None:
        """So many bytes of these blocks went to the session's file."""
        for observer in readers:
            self.call(observer.name, lambda observer=observer: observer.on_text(session_id, b"".join(blocks)[:size]))

    def sessions(self, sessions: Sequence[Watched]) -> None:
        for observer in self._sessions:
            self.call(observer.name, observer.on_sessions, sessions)

    def batch(self) -> None:
        for observer in self._all:
            self.call(observer.name, observer.on_batch)

    def call(self, name: str, hook: Callable[..., None], *args: object) -> None:
        """Calls a hook of an observer, guarded and measured."""
        begun = time.perf_counter()
        try:
            hook(*args)
        except Exception as error:  # noqa: BLE001 - an observer never harms the stream
            self._report(f"observer {name}", "%s failed: %r", name, error)
        spent = time.perf_counter() - begun
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        if spent > SLOW_SECONDS:
            self._report(f"slow {name}", "%s took %.1f s: flushes are late", name, spent)
