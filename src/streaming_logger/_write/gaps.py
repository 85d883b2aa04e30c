"""Text that found no room in the log: counted by callers, and marked in its place by the worker.

A gap is open until text of its session is accepted again, or the worker has marked it: further text that finds no
room is counted in it, and needs no record of its own. Nothing here waits for a lock.
"""

from __future__ import annotations

from itertools import count

__all__ = ["Gaps"]


class _Gap:
    __slots__ = ("marked", "total")

    def __init__(self) -> None:
        self.total = 0
        """Characters that are missing."""
        self.marked = 0
        """Those that the worker knows of."""


class Gaps:
    """The gaps of all sessions, by key."""

    def __init__(self) -> None:
        self._open: dict[bytes, _Gap] = {}
        self._by_record: dict[bytes, _Gap] = {}
        self._numbers = count(1)
        self.chunks = 0
        """Chunks that found no room, of all time."""

    def __bool__(self) -> bool:
        """Whether any is open."""
        return bool(self._open)

    # -- callers -----------------------------------------------------------------------

    def close(self, key: bytes) -> None:
        """Text of the session was accepted: what is missing behind it is another gap."""
        self._open.pop(key, None)

    def add(self, key: bytes, characters: int) -> bytes | None:
        """A chunk found no room. The text of the record that must stand here; None where there is one already."""
        gap = self._open.get(key)
        is_new = gap is None
        if gap is None:
            gap = self._open.setdefault(key, _Gap())
        gap.total += characters
        self.chunks += 1
        if not is_new and self._open.get(key) is gap:
            return None
        number = b"%d" % next(self._numbers)
        self._by_record[number] = gap
        return number

    # -- the worker --------------------------------------------------------------------

    def missing(self, record: bytes) -> int:
        """Characters that are missing where a record stands, as far as no other record has told."""
        gap = self._by_record.get(record)
        return 0 if gap is None else gap.total - gap.marked

    def take(self, key: bytes, record: bytes) -> int:
        """The same, and the record has told."""
        gap = self._by_record.get(record)
        if gap is None:
            return 0
        if self._open.get(key) is gap:
            self._open.pop(key, None)  # first: what is counted from here on has a record of its own
        missing = self.missing(record)
        gap.marked += missing
        del self._by_record[record]
        return missing
