"""One turn of a session, as the worker knows it: its unwritten text, and what is known of its file."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from streaming_logger._base.sync import OneShotEvent
from streaming_logger._wal.record import End, id_of, name_of

if TYPE_CHECKING:
    from streaming_logger._disk.store import OpenFile

__all__ = ["Block", "Completion", "Mark", "Session", "marker"]

#: Text that waits for its file, or the rest of one; a gap: so many characters were dropped.
Block = bytes | memoryview
#: (monotonic time, bytes) of a chunk; no time: what is no chunk, as the marker of a gap.
Mark = tuple[float | None, int]

_NO_TIME = -1.0


class Session:
    """Only the thread that does the I/O touches it.

    `fresh` is the text that was applied since the last attempt to write, chunk by chunk. `blocks` stands before it:
    text that the disk refused, and gaps. Text leaves memory by `wrote` alone, after it is in the file.
    """

    __slots__ = (
        "_sizes",
        "_times",
        "attempts",
        "begun",
        "blocks",
        "completion",
        "dropped_chars",
        "file",
        "fresh",
        "id",
        "is_over",
        "key",
        "last_write",
        "safe",
        "written",
    )

    def __init__(self, key: bytes, begun: float, safe: int, *, timed: bool = False) -> None:
        self.id = id_of(key)
        self.key = key
        """What stands for it in the log."""
        self.fresh: list[bytes] = []
        self.blocks: list[Block | int] = []
        self._times: array[float] | None = array("d") if timed else None
        self._sizes: array[int] = array("L") if timed else _NO_SIZES
        self.begun = begun
        """Monotonic time."""
        self.last_write = begun
        """Monotonic time at which text came last, as far as the worker knows."""
        self.file: OpenFile | None = None
        self.safe = safe
        """The log up to this place is not needed for its text."""
        self.written = 0
        """Bytes of this turn in the file."""
        self.attempts = 0
        """Writes in a row that failed."""
        self.dropped_chars = 0
        """Characters that were dropped and are not reported yet."""
        self.completion: Completion | None = None
        """How it ended; None: it is active."""
        self.is_over = False
        """Whether its end was carried out: its file is closed."""

    def __len__(self) -> int:
        return len(self.fresh) + len(self.blocks)

    @property
    def name(self) -> str:
        """Its file's name, recomputed on each access to save memory."""
        return name_of(self.key)

    # -- text comes ------------------------------------------------------------------

    def add_timed(self, text: bytes, time: float) -> None:
        """A chunk of a log with times."""
        self._mark(time, len(text))
        self.fresh.append(text)

    def drop(self, text: bytes) -> int:
        """Leaves out a chunk, for lack of memory; how many characters that is."""
        lost = len(text.decode("utf-8", "replace"))
        self.gap(lost)
        return lost

    def gap(self, characters: int) -> None:
        """So many characters are missing here."""
        if self.fresh:
            self.compact()
        if self.blocks and isinstance(self.blocks[-1], int):
            self.blocks[-1] += characters  # one gap, however long the disk is dead
        else:
            self._mark(_NO_TIME, 0)
            self.blocks.append(characters)
        self.dropped_chars += characters

    def compact(self) -> None:
        """Makes one block of the chunks: 64 bytes a chunk become 0."""
        self.blocks.append(b"".join(self.fresh))
        self.fresh.clear()

    # -- text goes -------------------------------------------------------------------

    def freeze(self) -> int:
        """Each gap becomes its marker: from now on that is text like all other. How many bytes these are."""
        added = 0
        for place, block in enumerate(self.blocks):
            if isinstance(block, int):
                self.blocks[place] = text = marker(block)
                added += len(text)
                if self._times is not None:
                    self._sizes[self._gap_mark()] = len(text)
        return added

    def unwritten(self) -> list[Block]:
        """All unwritten text, in order; there is no gap any more."""
        fresh = self.fresh
        last = fresh[0] if len(fresh) == 1 else b"".join(fresh)
        return [last] if not self.blocks else [*self.blocks, *([last] if fresh else [])]  # type: ignore[list-item]

    def wrote(self, size: int, offered: list[Block]) -> list[Mark]:
        """So many bytes of what `unwritten` offered are in the file. Their marks, in a log with times."""
        left = size
        rest: list[Block] = []
        for block in offered:
            if left >= len(block):
                left -= len(block)
            else:
                rest.append(memoryview(block)[left:] if left else block)  # no copy: it may be large
                left = 0
        self.fresh.clear()
        self.blocks[:] = rest
        self.written += size
        return self._marks_of(size) if self._times is not None else []

    @property
    def size(self) -> int:
        """Bytes of unwritten text, gaps left out."""
        return sum(map(len, self.fresh)) + sum(len(block) for block in self.blocks if not isinstance(block, int))

    def text(self) -> list[str]:
        """The unwritten text, piece by piece, as its file will show it."""
        blocks = [marker(block) if isinstance(block, int) else block for block in self.blocks[:]]
        return [bytes(piece).decode("utf-8", "replace") for piece in (*blocks, *self.fresh[:])]

    @property
    def characters(self) -> int:
        """Characters of unwritten text, gaps left out."""
        blocks = [block for block in self.blocks[:] if not isinstance(block, int)]
        return sum(len(bytes(block).decode("utf-8", "replace")) for block in (*blocks, b"".join(self.fresh[:])))

    def abandon_text(self) -> int:
        """Gives up all unwritten text; how many characters that is."""
        lost = self.characters
        self.fresh.clear()
        self.blocks.clear()
        return lost

    # -- times -----------------------------------------------------------------------

    def _mark(self, time: float, size: int) -> None:
        if self._times is not None:
            self._sizes.append(size)
            self._times.append(time)

    def _gap_mark(self) -> int:
        """Where the first gap stands that has no size yet."""
        assert self._times is not None  # noqa: S101 - its caller has looked
        return next(i for i, size in enumerate(self._sizes) if not size and self._times[i] == _NO_TIME)

    def _marks_of(self, size: int) -> list[Mark]:
        """Takes out the marks of the first `size` bytes."""
        assert self._times is not None  # noqa: S101 - its caller has looked
        marks: list[Mark] = []
        count = 0
        while size > 0 and count < len(self._sizes):
            part = min(size, self._sizes[count])
            time = self._times[count]
            marks.append((None if time == _NO_TIME else time, part))
            size -= part
            if part < self._sizes[count]:
                self._sizes[count] -= part
                break
            count += 1
        del self._sizes[:count], self._times[:count]
        return marks


_NO_SIZES: array[int] = array("L")


class Completion:
    """The end of a turn, on its way through the worker.

    Without a session it only marks a place in the queue: it is carried out when what ended before is.
    """

    __slots__ = ("done", "end", "session", "session_id")

    def __init__(self, session_id: str, session: Session | None, end: End, done: OneShotEvent | None) -> None:
        self.session_id = session_id
        self.session = session
        self.end = end
        self.done = done
        """Set when it is carried out; None: no caller waits for it."""


def marker(characters: int) -> bytes:
    """What stands in the file where text is missing.

    >>> marker(1234).decode()
    '[streaming_logger: 1,234 characters dropped: buffer full]'
    """
    return f"[streaming_logger: {characters:,} characters dropped: buffer full]".encode()
