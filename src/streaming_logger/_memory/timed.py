"""When each chunk came, where `record_timing` is on: chunks and blocks that know it.

The time is part of the item itself, so that a session stays one list, changed in single steps.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from streaming_logger._memory.session import Item, bytes_of

__all__ = ["Mark", "TimedChunk", "marks_of", "timed_block"]

#: (monotonic time, bytes); no time: what is no chunk, as the marker of a gap.
Mark = tuple[float | None, int]
_NO_TIME = -1.0


class TimedChunk(str):
    """A chunk, and the monotonic time when it was written.

    >>> TimedChunk.of("Hello", 12.5).at
    12.5
    """

    __slots__ = ("at",)

    at: float

    @classmethod
    def of(cls, chunk: str, at: float) -> TimedChunk:
        timed = cls(chunk)
        timed.at = at
        return timed


class _TimedBlock(bytes):
    """A block, and the marks of the chunks in it: two arrays, 12 bytes a chunk."""

    times: array[float]
    sizes: array[int]


def timed_block(items: Iterable[Item]) -> bytes:
    """`bytes_of`, and keeps the times.

    >>> block = timed_block([TimedChunk.of("Hel", 1.0), TimedChunk.of("lo", 1.5), 7])
    >>> list(marks_of([block], 4))
    [(1.0, 3), (1.5, 1)]
    """
    pieces = [(getattr(item, "at", _NO_TIME), bytes_of((item,))) for item in items]
    block = _TimedBlock(b"".join(data for _, data in pieces))
    block.times = array("d", (at for at, _ in pieces))
    block.sizes = array("L", (len(data) for _, data in pieces))
    return block


def marks_of(items: Sequence[bytes | memoryview], size: int) -> Iterator[Mark]:
    """The marks of the first `size` bytes of some blocks. A memoryview is the rest of a block."""
    for item in items:
        if size <= 0:
            return
        length = min(size, len(item))
        size -= length
        whole = item.obj if isinstance(item, memoryview) else item
        if isinstance(whole, _TimedBlock):
            yield from _between(whole, len(whole) - len(item), len(whole) - len(item) + length)
        else:
            yield None, length


def _between(block: _TimedBlock, start: int, end: int) -> Iterator[Mark]:
    position = 0
    for at, size in zip(block.times, block.sizes, strict=True):
        part = min(position + size, end) - max(position, start)
        if part > 0:
            yield None if at == _NO_TIME else at, part
        position += size
