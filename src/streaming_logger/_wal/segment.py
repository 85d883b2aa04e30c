"""One segment: a region of memory of a fixed size that is filled with records, applied, emptied and used again."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable

from streaming_logger._wal.record import BLANK, whole_part

__all__ = ["HEADER_SIZE", "LEAST_SIZE", "SMALLEST_SIZE", "Segment", "start_in"]

#: A segment begins with its place in the log and the number of fields of its records.
HEADER_SIZE = 32
#: The smallest segment; and what a log needs: one that is filled, one to follow it, one for the worker's notes.
SMALLEST_SIZE = 1 << 18
LEAST_SIZE = 3 * SMALLEST_SIZE
#: How much is read, or emptied, at once: other threads run in between.
_SLICE = 1 << 16


class Segment:
    """`write` is the mapping's own C function: one call of it adds one record, wholly or not at all.

    A segment that is not open, and one that is sealed, have their position at the end: `write` raises `ValueError`.
    """

    __slots__ = ("_map", "_sealed_at", "name", "size", "start", "tell", "write")

    def __init__(self, mapping: mmap.mmap, name: str) -> None:
        self._map = mapping
        self.name = name
        """Its file's; empty for one that no file stands behind."""
        self.size = self._sealed_at = len(mapping)
        self.start = 0
        """Its place in the log: that of its first byte."""
        self.write: Callable[[bytes], object] = mapping.write
        self.tell: Callable[[], int] = mapping.tell
        for at in range(0, self.size, _SLICE):
            self._blank(at)
        self.seal()

    def open(self, start: int, fields: int) -> None:
        """Gives an empty segment its place in the log; from here on records fit."""
        self.start, self._sealed_at = start, self.size
        self._map[1:HEADER_SIZE] = b"%020d %d" % (start, fields) + b" " * (HEADER_SIZE - 23)
        self._map[:1] = b"#"  # one byte, which no kill tears
        self._map.seek(HEADER_SIZE)

    def seal(self) -> None:
        """Nothing fits any more; harmless twice, and after it was closed."""
        with contextlib.suppress(ValueError):
            if (at := self.tell()) < self.size:
                self._sealed_at = at
            self._map.seek(0, 2)

    @property
    def filled(self) -> int:
        """How many bytes are in use, also of one that is sealed; one record less where that came just before."""
        try:
            at = self.tell()
        except ValueError:  # closed meanwhile
            at = self.size
        return self._sealed_at if at == self.size else at

    @property
    def end(self) -> int:
        """The place in the log behind it."""
        return self.start + self.size

    def read(self, offset: int, fields: int, most: int = 1 << 15) -> tuple[int, list[bytes]]:
        """(their size, their fields) of the whole records from an offset on; (0, []) where there are none."""
        while True:
            try:
                end = self.tell()
                data = self._map[offset : min(end, offset + most)]
            except ValueError:  # closed meanwhile: the worker is done with it
                return 0, []
            if data[:1] in (b"", BLANK):
                return 0, []
            whole, found = whole_part(data, fields)
            if found or offset + most >= end:
                return len(whole), found
            most *= 4  # one record that is longer

    def holds(self, record: bytes, offset: int) -> bool:
        """Whether a record is there."""
        return self._map[offset : offset + len(record)] == record

    def clear(self) -> None:
        """Empties it, from its first byte on: that makes it count as empty at once. Sealed until it is opened."""
        self.seal()
        self._map[:1] = BLANK
        for at in range(0, self.size, _SLICE):
            if at and self._map[at : at + 1] == BLANK:
                break  # nothing was written here
            self._blank(at)

    def close(self) -> None:
        """Gives its memory back; `write` raises `ValueError`."""
        self._map.close()

    def _blank(self, at: int) -> None:
        size = min(_SLICE, self.size - at)
        self._map[at : at + size] = BLANK * size


def start_in(header: bytes) -> tuple[int, int] | None:
    """(place in the log, fields of a record) by a segment's first bytes; None for one that is empty.

    Raises `ValueError` for what is no segment.
    """
    if header[:1] in (b"", b"\0", BLANK):
        return None
    number, _, fields = header[1:HEADER_SIZE].rstrip().partition(b" ")
    if header[:1] != b"#" or len(number) != 20 or not number.isdigit() or fields not in (b"2", b"3"):
        raise ValueError(f"{header[:HEADER_SIZE]!r} is not the beginning of a segment")
    return int(number), int(fields)
