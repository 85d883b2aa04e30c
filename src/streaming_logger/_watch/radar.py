"""The radar: looks for loops in what was flushed, a little at a time, and tells who wants to know."""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from streaming_logger._config.schema import RadarConfig
from streaming_logger._context import Context
from streaming_logger._events.model import Event, LoopFound, SessionEnded
from streaming_logger._events.observers import Observer
from streaming_logger._watch.loops import Finding, LoopDetector, LoopSettings

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
#: Calls of `on_runaway` that may run at once.
_MAX_CALLS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Runaway:
    """A generation that loops: what `on_runaway` is called with. Offsets and lengths are in characters.

    >>> Runaway(session_id="s", kind="periodic", offset=1400, repeated=456, period=152, sample="...").kind
    'periodic'
    """

    session_id: str
    kind: str
    """periodic (the same text again and again), counting (only a number or letter grows), near (small changes)."""
    offset: int
    """Where the loop began, from the beginning of the stream."""
    repeated: int
    """How much of the stream is in the loop so far."""
    period: int | None
    """Length of what is repeated; None for a near loop."""
    sample: str
    """The latest of the looping text, up to 80 characters."""


class _Stream:
    """One session's turn, as far as it is not examined."""

    __slots__ = ("detector", "session_id", "size", "waiting")

    def __init__(self, session_id: str, detector: LoopDetector) -> None:
        self.session_id = session_id
        self.detector = detector
        self.waiting: list[bytes] = []
        self.size = 0


class Radar(Observer):
    """Reports each loop once. `work` is the worker's task; it must not delay a flush."""

    name = "radar"

    @property
    def wants_text(self) -> bool:
        return self._settings.config.radar.enabled

    def __init__(self, context: Context) -> None:
        self.on_runaway: Callable[[Runaway], object] | None = None
        """Called on a thread of its own, outside every lock."""
        self._settings = context.settings
        self._thresholds = (RadarConfig(), LoopSettings())
        self._counters = context.counters
        self._events = context.events
        self._run_thread = context.run_thread
        self._streams: dict[str, _Stream] = {}
        self._ready: deque[_Stream] = deque()
        """Streams with enough new text, and ended ones, each once."""
        self._waiting = 0
        """Bytes not examined, of all streams."""
        self._calls: set[str] = set()

    # -- while text is flushed: nothing is examined here -----------------------------------

    def on_text(self, session_id: str, data: bytes) -> None:
        stream = self._streams.get(session_id)
        if stream is None:
            stream = self._streams[session_id] = _Stream(session_id, self._detector(self._settings.config.radar))
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
            if stream is not None and 0 < stream.size < _ENOUGH:
                self._queue(stream)

    def _leave_out(self, stream: _Stream, data: bytes) -> None:
        """The stream outruns the radar: its end so far is all that is examined of it."""
        data = (b"".join(stream.waiting) + data)[-_KEPT:]
        stream.detector = self._detector(self._settings.config.radar)
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
            oldest.detector = self._detector(self._settings.config.radar)
        self._ready.append(stream)

    def _detector(self, config: RadarConfig) -> LoopDetector:
        known, thresholds = self._thresholds
        if known != config:
            thresholds = LoopSettings(
                periodic=config.periodic_characters, counting=config.counting_characters, near=config.near_characters
            )
            self._thresholds = (config, thresholds)
        return LoopDetector(thresholds)

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
                if left < 0:
                    return
                yield _PAUSE_SECONDS
                begun = time.perf_counter()

    def _examine(self, stream: _Stream) -> None:
        data = b"".join(stream.waiting)
        text, read = codecs.utf_8_decode(data, "replace", False)  # a cut character waits for its rest
        self._waiting -= read
        stream.waiting, stream.size = [data[read:]], len(data) - read
        for finding in stream.detector.feed(text):
            self._found(stream, finding)

    def _found(self, stream: _Stream, finding: Finding) -> None:
        session_id = stream.session_id
        has_ended = self._streams.get(session_id) is not stream
        runaway = Runaway(session_id=session_id, **finding._asdict())
        self._counters.add(loops_found=1)
        self._events.emit(LoopFound(session=session_id, **finding._asdict(), ended=has_ended))
        if self.on_runaway is not None:
            self._call(self.on_runaway, runaway)

    def _call(self, callback: Callable[[Runaway], Any], runaway: Runaway) -> None:
        """Runs the application's callback where it can hold up nothing."""
        call = f"{runaway.session_id} {runaway.offset}"

        def run() -> None:
            try:
                callback(runaway)
            except BaseException as error:  # noqa: BLE001 - whatever it raises, it is the application's
                self._events.report("on_runaway", "on_runaway failed: %r", error, session=runaway.session_id)
            finally:
                self._calls.discard(call)
                self._events.clear("slow on_runaway", "", subject="calls")

        if len(self._calls) >= _MAX_CALLS:
            self._events.report(
                "slow on_runaway",
                "on_runaway hangs: %d calls have not returned",
                len(self._calls),
                subject="calls",
            )
            return
        self._calls.add(call)
        try:
            self._run_thread(run, "streaming_logger on_runaway")
        except RuntimeError as error:
            self._calls.discard(call)
            self._events.report("on_runaway", "on_runaway failed: %r", error, session=runaway.session_id)
