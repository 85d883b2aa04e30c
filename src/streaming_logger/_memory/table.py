"""The streams of this process, in memory: who is live, who ends, and the bound.

A signal handler, a GC finalizer or a profiler can run, raise, and call this library back
at almost every bytecode of the thread that writes. So nothing here waits for a lock, and
no state is ever half changed. CPython runs handlers, collects, and switches threads only
after a call, at a jump back, at the start of a function and where a container is made.
Between those points a few bytecodes are atomic, and each change is such a step:

- `self.live[id]` followed by `append`: a chunk reaches a session that is live, or none.
- `_commit`: the test that the front of a session is unchanged, and the change. What it
  stores is built before; an interrupt leaves the state before or after it.
- the test that a session is live, and its removal from `live`.

Only the worker removes text; writers append, and replace their last chunks by a block.
tests/faults/test_interrupts.py raises and calls back at each point, test_signals.py with
real signals, test_threads.py races. Without a GIL a lock, `_guard`, makes each step one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from streaming_logger._base.stats import FULL
from streaming_logger._base.sync import Guard, OneShotEvent
from streaming_logger._context import Context
from streaming_logger._memory.session import Completion, Item, Session, bytes_of, characters_of
from streaming_logger._memory.timed import timed_block

__all__ = ["LONG_CHUNK", "MAX_SEAL_AT", "MIN_SEAL_AT", "SessionTable"]

#: A session's chunks are sealed into one block when there are so many: 64 bytes a chunk become 9. Sealing is
#: the slowest that a write can be, and a flush of chunks alone is one system call: so, as long as all sessions
#: together hold no more than half a million pending chunks, they are sealed seldom.
MIN_SEAL_AT = 64
MAX_SEAL_AT = 512
_PENDING_CHUNKS = 512_000
#: A chunk counts as one more for each so many characters, lest long ones hide from the bound.
LONG_CHUNK = 128
#: A session that holds no more than this may use the last eighth of the memory, so that
#: one stuck stream that fills the rest cannot make the others lose theirs.
_MODEST = 64 * 1024
#: How much is written in one system call. After each the worker waits for the GIL, up to 5 ms while
#: a writer never pauses: with 1 MiB such a writer is faster, and text is dropped on a healthy disk.
_BATCH_BYTES = 1 << 23
#: What `os.writev` takes at once (IOV_MAX on Linux and macOS).
_BATCH_ITEMS = 1024
#: So many ended sessions waiting for the worker mean that it hangs: callers seal what they end.
_MANY_ENDED = 64


class SessionTable:
    """See the module. `on_high_water` is called when memory fills faster than it drains."""

    def __init__(self, context: Context, on_high_water: Callable[[], None]) -> None:
        self._settings = context.settings
        self._counters = context.counters
        self._clock = context.clock
        self._on_high_water = on_high_water
        self._guard = Guard()
        self._block_of = timed_block if context.settings.config.record_timing else bytes_of
        """Makes one block of chunks and gaps."""
        self.live: dict[str, Session] = {}
        self.end_queue: deque[Completion] = deque()
        """Ended turns that the flusher has not taken up, in order."""
        self.used_bytes = 0
        """Bytes of all blocks: what counts against `max_buffer_mb`."""
        self.chunks_counted = 0
        """Chunks that are no session's item any more."""
        self.progress = 0
        """Raised by each flush that wrote something. A flush is asked for once for each value."""
        self.drops_reported = 0
        """Characters dropped for lack of memory that the flusher has reported."""
        self._asked_at = -1

    # -- writers ---------------------------------------------------------------------

    def append(self, session_id: str, chunk: str) -> Session:
        """Appends to the session, and makes it live first: a stream's first chunk, or a new turn."""
        while True:
            with self._guard:
                try:
                    session = self.live[session_id]
                    session.append(chunk)
                    return session
                except KeyError:  # new, or ended in this very moment
                    pass
            self.begin(session_id)

    def begin(self, session_id: str, waited: float = 0.0) -> None:
        """Makes a session live that began `waited` seconds ago, unless it is live."""
        session = Session(session_id, self._clock.monotonic(), MIN_SEAL_AT)
        session.begun -= waited
        self.live.setdefault(session_id, session)

    def end(
        self,
        session_id: str,
        outcome: str,
        cause: str,
        expected: Session | None = None,
        *,
        done: OneShotEvent | None = None,
        error: str = "",
    ) -> bool:
        """Ends a turn for writers and queues it for the flusher; False: the session is not live.

        With `expected`, only that very turn is ended. `done` is set when the turn is over.
        """
        session = self.live.get(session_id) if expected is None else expected
        if session is None or session.completed:
            return False
        if len(self.end_queue) > _MANY_ENDED:
            self.seal(session)
        completion = Completion(session_id, session, outcome, cause, done, error)
        # First: from here on the worker ends it, whatever interrupts this. And a new turn, which
        # can only begin after the removal, stands behind it in the queue.
        self.end_queue.append(completion)
        self.remove(session)
        return True

    def remove(self, session: Session) -> None:
        """No writer reaches this turn any more; harmless twice."""
        with self._guard:
            try:
                if self.live[session.id] is session:
                    del self.live[session.id]
            except KeyError:
                pass

    def seal(self, session: Session) -> None:
        """Makes one block of a session's chunks and counts it against the bound. Never waits, never raises.

        What does not fit is dropped, counted, and marked in its place.
        """
        try:
            while not self._seal(session):
                pass
        except MemoryError:
            # The chunks stay as they are; the next attempt is at twice as many (faults.md: MemoryError).
            self._counters.add(write_errors=1)
            session.seal_at = 2 * len(session) + MIN_SEAL_AT
        if self.used_bytes >= self._settings.buffer_bytes // 4:
            progress = self.progress
            if self._asked_at != progress:
                self._on_high_water()
                self._asked_at = progress  # last: an interrupt before it means asking twice

    def _seal(self, session: Session) -> bool:
        """One attempt; False when the session was changed meanwhile."""
        version, start = session.version, session.sealed
        items = session[:]
        count = len(items) - start
        if session.version != version:
            return False
        if not count:
            return True
        data = self._block_of(items[start:])
        limit = self._settings.buffer_bytes
        if self.used_bytes + len(data) > limit - limit // 8 and not _is_modest(items[:start]):
            limit -= limit // 8
        if self.used_bytes + len(data) <= limit:
            return self._commit(session, version, start, count, (data,), used=len(data), chunks=count, pending=count)
        lost = sum(map(len, items[start:]))  # type: ignore[arg-type]  # chunks: the version is unchanged
        chunks, gap, before = count, lost, items[start - 1] if start else None
        if isinstance(before, int):  # one gap, however long the disk is dead
            start, count, gap = start - 1, count + 1, before + lost
        return self._commit(session, version, start, count, (gap,), chunks=chunks, pending=chunks, dropped=lost)

    # -- the flusher: many sessions, the everyday case ---------------------------------

    def next_batches(self, sessions: Iterable[Session]) -> tuple[list[Session], list[bytes], list[int]]:
        """Takes in hand the chunks of those sessions that hold nothing else: (sessions, data, how many chunks).

        The chunks stay where they are, and no writer seals them, until `reconcile_all`.
        """
        claimed, texts, counts = [], [], []
        limit = self._seal_limit
        with self._guard:
            for session in sessions:
                version = session.version
                if session.sealed:  # blocks or gaps; `next_batch` takes them
                    continue
                try:
                    chunks = session[:]
                    count = len(chunks)
                    data = self._block_of(chunks)
                except Exception:  # noqa: BLE001, S112 - no other session suffers; `next_batch` raises it again
                    continue
                after, seal_at = version + 1, count + limit
                if session.version != version:
                    continue
                session.version = after
                session.sealed = count
                session.seal_at = seal_at
                claimed.append(session)
                texts.append(data)
                counts.append(count)
        return claimed, texts, counts

    def reconcile_all(
        self, sessions: Sequence[Session], texts: list[bytes], counts: list[int], written: list[int]
    ) -> None:
        """Removes what was written of what was claimed; a part that was not becomes a block."""
        limit = self._seal_limit
        with self._guard:
            for session, data, count, size in zip(sessions, texts, counts, written, strict=True):
                if size < len(data):
                    if size:
                        rest = (memoryview(data)[size:],)
                        self._commit(session, session.version, 0, count, rest, used=len(data) - size, chunks=count)
                    continue
                front, after = slice(count), session.version + 1
                # Nobody else changes what is claimed, so the version need not be tested.
                session.version = after
                del session[front]
                session.sealed -= count
                session.seal_at = session.sealed + limit
                self.chunks_counted += count

    # -- the flusher: one session, whatever it holds -------------------------------------

    def next_batch(self, session: Session) -> list[bytes | memoryview]:
        """The next blocks to write, about 8 MiB at the most; empty when nothing waits.

        They stay in the session, charged, until `reconcile` is called with them. Raises `MemoryError`.
        """
        most = _BATCH_ITEMS
        while True:
            version, sealed = session.version, session.sealed
            items = session[:most]
            batch = _leading_blocks(items)
            # Chunks and gaps become blocks first. After a failure only what was tried is tried again:
            # else the chunks of a slow stream would pass the bound, flush by flush.
            behind = items[len(batch) : len(batch) + 1]
            if not behind or (batch and (session.attempts or not isinstance(behind[0], (str, int)))):
                return batch
            try:
                blocks, used, chunks = self._frozen(items)
            except MemoryError:
                if most == 1:
                    raise
                most = max(1, most // 32)
                continue
            pending = max(0, len(items) - sealed)
            self._commit(session, version, 0, len(items), blocks, used=used, chunks=chunks, pending=pending)

    def reconcile(self, session: Session, batch: list[bytes | memoryview], size: int) -> None:
        """Removes the first `size` bytes of a batch that `next_batch` gave."""
        count, left = 0, size
        rest: tuple[Item, ...] = ()
        for block in batch:
            if left <= 0:
                break
            count += 1
            if left < len(block):
                rest = (memoryview(block)[left:],)  # no copy: a block may be large
            left -= len(block)
        while not self._commit(session, session.version, 0, count, rest, used=-size):
            pass  # a writer sealed chunks behind it

    def freeze_gaps(self, session: Session) -> bool:
        """Makes blocks of the gaps of an ended session, where they fit; whether anything is left to write.

        Markers count against the bound like all that waits: a dead disk meets any number of sessions.
        """
        while True:
            version, items = session.version, session[:]
            if any(isinstance(item, str) for item in items):
                return True  # they could not be sealed: `next_batch` will
            blocks, used, _ = self._frozen(items)
            if self.used_bytes + used > self._settings.buffer_bytes:
                if not all(isinstance(item, int) for item in items):
                    return True
                blocks, used = (), 0
            if self._commit(session, version, 0, len(items), blocks, used=used):
                return bool(session)

    def discard(self, session: Session, reason: str) -> None:
        """Gives up what a session still holds; counted by reason."""
        while True:
            version, sealed = session.version, session.sealed
            items = session[:]
            lost = characters_of(items)
            chunks = sum(isinstance(item, str) for item in items)
            if self._commit(
                *(session, version, 0, len(items), ()),
                used=-_size(items),
                chunks=chunks,
                pending=max(0, len(items) - sealed),
                dropped=lost,
                reason=reason,
            ):
                return

    # -- the one change ----------------------------------------------------------------

    def _commit(
        self,
        session: Session,
        version: int,
        start: int,
        count: int,
        items: tuple[Item, ...],
        *,
        used: int = 0,
        chunks: int = 0,
        pending: int = 0,
        dropped: int = 0,
        reason: str = FULL,
    ) -> bool:
        """Puts `items` in the place of `count` items, and settles every count; False: the session has changed.

        `chunks` of the replaced items are chunks, `pending` of them behind the sealed items.
        """
        part, after = slice(start, start + count), version + 1
        sealed = len(items) - count + pending
        limit, drops = self._seal_limit, self._counters.dropped_characters
        drops.setdefault(reason, 0)
        with self._guard:
            if session.version != version:
                return False
            # From the test on no call, and no container is made: see the module.
            session.version = after
            session[part] = items
            session.sealed += sealed
            session.seal_at = session.sealed + limit
            session.dropped_chars += dropped
            drops[reason] += dropped
            self.used_bytes += used
            self.chunks_counted += chunks
        return True

    def _frozen(self, items: list[Item]) -> tuple[tuple[Item, ...], int, int]:
        """Items as blocks only: (blocks, bytes that they are more, chunks that they were)."""
        blocks: list[Item] = []
        run: list[str | int] = []
        chunks = 0
        for item in items:
            if isinstance(item, (str, int)):
                run.append(item)
                continue
            if run:
                blocks.append(self._block_of(run))
                chunks += sum(isinstance(piece, str) for piece in run)
                run = []
            blocks.append(item)
        if run:
            blocks.append(self._block_of(run))
            chunks += sum(isinstance(piece, str) for piece in run)
        return tuple(blocks), _size(blocks) - _size(items), chunks

    # -- numbers ---------------------------------------------------------------------

    def bytes_buffered(self, unfinished: Iterable[Session] = ()) -> int:
        return sum(session.bytes_buffered() for session in self._known(unfinished))

    def characters_buffered(self, unfinished: Iterable[Session] = ()) -> int:
        return sum(characters_of(session[:]) for session in self._known(unfinished))

    def chunks_written(self, unfinished: Iterable[Session] = ()) -> int:
        waiting = sum(isinstance(item, str) for session in self._known(unfinished) for item in session[:])
        return self.chunks_counted + waiting

    def _known(self, unfinished: Iterable[Session]) -> set[Session]:
        ended = {completion.session for completion in self.end_queue.copy() if completion.session is not None}
        return {*self.live.copy().values(), *ended, *unfinished}

    @property
    def _seal_limit(self) -> int:
        return min(MAX_SEAL_AT, max(MIN_SEAL_AT, _PENDING_CHUNKS // (len(self.live) or 1)))


def _leading_blocks(items: list[Item]) -> list[bytes | memoryview]:
    """The blocks in front, about 8 MiB of them."""
    blocks: list[bytes | memoryview] = []
    size = 0
    for item in items:
        if isinstance(item, (str, int)) or size >= _BATCH_BYTES:
            break
        blocks.append(item)
        size += len(item)
    return blocks


def _size(items: list[Item]) -> int:
    """Bytes of the blocks among some items."""
    return sum(len(item) for item in items if not isinstance(item, (str, int)))


def _is_modest(items: list[Item]) -> bool:
    """Whether blocks are few bytes."""
    size = 0
    for item in items:
        if not isinstance(item, (str, int)):
            size += len(item)
            if size > _MODEST:
                return False
    return True
