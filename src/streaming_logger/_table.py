"""The streams of this process, in memory: who is live, who is being completed, and the bound.

What follows from CPython's lock (the GIL), and is proved by the race tests: a dict lookup
followed by `list.append`, with no call in between, is atomic, and so is `dict.setdefault`.
So a chunk is appended to a session that is still live, or not at all, and `write` never
waits for a lock.

`gate` is held by whoever ends a session: it guards the step from `live` to `closing` and
`ended`, and out of `closing`, so that a new turn is never written before an older one. `lock` is held
by whoever moves a session's chunks on: a writer that joins them (it only tries the lock,
and leaves the work to the next writer when it is taken) or the worker that takes them. It
guards `blocks`, `counted` and `gap` of every session, and `held` and `chunks_seen` here.
Neither is held over a call out or I/O, and never both at once. A GC finalizer that runs on
the thread that holds one must not wait, and can tell.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable

from streaming_logger._clock import Clock
from streaming_logger._config_file import Settings
from streaming_logger._latch import Latch, held_here
from streaming_logger._session import Session, encode, marker
from streaming_logger._stats import Counters

__all__ = ["GIL", "JOIN_AT", "JOIN_AT_OF_FEW", "LONG_CHUNK", "SessionTable"]

#: Whether this interpreter has the lock that makes a lookup followed by an append atomic. In a
#: free-threaded one each dict and list operation is still atomic by itself, so the rest carries over.
GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

#: A session's loose chunks are joined when there are so many: 64 bytes a chunk become 9. Joining is the
#: slowest that a write can be, so it is done seldom while there are few sessions to hold loose chunks.
JOIN_AT = 64
JOIN_AT_OF_FEW = 512
_FEW = 1000
#: A chunk counts as one more for each so many characters, lest long ones hide from the bound.
LONG_CHUNK = 128
#: A session that holds no more than this may use the last eighth of the memory, so that
#: one stuck stream that fills the rest cannot make the others lose theirs.
_MODEST = 64 * 1024
_FULL = "buffer full"
#: How much is written in one system call. After each the worker waits for the GIL, up to 5 ms while
#: a writer never pauses: with 1 MiB such a writer is faster, and text is dropped on a healthy disk.
_BATCH_BYTES = 1 << 23


class SessionTable:
    """See the module. `press` is called (never under the lock) when memory fills faster than it drains."""

    def __init__(self, settings: Settings, counters: Counters, clock: Clock, press: Callable[[], None]) -> None:
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._press = press
        self.live: dict[str, Session] = {}
        self.closing: dict[str, Session] = {}
        self.ended: deque[Session] = deque()
        """Sessions that ended and that the flusher has not taken up, in order."""
        self.gate = threading.RLock()
        self.lock = threading.RLock()
        self._entry = contextlib.nullcontext() if GIL else self.gate
        self._drops: Counter[tuple[str, str]] = Counter()
        """Characters dropped and not yet reported, by session and reason; under `lock`."""
        self.held = 0
        self.chunks_seen = 0

    # -- writers ---------------------------------------------------------------------

    def append(self, session_id: str, chunk: str) -> Session:
        """Appends to the session, and makes it live first: a stream's first chunk, or a new turn."""
        with self._entry:
            while True:
                try:
                    session = self.live[session_id]
                except KeyError:  # new, or completed in this very moment
                    session = Session(session_id, self._clock.monotonic(), self._join_at)
                    self.live.setdefault(session_id, session)
                    continue
                session.append(chunk)
                return session

    def leave(self, session_id: str, outcome: str, expected: Session | None = None) -> Session | None:
        """Ends a session for writers and queues it for the flusher. None: it is not live.

        With `expected`, only that very turn is ended.
        """
        session, done = None, Latch()
        with self.gate:
            found = self.live.get(session_id)
            if found is not None and (expected is None or found is expected):
                session = found
                session.outcome = outcome
                session.done = done
                self.closing[session_id] = session  # first: a new turn must see that it waits
                del self.live[session_id]
                # Under the gate too: two turns that end at once must queue in their order.
                self.ended.append(session)
        return session

    def settled(self, session: Session) -> None:
        """The flusher is through with a completed session."""
        with self.gate:
            if self.closing.get(session.id) is session:
                del self.closing[session.id]
        if session.done is not None:
            session.done.ring()

    def join(self, session: Session) -> None:
        """Joins a session's loose chunks into one block and counts it against the bound.

        What finds no room is dropped, counted, and marked in its place. Never waits.
        """
        if held_here(self.lock):
            return  # a finalizer in the middle of a join
        try:
            if not self.lock.acquire(blocking=False):
                session.join_at = len(session) + JOIN_AT  # somebody is at it: not each write shall come by in vain
                return
            before = self.held
            dropped = self._join(session)
            press = before < self._settings.buffer_bytes // 4 <= self.held
        finally:
            if held_here(self.lock):  # asked, not remembered: a KeyboardInterrupt may come in between
                self.lock.release()
        if dropped:
            self._counters.dropped(_FULL, dropped)
        if press:
            self._press()

    # -- the flusher -----------------------------------------------------------------

    def to_flush(self, sessions: Iterable[Session]) -> list[Session]:
        """Those that have something, are still live, and wait for no earlier turn to reach the file first."""
        closing = self.closing
        return [
            session
            for session in sessions
            if (session or session.blocks or session.unwritten or session.gap)
            and not session.outcome
            and session.id not in closing
        ]

    def take_loose(self, sessions: Iterable[Session]) -> list[Session]:
        """The everyday case of `take`, for many sessions under one lock: makes what is loose their
        `unwritten`, where nothing else waits. Returns the sessions for which it did."""
        taken = []
        chunks = 0
        with self.lock:
            for session in sessions:
                if session.blocks or session.gap or session.unwritten:
                    continue
                loose = session[:]
                count = len(loose)
                del session[:count]
                chunks += count
                session.unwritten = "".join(loose).encode("utf-8", "backslashreplace")
                taken.append(session)
            self.chunks_seen += chunks
        return taken

    def take(self, session: Session) -> bytes:
        """The next bytes of a session, about 8 MiB at the most; empty when none wait.

        They stay counted until `wrote` is told what became of them.
        """
        with self.lock:
            blocks, size, count = session.blocks, 0, 0
            while count < len(blocks) and size < _BATCH_BYTES:
                size += len(blocks[count])
                count += 1
            parts = blocks[:count]
            del blocks[:count]
            loose: list[str] = []
            if not blocks and size < _BATCH_BYTES:
                if session.gap:
                    parts.append(marker(session.gap))
                    session.gap = 0
                loose = session[:]
                del session[: len(loose)]
                self.chunks_seen += len(loose)
        if loose:
            parts.append(encode("".join(loose)))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def wrote(self, session: Session) -> None:
        """Settles the count after a flush, whatever it managed: what still waits counts."""
        waiting = len(session.unwritten)
        if not session.counted and not waiting:
            return
        with self.lock:
            waiting += sum(map(len, session.blocks))
            self.held += waiting - session.counted
            session.counted = waiting

    def join_waiting(self, session: Session) -> None:
        """Counts the loose chunks of a completed session that cannot be written yet."""
        with self.lock:
            dropped = self._join(session)
        if dropped:
            self._counters.dropped(_FULL, dropped)

    def discard(self, session: Session, reason: str) -> None:
        """Gives up what a session still holds; counted by reason."""
        with self.lock:
            lost = len(b"".join([session.unwritten, *session.blocks]).decode("utf-8", "replace"))
            loose = session[:]
            del session[: len(loose)]
            self.chunks_seen += len(loose)
            session.blocks.clear()
            self.held -= session.counted
            session.counted = session.gap = 0
            lost += len("".join(loose))
            if lost:
                self._drops[session.id, reason] += lost
        session.unwritten = b""
        if lost:
            self._counters.dropped(reason, lost)

    @property
    def drops_unreported(self) -> bool:
        """Whether text was dropped since the last call of `drops`."""
        return bool(self._drops)

    def drops(self) -> Counter[tuple[str, str]]:
        """What was dropped since the last call: characters by (session, reason)."""
        if not self._drops:
            return self._drops
        with self.lock:
            drops, self._drops = self._drops, Counter()
        return drops

    @property
    def pressed(self) -> bool:
        """Whether the buffers hold more than a quarter of what they may."""
        return self.held >= self._settings.buffer_bytes // 4

    # -- numbers ---------------------------------------------------------------------

    def bytes_buffered(self, unfinished: Iterable[Session] = ()) -> int:
        return sum(session.bytes_buffered() for session in self._known(unfinished))

    def chunks_written(self, unfinished: Iterable[Session] = ()) -> int:
        return self.chunks_seen + sum(len(session) for session in self._known(unfinished))

    def _known(self, unfinished: Iterable[Session]) -> set[Session]:
        return {*self.live.copy().values(), *self.closing.copy().values(), *self.ended.copy(), *unfinished}

    @property
    def _join_at(self) -> int:
        return JOIN_AT_OF_FEW if len(self.live) <= _FEW else JOIN_AT

    # -- under the lock --------------------------------------------------------------

    def _join(self, session: Session) -> int:
        """Joins; returns how many characters found no room."""
        loose = session[:]
        if not loose:
            return 0
        del session[: len(loose)]
        session.join_at = self._join_at
        self.chunks_seen += len(loose)
        text = "".join(loose)
        data = encode(text)
        size = len(data)
        limit = self._settings.buffer_bytes
        if session.counted > _MODEST:
            limit -= limit // 8
        if self.held + size > limit:
            session.gap += len(text)
            self._drops[session.id, _FULL] += len(text)
            return len(text)
        if session.gap:
            data = marker(session.gap) + data
            size = len(data)
            session.gap = 0
        session.add_block(data)
        session.counted += size
        self.held += size
        return 0
