"""The write-ahead log of one logger: what callers say is one record in it, the worker applies them in order.

One call of a C function, `append`, adds a record: before it nothing has happened, after it the record is accepted.
No signal handler, finalizer or thread can see half of it. `append` is that of the last segment; all others are
sealed, so that a caller who still holds theirs gets `ValueError` and comes to `add`, which moves on to the next one.

Records that find no room wait in a queue. As long as there are any, the last segment is sealed and all records go
there, in order; the worker moves them into a new segment before it opens that for writers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from streaming_logger._base.sync import GIL, RLock
from streaming_logger._wal.private import PrivateStorage
from streaming_logger._wal.record import NUL
from streaming_logger._wal.segment import HEADER_SIZE, SMALLEST_SIZE, Segment

__all__ = ["Log", "Storage"]

#: The first segment's size, where there is room for it. One that fills before a flush interval is over is followed by
#: one of twice the size.
FIRST_SIZE = 1 << 20
#: After so many intervals in which little was written, segments are small again.
_QUIET_INTERVALS = 10
#: A caller waits so long for another one that moves on to a new segment; whoever holds the lock needs microseconds,
#: unless the process is suspended at this very point.
_LOCK_SECONDS = 0.5
_NOTE_SECONDS = 0.05


class Storage(Protocol):
    """Where segments come from; see `storage`."""

    is_shared: bool

    def has_room(self, size: int) -> bool: ...
    def make(self, size: int) -> Segment | None: ...
    def remove(self, segment: Segment) -> None: ...
    def is_whole(self) -> bool: ...
    def note_waiting(self, *, waiting: bool) -> None: ...
    def give_up(self) -> None: ...
    def close(self, segments: list[Segment], *, keep: bool) -> None: ...
    def forget_in_child(self, segments: list[Segment], *, keep: bool) -> None: ...


class Log:
    """See the module. `on_filling` wakes the worker; `fields` is 2, or 3 in a log with times.

    Callers use `append` and `add`; everything else is the worker's.
    """

    def __init__(
        self,
        make_storage: Callable[[], Storage],
        fields: int,
        has_room: Callable[[int], bool],
        on_filling: Callable[[], None],
    ) -> None:
        """`make_storage` is called at the first write.

        `has_room(size)`: whether so many bytes of records may wait without a segment.
        """
        self._make_storage = make_storage
        self.storage: Storage = PrivateStorage()
        self.fields = fields
        self._has_room = has_room
        self._on_filling = on_filling
        self._lock = RLock()
        # Oldest first; the last one is where records are added.
        self.segments: list[Segment] = []
        self._spares: list[Segment] = []
        self._reserve: Segment | None = None
        """For the worker's notes, when there is no spare."""
        self._has_reserve = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_waiting = False
        self.unprotected = 0
        """Records that had to wait, of all time: a crash loses them until they are moved into a segment."""
        self._start = 0
        """The place in the log at which its first segment begins."""
        self._first_size = self._size = FIRST_SIZE
        self._rotated_by_writer = False
        self._quiet = 0
        self.append: Callable[[bytes], object] = _no_room
        """Adds a record. Raises `ValueError` where it does not fit: `add` does it then."""

    # -- callers -----------------------------------------------------------------------

    def add(self, record: bytes, *, force: bool = False) -> bool:
        """Adds a record, whatever it takes; false when there is no memory for it. `force`: it is small, and must be."""
        before = len(self.segments)
        is_locked = self._lock.acquire(timeout=_LOCK_SECONDS)
        try:
            is_taken = (is_locked and self._add_to_segment(record)) or self._queue(record, force=force)
        finally:
            if is_locked:
                self._lock.release()
        if self._is_waiting or len(self.segments) > before > 0:
            self._on_filling()  # without the lock: it may start a thread, or do the worker's work
        return is_taken

    def _add_to_segment(self, record: bytes) -> bool:
        while not self._is_waiting:
            self._publish()
            try:
                for last in self.segments[-1:]:
                    last.write(record)
                    return True
            except ValueError:
                pass
            if not self._advance():
                return False
            self._rotated_by_writer = True
        return False

    def _queue(self, record: bytes, *, force: bool) -> bool:
        """Every step of this is one that others may come between."""
        if not self._is_waiting:
            self._is_waiting = True
            self.storage.note_waiting(waiting=True)
            for segment in self.segments[-1:]:
                segment.seal()  # a shorter record would fit, and be out of order
            self.append = _no_room
        if not force and not self._has_room(self._waiting_bytes + len(record)):
            return False
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        self.unprotected += 1
        return True

    def _advance(self) -> bool:
        """Puts a spare segment behind the last one; false when there is none. Who interrupts this may do the same."""
        try:
            spare = self._spares.pop()
        except IndexError:
            return False
        while True:
            last = self.segments[-1] if self.segments else None
            spare.open(self._start if last is None else last.end, self.fields)
            if (self.segments[-1] if self.segments else None) is last:
                self.segments.append(spare)
                return True

    def _publish(self) -> None:
        """Makes the last segment the one that records go to, then seals the others."""
        segments = self.segments
        if segments:
            self.append = segments[-1].write if GIL else self.add
            for segment in segments[-2:-1]:
                segment.seal()

    # -- the worker --------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether anything was ever written."""
        return bool(self.segments)

    def waiting(self) -> list[bytes]:
        """The records without a segment, oldest first; a snapshot."""
        return list(self._waiting.copy())

    def news(self, place: int) -> tuple[int, list[bytes]]:
        """The next records from a place on, as many as fit a slice: (the place behind them, their fields)."""
        while True:
            segment = next((each for each in self.segments[:] if each.end > place), None)
            if segment is None:
                return place, []
            is_last = segment is self.segments[-1]
            if not is_last:
                segment.seal()  # whoever moved on may have been interrupted before
            offset = max(HEADER_SIZE, place - segment.start)
            size, found = segment.read(offset, self.fields)
            if found or is_last:
                return segment.start + offset + size, found
            place = segment.end

    def begin(self) -> None:
        """Makes storage and first segment, at the first write. Any thread; harmless twice."""
        if self.segments:
            return
        is_locked = self._lock.acquire(timeout=_LOCK_SECONDS)
        try:
            if is_locked and not self.segments and not self._spares:
                self.storage = storage = self._make_storage()
                size = FIRST_SIZE
                while size > SMALLEST_SIZE and not storage.has_room(2 * size + SMALLEST_SIZE):
                    size //= 2
                self._first_size = self._size = size
                self._make_spare()
        finally:
            if is_locked:
                self._lock.release()

    @property
    def is_short(self) -> bool:
        """Whether records wait that found no room."""
        return self._is_waiting

    def keep_ready(self) -> bool:
        """Sees to it that callers find a segment to move on to, and moves what waits into one; whether none waits."""
        if self._reserve is None and not self._has_reserve and self.segments:
            self._reserve, self._has_reserve = self.storage.make(SMALLEST_SIZE), True
        if self._is_waiting:
            self.begin()
        if not self._spares and self.segments:
            if self._rotated_by_writer:
                self._size *= 2
                self._rotated_by_writer = False
            self._make_spare()
        if self._is_waiting:
            self._move_waiting()
        return not self._is_waiting

    def _make_spare(self) -> None:
        size = self._size
        while size >= SMALLEST_SIZE:
            spare = self.storage.make(size)
            if spare is not None:
                self._spares.append(spare)
                self._size = size
                return
            size //= 2
        self._size = self._first_size

    def _move_waiting(self) -> None:
        """Records that wait go into a segment, which is opened for callers when none waits any more."""
        if not self._lock.acquire(blocking=False):
            return  # a caller adds one more; it wakes the worker
        try:
            while self._waiting:
                record = self._waiting[0]
                try:
                    self.segments[-1].write(record)
                except (ValueError, IndexError):
                    if not self._advance():
                        return
                    for segment in self.segments[:-1]:
                        segment.seal()
                    continue
                self._waiting.popleft()
                self._waiting_bytes -= len(record)
            self._is_waiting = False
            self.storage.note_waiting(waiting=False)
            self._publish()
        finally:
            self._lock.release()

    def replace_storage(self) -> bool:
        """Goes on in new storage, since the old one is not whole any more; whether there is one.

        What was added before stays in memory until it is released, and is not protected.
        """
        if not self._lock.acquire(timeout=_NOTE_SECONDS):
            return False
        try:
            old, storage = self.storage, self._make_storage()
            segment = storage.make(self._first_size) if storage.is_shared else None
            if segment is None:
                storage.close([], keep=False)
                return False
            spares, self._spares = self._spares, [segment]
            reserve, self._reserve, self._has_reserve = self._reserve, None, False
            self.storage, self._size = storage, self._first_size
            storage.note_waiting(waiting=self._is_waiting)
            self._advance()
            for sealed in self.segments[:-1]:
                sealed.seal()
            if not self._is_waiting:
                self._publish()
        finally:
            self._lock.release()
        for spare in [*spares, *([reserve] if reserve is not None else [])]:
            old.remove(spare)
        old.close([], keep=False)
        return True

    def add_note(self, record: bytes) -> bool:
        """Adds a record of the worker's, if there is room now. It waits in no queue."""
        if not self._lock.acquire(timeout=_NOTE_SECONDS):
            return False
        try:
            while True:
                if not self._is_waiting:
                    self._publish()
                try:
                    for last in self.segments[-1:]:
                        last.write(record)
                        return True
                except ValueError:
                    pass
                if not self._advance() and not self._use_reserve():
                    return False
        finally:
            self._lock.release()

    def _use_reserve(self) -> bool:
        if self._reserve is None:
            return False
        self._spares.append(self._reserve)
        self._reserve = None
        return self._advance()

    def rotate(self) -> bool:
        """Moves on to a new segment, so that the older ones can be released; whether it did."""
        if self._is_waiting or not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._advance():
                return False
            self._publish()
            return True
        finally:
            self._lock.release()

    @property
    def is_half_full(self) -> bool:
        """Whether the last segment is, so that it is time for the next one."""
        last = self.segments[-1:]
        return bool(last) and last[0].tell() > last[0].size // 2

    def release(self, place: int) -> None:
        """Empties the segments before this place in the log: all that they hold is in the files."""
        while len(self.segments) > 1 and self.segments[0].end <= place:
            segment = self.segments[0]
            segment.clear()
            del self.segments[0]
            if segment.size == SMALLEST_SIZE and self._reserve is None:
                self._reserve = segment
            elif self._spares or segment.size != self._size:
                self.storage.remove(segment)
            else:
                self._spares.append(segment)

    def tend(self) -> None:
        """Once a flush interval: a log in which little is written becomes small again."""
        self._quiet = 0 if self.is_half_full or len(self.segments) > 1 else self._quiet + 1
        if self._quiet < _QUIET_INTERVALS or self._size == self._first_size:
            return
        self._quiet = 0
        self._size = self._first_size
        while self._spares:
            self.storage.remove(self._spares.pop())
        self._make_spare()

    def forget(self, place: int) -> tuple[list[Segment], list[bytes]]:
        """Gives all of it up: the segments, and the records behind a place, which came at the last moment."""
        self.append = _no_room
        used, self.segments = self.segments, []
        for segment in used:
            segment.seal()
        left = []
        for segment in used:
            offset = max(HEADER_SIZE, place - segment.start)
            while segment.end > place and (found := segment.read(offset, self.fields))[1]:
                left.append(NUL.join((*found[1], b"")))
                offset += found[0]
        if used:
            self._start = used[-1].end
        while self._waiting:
            left.append(self._waiting.popleft())
        self._waiting_bytes, self._is_waiting = 0, False
        spares, self._spares = self._spares, []
        reserve, self._reserve, self._has_reserve = self._reserve, None, False
        return [*used, *spares, *([reserve] if reserve is not None else [])], left

    def renew(self) -> None:
        """After a fork, in the child: another thread may have held the lock."""
        self._lock = RLock()


def _no_room(record: bytes) -> object:
    raise ValueError("there is no room")
