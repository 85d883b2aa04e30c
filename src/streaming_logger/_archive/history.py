"""What the ledger says of the sessions whose files are there, read as the ledger grows."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from streaming_logger._disk.directory import Directory
from streaming_logger._events.ledger import LedgerReader, file_of
from streaming_logger._events.model import Event, LoopFound, SessionDeleted, SessionEnded

__all__ = ["History", "last_end", "last_loop"]

#: Events in memory, about 1 kB each; above it the files that were met first are forgotten.
_MAX_EVENTS = 50_000


class History:
    """The ledger's events, by file."""

    def __init__(self, directory: Directory) -> None:
        self._ledger = LedgerReader(directory)
        self._events: dict[str, list[Event]] = {}
        self._count = 0
        self._met: deque[str] = deque()

    def refresh(self) -> None:
        """Takes in what the ledger has got since. Raises `OSError`."""
        for event in self._ledger.read():
            name = file_of(event)
            if name is None:
                continue
            if isinstance(event, SessionDeleted):
                self._forget(name)
                continue
            if name not in self._events:
                self._events[name] = []
                self._met.append(name)
            self._events[name].append(event)
            self._count += 1
            while self._count > _MAX_EVENTS:
                self._forget(self._met.popleft())

    def of(self, name: str) -> list[Event]:
        """The events of a file, oldest first."""
        return self._events.get(name, [])

    def _forget(self, name: str) -> None:
        self._count -= len(self._events.pop(name, ()))


def last_end(events: Sequence[Event]) -> SessionEnded | None:
    """The end of the last turn that is known to have ended."""
    return next((event for event in reversed(events) if isinstance(event, SessionEnded)), None)


def last_loop(events: Sequence[Event]) -> str | None:
    """The kind of the last loop that the radar found."""
    return next((event.kind for event in reversed(events) if isinstance(event, LoopFound)), None)
