"""The radar: looks for loops in what was flushed, a little at a time, and tells who wants to know."""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Callable, Generator
from fnmatch import fnmatchcase

from streaming_logger._config.schema import RadarConfig
from streaming_logger._context import Context
from streaming_logger._events.model import Event, SessionEnded
from streaming_logger._events.observers import Observer
from streaming_logger._watch.findings import LoopSettings
from streaming_logger._watch.loops import LoopDetector
from streaming_logger._watch.runaways import Follower, Runaway, Runaways

__all__ = ["Radar", "Runaway"]

#: A stream is examined when so many bytes are new: less would cost more for each character.
_ENOUGH = 256
#: What one stream may have unexamined, and all together; of a stream above that only the end is examined.
_MAX_WAITING = 1 << 16
_MAX_WAITING_IN_ALL = 1 << 24
_KEPT = 1 << 12
#: Streams that wait to be examined, most of them ended: 1 kB each, and their text.
_MAX_READY = 10_000
#: The radar works so long at a time, then pauses, so that a stream's thread never waits long for the GIL ...
_SLICE_SECONDS = 0.0005
_PAUSE_SECONDS = 0.002
#: ... and for no more than this share of the time. What is left waits for the next flush.
_SHARE = 0.2
#: What `sensitivity` makes of the lengths.
_FACTORS = {"low": 2.0, "normal": 1.0, "high": 0.6}


class _Stream:
    """One session's turn, as far as it is not examined."""

    __slots__ = ("follower", "has_ended", "session_id", "size", "waiting")

    def __init__(self, session_id: str, follower: Follower | None) -> None:
        self.session_id = session_id
        self.follower = follower
        """None: this session is left alone."""
        self.waiting: list[bytes] = []
        self.size = 0
        self.has_ended = False


class Radar(Observer):
    """Examines what the streams wrote. `work` is the worker's task; it must not delay a flush."""

    name = "radar"

    @property
    def wants_text(self) -> bool:
        return self._settings.config.radar.enabled

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._thresholds = (RadarConfig(), LoopSettings())
        self._events = context.events
        self._runaways = Runaways(context)
        self._streams: dict[str, _Stream] = {}
        self._ready: deque[_Stream] = deque()
        """Streams with enough new text, and ended ones, each once."""
        self._waiting = 0
        """Bytes not examined, of all streams."""
        self._left_alone: dict[str, None] = {}
        """Sessions whose next turn is not examined, the oldest first."""

    # -- what the application asks for -----------------------------------------------------

    @property
    def on_runaway(self) -> Callable[[Runaway], object] | None:
        """Called on a thread of its own, outside every lock."""
        return self._runaways.on_runaway

    @on_runaway.setter
    def on_runaway(self, callback: Callable[[Runaway], object] | None) -> None:
        self._runaways.on_runaway = callback

    def leave_alone(self, session_id: str) -> None:
        """Examines nothing of this session's next turn. May be called on any thread."""
        self._left_alone[session_id] = None
        if len(self._left_alone) > _MAX_READY:  # of sessions that never wrote
            self._left_alone.pop(next(iter(self._left_alone)), None)

    # -- while text is flushed: nothing is examined here -----------------------------------

    def on_text(self, session_id: str, data: bytes) -> None:
        stream = self._streams.get(session_id)
        if stream is None:
            stream = self._streams[session_id] = _Stream(session_id, self._follower(session_id))
        if stream.follower is None:
            return
        size = len(data)
        if stream.size + size > _MAX_WAITING or self._waiting + size > _MAX_WAITING_IN_ALL:
            self._leave_out(stream, data)
            return
        stream.waiting.append(data)
        self._waiting += size
        if stream.size < _ENOUGH <= stream.size + size:
            self._queue(stream)
        stream.size += size

    def on_event(self, event: Event) -> None:
        if isinstance(event, SessionEnded):
            stream = self._streams.pop(event.session, None)
            if stream is not None and stream.follower is not None:
                stream.has_ended = True
                if stream.size < _ENOUGH:
                    self._queue(stream)

    def _leave_out(self, stream: _Stream, data: bytes) -> None:
        """The stream outruns the radar: its end so far is all that is examined of it."""
        data = (b"".join(stream.waiting) + data)[-_KEPT:]
        stream.follower = self._follower(stream.session_id)
        if stream.size < _ENOUGH:
            self._queue(stream)
        self._waiting += len(data) - stream.size
        stream.waiting, stream.size = [data], len(data)

    def _queue(self, stream: _Stream) -> None:
        """The radar does not keep up with more streams: the one that waits for longest goes unexamined."""
        if len(self._ready) >= _MAX_READY:
            oldest = self._ready.popleft()
            self._waiting -= oldest.size
            oldest.waiting, oldest.size = [], 0
            oldest.follower = self._follower(oldest.session_id)
        self._ready.append(stream)

    def _follower(self, session_id: str) -> Follower | None:
        if session_id in self._left_alone:
            del self._left_alone[session_id]
            return None
        config = self._settings.config.radar
        patterns = config.except_sessions or ""
        if any(fnmatchcase(session_id, pattern.strip()) for pattern in patterns.split(",")):
            return None
        known, thresholds = self._thresholds
        if known is not config:
            thresholds = LoopSettings(
                periodic=config.periodic_characters, counting=config.counting_characters, near=config.near_characters
            ).scaled(_FACTORS[config.sensitivity])
            self._thresholds = (config, thresholds)
        return Follower(session_id, LoopDetector(thresholds), self._runaways)

    # -- the worker's task -----------------------------------------------------------------

    def work(self) -> Generator[float, None, None]:
        """Examines what waits, in slices; yields the pauses between them."""
        left = _SHARE * self._settings.config.flush_interval_seconds
        begun = time.perf_counter()
        while self._ready:
            stream = self._ready.popleft()
            try:
                self._examine(stream)
            except Exception as error:  # noqa: BLE001 - it is this stream's: the others are examined
                self._events.report(
                    f"observer {self.name}", "%s failed: %r", self.name, error, session=stream.session_id
                )
            spent = time.perf_counter() - begun
            if spent > _SLICE_SECONDS or not self._ready:
                self._events.observers.seconds[self.name] += spent
                self._events.observers.batch()  # the ledger has what was found
                left -= spent
                if left < 0 or not self._ready:
                    return
                yield _PAUSE_SECONDS
                begun = time.perf_counter()

    def _examine(self, stream: _Stream) -> None:
        data = b"".join(stream.waiting)
        text, read = codecs.utf_8_decode(data, "replace", False)  # a cut character waits for its rest
        self._waiting -= read
        stream.waiting, stream.size = [data[read:]], len(data) - read
        if stream.follower is not None:
            stream.follower.feed(text, has_ended=stream.has_ended)
