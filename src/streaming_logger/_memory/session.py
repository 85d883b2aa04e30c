"""One stream in memory: its unwritten text, and what is known of its file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streaming_logger._base.sync import OneShotEvent
from streaming_logger._disk.names import file_name_of

if TYPE_CHECKING:
    from streaming_logger._disk.store import OpenFile

__all__ = ["Completion", "Item", "Session", "bytes_of", "characters_of", "encode", "marker"]

#: A chunk (str), a sealed block (bytes; memoryview: the rest of one), or a gap: so many characters dropped (int).
Item = str | bytes | memoryview | int


class Session(list[Item]):
    """The list of a stream's unwritten text, oldest first, and beside it what is known of the stream.

    It is the list itself, not an object that has one: `write` then finds the place to
    append to with one dict lookup. Writers append chunks. The first `sealed` items are
    blocks and gaps, or chunks that the worker is writing; behind them are only chunks.
    Everything but an append goes through `SessionTable`, which raises `version` each time.
    """

    __slots__ = (
        "attempts",
        "begun",
        "completed",
        "dropped_chars",
        "file",
        "id",
        "last_write",
        "seal_at",
        "sealed",
        "version",
        "written",
    )

    def __init__(self, session_id: str, now: float, seal_at: int) -> None:
        super().__init__()
        self.id = session_id
        # Changed by SessionTable alone, all in one step with the list.
        self.version = 0
        self.sealed = 0
        self.dropped_chars = 0
        """Characters dropped and not yet reported."""
        self.seal_at = seal_at
        """At this length a writer seals the chunks. A writer of long chunks lowers it."""
        # Only the thread that does the I/O touches these: the file, while it is open; bytes written
        # to it by this turn; monotonic time of the last flush that found something; flushes in a
        # row that failed; whether the turn is over and its file closed.
        self.file: OpenFile | None = None
        self.written = 0
        self.last_write = self.begun = now
        self.attempts = 0
        self.completed = False

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]

    @property
    def name(self) -> str:
        """Its file's name, recomputed on each access to save memory."""
        return file_name_of(self.id)

    def text_buffered(self) -> list[str]:
        """The unwritten text, piece by piece, as its file will show it."""
        return [item if type(item) is str else bytes_of([item]).decode("utf-8", "replace") for item in self[:]]

    def bytes_buffered(self) -> int:
        """UTF-8 bytes of unwritten text."""
        return len(bytes_of(item for item in self[:] if type(item) is not int))


class Completion:
    """The end of a turn, on its way through the worker.

    `outcome` is the caller's word. `cause` says who ended the turn: "completed" (the
    caller), "abandoned", "released" or "disabled". Without a session it only marks a place
    in the queue: it is done when what was completed before is.
    """

    __slots__ = ("cause", "done", "error", "outcome", "session", "session_id")

    def __init__(
        self,
        session_id: str,
        session: Session | None,
        outcome: str,
        cause: str,
        done: OneShotEvent | None = None,
        error: str = "",
    ) -> None:
        self.session_id = session_id
        self.session = session
        self.outcome = outcome
        self.cause = cause
        self.error = error
        """What the stream said of its failure."""
        self.done = done
        """Set when it is done; None: no caller waits for it."""


def characters_of(items: Iterable[Item]) -> int:
    """Characters of the text in some items; a gap has none."""
    return sum(
        len(item) if isinstance(item, str) else len(bytes(item).decode("utf-8", "replace"))
        for item in items
        if not isinstance(item, int)
    )


def encode(text: str) -> bytes:
    """The bytes of a file: UTF-8; a lone surrogate, which has none, as \\udc80 and the like."""
    return text.encode("utf-8", "backslashreplace")


def bytes_of(items: Iterable[Item]) -> bytes:
    """What a file will hold for some items.

    >>> bytes_of([b"one ", 1234, " two"])
    b'one [streaming_logger: 1,234 characters dropped: buffer full] two'
    """
    items = list(items)
    try:
        return encode("".join(items))  # type: ignore[arg-type]  # chunks alone: much faster
    except TypeError:
        return b"".join(
            encode(item) if isinstance(item, str) else marker(item) if isinstance(item, int) else item for item in items
        )


def marker(characters: int) -> bytes:
    """What stands in the file where text is missing.

    >>> marker(1234).decode()
    '[streaming_logger: 1,234 characters dropped: buffer full]'
    """
    return f"[streaming_logger: {characters:,} characters dropped: buffer full]".encode()
