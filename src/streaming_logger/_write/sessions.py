"""The sessions, as far as the log is applied: records become text of sessions, ends of turns, and drops.

Only the thread that does the I/O applies. What others ask for, `peek` tells them: it adds what is not applied yet.
"""

from __future__ import annotations

import time as time_module
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from typing import Any, NamedTuple

from streaming_logger._base.stats import FULL, Counters
from streaming_logger._base.sync import OneShotEvent
from streaming_logger._wal.log import Log
from streaming_logger._wal.record import (
    SPECIAL,
    End,
    Kind,
    end_in,
    end_record,
    id_of,
    kind_of,
    serial_and_key,
    whole_part,
)
from streaming_logger._write.gaps import Gaps
from streaming_logger._write.session import Completion, Session, marker

__all__ = ["Peek", "Sessions"]

#: A session that holds no more than this may use the last eighth of the memory, so that
#: one stuck stream that fills the rest cannot make the others lose theirs.
_MODEST = 64 * 1024
_PEEK_TRIES = 8
_MARKER_BYTES = 64
#: What the worker notes for recovery.
_NOTES = {Kind.CLAIMS, Kind.DONE, Kind.CLOSED, Kind.LIVE, Kind.ENDED, Kind.AGAIN, Kind.LOST}
#: (key, text), or (key, text, time).
_Pairs = Iterator[tuple[Any, ...]]


class Peek(NamedTuple):
    """A snapshot that includes what is not applied yet."""

    text: dict[str, list[str]]
    """The unwritten text of each active session, in pieces."""
    size: int
    """Bytes of unwritten text, of ended sessions, too."""
    characters: int
    """The same in characters; 0 without text."""
    chunks: int
    """Of all time."""


class Sessions:
    """See the module. `limit` gives the bound on memory, in bytes."""

    def __init__(self, log: Log, counters: Counters, limit: Callable[[], int], now: Callable[[], float]) -> None:
        self._log = log
        self._counters = counters
        self._limit = limit
        self._now = now
        self.live: dict[bytes, Session] = {}
        self.ended: deque[Completion] = deque()
        """Turns whose end the log has, and the worker has not carried out, in order."""
        self.known: set[str] = set()
        """Sessions whose first chunk has come: callers add theirs, so that the next ones may take the short way."""
        self.waiters: dict[int, OneShotEvent] = {}
        """Whom to tell when ends with these numbers are carried out; callers enter theirs."""
        self.gaps = Gaps()
        """Text that found no room in the log."""
        self.applied = 0
        """The place in the log up to which it is applied."""
        self.used = 0
        """Bytes of unwritten text in memory; what counts against the limit."""
        self.drops_reported = 0
        """Characters dropped for lack of memory that are reported."""
        self.holes: set[Session] = set()
        """Sessions that lost text which the log still has: recovery must not bring it back out of place."""
        self._begun_at = 0
        """The place in the log at which the slice begins that is being applied."""
        self._numbers = count(1)
        self._chunks = 0
        self._parts: dict[int, list[bytes]] = {}
        self._parts_from: dict[int, int] = {}
        self._adds: dict[bytes, Callable[..., None]] = {}
        self._pairs: _Pairs | None = None
        self._stuck: bytes | None = None
        self._version = 0

    # -- the worker ------------------------------------------------------------------

    def apply(self) -> Iterator[None]:
        """Applies all that is in the log, in slices. Whatever interrupts it, the next call goes on where it was."""
        fields = self._log.fields
        while True:
            if (pairs := self._pairs) is None:
                if self._stuck is not None:
                    self._log.unstick(self._stuck)
                stuck = self._log.stuck()  # first: what came before it is in the segments
                place, found = self._log.news(self.applied)
                if found or stuck is None:
                    stuck = None
                else:
                    found = whole_part(stuck, fields)[1]
                texts = found[1::fields]
                size, number = sum(map(len, texts)), len(texts)
                pairs = zip(*(found[field::fields] for field in range(fields))) if found else None  # noqa: B905 - costs time
                # No call in between: the slice is taken up wholly or not at all.
                self._version += 1
                self._pairs, self._begun_at, self.applied, self._stuck = pairs, self.applied, place, stuck
                self.used += size
                self._chunks += number
                self._version += 1
                if pairs is None:
                    return
            self._version += 1
            try:
                self._take(pairs)
            finally:
                self._version += 1
            self._pairs = None
            yield

    @property
    def needed(self) -> int:
        """From this place on the log is needed for chunks of which not all parts have come."""
        return min(self._parts_from.copy().values(), default=self.applied)

    def apply_all(self) -> None:
        """The same at once."""
        for _ in self.apply():
            pass

    def _take(self, pairs: _Pairs) -> None:
        adds = self._adds
        if self.used > self._limit() - self._limit() // 8:
            pairs = self._within_limit(pairs)
        key = text = time = b""
        while True:
            try:
                if self._log.fields == 3:
                    for key, text, time in pairs:
                        adds[key](text, float(time))
                else:
                    for key, text in pairs:
                        adds[key](text)
                return
            except KeyError:
                self._meet(key, text, time)
            except MemoryError:
                self._pairs = chain(((key, text, time) if time else (key, text),), pairs)
                raise

    def _meet(self, key: bytes, text: bytes, time: bytes = b"") -> None:
        """The first record of a session, and all that is no chunk."""
        if not key.startswith(SPECIAL):
            self._begin(key, float(time) if time else self._now())
            self._add(key, text, time)
            return
        self.used -= len(text)
        self._chunks -= 1
        kind, key = kind_of(key)
        if kind in _NOTES:
            return
        if kind is Kind.BEGIN:
            if key not in self.live:
                self._begin(key, float(text))
        elif kind is Kind.END:
            self._end(key, text)
        elif kind is Kind.DROPPED:
            if missing := self.gaps.take(key, text):
                self._session(key).gap(missing)
        else:
            self._take_part(kind, key, text, time)

    def _take_part(self, kind: Kind, key: bytes, text: bytes, time: bytes) -> None:
        serial, key = serial_and_key(key)
        begun = self._parts_from.setdefault(serial, self._begun_at)
        if not text:  # the others found no room
            self.used -= sum(map(len, self._parts.pop(serial, ())))
            del self._parts_from[serial]
            return
        self._parts.setdefault(serial, []).append(text)
        self.used += len(text)
        if kind is Kind.LAST_PART:
            self._chunks += 1
            whole = b"".join(self._parts.pop(serial))
            del self._parts_from[serial]
            session = self._session(key)
            session.safe = min(session.safe, begun)
            if self.used <= self._limit():
                self._add(key, whole, time)
            else:
                self._leave_out(key, whole)

    def _add(self, key: bytes, text: bytes, time: bytes) -> None:
        session = self._session(key)
        if time:
            session.add_timed(text, float(time))
        else:
            session.fresh.append(text)

    def end(self, key: bytes, outcome: str, cause: str, *, done: OneShotEvent | None = None, error: str = "") -> None:
        """Puts the end of a turn into the log: any thread."""
        end = End(outcome, cause, next(self._numbers), error)
        if done is not None:
            self.waiters[end.number] = done
        record = end_record(key, end, 0.0 if self._log.fields == 3 else None)
        try:
            self._log.append(record)
        except ValueError:
            self._log.add(record, force=True)

    def _session(self, key: bytes) -> Session:
        session = self.live.get(key)
        return self._begin(key, self._now()) if session is None else session

    def _begin(self, key: bytes, begun: float) -> Session:
        timed = self._log.fields == 3
        session = Session(key, begun, self._begun_at, timed=timed)
        self._adds[key] = session.add_timed if timed else session.fresh.append
        self.live[key] = session
        return session

    def _end(self, key: bytes, text: bytes) -> None:
        end = end_in(text)
        self._adds.pop(key, None)
        session = self.live.pop(key, None)
        if session is None and end.cause != "completed":
            return
        session_id = id_of(key)
        self.known.discard(session_id)
        completion = Completion(session_id, session, end, self.waiters.pop(end.number, None))
        if session is not None:
            session.completion = completion
        self.ended.append(completion)

    def _within_limit(self, pairs: _Pairs) -> _Pairs:
        """Leaves out the chunks that memory has no room for. The slice is counted already."""
        limit = self._limit()
        for record in pairs:
            key, text = record[0], record[1]
            session = self.live.get(key)
            most = limit if session is None or session.size + len(text) <= _MODEST else limit - limit // 8
            if self.used <= most or key.startswith(SPECIAL):
                yield record
                continue
            self._leave_out(key, text)

    def _leave_out(self, key: bytes, text: bytes) -> None:
        self.used -= len(text)
        session = self._session(key)
        self.holes.add(session)
        self._counters.dropped(FULL, session.drop(text))

    # -- text leaves -------------------------------------------------------------------

    def freeze(self, session: Session) -> None:
        """The markers of a session's gaps become text."""
        self.used += session.freeze()

    def written(self, size: int) -> None:
        """So many bytes are in a file."""
        self.used -= size

    def is_worth_keeping(self, session: Session) -> bool:
        """Whether an ended session keeps waiting for the disk: not where memory has no room even for a marker.

        Markers count like all that waits: a dead disk meets any number of sessions.
        """
        if session.size:
            return True
        if self.used + _MARKER_BYTES <= self._limit():
            self.freeze(session)
            return True
        session.abandon_text()
        return False

    def discard(self, session: Session, reason: str) -> None:
        """Gives up what a session still holds; counted by reason."""
        self.used -= session.size
        lost = session.abandon_text()
        self._counters.dropped(reason, lost)
        session.dropped_chars += lost

    # -- other threads -----------------------------------------------------------------

    def peek(self, unfinished: Callable[[], Iterable[Session]], *, with_text: bool = True) -> Peek:
        """See `Peek`; `unfinished` are ended sessions that wait for the disk."""
        for _ in range(_PEEK_TRIES):
            version = self._version
            if not version & 1:
                found = self._peek(unfinished, with_text=with_text)
                if version == self._version:
                    return found
            time_module.sleep(0.0005)
        return self._peek(unfinished, with_text=with_text)

    def _peek(self, unfinished: Callable[[], Iterable[Session]], *, with_text: bool) -> Peek:
        live = self.live.copy()
        text = {key: session.text() if with_text else [] for key, session in live.items()}
        ended = [completion.session for completion in self.ended.copy() if completion.session is not None]
        sessions = {*live.values(), *ended, *unfinished()}
        gaps = [block for session in sessions for block in session.blocks[:] if isinstance(block, int)]
        size, chunks = self.used + sum(len(marker(gap)) for gap in gaps), self._chunks
        characters = sum(session.characters for session in sessions) if with_text else 0
        parts = {serial: b"".join(pieces) for serial, pieces in self._parts.copy().items()}
        fields, place = self._log.fields, self.applied
        while True:
            place, found = self._log.news(place)
            if not found:
                found = whole_part(b"".join(self._log.waiting()), fields)[1]
                place = -1
            for key, piece in zip(found[::fields], found[1::fields], strict=True):
                kind, key = kind_of(key) if key.startswith(SPECIAL) else (None, key)
                if kind is None:
                    size, chunks = size + len(piece), chunks + 1
                    text.setdefault(key, []).append(piece.decode("utf-8", "replace"))
                    characters += len(text[key][-1])
                elif kind is Kind.BEGIN:
                    text.setdefault(key, [])
                elif kind is Kind.END:
                    text.pop(key, None)
                elif kind in (Kind.PART, Kind.LAST_PART):
                    serial, key = serial_and_key(key)
                    size += len(piece) if piece else -len(parts.pop(serial, b""))
                    parts[serial] = parts.get(serial, b"") + piece
                    if kind is Kind.LAST_PART:
                        chunks += 1
                        text.setdefault(key, []).append(parts.pop(serial).decode("utf-8", "replace"))
            if place < 0:
                chunks += self.gaps.chunks
                return Peek({id_of(key): pieces for key, pieces in text.items()}, size, characters, chunks)
