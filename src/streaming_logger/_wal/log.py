"""The write-ahead log of one logger: what callers say is one record in it, the worker applies them in order.

One call of a C function, `append`, adds a record: before it nothing has happened, after it the record is accepted.
No signal handler, finalizer or thread can see half of it. `append` is that of the last segment; all others are
sealed, so that a caller who still holds theirs gets `ValueError` and comes to `add`, which moves on to the next one.

Records that find no room wait in a queue. As long as there are any, the last segment is sealed and all records go
there, in order; the worker moves them into a new segment before it opens that for writers.

Which segment is the last changes under one lock. Who does not get it in time, or is a handler or finalizer that
interrupts whoever has it, adds to the queue, which needs no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from streaming_logger._base.sync import GIL, RLock, is_owned
from streaming_logger._wal.segment import HEADER_SIZE, Segment
from streaming_logger._wal.supply import Storage, Supply

__all__ = ["Log"]

#: A caller waits so long for another one that moves on to a new segment; whoever holds the lock needs microseconds,
#: unless the process is suspended at this very point.
_LOCK_SECONDS = 0.5
#: The worker does so.
_WORKER_SECONDS = 0.05


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

        `has_room(size)`: whether so many bytes may wait behind the end of the log.
        """
        self._make_storage = make_storage
        self._has_storage = False
        self.fields = fields
        self._has_room = has_room
        self._on_filling = on_filling
        self._supply = Supply(has_room)
        self._lock = RLock()
        # Oldest first; the last one is where records are added.
        self.segments: list[Segment] = []
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_stuck = False
        """Whether whoever has the lock keeps it, as a handler in it that waits for the worker."""
        self._moving: tuple[bytes, Segment, int] | None = None
        """The record that was moved out of the queue last, and to where."""
        self.unprotected = 0
        """Records that had to wait, of all time: a crash loses them until they are moved into a segment."""
        self._start = 0
        """The place in the log at which its first segment begins."""
        self._rotated_by_writer = False
        self.append: Callable[[bytes], object] = _no_room
        """Adds a record. Raises `ValueError` where it does not fit: `add` does it then."""

    # -- callers -----------------------------------------------------------------------

    def add(self, record: bytes, *, force: bool = False) -> bool:
        """Adds a record, whatever it takes; false when there is no memory for it. `force`: it is small, and must be."""
        before = len(self.segments)
        is_taken = self._alone(lambda: self._add_to_segment(record) or self._queue(record, force=force))
        if is_taken is None:
            is_taken = self._queue(record, force=force)
        if self._waiting or len(self.segments) > before > 0:
            self._on_filling()  # without the lock: it may start a thread, or do the worker's work
        return is_taken

    def _alone(self, work: Callable[[], bool], seconds: float = _LOCK_SECONDS) -> bool | None:
        """Does something under the lock; None where that is not to be had, or held by whoever this interrupts."""
        if is_owned(self._lock):
            return None
        try:
            return work() if self._lock.acquire(timeout=seconds) else None
        finally:
            # Asks nothing first: a signal handler that raises after a call in here would leave the lock taken.
            try:  # noqa: SIM105
                self._lock.release()
            except RuntimeError:  # it was not to be had
                pass

    def _add_to_segment(self, record: bytes) -> bool:
        while not self._waiting:
            self._publish()
            if self._write(record):
                return True
            if (self.segments and not self._supply.may_take) or not self._advance():
                return False
            self._rotated_by_writer = True
        return False

    def _write(self, record: bytes) -> bool:
        """Adds it to the last segment; false where it does not fit."""
        try:
            self.segments[-1].write(record)
        except (ValueError, IndexError):
            return False
        return True

    def _queue(self, record: bytes, *, force: bool) -> bool:
        """Needs no lock, but keeps the order among threads only under it: any step of this may be the last."""
        size = len(record)
        if not force and not self._has_room(self._waiting_bytes + size):
            return False
        self.storage.note_waiting(waiting=True)
        if self.append is not _no_room:
            self._shut()  # first: a shorter record would still fit, and be out of order
        self._waiting_bytes += size
        self._waiting.append(record)
        self.unprotected += 1
        return True

    def _advance(self, *, to_reserve: bool = False) -> bool:
        """Puts a segment that nobody uses behind the last one; false when there is none."""
        segment = self._supply.take_reserve() if to_reserve else self._supply.take()
        if segment is None:
            return False
        segment.open(self.end_of_segments, self.fields)
        self.segments.append(segment)
        return True

    def _publish(self) -> None:
        """Makes the last segment the one that records go to, then seals the others."""
        segments = self.segments[:]
        if segments:
            self.append = segments.pop().write if GIL else self.add
        for segment in segments:
            segment.seal()
        if self._waiting:
            self._shut()

    def _shut(self) -> None:
        """All records come to `add`."""
        self.append = _no_room
        for segment in self.segments[-1:]:
            segment.seal()

    # -- the worker --------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it has records, or had some."""
        return bool(self.segments or self._waiting)

    @property
    def is_short(self) -> bool:
        """Whether records wait that found no room."""
        return bool(self._waiting)

    @property
    def end(self) -> int:
        """The place in the log behind its last record in a segment."""
        for last in self.segments[-1:]:
            return last.start + last.filled
        return self._start

    @property
    def end_of_segments(self) -> int:
        """The place in the log at which the next segment begins."""
        for last in self.segments[-1:]:
            return last.end
        return self._start

    def waiting(self) -> list[bytes]:
        """The records without a segment, oldest first; a snapshot."""
        return list(self._waiting.copy())

    def news(self, place: int) -> tuple[int, list[bytes]]:
        """The next records from a place on, as many as fit a slice: (the place behind them, their fields)."""
        while True:
            segments = self.segments[:]
            segment = next((each for each in segments if each.end > place), None)
            if segment is None:
                return place, []
            is_last = segment is segments[-1]
            if not is_last:
                segment.seal()  # whoever moved on may have been interrupted before
            offset = max(HEADER_SIZE, place - segment.start)
            size, found = segment.read(offset, self.fields)
            if found or is_last:
                return segment.start + offset + size, found
            place = segment.end

    @property
    def storage(self) -> Storage:
        """Where its segments come from now."""
        return self._supply.storage

    def begin(self) -> None:
        """Makes storage and first segment, at the first write. Any thread; harmless twice."""
        if not self.segments and not self._supply.is_ready:
            self._alone(self._begin)

    def _begin(self) -> bool:
        if self.segments or self._supply.is_ready:
            return True
        storage = self.storage
        if not self._has_storage:
            storage, self._has_storage = self._make_storage(), True
        return self._supply.begin(storage)

    @property
    def is_ready(self) -> bool:
        """Whether callers find a segment to move on to."""
        return self._supply.is_ready or not self.segments

    def keep_ready(self) -> bool:
        """Sees to it that callers find a segment to move on to, and moves what waits into one; whether none waits."""
        if self._waiting:
            self.begin()
        if self.segments:
            grow, self._rotated_by_writer = self._rotated_by_writer, False
            self._supply.refill(grow=grow)
        if self._waiting:
            self._is_stuck = self._alone(self._move_waiting, _WORKER_SECONDS) is None
        return not self._waiting

    def stuck(self) -> bytes | None:
        """The first record that waits, where it cannot be moved: all segments before it are complete.

        The worker applies it as it is, and then calls `unstick`.
        """
        try:
            return self._waiting[0] if self._is_stuck else None
        except IndexError:
            self._is_stuck = False
            return None

    def unstick(self, record: bytes) -> None:
        """It is applied; harmless twice. What recovery would make of the log without it nobody knows."""
        if self._waiting and self._waiting[0] is record:
            self.storage.give_up()
            self._waiting.popleft()

    def _move_waiting(self) -> bool:
        """Records that wait go into a segment, which is opened for callers when none waits any more.

        Each is in the segment once, whatever interrupts this before it leaves the queue.
        """
        while self._waiting:
            record = self._waiting[0]
            if not self._is_moved(record):
                for last in self.segments[-1:]:
                    self._moving = record, last, last.tell()
                if not self._write(record):
                    if not self._advance():
                        return False
                    continue
            self._waiting.popleft()
            self._waiting_bytes -= len(record)
        self._waiting_bytes, self._moving = 0, None
        self._publish()
        self.storage.note_waiting(waiting=bool(self._waiting))
        return True

    def _is_moved(self, record: bytes) -> bool:
        if self._moving is None:
            return False
        last, segment, at = self._moving
        return last is record and segment in self.segments and segment.holds(record, at)

    def replace_storage(self) -> bool:
        """Goes on in new storage, since the old one is not whole any more; whether there is one.

        What was added before stays in memory until it is released, and is not protected.
        """
        give_back: list[Callable[[], None]] = []
        if not self._alone(lambda: self._replace_storage(give_back), _WORKER_SECONDS):
            return False
        for each in give_back:
            each()
        return True

    def _replace_storage(self, give_back: list[Callable[[], None]]) -> bool:
        replaced = self._supply.replace(self._make_storage())
        if replaced is None:
            return False
        give_back.append(replaced)
        self.storage.note_waiting(waiting=self.is_short)
        self._advance()
        for sealed in self.segments[:-1]:
            sealed.seal()
        if not self._waiting:
            self._publish()
        return True

    def add_note(self, record: bytes) -> bool:
        """Adds a record of the worker's, if there is room now. It waits in no queue."""
        return bool(self._alone(lambda: self._add_note(record), _WORKER_SECONDS))

    def _add_note(self, record: bytes) -> bool:
        while True:
            if not self._waiting:  # else the last segment is the worker's alone
                self._publish()
            if self._write(record):
                return True
            if not self._advance() and not self._advance(to_reserve=True):
                return False

    def rotate(self) -> bool:
        """Moves on to a new segment, so that the older ones can be released; whether it did."""
        return bool(self._alone(self._rotate, 0))

    def _rotate(self) -> bool:
        if self._waiting or not self._advance():
            return False
        self._publish()
        return True

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
            self._supply.give_back(segment)

    def tend(self) -> None:
        """Once a flush interval: a log in which little is written becomes small again."""
        self._supply.tend(quiet=not self.is_half_full and len(self.segments) == 1)

    def close(self, place: int, *, keep: bool) -> bool | None:
        """Gives all of it up, unless something stands behind a place. `keep`: for whoever recovers it.

        Whether it did; None where whoever has the lock keeps it. Whoever adds something later begins it anew.
        """
        return self._alone(lambda: self._close(place, keep=keep), _WORKER_SECONDS)

    def _close(self, place: int, *, keep: bool) -> bool:
        self._shut()
        if self._waiting or self.news(place)[1]:
            return False
        self._start = self.end_of_segments
        self._has_storage = False
        self.storage.close(self._taken_apart(), keep=keep)
        return True

    def forget_in_child(self) -> None:
        """After a fork, in the child: lets go of what is the parent's."""
        self.storage.forget_in_child(self._taken_apart(), keep=True)

    def _taken_apart(self) -> list[Segment]:
        self.append = _no_room
        segments, self.segments = [*self.segments, *self._supply.empty()], []
        return segments


def _no_room(record: bytes) -> object:
    raise ValueError("there is no room")
