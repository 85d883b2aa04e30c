"""The wrapped streams that are being read, by session: what their sessions must know of them.

A session completes with the last of its streams. A stream that yields items without text is
alive all the same. Text that a stream holds because it may be the beginning of a protocol is
let go before a flush interval is over; and a stream that raised, and that nobody has read on
since, has ended. The worker looks after all of that.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

from streaming_logger._base.clock import Clock
from streaming_logger._base.outcomes import Ending

__all__ = ["OpenStreams", "Stream"]

#: Streams looked at in one slice.
_SLICE = 512


class Stream(Protocol):
    """What is asked of a stream's log. None of it waits."""

    session_id: str

    @property
    def held(self) -> int:
        """Characters that it holds."""
        ...

    def take_sign_of_life(self) -> bool:
        """Whether it has yielded an item since this was last asked."""
        ...

    def release(self, before: float) -> None:
        """Logs the text that it holds since before this moment because it is not known what it is."""
        ...

    def end_if_raised(self, before: float) -> None:
        """Ends it, if it raised before this moment and was not read on."""
        ...


class _Session:
    """The streams of one session."""

    def __init__(self) -> None:
        self.streams: dict[int, weakref.ref[Any]] = {}
        self.outcome: Ending = "completed"
        self.error = ""
        """Of a stream that failed, while another one goes on."""


class OpenStreams:
    """`keep_alive` is called with the ids of sessions whose streams yielded items; `interval` is the flush interval."""

    def __init__(self, clock: Clock, interval: Callable[[], float], keep_alive: Callable[[str], object]) -> None:
        self._clock = clock
        self._interval = interval
        self._keep_alive = keep_alive
        self._sessions: dict[str, _Session] = {}

    @property
    def interval(self) -> float:
        """Seconds until it should look again."""
        return self._interval() / 2 if self._sessions else self._interval()

    @property
    def held(self) -> int:
        """Characters that all streams hold."""
        return sum(stream.held for stream in self._all())

    def begin(self, stream: Stream) -> None:
        """A stream of this session is read from now on."""
        self._sessions.setdefault(stream.session_id, _Session()).streams[id(stream)] = weakref.ref(stream)

    def end(self, stream: Stream, outcome: Ending, error: str) -> tuple[Ending, str] | None:
        """A stream has ended: the outcome and error of its session, None while others of it are read."""
        session = self._sessions.get(stream.session_id)
        if session is None:  # begun in the parent of this process
            return outcome, error
        session.streams.pop(id(stream), None)
        if session.streams:
            if outcome == "error" and session.outcome != "error":
                session.outcome, session.error = outcome, error
            return None
        if self._sessions.get(stream.session_id) is session:
            self._sessions.pop(stream.session_id, None)
        if session.outcome == "error" and outcome != "error":
            return session.outcome, session.error
        return outcome, error

    def tend(self) -> Generator[float, None, None]:
        """Looks after all streams, in slices."""
        before = self._clock.monotonic() - self._interval() / 2
        for number, stream in enumerate(self._all(), 1):
            if stream.take_sign_of_life():
                self._keep_alive(stream.session_id)
            stream.release(before)
            stream.end_if_raised(before)
            if number % _SLICE == 0:
                yield 0.0

    def release(self) -> None:
        """Logs all that is held, at once: the logger closes."""
        for stream in self._all():
            stream.release(float("inf"))

    def end_raised(self) -> None:
        """Ends the streams that raised and were not read on, at once."""
        for stream in self._all():
            stream.end_if_raised(float("inf"))

    def _all(self) -> Iterator[Stream]:
        for session in list(self._sessions.values()):
            for reference in list(session.streams.values()):
                if (stream := reference()) is not None:
                    yield stream
