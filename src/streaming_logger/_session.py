"""One stream in memory: the chunks that wait for the worker, and what is known of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming_logger._names import file_name

if TYPE_CHECKING:
    from streaming_logger._latch import Latch
    from streaming_logger._store import OpenFile

__all__ = ["Session", "encode", "marker"]


#: What most sessions have; never appended to.
_NO_BLOCKS: list[bytes] = []


class Session(list[str]):
    """The list of a stream's loose chunks, and beside it whatever is known of the stream.

    It is the list itself, not an object that has one: `write` then finds the place to
    append to with one dict lookup. The list is never replaced. Whoever writes appends
    behind; whoever holds the table's lock takes from the front, in place.
    """

    __slots__ = (
        "attempts",
        "blocks",
        "counted",
        "done",
        "file",
        "gap",
        "id",
        "join_at",
        "last_write",
        "outcome",
        "unwritten",
        "written",
    )

    def __init__(self, session_id: str, now: float, join_at: int) -> None:
        super().__init__()
        self.id = session_id
        self.join_at = join_at
        """So many loose chunks make a writer join them. Unlocked: the worst a race can do is to be early."""
        # Under SessionTable.lock: joined chunks as UTF-8; their bytes and those of `unwritten`
        # that count against the bound; characters dropped since the last block.
        self.blocks: list[bytes] = _NO_BLOCKS
        self.counted = 0
        self.gap = 0
        # Only who does the I/O touches these: taken from here but not yet in the file; the
        # file, while it is open; bytes written to it by this turn; monotonic time of the last
        # flush that found something; flushes in a row that failed.
        self.unwritten: bytes | memoryview = b""
        self.file: OpenFile | None = None
        self.written = 0
        self.last_write = now
        self.attempts = 0
        # Set once, by complete_session, before the worker hears of it.
        self.outcome = ""
        self.done: Latch | None = None

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]

    @property
    def name(self) -> str:
        """Its file's name: made anew each time, for memory is dearer than this is slow."""
        return file_name(self.id)

    @property
    def dirty(self) -> bool:
        """Whether anything waits to be written."""
        return bool(len(self) or self.blocks or self.unwritten or self.gap)

    def add_block(self, data: bytes) -> None:
        """Under SessionTable.lock."""
        if self.blocks is _NO_BLOCKS:
            self.blocks = []
        self.blocks.append(data)

    def text_buffered(self) -> list[str]:
        """The waiting text, piece by piece."""
        return [*(bytes(part).decode() for part in (self.unwritten, *self.blocks) if part), *self]

    def bytes_buffered(self) -> int:
        """UTF-8 bytes that wait, roughly while others write."""
        return self.counted + len(encode("".join(self[:])))


def encode(text: str) -> bytes:
    """The bytes of a file: UTF-8; a lone surrogate, which has none, as \\udc80 and the like."""
    return text.encode("utf-8", "backslashreplace")


def marker(characters: int) -> bytes:
    """What stands in the file where text is missing.

    >>> marker(1234).decode()
    '[streaming_logger: 1,234 characters dropped: buffer full]'
    """
    return f"[streaming_logger: {characters:,} characters dropped: buffer full]".encode()
