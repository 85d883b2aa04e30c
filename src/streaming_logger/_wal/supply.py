"""The segments that a log has in reserve: how many, and how large.

The first one is small. One that fills before a flush interval is over is followed by one of twice the size; after
some quiet intervals the segments are small again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streaming_logger._wal.private import PrivateStorage
from streaming_logger._wal.segment import SMALLEST_SIZE, Segment

__all__ = ["Storage", "Supply"]

#: The first segment's size, where there is room for it.
FIRST_SIZE = 1 << 20
#: It is smaller where there is no memory for this number of segments, but holds the longest record.
_IN_MEMORY = 4
#: After so many intervals in which little was written, segments are small again.
_QUIET_INTERVALS = 10


class Storage(Protocol):
    """Where segments come from; see `storage` and `private`."""

    is_shared: bool

    def has_room(self, size: int) -> bool: ...
    def make(self, size: int) -> Segment | None: ...
    def remove(self, segment: Segment) -> None: ...
    def is_whole(self) -> bool: ...
    def note_waiting(self, *, waiting: bool) -> None: ...
    def give_up(self) -> None: ...
    def close(self, segments: list[Segment], *, keep: bool) -> None: ...
    def forget_in_child(self, segments: list[Segment], *, keep: bool) -> None: ...


class Supply:
    """`take` is for anybody, everything else for the worker, or under the log's lock.

    `has_room(size)`: whether memory has room for so many bytes more.
    """

    def __init__(self, has_room: Callable[[int], bool]) -> None:
        self.storage: Storage = PrivateStorage()
        self._has_room = has_room
        self._spares: list[Segment] = []
        self._reserve: Segment | None = None
        """For the worker's notes, when there is no spare."""
        self._has_reserve = False
        self._first_size = self._size = FIRST_SIZE
        self._quiet = 0

    @property
    def is_ready(self) -> bool:
        """Whether there is a segment to move on to."""
        return bool(self._spares)

    @property
    def may_take(self) -> bool:
        """Whether a whole segment more may fill up, in which nobody looks at the bound on memory."""
        return all(self._has_room(spare.size) for spare in self._spares[-1:])

    def take(self) -> Segment | None:
        """A segment that nobody uses; None where there is none."""
        try:
            return self._spares.pop()
        except IndexError:
            return None

    def take_reserve(self) -> Segment | None:
        """The one that is kept for the worker's notes."""
        reserve, self._reserve = self._reserve, None
        return reserve

    def begin(self, storage: Storage) -> bool:
        """Makes the first segment in a storage, or where that has no room, in the process's own memory."""
        size = FIRST_SIZE
        while size > SMALLEST_SIZE and not (
            storage.has_room(2 * size + SMALLEST_SIZE) and self._has_room(_IN_MEMORY * size)
        ):
            size //= 2
        self.storage, self._first_size, self._size = storage, size, size
        spare = storage.make(size)
        if spare is None and storage.is_shared:
            storage.close([], keep=False)
            self.storage = PrivateStorage()
            spare = self.storage.make(size)
        if spare is not None:
            self._spares.append(spare)
        return spare is not None

    def refill(self, *, grow: bool) -> None:
        """Sees to it that there is a spare; `grow`: the last one filled up early."""
        if self._reserve is None and not self._has_reserve:
            self._reserve, self._has_reserve = self.storage.make(SMALLEST_SIZE), True
        if not self._spares:
            if grow:
                self._size *= 2
            self._make_spare()
            if self._size > FIRST_SIZE:
                self._make_spare()  # text comes fast

    def give_back(self, segment: Segment) -> None:
        """An empty one is not needed for now."""
        if segment.size == SMALLEST_SIZE and self._reserve is None:
            self._reserve = segment
        elif self._spares or segment.size != self._size:
            self.storage.remove(segment)
        else:
            self._spares.append(segment)

    def tend(self, *, quiet: bool) -> None:
        """Once a flush interval: whether little was written in it."""
        self._quiet = self._quiet + 1 if quiet else 0
        if self._quiet < _QUIET_INTERVALS or self._size == self._first_size:
            return
        self._quiet = 0
        self._size = self._first_size
        while (spare := self.take()) is not None:
            self.storage.remove(spare)
        self._make_spare()

    def replace(self, storage: Storage) -> Callable[[], None] | None:
        """Goes on in another storage; what gives the old one back. None where the new one has no room."""
        segment = storage.make(self._first_size) if storage.is_shared else None
        if segment is None:
            storage.close([], keep=False)
            return None
        old, unused = self.storage, self.empty()
        self.storage, self._size = storage, self._first_size
        self._spares.append(segment)

        def give_back() -> None:
            for spare in unused:
                old.remove(spare)
            old.close([], keep=False)

        return give_back

    def empty(self) -> list[Segment]:
        """All that nobody uses, which is the caller's from now on."""
        reserve = self.take_reserve()
        spares, self._spares, self._has_reserve = self._spares, [], False
        return spares if reserve is None else [*spares, reserve]

    def _make_spare(self) -> None:
        size = self._size
        while size > self._first_size and not self._has_room(_IN_MEMORY * size):
            size //= 2
        while size >= self._first_size:
            spare = self.storage.make(size)
            if spare is not None:
                self._spares.append(spare)
                self._size = size
                return
            size //= 2
        self._size = self._first_size
