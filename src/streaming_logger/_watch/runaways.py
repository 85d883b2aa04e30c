"""Tells of runaway generations: events, numbers, and the application's `on_runaway`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streaming_logger._context import Context
from streaming_logger._events.model import LoopEnded, LoopFound
from streaming_logger._watch.findings import Finding, Severity
from streaming_logger._watch.loops import LoopDetector

__all__ = ["Follower", "Runaway", "Runaways"]

#: Calls of `on_runaway` that may run at once.
_MAX_CALLS = 16
#: `on_runaway` is called again when a loop has grown by these factors since it was found.
_AGAIN = (8, 4, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runaway:
    """A generation that loops: what `on_runaway` is called with. Offsets and lengths are in characters.

    >>> runaway = Runaway(session_id="s", kind="periodic", offset=1400, repeated=456, period=152, sample="...")
    >>> runaway.copies, runaway.severity
    (3.0, 'high')
    """

    session_id: str
    kind: str
    """periodic (the same text again and again), counting (only numbers that count), varying (only numbers, times and
    ids), near (small changes, or another order)."""
    offset: int
    """Where the loop began, from the beginning of the stream."""
    repeated: int
    """How much of the stream is in the loop so far."""
    period: int | None
    """Length of what is repeated; None for a near loop."""
    sample: str
    """The latest of the looping text when it was found, up to 80 characters."""
    severity: Severity = "high"
    """`low` if ordinary answers may look like this: rows of data, padding."""
    share: float = 1.0
    """How much of the stream so far is in the loop, from 0 to 1."""

    @property
    def copies(self) -> float | None:
        """How often the text stands there so far; None for a near loop."""
        return None if self.period is None else self.repeated / self.period


class Runaways:
    """The one place that reports loops, of all streams."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._counters = context.counters
        self._events = context.events
        self._run_thread = context.run_thread
        self._calls: set[str] = set()
        self.on_runaway: Callable[[Runaway], object] | None = None
        """Called on a thread of its own, outside every lock."""

    def found(self, session_id: str, finding: Finding, position: int, *, has_ended: bool) -> None:
        self._counters.add(loops_found=1)
        self._events.emit(LoopFound(session=session_id, **finding._asdict(), ended=has_ended))
        self.call(session_id, finding, position)

    def ended(self, session_id: str, loop: Finding, after: int, *, has_ended: bool) -> None:
        reason = "the stream ended" if has_ended else "the text left it"
        kept = {name: getattr(loop, name) for name in ("kind", "offset", "repeated", "period", "severity")}
        self._events.emit(LoopEnded(session=session_id, **kept, after=after, reason=reason))

    def went_on(self, characters: int) -> None:
        self._counters.add(runaway_characters=characters)

    def call(self, session_id: str, loop: Finding, position: int) -> None:
        """Calls `on_runaway` where it can hold up nothing, if it is to know of loops like this."""
        callback = self.on_runaway
        is_below = loop.severity == "low" and self._settings.config.radar.on_runaway_minimum == "high"
        if callback is None or is_below:
            return
        share = min(1.0, loop.repeated / position)
        self._start(callback, Runaway(session_id=session_id, **loop._asdict(), share=share))

    def _start(self, callback: Callable[[Runaway], Any], runaway: Runaway) -> None:
        call = f"{runaway.session_id} {runaway.offset} {runaway.repeated}"

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


class Follower:
    """Looks for loops in one stream, and follows each until it ends."""

    __slots__ = ("_counted", "_detector", "_first", "_runaways", "_session_id", "_told")

    def __init__(self, session_id: str, detector: LoopDetector, runaways: Runaways) -> None:
        self._session_id = session_id
        self._detector = detector
        self._runaways = runaways
        self._first = 0
        """The length of the current loop when it was found."""
        self._counted = 0
        """How many characters it went on for since then, as far as they are counted."""
        self._told = 1
        """How many times as long it was when `on_runaway` was called last."""

    def feed(self, text: str, *, has_ended: bool) -> None:
        """Takes the next piece of the stream, or the last one."""
        detector = self._detector
        before = detector.loop
        found = detector.feed(text)
        if has_ended:
            found += detector.end()
        if before is None and not found:
            return  # as nearly always
        ended = detector.take_ended()
        for finding in found:
            while ended and ended[0].offset < finding.offset:
                self._end(ended.pop(0), has_ended=False)
            self._first, self._counted, self._told = finding.repeated, 0, 1
            self._runaways.found(self._session_id, finding, detector.position, has_ended=has_ended)
        for loop in ended:
            self._end(loop, has_ended=has_ended)
        if (current := detector.loop) is not None:
            self._count(current)
            times = next((times for times in _AGAIN if current.repeated >= times * self._first), 1)
            if times > self._told and not found:
                self._runaways.call(self._session_id, current, detector.position)
            self._told = times

    def _end(self, loop: Finding, *, has_ended: bool) -> None:
        self._count(loop)
        self._runaways.ended(self._session_id, loop, self._counted, has_ended=has_ended)

    def _count(self, loop: Finding) -> None:
        after = loop.repeated - self._first
        self._runaways.went_on(after - self._counted)
        self._counted = after
